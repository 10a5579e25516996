"""One client's connection: reads requests, in order, and writes what comes of them."""

import asyncio
from collections.abc import Callable
from time import monotonic_ns
from typing import cast

from balancer import access_log
from balancer.errors import MessageError
from balancer.proxy import error_responses
from balancer.proxy.data_plane import DataPlane
from balancer.proxy.error_responses import ErrorResponse
from balancer.proxy.exchange import Exchange
from balancer.proxy.forwarding import ForwardedFields
from balancer.proxy.framing import ChunkedBody
from balancer.proxy.grammar import (
    CHUNKED,
    HOPELESS,
    NO_BODY,
)
from balancer.proxy.interfaces import ClientConnection, TunnelTarget
from balancer.proxy.request_head import read_request
from balancer.proxy.second_parser import SecondParser
from balancer.proxy.timing_wheel import ticks
from balancer.proxy.tunnel import Tunnel
from balancer.proxy.write_progress import WriteProgress, reset

# What a connection is doing.
_HEAD = 0  # waiting for a request's head, or in the midst of it
_BODY = 1  # in the midst of a request's body
_WAIT = 2  # the request is read; its response is not complete
_TUNNEL = 3  # bytes pass as they are
_FLUSH = 4  # the client takes the last response; what it still sends is thrown away
_LINGER = 5  # the last response was taken; what the client still sends is thrown away

_MAX_PIPELINED = 64 * 1024
# Bounds on the work of one turn of the event loop: heads or stretches of bodies, and chunks.
_MAX_STEPS = 8
_MAX_CHUNKS = 256
_LINGER_TICKS = ticks(2.0)
_IPV4_IN_IPV6 = "::ffff:"  # RFC 4291 section 2.5.5.2


class DownstreamConnection(asyncio.Protocol, ClientConnection):
    """A protocol of the event loop. Its deadline is that of its present phase."""

    __slots__ = (
        "_advancing",
        "_begun",
        "_buffer",
        "_chunked",
        "_data_plane",
        "_eof",
        "_exchange",
        "_left",
        "_lingers",
        "_parser",
        "_progress",
        "_seen",
        "_state",
        "_tunnel",
        "_yielded",
    )

    def __init__(self, data_plane: DataPlane) -> None:
        ClientConnection.__init__(self)
        self._data_plane = data_plane
        self._state = _HEAD
        self._buffer = b""
        self._exchange: Exchange | None = None
        self._left = 0
        self._chunked: ChunkedBody | None = None
        self._parser = SecondParser()
        self._eof = False
        self._begun = False
        self._seen = 0
        self._advancing = False
        self._yielded = False
        self._lingers = False
        self._progress = WriteProgress()
        self._tunnel: Tunnel | None = None
        self.peer = ""
        self.persistent = True
        self.blocked = False
        self.paused = False
        self.kind = "new"

    # The event loop's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        plane = self._data_plane
        self.transport = cast("asyncio.Transport", transport)
        name = transport.get_extra_info("peername")
        # On a socket that takes both, an IPv4 client has its address within an IPv6 one.
        self.peer = name[0].removeprefix(_IPV4_IN_IPV6) if name else "unknown"
        counts = plane.client_counts
        counts[self.peer] = count = counts.get(self.peer, 0) + 1
        plane.clients.add(self)
        limits = plane.limits
        self.forwarding = ForwardedFields(self.peer, trusted=plane.is_trusted(self.peer))
        if len(plane.clients) > limits.connections:
            self._turn_away(error_responses.TOO_MANY)
        elif limits.client_connections and count > limits.client_connections:
            self._turn_away(error_responses.TOO_MANY_OF_CLIENT)
        else:
            plane.wheel.arm(self, plane.ticks_head)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        del exc  # however it was lost, it is gone
        plane = self._data_plane
        plane.wheel.disarm(self)
        plane.clients.discard(self)
        count = plane.client_counts.get(self.peer, 0) - 1
        if count > 0:
            plane.client_counts[self.peer] = count
        else:
            plane.client_counts.pop(self.peer, None)
        if self._tunnel is not None:
            self._tunnel.close()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.client_gone()
        plane.client_left()

    def eof_received(self) -> bool:
        """Called by the event loop; returns whether to leave our side open."""
        self._eof = True
        if self._state >= _FLUSH:
            return self._state == _FLUSH
        if self._tunnel is not None:
            return self._tunnel.client_eof()
        # A client that only closed its sending side still gets the answers to all that it sent
        # whole, unless the present one waits for a backend.
        exchange = self._exchange
        if exchange is not None:
            return self._state == _WAIT and not exchange.is_held
        return bool(self._buffer) and (self.blocked or self._yielded)

    def pause_writing(self) -> None:
        """Called by the event loop: the client reads slowly."""
        self.blocked = True
        if self._state == _TUNNEL and self._tunnel is not None:
            self._tunnel.pause_upstream()
            return
        if self._exchange is not None:
            self._exchange.pause_upstream()
        self._watch_client()

    def resume_writing(self) -> None:
        """Called by the event loop: the client has caught up."""
        self.blocked = False
        if self._state >= _FLUSH:
            if self._state == _FLUSH:
                self._flushed()
        elif self._tunnel is not None:
            self._tunnel.resume_upstream()
        elif self._exchange is not None:
            self._exchange.resume_upstream()
        elif not self._advancing:
            plane = self._data_plane
            plane.wheel.arm(self, plane.ticks_head if self._begun else plane.ticks_keep_alive)
            self.resume_reading()
            self._advance()

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        if self._tunnel is not None:
            self._tunnel.client_data(data)
            return
        state = self._state
        if state >= _FLUSH:
            return
        if self._buffer:
            data = self._buffer + data
        self._buffer = data
        if state == _WAIT or self.blocked or self._yielded:
            if len(data) > _MAX_PIPELINED:
                self.pause_reading()
        elif not self._advancing:
            self._advance()

    # Reading requests

    def _advance(self) -> None:
        """Take as much out of the buffer as the present state can use."""
        self._advancing = True
        steps = 0
        try:
            while self._buffer:
                if steps == _MAX_STEPS:
                    self._yield()
                    break
                steps += 1
                if self._state == _HEAD:
                    # A client that does not read its answers gets to ask no more for now.
                    if self.blocked or not self._take_head():
                        break
                elif self._state == _BODY:
                    self._take_body()
                else:
                    break
        except MessageError as error:
            self._reject(_error_response(error))
        finally:
            self._advancing = False
        if self._eof:
            self._end_after_eof()

    def _yield(self) -> None:
        """Let other connections have their turn before the rest of the buffer is read."""
        self._yielded = True
        self.pause_reading()
        self._data_plane.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._yielded = False
        if self._state in (_HEAD, _BODY) and not self.transport.is_closing():
            exchange = self._exchange
            if exchange is None or not exchange.keeps_paused:
                self.resume_reading()
            self._advance()

    def _end_after_eof(self) -> None:
        """End the connection when the last whole request of a half-closed client is answered."""
        if self._state == _HEAD and self._exchange is None and not self._yielded:
            if self.blocked and self._buffer:
                return
            self._end(linger=False)

    def _take_head(self) -> bool:
        """Read a head; False when it is not complete yet."""
        data = self._buffer
        plane = self._data_plane
        limits = plane.limits
        # Before anything is parsed, so that an oversized head costs no more than this search. A
        # head that trickles in is not read anew with every byte, only when its end is there.
        seen = self._seen
        end = data.find(b"\r\n\r\n", seen - 3 if seen > 3 else 0, limits.header_bytes)  # noqa: PLR2004
        if end < 0:
            return self._take_part_of_head(data, seen)
        end += 4
        # A field takes at least four bytes.
        if end > 4 * limits.header_count and data.count(b"\n", 0, end) - 2 > limits.header_count:
            return self._take_part_of_head(data, seen)
        head = read_request(data, cookies=plane.reads_cookies, underscores=plane.underscores)
        if head is None:
            return self._take_part_of_head(data, seen)
        self._seen = 0
        end = head.size
        length = head.length
        if len(head.target) > limits.target_bytes:
            self._reject(error_responses.LONG_TARGET)
            return False
        if length > 0 and 0 < limits.body_bytes < length:
            self._reject(error_responses.LARGE_BODY)
            return False
        raw = data[:end] if end < len(data) else data
        self._parser.head(raw, whole=length == NO_BODY)
        self._buffer = data[end:] if end < len(data) else b""
        self._begun = False
        self.persistent = head.persistent
        exchange = self._exchange = Exchange(plane, self, head, monotonic_ns())
        exchange.begin()
        if length == NO_BODY:
            self._state = _WAIT
        else:
            self._state = _BODY
            self._left = length
            if length == CHUNKED:
                self._chunked = ChunkedBody(400)
                self._left = 0
            elif self._buffer:
                # What came with the head goes out with it, in one write.
                self._take_body()
        if head.max_forwards == 0 and head.method in (b"TRACE", b"OPTIONS"):
            exchange.refuse(error_responses.NO_FORWARDS)
        else:
            exchange.start()
        return True

    def _take_part_of_head(self, data: bytes, seen: int) -> bool:
        """Judge a head that is not whole, too large or malformed; returns whether to go on."""
        if data.startswith(b"\r\n"):
            # RFC 9112 section 2.2: one empty line before a request is forgiven.
            if data.startswith((b"\r\n\r", b"\r\n\n")):
                raise MessageError(400, "empty lines before the request")
            self._buffer = data[2:]
            self._seen = 0
            return bool(self._buffer)
        limits = self._data_plane.limits
        size = self._seen = len(data)
        most = limits.header_bytes
        line_end = data.find(b"\r\n", 0, limits.target_bytes + 64)
        end = data.find(b"\r\n\r\n", 0, most)
        if line_end < 0 and size > limits.target_bytes + 64:
            self._reject(error_responses.LONG_TARGET)
        elif (end < 0 and size > most) or (
            data.count(b"\n", 0, end if end >= 0 else most) - 1 > limits.header_count
        ):
            self._reject(error_responses.LARGE_HEAD)
        elif end >= 0 or HOPELESS.search(data, max(0, seen - 1), most):
            raise MessageError(400, "malformed request head")
        elif not self._begun:
            # The clock of a slow head starts with its first byte.
            self._begun = True
            self._data_plane.wheel.arm(self, self._data_plane.ticks_head)
        return False

    def _take_body(self) -> None:
        data = self._buffer
        exchange = self._exchange
        if exchange is None:
            self._buffer = b""
            return
        if self._chunked is not None:
            self._take_chunks(self._chunked, data, exchange)
            return
        left = self._left
        size = len(data)
        if size <= left:
            self._buffer = b""
            piece = data
        else:
            piece = data[:left]
            self._buffer = data[left:]
            size = left
        end = size == left
        self._left = left - size
        self._parser.body(piece, end=end)
        if end:
            self._state = _WAIT
        exchange.body([piece], end=end)

    def _take_chunks(self, body: ChunkedBody, data: bytes, exchange: Exchange) -> None:
        pieces, used = body.feed(data, _MAX_CHUNKS)
        self._parser.body(data[:used], end=body.done)
        self._buffer = data[used:]
        limit = self._data_plane.limits.body_bytes
        self._left += sum(map(len, pieces))
        if limit and self._left > limit:
            self._reject(error_responses.LARGE_BODY)
            return
        if body.done:
            self._state = _WAIT
            self._chunked = None
        exchange.body(pieces, end=body.done, trailers=body.trailers)

    # Writing answers

    def _reject(self, response: ErrorResponse) -> None:
        """The request breaks a rule: answer, and read no further (RFC 9112 section 9.6)."""
        exchange = self._exchange
        self.persistent = False
        if exchange is not None:
            exchange.reject(response)
            return
        request_id = self._data_plane.new_request_id()
        self._data_plane.count_refused(response, request_id, self)
        method = b"HEAD" if self._buffer.lstrip(b"\r\n").startswith(b"HEAD ") else b""
        self.answer(response, request_id=request_id, unread=True, method=method)

    def answer(
        self, response: ErrorResponse, *, request_id: bytes, unread: bool, method: bytes
    ) -> None:
        """Answer in the place of the backend, and end the exchange."""
        if unread or self._data_plane.stopping:
            self.persistent = False
        text = error_responses.render(
            response, persistent=self.persistent, with_body=method != b"HEAD"
        )
        head, _, body = text.partition(b"\r\n\r\n")
        self.transport.write(b"%b\r\nX-Request-Id: %b\r\n\r\n%b" % (head, request_id, body))
        self.exchange_done(early=unread)

    def exchange_done(self, *, early: bool) -> None:
        """The response was written; `early` says that part of the request was not read."""
        self._exchange = None
        if self.persistent:
            self._state = _HEAD
            self.kind = "reused"
            if not self.blocked:
                self._data_plane.wheel.arm(self, self._data_plane.ticks_keep_alive)
            if self.paused and not self._yielded:
                self.resume_reading()
            if not self._advancing and (self._buffer or self._eof):
                self._advance()
        else:
            unread = early or self._data_plane.stopping or bool(self._buffer)
            self._end(linger=unread and not self._eof)

    def _end(self, *, linger: bool) -> None:
        """End the connection when the client has taken all that was written.

        Args:
            linger: swallow what the client still sends for a while, since a reset in answer to it
                would destroy the response.
        """
        self._state = _FLUSH
        self._buffer = b""
        self._chunked = None
        self._lingers = linger
        if self.transport.is_closing():
            return
        if self.paused:
            self.resume_reading()
        # From here on the event loop says when nothing is left to be written.
        self.transport.set_write_buffer_limits(0)
        if not self.transport.get_write_buffer_size():
            self._flushed()
        elif not self.blocked:
            self.blocked = True
            self._watch_client()

    def _flushed(self) -> None:
        """All that was written is with the kernel."""
        self._state = _LINGER
        if self.transport.is_closing():
            return
        self._watch_client()
        if self._lingers:
            self._data_plane.wheel.arm(self, _LINGER_TICKS)
            self.transport.write_eof()
        else:
            self.transport.close()

    def _turn_away(self, response: ErrorResponse) -> None:
        self._data_plane.refused_connections += 1
        self.persistent = False
        self._data_plane.count_refused(response, self._data_plane.new_request_id(), self)
        self.transport.write(error_responses.render(response, persistent=False, with_body=True))
        self._end(linger=True)

    def abort(self) -> None:
        """End the connection with a reset: a cut response must not look complete."""
        self._exchange = None
        self._state = _LINGER
        reset(self.transport)

    # Time and flow

    def expired(self) -> None:
        """Called by the wheel: the present phase has taken too long."""
        exchange = self._exchange
        if exchange is not None:
            if exchange.waits_for_client:
                self._check_client()
            else:
                exchange.expired()
        elif self._state == _TUNNEL and self._tunnel is not None:
            self._tunnel.close()
            self.transport.abort()
        elif self.blocked or self._state >= _FLUSH:
            self._check_client()
        elif self._state == _HEAD and self._buffer:
            self._reject(error_responses.SLOW_HEAD)
        else:
            self._end(linger=False)

    def _watch_client(self) -> None:
        """Begin to watch whether the client takes what was written."""
        self._progress.begin(self.transport, self._data_plane.wheel.now)
        self._arm_watch()

    def _arm_watch(self) -> None:
        plane = self._data_plane
        count = plane.ticks_stream - (plane.wheel.now - self._progress.moved_at)
        count = max(1, min(count, plane.ticks_stream // 4))
        if self._exchange is not None:
            self._exchange.arm(count)
        else:
            plane.wheel.arm(self, count)

    def _check_client(self) -> None:
        """Give a client that takes bytes more time; reset one that takes none for too long."""
        plane = self._data_plane
        progress = self._progress
        progress.look(self.transport, plane.wheel.now)
        if self._state == _LINGER and not progress.unsent:
            self.transport.abort()
        elif plane.wheel.now - progress.moved_at < plane.ticks_stream:
            self._arm_watch()
        elif self._exchange is not None:
            self._exchange.client_stalled()
        else:
            self.abort()

    def leave(self) -> None:
        """Close if nothing is under way; called late in a graceful stop."""
        if self._exchange is None and self._state == _HEAD:
            self._end(linger=False)

    def cut_off(self) -> None:
        """End whatever is under way; the last act of a stop."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.client_gone(access_log.STOPPED)
        self.abort()

    def pause_reading(self) -> None:
        """Read no more from the client for now."""
        if not self.paused and not self.transport.is_closing():
            self.paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read from the client again."""
        if self.paused and not self._yielded and not self.transport.is_closing():
            self.paused = False
            self.transport.resume_reading()

    def begin_tunnel(self, upstream: TunnelTarget, ended: Callable[[int], None]) -> None:
        """Pass bytes between the client and the backend from here on."""
        self._exchange = None
        self._state = _TUNNEL
        data, self._buffer = self._buffer, b""
        self._tunnel = Tunnel(self._data_plane, self, upstream, ended, client_eof=self._eof)
        if data:
            self._tunnel.client_data(data)

    def end_tunnel(self) -> None:
        """Close this side of a tunnel: the backend's connection is gone."""
        if not self.transport.is_closing():
            self._end(linger=True)


def _error_response(error: MessageError) -> ErrorResponse:
    return ErrorResponse(error.status, "http_request_error", error.reason)
