"""PURE: Traefik's access log, as JSON with the request's headers kept.

Traefik gives no reason when it answers by itself: `OriginStatus` says 502 although the origin never
answered. So a gateway's status is only a symptom, unless nobody was asked at all.
"""

from datetime import datetime

import msgspec

from orchestrator.routers.exchange import (
    CLIENT_GONE,
    COMPLETE,
    TUNNEL_ENDED,
    UNKNOWN,
    Confidence,
    LogEntry,
    Translate,
)

_RESOLUTION_NS = 1_000
_CLIENT_CLOSED, _SWITCHING_PROTOCOLS = 499, 101
_GATEWAY = (502, 503, 504)
_NOT_FOUND = 404


class _Line(msgspec.Struct, frozen=True):
    start: str = msgspec.field(name="StartUTC")
    duration: int = msgspec.field(name="Duration")
    method: str = msgspec.field(name="RequestMethod")
    path: str = msgspec.field(name="RequestPath")
    status: int = msgspec.field(name="DownstreamStatus")
    bytes: int = msgspec.field(name="DownstreamContentSize", default=0)
    url: str = msgspec.field(name="ServiceURL", default="")
    address: str = msgspec.field(name="ServiceAddr", default="")
    service: str = msgspec.field(name="ServiceName", default="")
    router: str = msgspec.field(name="RouterName", default="")
    retries: int = msgspec.field(name="RetryAttempts", default=0)
    id: str = msgspec.field(name="request_X-Request-Id", default="")


def translation() -> Translate:
    """What reads the lines of one log."""
    return translate


def translate(line: str) -> LogEntry | None:
    """Read one line; None when it is no line of the access log."""
    try:
        said = msgspec.json.decode(line, type=_Line)
        at_ns = _ns(said.start)
    except (msgspec.DecodeError, ValueError):
        return None
    asked = said.address or said.url.rpartition("//")[2]
    end, confidence = _end(said, asked)
    return LogEntry(
        at_ns=at_ns,
        resolution_ns=_RESOLUTION_NS,
        request_id=said.id,
        method=said.method,
        path=said.path.partition("?")[0],
        status=0 if said.status == _CLIENT_CLOSED else said.status,
        backend=asked or None,
        attempts=1 + said.retries if asked else 0,
        end=end,
        confidence=confidence,
        reason=None,
        total_ns=said.duration,
        bytes_out=said.bytes,
    )


def _end(said: _Line, asked: str) -> tuple[str, Confidence]:
    if said.status == _CLIENT_CLOSED:
        return CLIENT_GONE, "certain"
    if said.status == _SWITCHING_PROTOCOLS:
        return TUNNEL_ENDED, "certain"
    if said.status == _NOT_FOUND and not said.router:
        return "destination_not_found", "certain"
    if said.status in _GATEWAY and not asked:
        return "destination_unavailable", "likely"
    if said.status in _GATEWAY:
        return UNKNOWN, "symptom"
    return COMPLETE, "certain"


def _ns(stamp: str) -> int:
    """Nanoseconds of a stamp such as `2026-11-27T20:08:25.123456789Z`."""
    whole, _, fraction = stamp.rstrip("Z").partition(".")
    seconds = int(datetime.fromisoformat(f"{whole}+00:00").timestamp())
    return seconds * 1_000_000_000 + int((fraction or "0").ljust(9, "0")[:9])
