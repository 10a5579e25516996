"""Django in one file: one page."""

import os
import sys

from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpResponse
from django.urls import path

settings.configure(
    DEBUG=True,
    SECRET_KEY="only a benchmark's",  # noqa: S106 - it guards nothing
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
)


def hello(request):
    # Without a length Django's server closes the connection after the answer.
    return HttpResponse("hello", headers={"Content-Length": "5"})


urlpatterns = [path("", hello)]

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "")
    execute_from_command_line(sys.argv)
