"""The handlers, one module a release."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from aiohttp import web

from newsletter_app.schema import Needs
from newsletter_app.settings import VERSIONS, Settings


@dataclass(frozen=True, slots=True)
class Release:
    """One version of the program.

    Attributes:
        version: its name.
        configure: adds its routes, and what has to run beside them, to the application.
        needs: what it needs of the schema.
        sends_mail: whether it needs a mail server.
    """

    version: str
    configure: Callable[[web.Application, Settings], None]
    needs: Needs
    sends_mail: bool = False


def load(version: str) -> Release:
    """The release of that name. Only its module is imported, which keeps the start quick.

    Raises:
        ValueError: there is none.
    """
    if version not in VERSIONS:
        raise ValueError(f"there is no version {version!r}; there are {', '.join(VERSIONS)}")
    release: Release = import_module(f"{__name__}.{version}").RELEASE
    return release
