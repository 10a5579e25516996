"""PURE: Traefik's access log as CLF or JSON, and what its own log says at the level DEBUG.

When Traefik answers by itself, its access log does not say why; its own log does. The body of such
an answer is the name of its status.
Source: Traefik's documentation (logs and access logs); pkg/proxy/httputil/proxy.go (messages).
"""

import re
from collections.abc import Mapping
from http import HTTPStatus

from orchestrator.routers.logs.caddy import end_in
from scenarios.evidence.service_line import CLIENT_GONE, COMPLETE, UNKNOWN, Confidence, ServiceLine
from scenarios.recording.service_logs.fields import (
    first,
    milliseconds,
    number,
    request_line,
    target,
)
from scenarios.recording.service_logs.stamps import clf_ns, iso_ns

_SECOND = 1_000_000_000
_LINE = re.compile(
    r"(?<!\S)\S+ - \S+ \[(?P<at>[^\]]{1,40})\] "
    r'"(?P<request>[^"]*)" (?P<status>\d{3}|-) (?P<size>\d+|-) '
    r'"[^"]*" "[^"]*" \d+ "(?P<router>[^"]*)" "(?P<url>[^"]*)" (?P<took>\d+)ms\s*$'
)
_OWN = re.compile(
    r"(?P<at>\d{4}-\d\d-\d\dT\S+) DBG .*?> (?P<status>\d{3}) [A-Z][\w -]+ error=(?P<error>.*)$"
)
_ADDRESS = re.compile(r"(?:dial tcp |->)(?P<address>\[?[\w.:]+\]?:\d+)")
_CLIENT_CLOSED, _NO_SERVER = 499, 503
_WITHOUT_ADDRESS = "no available server\n"


def access(line: str, now_ns: int) -> ServiceLine | None:
    """A line of the access log in Traefik's own extension of the Common Log Format."""
    found = _LINE.search(line)
    at_ns = None if found is None else clf_ns(found["at"], now_ns)
    asked = None if found is None else request_line(found["request"])
    if found is None or at_ns is None or asked is None:
        return None
    return _line(
        at_ns=at_ns,
        resolution_ns=_SECOND,
        asked=asked,
        status=number(found["status"]) or 0,
        size=number(found["size"]),
        url=found["url"],
        took_ns=milliseconds(found["took"]) or 0,
    )


def access_json(document: Mapping[str, object], now_ns: int) -> ServiceLine | None:
    """A JSON line of the access log."""
    status = number(first(document, "DownstreamStatus"))
    method, path = first(document, "RequestMethod"), first(document, "RequestPath")
    at_ns = iso_ns(first(document, "StartUTC", "StartLocal") or "", now_ns)
    if status is None or method is None or path is None or at_ns is None:
        return None
    return _line(
        at_ns=at_ns,
        resolution_ns=1000,
        asked=(method, target(path)),
        status=status,
        size=number(first(document, "DownstreamContentSize")),
        url=first(document, "ServiceURL", "ServiceAddr") or "-",
        took_ns=number(first(document, "Duration")) or 0,
    )


def error(line: str, now_ns: int) -> ServiceLine | None:
    """What Traefik's own log says of an answer of its own."""
    found = _OWN.search(line)
    if found is None:
        return None
    return _error(found["at"], int(found["status"]), found["error"].strip('"'), now_ns)


def error_json(document: Mapping[str, object], now_ns: int) -> ServiceLine | None:
    """The same where its own log is JSON."""
    said, why = first(document, "message"), first(document, "error")
    status = number((said or "")[:3])
    if (
        status is None
        or why is None
        or "/httputil/proxy.go" not in (first(document, "caller") or "")
    ):
        return None
    return _error(first(document, "time") or "", status, why, now_ns)


def _error(stamp: str, status: int, why: str, now_ns: int) -> ServiceLine | None:
    at_ns, end = iso_ns(stamp, now_ns), end_in(why)
    if at_ns is None or end == UNKNOWN:
        return None
    address = _ADDRESS.search(why)
    return ServiceLine(
        family="traefik",
        tells="error",
        at_ns=at_ns,
        resolution_ns=_SECOND,
        status=0 if status == _CLIENT_CLOSED else status,
        upstream=None if address is None else address["address"],
        end=end,
        reason=why,
    )


def _line(
    *,
    at_ns: int,
    resolution_ns: int,
    asked: tuple[str, str],
    status: int,
    size: int | None,
    url: str,
    took_ns: int,
) -> ServiceLine:
    upstream = url.rpartition("//")[2].partition("/")[0].strip("-") or None
    end, sure = _end(status, size, upstream)
    by_itself = end not in (COMPLETE, CLIENT_GONE)
    whom = f" ({upstream})" if upstream else ""
    return ServiceLine(
        family="traefik",
        at_ns=at_ns,
        stamped="begin",
        resolution_ns=resolution_ns,
        method=asked[0],
        path=asked[1],
        status=0 if status == _CLIENT_CLOSED else status,
        upstream=upstream,
        upstream_status=status if end == COMPLETE and upstream else None,
        end=end,
        confidence=sure,
        reason=f"Traefik answered {status} by itself{whom}" if by_itself else None,
        total_ns=took_ns,
    )


def _end(status: int, size: int | None, upstream: str | None) -> tuple[str, Confidence]:
    if status == _CLIENT_CLOSED:
        return CLIENT_GONE, "certain"
    if status == _NO_SERVER and upstream is None and size == len(_WITHOUT_ADDRESS):
        return "destination_unavailable", "likely"
    if status in (HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT):
        if size != len(HTTPStatus(status).phrase):
            return COMPLETE, "certain"
        if status == HTTPStatus.GATEWAY_TIMEOUT:
            return "http_response_timeout", "likely"
        return UNKNOWN, "symptom"  # refused, closed or reset: its own log says which
    return COMPLETE, "certain"
