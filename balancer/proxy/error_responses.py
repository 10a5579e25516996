"""The answers of the balancer itself. They hold constant phrases, never a byte of the request.

Why it answered instead of a backend is in `Proxy-Status` (RFC 9209), with that document's error
types; the body is `application/problem+json` (RFC 9457).
"""

from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """An answer of the balancer itself.

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


NO_BACKEND = ErrorResponse(503, "destination_unavailable", "no backend is up", 1)
ALL_BUSY = ErrorResponse(
    503, "connection_limit_reached", "every backend has as many requests as it may", 1
)
HOLD_FULL = ErrorResponse(
    503, "destination_unavailable", "no backend is up; too many requests wait", 1
)
HOLD_OVER = ErrorResponse(503, "destination_unavailable", "no backend came up in time", 1)
REFUSED = ErrorResponse(502, "connection_refused", "the backend refused the connection")
CONNECT_TIMEOUT = ErrorResponse(504, "connection_timeout", "the backend took no connection in time")
UNREACHABLE = ErrorResponse(502, "destination_ip_unroutable", "the backend cannot be reached")
TERMINATED = ErrorResponse(502, "connection_terminated", "the backend closed before it answered")
INCOMPLETE = ErrorResponse(502, "http_response_incomplete", "the backend's answer broke off")
MALFORMED = ErrorResponse(502, "http_protocol_error", "the backend's answer is malformed")
FIRST_BYTE = ErrorResponse(504, "http_response_timeout", "the backend did not answer in time")
TOTAL = ErrorResponse(504, "http_response_timeout", "the exchange took longer than it may")
CUT = ErrorResponse(502, "connection_terminated", "the backend was removed before it answered")
SLOW_HEAD = ErrorResponse(408, "http_request_error", "the request's head did not arrive in time")
SLOW_BODY = ErrorResponse(408, "http_request_error", "the request's body did not arrive in time")
TOO_MANY = ErrorResponse(503, "connection_limit_reached", "too many connections", 1)
TOO_MANY_OF_CLIENT = ErrorResponse(
    429, "connection_limit_reached", "too many connections of one client", 1
)
LONG_TARGET = ErrorResponse(414, "http_request_error", "the request target is too long")
LARGE_HEAD = ErrorResponse(
    431, "http_request_error", "the request's fields are too large or too many"
)
LARGE_BODY = ErrorResponse(413, "http_request_error", "the request's body is too large")
NO_FORWARDS = ErrorResponse(501, "http_request_denied", "Max-Forwards is used up here")


@lru_cache(maxsize=256)
def render(response: ErrorResponse, *, persistent: bool, with_body: bool) -> bytes:
    """Write an answer, without the `X-Request-Id` that goes in front of its blank line.

    Args:
        response: what to say.
        persistent: whether the connection stays open.
        with_body: whether the body may be sent (not to HEAD).
    """
    phrase = HTTPStatus(response.status).phrase
    body = (
        f'{{"type":"about:blank","title":"{phrase}","status":{response.status},'
        f'"detail":"{response.details}"}}\n'
    )
    lines = [
        f"HTTP/1.1 {response.status} {phrase}",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body)}",
        f'Proxy-Status: hitless; error={response.error}; details="{response.details}"',
        "Cache-Control: no-store",
    ]
    if response.retry_after is not None:
        lines.append(f"Retry-After: {response.retry_after}")
    if not persistent:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n" + (body if with_body else "")).encode("ascii")
