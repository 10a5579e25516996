"""PURE: Caddy's JSON logs: the access log, the error logger, and `reverse_proxy`'s warnings.

The access log and the error logger may go to different files; either names the request and, unless
they are removed, its header fields.
Source: Caddy's documentation (`log`), modules/caddyhttp/reverseproxy/reverseproxy.go (messages).
"""

import re
from collections.abc import Mapping

from orchestrator.routers.logs.caddy import end_in
from scenarios.evidence.service_line import CLIENT_GONE, COMPLETE, UNKNOWN, ServiceLine
from scenarios.recording.service_logs.fields import first, number, seconds, target
from scenarios.recording.service_logs.stamps import any_ns

_RESOLUTION_NS = 1_000_000
_CLIENT_CLOSED = 499
_GATEWAY = (502, 503, 504)
_ADDRESS = re.compile(r"(?:dial tcp |->)(?P<address>\[?[\w.:]+\]?:\d+)")


def any_json(document: Mapping[str, object], now_ns: int) -> ServiceLine | None:
    """A line of one of Caddy's loggers that is about a request."""
    logger, asked = first(document, "logger") or "", document.get("request")
    at_ns = any_ns(document.get("ts"), now_ns)
    if not logger.startswith("http.") or not isinstance(asked, Mapping) or at_ns is None:
        return None
    method, path = first(asked, "method"), first(asked, "uri")
    if method is None or path is None:
        return None
    said = first(document, "msg") or ""
    status = number(first(document, "status")) or 0
    if logger.startswith("http.log.access"):
        gone = status in (0, _CLIENT_CLOSED)
        return ServiceLine(
            family="caddy",
            at_ns=at_ns,
            resolution_ns=_RESOLUTION_NS,
            method=method,
            path=target(path),
            status=0 if gone else status,
            end=CLIENT_GONE if gone else COMPLETE,
            # Caddy's own answer and the application's look alike here.
            confidence="symptom" if status in _GATEWAY else "certain",
            total_ns=seconds(first(document, "duration")),
        )
    more = first(document, "error")
    words = f"{said}: {more}" if more else said
    address = _ADDRESS.search(words)
    upstream = first(document, "upstream") or (None if address is None else address["address"])
    end = end_in(words)
    if end == UNKNOWN:
        return None
    return ServiceLine(
        family="caddy",
        tells="error",
        at_ns=at_ns,
        resolution_ns=_RESOLUTION_NS,
        method=method,
        path=target(path),
        status=status,
        upstream=upstream,
        end=end,
        reason=words if address or upstream is None else f"{words} ({upstream})",
    )
