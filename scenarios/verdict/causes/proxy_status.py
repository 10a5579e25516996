"""The `Proxy-Status` field (RFC 9209), as far as attribution reads it."""

import re
from typing import NamedTuple

_PARAMETER = re.compile(r""";\s*([a-z*][a-z0-9_.*-]*)\s*=\s*("(?:[^"\\]|\\.)*"|[^;,\s]+)""")
_ESCAPE = re.compile(r"\\(.)")

NEVER_FORWARDED = frozenset(
    {
        "connection_limit_reached",
        "connection_refused",
        "connection_timeout",
        "destination_ip_unroutable",
        "destination_not_found",
        "destination_unavailable",
        "dns_error",
        "dns_timeout",
        "http_request_denied",
        "http_request_error",
        "tls_alert_received",
        "tls_certificate_error",
        "tls_protocol_error",
    }
)
"""Errors (RFC 9209, section 2.3) of a request that no backend has seen."""

CUT = frozenset(
    {
        "connection_read_timeout",
        "connection_refused",
        "connection_terminated",
        "connection_timeout",
        "connection_write_timeout",
        "http_protocol_error",
        "http_response_incomplete",
        "http_response_timeout",
    }
)
"""Errors that a backend which goes away, or is not there yet, leads to."""


LATE = frozenset({"connection_timeout", "http_response_timeout"})
"""Errors of a backend that did not answer in time."""

ERRORS = NEVER_FORWARDED | CUT | {"proxy_internal_error"}
"""All that a router's log may say instead of `Proxy-Status`."""


class ProxyStatus(NamedTuple):
    """Why a balancer answered by itself.

    Attributes:
        error: the error type, such as `destination_unavailable`.
        details: its own words.
        next_hop: whom it had asked.
    """

    error: str
    details: str | None
    next_hop: str | None


def parse(field: str | None) -> ProxyStatus | None:
    """The first error in the field; None if it tells of none.

    The first member of the list is the proxy closest to the origin (RFC 9209, section 2), so the
    first error is the original one.
    """
    if not field:
        return None
    found: dict[str, str] = {}
    for name, value in _PARAMETER.findall(field):
        text = _ESCAPE.sub(r"\1", value[1:-1]) if value.startswith('"') else value
        found.setdefault(name, text)
    if "error" not in found:
        return None
    return ProxyStatus(found["error"], found.get("details"), found.get("next-hop"))
