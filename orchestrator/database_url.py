"""The URL of a Postgres database: whether it is one, what it says, and how it is told."""

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

_SCHEMES = ("postgresql", "postgres")
_USUAL_PORT = 5432
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


def host_and_port(url: str) -> tuple[str, str]:
    """Where the server of a database URL is, as libpq writes it.

    Several hosts have commas between them, and so have their ports. A host may also be the folder
    of a Unix socket (`?host=/var/run/postgresql`). The host is empty if the URL names none.
    """
    parts = urlsplit(url)
    each = [urlsplit(f"//{one}") for one in parts.netloc.rpartition("@")[2].split(",")]
    asked = parameters(url)
    host = ",".join(unquote(one.hostname or "") for one in each)
    port = ",".join(str(one.port or _USUAL_PORT) for one in each)
    return asked.get("host", host), asked.get("port", port)


def parameters(url: str) -> Mapping[str, str]:
    """What a database URL sets behind its question mark, such as `sslmode`."""
    return dict(parse_qsl(urlsplit(url).query))


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
