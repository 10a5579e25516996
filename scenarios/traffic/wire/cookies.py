"""The cookies of one user: what a browser keeps and sends back (a part of RFC 6265). Pure.

Name, value, `Max-Age` and `Expires` count. `Domain`, `Path`, `Secure`, `HttpOnly` and `SameSite` do
not: all requests go to one host, and whatever it sets is sent with each of them.
"""

import re
from collections.abc import Iterable
from email.utils import mktime_tz, parsedate_tz
from math import inf
from typing import Final, NamedTuple

# RFC 6265, section 6.1: what a browser should keep of one host, of each cookie and at least.
MOST_COOKIES: Final = 50
MOST_BYTES: Final = 4096
# And what of it still fits the head of a request; servers refuse heads of twice that.
MOST_IN_ALL: Final = 8192

# No control character but the tab may be sent back in a field's value (RFC 9110, section 5.5).
_UNFIT = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_INTEGER = re.compile(r"-?[0-9]+", re.ASCII)
_BLANK = " \t"


class _Kept(NamedTuple):
    value: str
    until: float


class CookieJar:
    """One user's cookies; when there are too many, the oldest go."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}

    def take(self, fields: Iterable[str], now: float) -> None:
        """Obey the values of an answer's `Set-Cookie` fields.

        Args:
            fields: the values, in order.
            now: the time, in seconds since 1970: that is what `Expires` speaks of.
        """
        for field in fields:
            pair, *attributes = field.split(";")
            name, separator, value = (part.strip(_BLANK) for part in pair.partition("="))
            if not separator or not name or len(name) + len(value) > MOST_BYTES:
                continue
            if _UNFIT.search(pair):
                continue
            until = _until(attributes, now)
            if until <= now:
                self._kept.pop(name, None)
            else:
                self._kept[name] = _Kept(value, until)
        while len(self._kept) > MOST_COOKIES or self._size() > MOST_IN_ALL:
            del self._kept[next(iter(self._kept))]

    def field(self, now: float) -> str:
        """The value of the `Cookie` field to send now; empty when there is none."""
        for name in [name for name, kept in self._kept.items() if kept.until <= now]:
            del self._kept[name]
        return "; ".join(f"{name}={kept.value}" for name, kept in self._kept.items())

    def _size(self) -> int:
        return sum(len(name) + len(kept.value) for name, kept in self._kept.items())


def _until(attributes: Iterable[str], now: float) -> float:
    """When a cookie expires (RFC 6265, section 5.3); what cannot be read is as if it was absent."""
    max_age, expires = inf, inf
    has_max_age = False
    for attribute in attributes:
        name, _, value = (part.strip(_BLANK) for part in attribute.partition("="))
        match name.lower():
            case "max-age" if _INTEGER.fullmatch(value):
                max_age, has_max_age = float(value), True
            case "expires":
                found = _seconds_of(value)
                expires = expires if found is None else found
    return now + max_age if has_max_age else expires


def _seconds_of(date: str) -> float | None:
    parts = parsedate_tz(date)
    if parts is None:
        return None
    try:
        return float(mktime_tz(parts))
    except (ValueError, OverflowError):
        return None  # no such day
