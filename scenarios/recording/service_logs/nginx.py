"""PURE: nginx's logs: the access log as `combined`, `common` or JSON, and the error log.

nginx does not say in its access log why it answered by itself; its error log does.
Source: ngx_http_log_module, ngx_http_upstream_module (variables), ngx_http_upstream.c (messages).
"""

import re
from collections.abc import Mapping

from scenarios.evidence.service_line import CLIENT_GONE, COMPLETE, UNKNOWN, Confidence, ServiceLine
from scenarios.recording.service_logs.fields import (
    first,
    milliseconds,
    number,
    request_line,
    seconds,
    target,
)
from scenarios.recording.service_logs.stamps import any_ns, clf_ns, iso_ns

_SECOND = 1_000_000_000
_MILLISECOND = 1_000_000
_CLIENT_CLOSED, _BAD_GATEWAY, _GATEWAY_TIMEOUT = 499, 502, 504
_COMBINED = re.compile(
    r"\[(?P<at>\d\d/[^\]]{17,37})\] "
    r'"(?P<request>(?:[^"\\]|\\.)*)" (?P<status>\d{3}) (?:\d+|-)'
    r'(?: "(?:[^"\\]|\\.)*" "(?:[^"\\]|\\.)*"(?P<more>.*))?$'
)
_BEFORE_STAMP = 3
"""So many words stand before the stamp: the client, its identity, and the user."""

_ERROR = re.compile(
    r"(?P<at>\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) \[(?P<level>\w+)\] (?P<process>\d+)#\d+: "
    r"(?:\*(?P<connection>\d+) )?(?P<said>.*?), client: [^,]*, server: [^,]*"
    r'(?:, request: "(?P<request>(?:[^"\\]|\\.)*)")?(?:, subrequest: "[^"]*")?'
    r'(?:, upstream: "(?P<upstream>[^"]*)")?'
)
_SPLIT = re.compile(r"\s*[,:]\s+")  # a colon where the request was redirected within nginx
_SERVER = re.compile(r"\w+://(?P<server>unix:[^:]+|[^/]+)")

_MESSAGES: tuple[tuple[str, str], ...] = (
    (r"^no live upstreams", "destination_unavailable"),
    (r"^upstream timed out .* while connecting", "connection_timeout"),
    (r"^upstream timed out .* while (?:sending|SSL)", "connection_write_timeout"),
    (r"^upstream timed out .* while reading (?:response header|upstream header)",
     "http_response_timeout"),
    (r"^upstream timed out", "connection_read_timeout"),
    (r"\(113: |\(101: ", "destination_ip_unroutable"),
    (r"^connect\(\).* failed", "connection_refused"),
    (r"closed connection .*while SSL|SSL_do_handshake\(\) failed", "tls_protocol_error"),
    (r"^upstream SSL certificate", "tls_certificate_error"),
    (r"^client .*(?:prematurely )?closed", CLIENT_GONE),
    (r"closed connection while reading upstream", "http_response_incomplete"),
    (r"closed connection", "connection_terminated"),
    (r"^(?:recv|readv|send|writev)\(\) failed .* while reading upstream",
     "http_response_incomplete"),
    (r"^(?:recv|readv|send|writev|SSL_\w+)\(\) failed", "connection_terminated"),
    (r"^upstream sent ", "http_protocol_error"),
    (r"could not be resolved", "dns_error"),
    (r"^limiting connections", "connection_limit_reached"),
    (r"^limiting requests", "http_request_denied"),
)  # fmt: skip
_ENDS = tuple((re.compile(pattern), end) for pattern, end in _MESSAGES)


def access(line: str, now_ns: int) -> ServiceLine | None:
    """A line of the formats `combined` and `common`, which Apache writes, too."""
    found = _COMBINED.search(line)
    if found is None or (found["more"] or "").rstrip().endswith("ms"):
        return None
    if len(line[: found.start()].split(maxsplit=_BEFORE_STAMP)) < _BEFORE_STAMP:
        return None
    at_ns, asked = clf_ns(found["at"], now_ns), request_line(found["request"])
    if at_ns is None or asked is None:
        return None
    method, path = asked
    status = int(found["status"])
    gone = status == _CLIENT_CLOSED
    return ServiceLine(
        family="nginx",
        at_ns=at_ns,
        resolution_ns=_SECOND,
        method=method,
        path=path,
        status=0 if gone else status,
        end=CLIENT_GONE if gone else COMPLETE,
        # nginx's own answer and the application's look alike here.
        confidence="symptom" if status in (_BAD_GATEWAY, _GATEWAY_TIMEOUT) else "certain",
    )


def error(line: str, now_ns: int) -> ServiceLine | None:
    """A line of the error log that is about a request."""
    found = _ERROR.search(line)
    asked = None if found is None else request_line(found["request"] or "")
    at_ns = None if found is None else iso_ns(found["at"], now_ns)
    if found is None or asked is None or at_ns is None:
        return None
    said, method, path = found["said"], *asked
    end = next((end for pattern, end in _ENDS if pattern.search(said)), None)
    if end is None:
        return None  # about a file, a header, a buffer: no reason for a gateway's answer
    upstream = _server(found["upstream"] or "")
    unasked = end == "destination_unavailable"
    return ServiceLine(
        family="nginx",
        tells="error",
        at_ns=at_ns,
        resolution_ns=_SECOND,
        method=method,
        path=path,
        upstream=None if unasked else upstream,
        end=end,
        reason=f"{said} ({upstream})" if upstream else said,
        connection=f"{found['process']}*{found['connection']}",
    )


def access_json(document: Mapping[str, object], now_ns: int) -> ServiceLine | None:
    """A JSON line whose keys are nginx's names of variables, or near to them."""
    asked = request_line(str(document.get("request", "")))
    method = first(document, "request_method", "method", "http_method", "verb")
    path = first(document, "request_uri", "uri", "path", "url", "http_path")
    if method is None or path is None:
        if asked is None:
            return None
        method, path = asked
    status = number(first(document, "status", "status_code", "response_status", "http_status"))
    stamp, stamped_ns = _stamp(document, now_ns)
    if status is None or stamp is None:
        return None
    asked_servers = first(document, "upstream_addr", "upstream", "upstream_address") or ""
    reached = [one for one in _SPLIT.split(asked_servers) if _is_address(one)]
    end, sure = _end(document, status, asked_servers, reached)
    said = first(document, "upstream_status") or ""
    answered = number(_SPLIT.split(said)[-1])
    unclear = end == COMPLETE and sure == "symptom"
    told = f"upstream_status {said or '-'}, upstream_addr {asked_servers or '-'}"
    took = seconds(first(document, "request_time", "duration", "request_duration"))
    return ServiceLine(
        family="nginx",
        at_ns=stamp,
        resolution_ns=stamped_ns,
        method=method,
        path=target(path),
        status=0 if status == _CLIENT_CLOSED else status,
        upstream=reached[-1] if reached else None,
        upstream_status=answered if end == COMPLETE and not unclear else None,
        attempts=len(reached) if asked_servers else None,
        end=end,
        confidence=sure,
        reason=None if end == COMPLETE and not unclear else f"status {status}, {told}",
        total_ns=took,
    )


def _stamp(document: Mapping[str, object], now_ns: int) -> tuple[int | None, int]:
    for key, resolution_ns in (
        ("msec", _MILLISECOND),
        ("time_iso8601", _SECOND),
        ("time_local", _SECOND),
        ("time", _SECOND),
        ("timestamp", _SECOND),
        ("@timestamp", _SECOND),
        ("ts", _SECOND),
    ):
        found = any_ns(document.get(key), now_ns)
        if found is not None:
            return found, resolution_ns
    return None, _SECOND


def _end(  # noqa: PLR0911 - one line a case
    document: Mapping[str, object], status: int, asked: str, reached: list[str]
) -> tuple[str, Confidence]:
    if status == _CLIENT_CLOSED:
        return CLIENT_GONE, "certain"
    if status < 500 or not asked or asked == "-":  # noqa: PLR2004 - RFC 9110
        return COMPLETE, "certain"
    if not reached:
        return "destination_unavailable", "likely"  # the name of the group stands for none
    head = first(document, "upstream_header_time")
    if head is None:
        # nginx's own answer and the application's look alike here.
        return COMPLETE, "symptom" if status in (_BAD_GATEWAY, _GATEWAY_TIMEOUT) else "certain"
    if milliseconds(_SPLIT.split(head)[-1]) is not None:
        return COMPLETE, "certain"
    connect = first(document, "upstream_connect_time")
    connected = connect is None or milliseconds(_SPLIT.split(connect)[-1]) is not None
    if status == _GATEWAY_TIMEOUT:
        return "http_response_timeout" if connected else "connection_timeout", "likely"
    if status == _BAD_GATEWAY:
        return "connection_terminated" if connected else "connection_refused", "likely"
    return UNKNOWN, "symptom"


def _server(url: str) -> str | None:
    """The server of an upstream as the error log names it, such as `http://10.0.0.7:9000/path`."""
    found = _SERVER.match(url)
    return None if found is None else found["server"]


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return text.startswith("unix:") or bool(host and port.isdigit())
