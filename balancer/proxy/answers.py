"""What the balancer says by itself: constant phrases only, never a byte of the request.

Why it answered instead of a backend is in `Proxy-Status` (RFC 9209), with that document's error
types; the body is `application/problem+json` (RFC 9457).
"""

from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus

# How an exchange ended, where no RFC 9209 error type says it.
COMPLETE = "complete"
CLIENT_GONE = "client_gone"
CLIENT_TIMEOUT = "client_timeout"
TUNNEL_ENDED = "tunnel_ended"
STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer of the balancer's own.

    Attributes:
        status: its HTTP status.
        error: the error type of RFC 9209 section 2.3.
        details: why, in a constant phrase.
        retry_after: seconds after which it is worth trying again; None says nothing.
    """

    status: int
    error: str
    details: str
    retry_after: int | None = None


NO_BACKEND = Refusal(503, "destination_unavailable", "no backend is up", 1)
HOLD_FULL = Refusal(503, "destination_unavailable", "no backend is up; too many requests wait", 1)
HOLD_OVER = Refusal(503, "destination_unavailable", "no backend came up in time", 1)
REFUSED = Refusal(502, "connection_refused", "the backend refused the connection")
CONNECT_TIMEOUT = Refusal(504, "connection_timeout", "the backend took no connection in time")
UNREACHABLE = Refusal(502, "destination_ip_unroutable", "the backend cannot be reached")
TERMINATED = Refusal(502, "connection_terminated", "the backend closed before it answered")
INCOMPLETE = Refusal(502, "http_response_incomplete", "the backend's answer broke off")
MALFORMED = Refusal(502, "http_protocol_error", "the backend's answer is malformed")
FIRST_BYTE = Refusal(504, "http_response_timeout", "the backend did not answer in time")
TOTAL = Refusal(504, "http_response_timeout", "the exchange took longer than it may")
CUT = Refusal(502, "connection_terminated", "the backend was removed before it answered")
SLOW_HEAD = Refusal(408, "http_request_error", "the request's head did not arrive in time")
SLOW_BODY = Refusal(408, "http_request_error", "the request's body did not arrive in time")
TOO_MANY = Refusal(503, "connection_limit_reached", "too many connections", 1)
TOO_MANY_OF_CLIENT = Refusal(
    429, "connection_limit_reached", "too many connections of one client", 1
)
LONG_TARGET = Refusal(414, "http_request_error", "the request target is too long")
LARGE_HEAD = Refusal(431, "http_request_error", "the request's fields are too large or too many")
LARGE_BODY = Refusal(413, "http_request_error", "the request's body is too large")
NO_FORWARDS = Refusal(501, "http_request_denied", "Max-Forwards is used up here")
INTERNAL = Refusal(500, "proxy_internal_error", "the balancer failed")


@lru_cache(maxsize=256)
def render(refusal: Refusal, *, persistent: bool, with_body: bool) -> bytes:
    """Write an answer, without the `X-Request-Id` that goes in front of its blank line.

    Args:
        refusal: what to say.
        persistent: whether the connection stays open.
        with_body: whether the body may be sent (not to HEAD).
    """
    phrase = HTTPStatus(refusal.status).phrase
    body = (
        f'{{"type":"about:blank","title":"{phrase}","status":{refusal.status},'
        f'"detail":"{refusal.details}"}}\n'
    )
    lines = [
        f"HTTP/1.1 {refusal.status} {phrase}",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body)}",
        f'Proxy-Status: hitless; error={refusal.error}; details="{refusal.details}"',
        "Cache-Control: no-store",
    ]
    if refusal.retry_after is not None:
        lines.append(f"Retry-After: {refusal.retry_after}")
    if not persistent:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n" + (body if with_body else "")).encode("ascii")
