"""Settings, routes and the WSGI application, in one file."""

import os

from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config")

SECRET_KEY = "only for this example"
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["books"]
ROOT_URLCONF = "config"
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": os.environ["DB_HOST"],
        "PORT": os.environ["DB_PORT"],
        "USER": os.environ["DB_USER"],
        "PASSWORD": os.environ["DB_PASSWORD"],
        "NAME": os.environ["DB_NAME"],
        "CONN_MAX_AGE": 60,
    }
}


def health(_: HttpRequest) -> JsonResponse:
    return JsonResponse({"healthy": True})


application = get_wsgi_application()

from books import views  # noqa: E402 - models need the settings above

urlpatterns = [
    path("health", health),
    path("books", views.add),
    path("books/<int:number>", views.show),
]
