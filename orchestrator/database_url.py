"""The URL of a Postgres database: whether it is one, and how it is told without its password."""

import re
from urllib.parse import urlsplit, urlunsplit

_SCHEMES = ("postgresql", "postgres")
_MOST_PORT = 65_535
_PORT = re.compile(r":([^\]:]*)$")


def is_database_url(url: str) -> bool:
    """Whether this is `postgresql://user:password@host:port/database`.

    Several hosts may be separated by commas, as libpq has it; each may have a port.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if parts.scheme not in _SCHEMES:
        return False
    ports = map(_PORT.search, parts.netloc.rpartition("@")[2].split(","))
    return all(found is None or _is_port(found[1]) for found in ports)


def redacted(url: str) -> str:
    """Return the URL without its password, for messages and logs."""
    try:
        parts = urlsplit(url)
        if parts.password is None:
            return url
        address = parts.netloc.rpartition("@")[2]
        netloc = f"{parts.username or ''}:***@{address}"
        return urlunsplit(parts._replace(netloc=netloc))
    except ValueError:
        return "(a URL that cannot be read)"


def _is_port(text: str) -> bool:
    return text.isdecimal() and text.isascii() and 0 < int(text) <= _MOST_PORT
