"""PURE: HAProxy's log, in the format that its adapter asks for.

Reasons are HAProxy's termination states (configuration manual, section 8.5): the first character
says who ended the session, the second in which state it was.
"""

import re

from orchestrator.routers.exchange import (
    CLIENT_GONE,
    CLIENT_TIMEOUT,
    COMPLETE,
    TUNNEL_ENDED,
    UNKNOWN,
    Confidence,
    LogEntry,
    Translate,
)

FORMAT = (
    "hitless at=%[var(txn.hitless_at)] end=%[date(0,us)] Tc=%Tc Tr=%Tr st=%ST ts=%ts rc=%rc s=%s "
    "bytes=%B m=%HM id=%{+Q}[var(txn.hitless_id)] path=%{+Q}HPO"
)
"""The log-format. `hitless_at` is the date at which the request's head had been read."""

SETTINGS = (
    "http-request set-var(txn.hitless_id) req.hdr(X-Request-Id)",
    "http-request set-var(txn.hitless_at) date(0,us)",
)
"""What a frontend needs so that the format has something to print."""

_LINE = re.compile(
    r"^hitless at=(?P<at>\d+|-) end=(?P<end>\d+) Tc=(?P<tc>-?\d+) Tr=(?P<tr>\+?-?\d+) "
    r"st=(?P<st>-?\d+) ts=(?P<ts>\S{2,4}) rc=(?P<rc>\+?\d+) s=(?P<s>\S+) bytes=\+?(?P<bytes>\d+) "
    r'm=(?P<m>\S+) id="(?P<id>[^"]*)" path="(?P<path>[^"]*)"$'
)

_NOBODY = "<NOSRV>"
_RESOLUTION_NS = 1_000  # the format's dates are in microseconds; its timers in milliseconds
_SWITCHING_PROTOCOLS = 101

_BY_CLIENT = {"C": CLIENT_GONE, "c": CLIENT_TIMEOUT}
_BY_STATE = {
    "SQ": "destination_unavailable",
    "sQ": "destination_unavailable",
    "SC": "connection_refused",
    "sC": "connection_timeout",
    "SH": "connection_terminated",
    "sH": "http_response_timeout",
    "SD": "http_response_incomplete",
    "sD": "connection_read_timeout",
    "SL": "http_response_incomplete",
    "sL": "connection_read_timeout",
    "PH": "http_protocol_error",
    "PR": "http_request_denied",
    "PT": "http_request_denied",
    "PC": "connection_limit_reached",
    "PD": "http_response_incomplete",
    "PL": "http_response_incomplete",
}
_BY_WHOM = {
    "D": "connection_terminated",  # the server was marked down
    "K": "connection_terminated",  # an administrator shut the session down
    "U": "connection_terminated",  # a session on a backup server, when the active ones were back
    "R": "connection_limit_reached",  # a resource of the proxy was exhausted
    "I": "proxy_internal_error",
    "L": COMPLETE,  # HAProxy answered by itself, as it was told to
}


def translation() -> Translate:
    """What reads the lines of one log."""
    return translate


def translate(line: str) -> LogEntry | None:
    """Read one line; None when it is a message of HAProxy's own, or no request was read."""
    found = _LINE.match(line.rstrip("\n"))
    if found is None or found["at"] == "-":
        return None
    at_ns, done_ns = int(found["at"]) * 1000, int(found["end"]) * 1000
    backend = None if found["s"] == _NOBODY else found["s"]
    status = max(int(found["st"]), 0)
    state = found["ts"][:2]
    end, confidence = end_of(state, backend, status)
    retries = int(found["rc"].lstrip("+"))
    connect_ms, head_ms = int(found["tc"]), int(found["tr"].lstrip("+"))
    whole = end in (COMPLETE, TUNNEL_ENDED)
    return LogEntry(
        at_ns=at_ns,
        resolution_ns=_RESOLUTION_NS,
        request_id=found["id"],
        method=found["m"],
        path=found["path"],
        status=status,
        backend=backend,
        attempts=0 if backend is None else 1 + retries,
        end=end,
        confidence=confidence,
        reason=None if whole else _reason(state, found["rc"], backend),
        connect_ns=connect_ms * 1_000_000 if connect_ms >= 0 else -1,
        first_byte_ns=(max(connect_ms, 0) + head_ms) * 1_000_000 if head_ms >= 0 else -1,
        total_ns=max(done_ns - at_ns, 0),
        bytes_out=int(found["bytes"]),
    )


def end_of(state: str, backend: str | None, status: int) -> tuple[str, Confidence]:
    """Why an exchange ended.

    Args:
        state: the first two characters of its termination state.
        backend: the server that was asked; None if none was.
        status: the status that was sent; 0 if none was.
    """
    if state == "--":
        return COMPLETE, "certain"
    whom = state[0]
    if status == _SWITCHING_PROTOCOLS:
        return TUNNEL_ENDED, "certain"
    if whom in _BY_CLIENT:
        return _BY_CLIENT[whom], "certain"
    if state == "SC" and backend is None:
        return "destination_unavailable", "certain"
    if (end := _BY_STATE.get(state) or _BY_WHOM.get(whom)) is not None:
        return end, "certain"
    return UNKNOWN, "symptom"


def _reason(state: str, retries: str, backend: str | None) -> str:
    words = f"termination state {state}"
    if int(retries.lstrip("+")):
        words += f", retries {retries}"
    return words if backend is not None else f"{words}, no server"
