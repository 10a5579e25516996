"""PURE: nginx's access log, in the format that its adapter asks for.

nginx does not say why it answered by itself; it follows from its variables: which servers it asked
(`$upstream_addr`), what each was taken to answer (`$upstream_status`), and whether a connection and
a response head were there at all (`$upstream_connect_time`, `$upstream_header_time`).
"""

import re

import msgspec

from orchestrator.routers.exchange import (
    CLIENT_GONE,
    COMPLETE,
    TUNNEL_ENDED,
    Confidence,
    LogEntry,
    Translate,
)

FORMAT = (
    '{"ended":"$msec","took":"$request_time","id":"$http_x_request_id","method":"$request_method",'
    '"path":"$request_uri","status":"$status","addr":"$upstream_addr","said":"$upstream_status",'
    '"connect":"$upstream_connect_time","head":"$upstream_header_time",'
    '"done":"$request_completion","bytes":"$body_bytes_sent"}'
)
"""The log_format, with `escape=json`."""

_RESOLUTION_NS = 1_000_000  # both $msec and $request_time are milliseconds
_SPLIT = re.compile(r"\s*[,:]\s+")  # a colon where the request was redirected within nginx
_CLIENT_CLOSED = 499  # nginx's own status
_BAD_GATEWAY, _GATEWAY_TIMEOUT, _SWITCHING_PROTOCOLS = 502, 504, 101


class _Line(msgspec.Struct, frozen=True):
    ended: str
    took: str
    id: str
    method: str
    path: str
    status: str
    addr: str
    said: str
    connect: str
    head: str
    done: str
    bytes: str


def translation() -> Translate:
    """What reads the lines of one log."""
    return translate


def translate(line: str) -> LogEntry | None:
    """Read one line; None when it is no line of the access log."""
    try:
        said = msgspec.json.decode(line, type=_Line)
        ended_ns, took_ns = _ns(said.ended), _ns(said.took)
        status, sent = int(said.status), int(said.bytes)
    except (msgspec.DecodeError, ValueError):
        return None
    asked = [one for one in _SPLIT.split(said.addr) if one not in ("", "-")]
    reached = [one for one in asked if _is_address(one)]
    end, confidence = _end(said, status, reached, asked)
    connect, head = _last(said.connect), _last(said.head)
    whole = end in (COMPLETE, TUNNEL_ENDED)
    return LogEntry(
        at_ns=ended_ns - took_ns,
        resolution_ns=_RESOLUTION_NS,
        request_id=said.id,
        method=said.method,
        path=said.path.partition("?")[0],
        status=0 if status == _CLIENT_CLOSED else status,
        backend=reached[-1] if reached else None,
        attempts=len(reached),
        end=end,
        confidence=confidence,
        reason=None if whole else _reason(said),
        connect_ns=connect,
        first_byte_ns=head,
        total_ns=took_ns,
        bytes_out=sent,
    )


def _end(  # noqa: PLR0911 - one line a case
    said: _Line, status: int, reached: list[str], asked: list[str]
) -> tuple[str, Confidence]:
    by_nginx = _SPLIT.split(said.said)[-1] == said.status
    if status == _CLIENT_CLOSED:
        return CLIENT_GONE, "certain"
    if status == _SWITCHING_PROTOCOLS:
        return TUNNEL_ENDED, "certain"
    if asked and not reached:
        return "destination_unavailable", "likely"  # the name of the upstream stands for none
    unheard = _last(said.head) < 0
    if reached and by_nginx and unheard and status == _GATEWAY_TIMEOUT:
        late = "connection_timeout" if _last(said.connect) < 0 else "http_response_timeout"
        return late, "likely"
    if reached and by_nginx and unheard and status == _BAD_GATEWAY:
        lost = "connection_refused" if _last(said.connect) < 0 else "connection_terminated"
        return lost, "likely"
    if said.done != "OK":
        # The client may have gone, or the replica; nginx does not log which.
        return "http_response_incomplete", "symptom"
    return COMPLETE, "certain"


def _reason(said: _Line) -> str:
    words = f"status {said.status}, upstream_status {said.said or '-'}"
    words += f", upstream_addr {said.addr or '-'}, upstream_connect_time {said.connect or '-'}"
    words += f", upstream_header_time {said.head or '-'}"
    return words if said.done == "OK" else f"{words}, request_completion {said.done or '-'}"


def _last(times: str) -> int:
    """The last of a list of seconds, in nanoseconds; -1 for none."""
    last = _SPLIT.split(times)[-1].strip()
    try:
        return _ns(last)
    except ValueError:
        return -1


def _ns(seconds: str) -> int:
    whole, _, fraction = seconds.partition(".")
    return int(whole) * 1_000_000_000 + int(fraction.ljust(9, "0")[:9])


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and port.isdigit()
