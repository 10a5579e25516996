"""PURE: Envoy's access log, in its default format, and as JSON with the names that are in wide use.

Source: Envoy's documentation, access logging (default format, response flags); the JSON formats of
Istio and of Envoy Gateway.
"""

import re
from collections.abc import Mapping

from orchestrator.routers.logs.envoy import end_of
from scenarios.evidence.service_line import CLIENT_GONE, COMPLETE, ServiceLine
from scenarios.recording.service_logs.fields import first, milliseconds, number, target
from scenarios.recording.service_logs.stamps import any_ns, iso_ns

_LINE = re.compile(
    r'\[(?P<at>\d{4}-[^\]]{1,40})\] "(?P<method>\S+) (?P<path>\S+) (?P<protocol>\S+)" '
    r"(?P<status>\d{1,3}) (?P<flags>[A-Z,-]\S*) (?P<more>.*)$"
)
_PLAIN = re.compile(r"(?P<received>\d+) (?P<sent>\d+) (?P<took>\d+|-) (?:\d+|-) ")
_ISTIO = re.compile(r'(?P<details>\S+) \S+ "(?P<failure>[^"]*)" (?P<rest>\d.*)$')
_QUOTED = re.compile(r'"([^"]*)"')
_MILLISECOND = 1_000_000
_HOSTS = 5
"""The place of the upstream among the quoted fields of the default format, the request left out."""


def access(line: str, now_ns: int) -> ServiceLine | None:
    """A line in Envoy's default format, or in Istio's, which has the details of the response, too.

    A request line of `- - HTTP/1.1` is none that was read.
    """
    found = _LINE.search(line)
    at_ns = None if found is None else iso_ns(found["at"], now_ns)
    if found is None or at_ns is None or not found["method"].isalpha():
        return None
    rest, details, failure = found["more"], "", ""
    istio = _ISTIO.match(rest)
    if istio is not None:
        details, failure, rest = istio["details"], istio["failure"].strip("-"), istio["rest"]
    numbers, quoted = _PLAIN.match(rest), _QUOTED.findall(rest)
    if numbers is None or len(quoted) < _HOSTS:
        return None
    return _line(
        at_ns=at_ns,
        method=found["method"],
        path=found["path"],
        status=int(found["status"]),
        flags=found["flags"],
        details=details,
        failure=failure,
        upstream=quoted[_HOSTS - 1],
        took_ns=milliseconds(numbers["took"]),
    )


def access_json(document: Mapping[str, object], now_ns: int) -> ServiceLine | None:
    """A JSON line: its status and its flags make it one of Envoy's."""
    status = number(first(document, "response_code"))
    method = first(document, "method", ":method")
    path = first(document, "path", "x-envoy-origin-path", ":path")
    at_ns = any_ns(document.get("start_time"), now_ns)
    if status is None or method is None or path is None or at_ns is None:
        return None
    return _line(
        at_ns=at_ns,
        method=method,
        path=path,
        status=status,
        flags=first(document, "response_flags") or "-",
        details=first(document, "response_code_details") or "",
        failure=first(document, "upstream_transport_failure_reason") or "",
        upstream=first(document, "upstream_host") or "-",
        took_ns=milliseconds(first(document, "duration")),
    )


def _line(
    *,
    at_ns: int,
    method: str,
    path: str,
    status: int,
    flags: str,
    details: str,
    failure: str,
    upstream: str,
    took_ns: int | None,
) -> ServiceLine:
    end, confidence = end_of(flags, status, details, failure)
    asked = None if upstream in ("-", "") else upstream
    words = [f"response flags {flags}", details, "" if failure in details else failure]
    whom = f" ({asked})" if asked else ""
    return ServiceLine(
        family="envoy",
        at_ns=at_ns,
        stamped="begin",
        resolution_ns=_MILLISECOND,
        method=method,
        path=target(path),
        status=status,
        upstream=asked,
        upstream_status=status if end == COMPLETE and asked is not None else None,
        end=end,
        confidence=confidence,
        reason=None
        if end in (COMPLETE, CLIENT_GONE)
        else ": ".join(one for one in words if one) + whom,
        total_ns=-1 if took_ns is None else took_ns,
    )
