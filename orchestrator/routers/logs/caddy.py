"""PURE: Caddy's log: access lines, and before each failed one a line of the error logger.

Only the two together tell why a request failed, so the translation remembers the errors of requests
whose access line is still to come.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

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
_MOST_PENDING = 10_000
_CLIENT_CLOSED, _SWITCHING_PROTOCOLS = 499, 101
_GATEWAY = (502, 503, 504)

_ABORTED = "aborting with incomplete response"

_WORDS: tuple[tuple[str, str], ...] = (
    (_ABORTED, "http_response_incomplete"),
    ("no upstreams available", "destination_unavailable"),
    ("connection refused", "connection_refused"),
    ("i/o timeout", "connection_timeout"),
    ("deadline exceeded", "http_response_timeout"),
    ("timeout awaiting", "http_response_timeout"),
    ("context canceled", CLIENT_GONE),
    ("server closed idle connection", "connection_terminated"),
    ("connection reset", "connection_terminated"),
    ("broken pipe", "connection_terminated"),
    ("EOF", "connection_terminated"),
    ("malformed HTTP", "http_protocol_error"),
)
"""What Go's HTTP client says, and what that is called elsewhere; the first that is found counts."""


class _Request(msgspec.Struct, frozen=True):
    method: str = ""
    uri: str = ""
    remote_port: str = ""
    headers: Mapping[str, Sequence[str]] = msgspec.field(default_factory=dict)


class _Line(msgspec.Struct, frozen=True):
    logger: str
    ts: float
    request: _Request
    msg: str = ""
    status: int = 0
    duration: float = 0.0
    size: int = 0
    upstream: str | None = None
    error: str = ""


def translation() -> Translate:
    """What reads the lines of one log."""
    errors: OrderedDict[tuple[str, str], str] = OrderedDict()

    def translate(line: str) -> LogEntry | None:
        try:
            said = msgspec.json.decode(line, type=_Line)
        except msgspec.DecodeError:
            return None
        request_id = next(iter(_values(said.request, "x-request-id")), "")
        key = (request_id, said.request.remote_port)
        aborted = said.logger == "http.handlers.reverse_proxy" and said.msg.startswith(_ABORTED)
        if aborted or said.logger.startswith("http.log.error"):
            errors[key] = f"{said.msg}: {said.error}" if said.error else said.msg
            if len(errors) > _MOST_PENDING:
                errors.popitem(last=False)
            return None
        if not said.logger.startswith("http.log.access"):
            return None
        return _entry(said, request_id, errors.pop(key, None))

    return translate


def _entry(said: _Line, request_id: str, error: str | None) -> LogEntry:
    end, confidence = _end(said, error)
    whole = end in (COMPLETE, TUNNEL_ENDED)
    total_ns = round(said.duration * 1e9)
    gone = said.status in (0, _CLIENT_CLOSED)
    return LogEntry(
        # Its stamp is that of the line, which is written at the end; a float of seconds.
        at_ns=round(said.ts * 1_000_000) * 1000 - total_ns,
        resolution_ns=_RESOLUTION_NS,
        request_id=request_id,
        method=said.request.method,
        path=said.request.uri.partition("?")[0],
        status=0 if gone else said.status,
        backend=said.upstream or None,
        attempts=None if said.upstream else 0,
        end=end,
        confidence=confidence,
        reason=None if whole else error,
        total_ns=total_ns,
        bytes_out=said.size,
    )


def end_in(error: str) -> str:
    """Why an exchange ended, by the words of Go's HTTP client; `unknown` if they are others."""
    return next((end for words, end in _WORDS if words in error), UNKNOWN)


def _end(said: _Line, error: str | None) -> tuple[str, Confidence]:
    if said.status == _SWITCHING_PROTOCOLS:
        return TUNNEL_ENDED, "certain"
    if error is not None:
        end = end_in(error)
        return end, "symptom" if end == UNKNOWN else "certain"
    if said.status in (0, _CLIENT_CLOSED):
        return CLIENT_GONE, "likely"
    return COMPLETE, "certain"


def _values(request: _Request, name: str) -> Sequence[str]:
    return next((v for k, v in request.headers.items() if k.lower() == name), ())
