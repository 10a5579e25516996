"""The heads that the balancer writes: towards backends, and towards clients. Pure."""

from typing import Final

from balancer.proxy.grammar import CHUNKED, NO_BODY
from balancer.proxy.request_head import RequestHead
from balancer.proxy.response_head import ResponseHead

_NO_CONTENT: Final = 204


def request_head(head: RequestHead, *, address: str, forwarded: bytes, request_id: bytes) -> bytes:
    """Write the head of a request for its backend.

    Args:
        head: as it came.
        address: the backend's, for HTTP/1.0 requests without a Host.
        forwarded: the lines that say who asked.
        request_id: the id that it was given, if it had none.
    """
    version = b" HTTP/1.1\r\n"
    if head.host is None:
        version += b"Host: %b\r\n" % address.encode("ascii")
    framing = b""
    if head.length > 0 or (head.length == NO_BODY and head.declared):
        framing = b"Content-Length: %d\r\n" % head.length
    elif head.length == CHUNKED:
        framing = b"Transfer-Encoding: chunked\r\n"
    return b"".join((
        head.method,
        b" ",
        head.target,
        version,
        head.fields,
        framing,
        b"" if head.plain else _rare_fields(head),
        forwarded,
        b"\r\n" if head.request_id else b"X-Request-Id: %b\r\n\r\n" % request_id,
    ))  # fmt: skip


def _rare_fields(head: RequestHead) -> bytes:
    fields = b""
    if head.expect:
        fields += b"Expect: 100-continue\r\n"
    if head.upgrade is not None:
        fields += b"Connection: Upgrade\r\nUpgrade: %b\r\n" % head.upgrade
    if head.max_forwards is not None:
        fields += b"Max-Forwards: %d\r\n" % max(0, head.max_forwards - 1)
    if head.trailers:
        fields += b"Connection: TE\r\nTE: trailers\r\n"
    return fields


def response_head(
    head: ResponseHead, *, minor: int, chunked: bool, persistent: bool, added: bytes
) -> bytes:
    """Write the head of a final response for its client.

    Args:
        head: as it came.
        minor: of the client's HTTP version.
        chunked: whether the body goes out in chunks.
        persistent: whether the connection stays open after it.
        added: further lines.
    """
    if chunked:
        framing = b"Transfer-Encoding: chunked\r\n"
    elif head.length >= 0 and head.declared is not None and head.status != _NO_CONTENT:
        # RFC 9110 section 8.6: never with 204; with HEAD and 304 it is what the body would have.
        framing = b"Content-Length: %d\r\n" % head.declared
    else:
        framing = b""
    if not persistent:
        framing += b"Connection: close\r\n"
    elif not minor:
        framing += b"Connection: keep-alive\r\n"
    return b"HTTP/1.1 %d %b\r\n%b%b%b\r\n" % (
        head.status, head.reason, head.fields, framing, added,
    )  # fmt: skip
