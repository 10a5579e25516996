"""A Django application that keeps readings: `POST /readings` adds one.

`BINDING` says whether psycopg's server-side binding is on, and `FIELD` which field the model has.
It serves one request at a time, so that its connection to the database stays open.
"""

import argparse
import json
import os
from typing import Any
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, make_server

import django
from django.conf import settings

_URL = urlsplit(os.environ["DATABASE_URL"])
settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": _URL.hostname,
            "PORT": _URL.port,
            "USER": _URL.username,
            "PASSWORD": _URL.password,
            "NAME": _URL.path[1:],
            "CONN_MAX_AGE": None,
            "OPTIONS": {"server_side_binding": os.environ.get("BINDING") == "server"},
        }
    },
)
django.setup()

from django.db import models  # noqa: E402 - it needs the settings
from django.http import HttpRequest, JsonResponse  # noqa: E402 - as above
from django.urls import path  # noqa: E402 - as above

_FIELD: Any = getattr(models, os.environ.get("FIELD", "IntegerField"))


class Reading(models.Model):
    """A reading of a device."""

    device = models.TextField()
    amount = _FIELD()

    class Meta:
        """Where it is."""

        app_label = "readings"
        db_table = "readings"

    def __str__(self) -> str:
        """For people."""
        return f"{self.amount} of {self.device}"


def health(_: HttpRequest) -> JsonResponse:
    """Say that it runs."""
    return JsonResponse({"healthy": True})


def add(request: HttpRequest) -> JsonResponse:
    """Keep a reading."""
    reading = json.loads(request.body)
    made = Reading.objects.create(device=reading["device"], amount=reading["amount"])
    return JsonResponse({"id": made.pk}, status=201)


urlpatterns = [path("health", health), path("readings", add)]


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    from django.core.wsgi import get_wsgi_application  # noqa: PLC0415 - it needs the settings

    application = get_wsgi_application()
    with make_server(arguments.host, arguments.port, application, handler_class=_Quiet) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
