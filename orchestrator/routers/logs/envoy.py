"""PURE: Envoy's access log, in the format that its adapter asks for.

Reasons are Envoy's response flags, its response code details, and its upstream transport failure
reason (access logging, command operators). Envoy writes spaces in them as underscores.
"""

from typing import Annotated

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

FORMAT = {
    "start": "%START_TIME(%s.%9f)%",
    "total": "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:ns)%",
    "first": "%COMMON_DURATION(DS_RX_BEG:US_RX_BEG:ns)%",
    "id": "%REQ(X-REQUEST-ID)%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(:PATH)%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "upstream": "%UPSTREAM_HOST%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "bytes": "%BYTES_SENT%",
}
"""The log's fields, for `json_format`."""

_RESOLUTION_NS = 1_000
_SWITCHING_PROTOCOLS = 101

_BY_FLAG = {
    "UH": "destination_unavailable",
    "NC": "destination_not_found",
    "NR": "destination_not_found",
    "NFCF": "destination_not_found",
    "DF": "dns_error",
    "UF": "connection_refused",
    "UC": "connection_terminated",
    "UR": "connection_terminated",
    "UT": "http_response_timeout",
    "SI": "connection_read_timeout",
    "DT": "http_response_timeout",
    "UMSDR": "http_response_timeout",
    "UPE": "http_protocol_error",
    "IH": "http_request_error",
    "DPE": "http_request_error",
    "UO": "connection_limit_reached",
    "OM": "connection_limit_reached",
    "DO": "connection_limit_reached",
    "RL": "http_request_denied",
    "UAEX": "http_request_denied",
    "RLSE": "http_request_denied",
    "FI": "http_request_denied",
    "LH": "destination_unavailable",
    "LR": "proxy_internal_error",
    "DC": CLIENT_GONE,
    "DR": CLIENT_GONE,
}


class _Line(msgspec.Struct, frozen=True):
    start: str
    total: int | None
    id: str | None
    method: str | None
    path: str | None
    status: int
    flags: str
    details: str | None
    failure: str | None
    upstream: str | None
    bytes: Annotated[int, msgspec.Meta(ge=0)]
    first: int | None = None
    attempts: int | None = None


def translation() -> Translate:
    """What reads the lines of one log."""
    return translate


def translate(line: str) -> LogEntry | None:
    """Read one line; None when it is no line of the access log."""
    try:
        said = msgspec.json.decode(line, type=_Line)
        seconds, _, fraction = said.start.partition(".")
        at_ns = int(seconds) * 1_000_000_000 + int(fraction)
    except (msgspec.DecodeError, ValueError):
        return None
    end, confidence = end_of(said.flags, said.status, said.details or "", said.failure or "")
    whole = end in (COMPLETE, TUNNEL_ENDED)
    return LogEntry(
        at_ns=at_ns,
        resolution_ns=_RESOLUTION_NS,
        request_id=said.id or "",
        method=said.method or "",
        path=(said.path or "").partition("?")[0],
        status=said.status,
        backend=said.upstream,
        attempts=said.attempts,
        end=end,
        confidence=confidence,
        reason=None if whole else _reason(said),
        first_byte_ns=-1 if said.first is None else said.first,
        total_ns=-1 if said.total is None else said.total,
        bytes_out=said.bytes,
    )


def end_of(given: str, status: int, details: str = "", failure: str = "") -> tuple[str, Confidence]:
    """Why an exchange ended.

    Args:
        given: its response flags, with commas between them.
        status: the status that was sent; 0 if none was.
        details: its response code details.
        failure: why the transport to the upstream failed.
    """
    flags = [flag for flag in given.split(",") if flag not in ("-", "DI", "URX")]
    if not flags:
        return COMPLETE, "certain"
    if status == _SWITCHING_PROTOCOLS:
        return TUNNEL_ENDED, "certain"
    for flag in flags:
        if flag == "UF" and "timeout" in f"{details} {failure}":
            return "connection_timeout", "certain"
        if flag in ("UC", "UR") and "after_response_started" in details:
            return "http_response_incomplete", "certain"
        if (end := _BY_FLAG.get(flag)) is not None:
            return end, "certain"
    return UNKNOWN, "symptom"


def _reason(said: _Line) -> str:
    parts = [f"response flags {said.flags}", said.details, said.failure]
    words = [part for part in parts if part]
    # The failure is often a part of the details already.
    if len(words) > 2 and words[2] in words[1]:  # noqa: PLR2004 - flags, details, failure
        del words[2]
    return ": ".join(words)
