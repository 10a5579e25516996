"""PURE: what the fields of log lines mean, whatever logs them."""

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

_REQUEST = re.compile(r"(?P<method>[A-Z]+) (?P<target>\S+)(?: HTTP/[\d.]+)?")
_MILLISECONDS = 1_000_000
_MOST_DIGITS = 18


def request_line(text: str) -> tuple[str, str] | None:
    """Method and path of a request line, such as `GET /a?b=c HTTP/1.1`."""
    found = _REQUEST.fullmatch(text.strip())
    return None if found is None else (found["method"], target(found["target"]))


def target(text: str) -> str:
    """The path of a request's target, which may be a whole URL (RFC 9112, section 3.2)."""
    if text.startswith("/"):
        return text.partition("?")[0]
    try:
        return urlsplit(text).path or "/"
    except ValueError:
        return text


def first(document: Mapping[str, object], *names: str) -> str | None:
    """The first of these fields that is there, as text; None if none is."""
    for name in names:
        value = document.get(name)
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return str(value)
    return None


def number(text: str | None) -> int | None:
    """A whole number that is not negative; None if it is none, or has too many digits to be one."""
    if text is None or not text.isascii() or not text.isdigit():
        return None
    return int(text) if len(text) <= _MOST_DIGITS else None


def milliseconds(text: str | None) -> int | None:
    """Nanoseconds of a text that counts milliseconds or seconds; None if it is no number."""
    try:
        found = float(text or "")
    except ValueError:
        return None
    return round(found * _MILLISECONDS) if 0 <= found < 1e12 else None  # noqa: PLR2004 - a bound


def seconds(text: str | None) -> int:
    """Nanoseconds of a text that counts seconds; -1 if it is no number."""
    found = milliseconds(text)
    return -1 if found is None else found * 1000
