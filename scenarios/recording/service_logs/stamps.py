"""PURE: the stamps of log lines, as nanoseconds since 1970."""

import re
from datetime import UTC, datetime

_CLF = re.compile(
    r"(?P<day>\d\d)/(?P<month>[A-Z][a-z]{2})/(?P<year>\d{4}):(?P<time>\d\d:\d\d:\d\d)"
    r"(?:\.(?P<part>\d{1,9}))?(?: (?P<zone>[+-]\d{4}))?"
)
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_ISO = re.compile(
    r"(?P<date>\d{4}[-/]\d\d[-/]\d\d)[T ](?P<time>\d\d:\d\d:\d\d)(?:[.,](?P<part>\d{1,9}))?"
    r" ?(?P<zone>Z|[+-]\d\d:?\d\d)?"
)
_SECOND = 1_000_000_000
_QUARTER = 15 * 60 * _SECOND
_LATEST = 10**11
"""Seconds since 1970 are below this; milliseconds are above."""

_END_NS = 2**62
"""In the year 2116: a stamp beyond it, or one before 1970, is damaged."""


def clf_ns(text: str, now_ns: int) -> int | None:
    """The stamp of a line in the Common Log Format, `28/Nov/2026:05:36:37 +0000`; HAProxy's, too.

    Args:
        text: the stamp.
        now_ns: when the line was read; it tells the zone of a stamp that has none.
    """
    found = _CLF.fullmatch(text)
    if found is None or found["month"] not in _MONTHS:
        return None
    month = _MONTHS.index(found["month"]) + 1
    date = f"{found['year']}-{month:02}-{found['day']}"
    return _moment(date, found["time"], found["part"], found["zone"], now_ns)


def iso_ns(text: str, now_ns: int) -> int | None:
    """An ISO 8601 stamp, or nginx's `2026/11/28 05:36:37`; None if it is neither."""
    found = _ISO.fullmatch(text)
    if found is None:
        return None
    date = found["date"].replace("/", "-")
    return _moment(date, found["time"], found["part"], found["zone"], now_ns)


def any_ns(given: object, now_ns: int) -> int | None:
    """A stamp of a JSON line: a text, or a number of seconds or milliseconds since 1970."""
    if isinstance(given, bool):
        return None
    if isinstance(given, int | float):
        if not 0 <= given < _LATEST * 1000:
            return None
        seconds = float(given) if given < _LATEST else given / 1000
        return _if_possible(round(seconds * 1e6) * 1000)
    if not isinstance(given, str):
        return None
    found = iso_ns(given, now_ns)
    if found is None:
        found = clf_ns(given, now_ns)
    if found is None and re.fullmatch(r"\d{9,10}\.\d{1,9}", given):
        return _if_possible(round(float(given) * 1e6) * 1000)
    return found


def _if_possible(at_ns: int) -> int | None:
    return at_ns if 0 <= at_ns < _END_NS else None


def _moment(date: str, time: str, part: str | None, zone: str | None, now_ns: int) -> int | None:
    try:
        moment = datetime.fromisoformat(f"{date}T{time}{zone or ''}")
    except ValueError:
        return None
    if zone is None:
        moment = moment.replace(tzinfo=UTC)
    found = int(moment.timestamp()) * _SECOND + int((part or "0").ljust(9, "0"))
    if zone is not None:
        return _if_possible(found)
    # The line was written just before it was read, so the rest of the difference is its zone.
    return _if_possible(found + round((now_ns - found) / _QUARTER) * _QUARTER)
