"""One connection to a backend: reads responses, and passes them to its exchange."""

import asyncio
import select
from time import monotonic_ns as now_ns
from typing import Final, cast

from balancer.backend import Backend
from balancer.errors import MessageError
from balancer.proxy import error_responses
from balancer.proxy.framing import ChunkedBody
from balancer.proxy.grammar import (
    CHUNKED,
    HOPELESS,
    NO_BODY,
    UNTIL_CLOSE,
)
from balancer.proxy.interfaces import ConnectionRegistry, ResponseReceiver, UpstreamTunnel
from balancer.proxy.response_head import ResponseHead, read_response
from balancer.proxy.timing_wheel import Deadline

_HEAD: Final = -3  # no response is being read, or its head is
_MAX_INTERIM: Final = 16
_MAX_FIELDS: Final = 1000
_LARGE: Final = 4096  # smaller heads need no count
# Chunks that are read in one go, so that tiny ones cannot hold up the event loop.
_MAX_CHUNKS: Final = 512


class UpstreamConnection(asyncio.Protocol, Deadline):
    """A protocol of the event loop. Its deadline is the end of its time as an idle connection.

    Attributes:
        backend: the backend that it leads to.
        exchange: the exchange that has it now; None while it is idle.
        idle_since_ns: when its last exchange ended.
        sent_ns: when its last request was sent.
        tunnel: the tunnel that it became part of, or None.
        transport: set once it is connected.
    """

    __slots__ = (
        "_buffer",
        "_chunked",
        "_interim",
        "_keeper",
        "_left",
        "_persistent",
        "_poll",
        "_resumes",
        "backend",
        "exchange",
        "idle_since_ns",
        "sent_ns",
        "transport",
        "tunnel",
    )

    def __init__(self, keeper: ConnectionRegistry, backend: Backend) -> None:
        Deadline.__init__(self)
        self._keeper = keeper
        self.backend = backend
        self.exchange: ResponseReceiver | None = None
        self.tunnel: UpstreamTunnel | None = None
        self.idle_since_ns = 0
        self.sent_ns = 0
        self._buffer = b""
        self._left = _HEAD
        self._chunked: ChunkedBody | None = None
        self._persistent = False
        self._interim = 0
        self._resumes = False
        self._poll: select.poll | None = None
        self.transport = cast("asyncio.Transport", None)

    # The event loop's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self.transport = cast("asyncio.Transport", transport)
        self._keeper.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self._keeper.closed(self)
        self._keeper.wheel.disarm(self)
        if self.tunnel is not None:
            self.tunnel.upstream_lost()
        elif self.exchange is not None:
            self._ended(clean=exc is None)
        elif exc is not None:
            self._closed_idle()

    def eof_received(self) -> bool:
        """Called by the event loop; returns whether to leave our side open."""
        if self.tunnel is not None:
            return self.tunnel.upstream_eof()
        if self.exchange is not None:
            self._ended(clean=True)
        else:
            self._closed_idle()
        return False

    def pause_writing(self) -> None:
        """Called by the event loop: the backend reads slowly."""
        if self.tunnel is not None:
            self.tunnel.pause_client()
        elif self.exchange is not None:
            self.exchange.pause_client()

    def resume_writing(self) -> None:
        """Called by the event loop: the backend has caught up."""
        if self.tunnel is not None:
            self.tunnel.resume_client()
        elif self.exchange is not None:
            self.exchange.resume_client()

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        exchange = self.exchange
        if exchange is None:
            if self.tunnel is not None:
                self.tunnel.upstream_data(data)
            else:
                # Nobody asked: whatever this is, it must not become someone's answer.
                self.discard()
        elif self._left == _HEAD:
            self._head(exchange, data)
        else:
            self._body(exchange, data)

    def expired(self) -> None:
        """Called by the wheel: the connection was idle for as long as it may."""
        if self.exchange is None and self.tunnel is None:
            if self.is_quiet():
                self.backend.reuse.stayed_open(now_ns() - self.idle_since_ns)
            self.discard()

    # The exchange's side

    def is_quiet(self) -> bool:
        """Whether it is open with nothing to read, also nothing that the loop has not seen."""
        if self.transport.is_closing():
            return False
        if self._poll is None:
            self._poll = select.poll()
            fd = self.transport.get_extra_info("socket").fileno()
            self._poll.register(fd, select.POLLIN | select.POLLRDHUP)
        return not self._poll.poll(0)

    def has_ended(self) -> bool:
        """Whether the backend has closed it, also if the loop has not seen that."""
        if self._poll is None or self.transport.is_closing():
            return False
        return any(
            events & (select.POLLRDHUP | select.POLLHUP | select.POLLERR)
            for _, events in self._poll.poll(0)
        )

    def discard(self) -> None:
        """Close at once; what the backend still sends concerns nobody."""
        self.exchange = None
        self.tunnel = None
        self.transport.abort()

    def claim(self, exchange: ResponseReceiver, sent_ns: int) -> None:
        """Begin an exchange on it, whose request is sent now."""
        self.exchange = exchange
        self.sent_ns = sent_ns
        self._left = _HEAD
        self._chunked = None
        self._interim = 0

    def _closed_idle(self) -> None:
        """The backend closed it while it was idle, without having said so."""
        if self.idle_since_ns and not self.transport.is_closing():
            self.backend.reuse.closed(now_ns() - self.idle_since_ns)

    # Reading

    def _head(self, exchange: ResponseReceiver, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        limit = self._keeper.head_limit
        if len(data) > _LARGE and _has_too_many_fields(data, limit):
            exchange.upstream_failed(error_responses.MALFORMED, silent=False)
            return
        try:
            head = read_response(data, exchange.head.method)
        except MessageError:
            exchange.upstream_failed(error_responses.MALFORMED, silent=False)
            return
        if head is None:
            if b"\r\n\r\n" in data or len(data) > limit or HOPELESS.search(data):
                exchange.upstream_failed(error_responses.MALFORMED, silent=False)
            else:
                self._buffer = data
            return
        if head.size > limit:
            exchange.upstream_failed(error_responses.MALFORMED, silent=False)
            return
        if head.keep_alive is not None:
            self.backend.reuse.announced(head.keep_alive)
        rest = data[head.size :]
        if head.length == len(rest) and head.status >= 200:  # noqa: PLR2004 - see below
            # Most responses come whole in one read.
            exchange.whole_response(head, rest, reusable=head.persistent)
        elif head.status >= 200:  # noqa: PLR2004 - final responses, RFC 9110 section 15
            self._final_head(exchange, head, rest)
        else:
            self._interim_head(exchange, head, rest)

    def _final_head(self, exchange: ResponseReceiver, head: ResponseHead, rest: bytes) -> None:
        length = head.length
        if length == NO_BODY:
            # Bytes after a complete response: relay it, trust this connection no further.
            exchange.whole_response(head, b"", reusable=False)
            return
        self._left = length
        self._persistent = head.persistent
        if length == CHUNKED:
            self._chunked = ChunkedBody(502)
        exchange.response_head(head)
        if rest and self.exchange is exchange:
            self._body(exchange, rest)

    def _interim_head(self, exchange: ResponseReceiver, head: ResponseHead, rest: bytes) -> None:
        self._interim += 1
        if head.status == 101:  # noqa: PLR2004 - Switching Protocols, RFC 9110 section 15.2.2
            if head.upgrade is None or head.upgrade.lower() != exchange.head.upgrade:
                # Not asked for, or another protocol than the one that was.
                exchange.upstream_failed(error_responses.MALFORMED, silent=False)
            else:
                exchange.switch_protocols(head.fields, head.upgrade, rest)
            return
        if self._interim > _MAX_INTERIM:
            exchange.upstream_failed(error_responses.MALFORMED, silent=False)
            return
        exchange.interim(head.status, head.fields)
        if rest and self.exchange is exchange:
            self._head(exchange, rest)

    def _body(self, exchange: ResponseReceiver, data: bytes) -> None:
        left = self._left
        if left >= 0:
            size = len(data)
            if size < left:
                self._left = left - size
                exchange.relay(data)
            elif size == left:
                exchange.relay_last(data, reusable=self._persistent)
            else:
                exchange.relay_last(data[:left], reusable=False)
        elif left == UNTIL_CLOSE:
            exchange.relay(data)
        else:
            self._chunks(exchange, data)

    def _chunks(self, exchange: ResponseReceiver, data: bytes, limit: int = _MAX_CHUNKS) -> None:
        body = cast("ChunkedBody", self._chunked)
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        try:
            pieces, used = body.feed(data, limit)
        except MessageError:
            exchange.upstream_failed(error_responses.MALFORMED, silent=False)
            return
        if body.done:
            exchange.relay_pieces(
                pieces,
                trailers=body.trailers,
                last=True,
                reusable=self._persistent and used == len(data),
            )
            return
        if pieces:
            exchange.relay_pieces(pieces)
        if used < len(data) and self.exchange is exchange:
            # Let others have their turn.
            self._buffer = data[used:]
            self.transport.pause_reading()
            if not self._resumes:
                self._resumes = True
                asyncio.get_running_loop().call_soon(self._go_on, exchange)

    def _go_on(self, exchange: ResponseReceiver) -> None:
        """Read what is left of the last bytes."""
        self._resumes = False
        if self.exchange is exchange and self._buffer:
            if not exchange.client.blocked:
                self.transport.resume_reading()
            self._chunks(exchange, b"")

    def _ended(self, *, clean: bool) -> None:
        exchange = cast("ResponseReceiver", self.exchange)
        if self._chunked is not None and self._buffer:
            self._chunks(exchange, b"", 1 << 30)
            if self.exchange is not exchange:
                return
        if self._left == _HEAD:
            response = error_responses.INCOMPLETE if self._buffer else error_responses.TERMINATED
            exchange.upstream_failed(response, silent=not self._buffer, reset=not clean)
        elif self._left == UNTIL_CLOSE and clean:
            exchange.relay_last(b"", reusable=False)
        else:
            exchange.upstream_failed(error_responses.INCOMPLETE, silent=False, reset=not clean)


def _has_too_many_fields(data: bytes, limit: int) -> bool:
    """Whether the head in `data` has more fields than may be read in one go."""
    end = data.find(b"\r\n\r\n", 0, limit)
    return data.count(b"\n", 0, end if end >= 0 else limit) > _MAX_FIELDS
