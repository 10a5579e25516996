"""One client's connection: what the event loop calls, what is written, and how it ends.

Reading is in `balancer.proxy.request_reader`.
"""

import asyncio
from collections.abc import Callable
from typing import Final, cast

from balancer import access_log
from balancer.proxy import error_responses
from balancer.proxy.data_plane import DataPlane
from balancer.proxy.error_responses import ErrorResponse
from balancer.proxy.forwarding import ForwardedFields
from balancer.proxy.interfaces import TunnelTarget
from balancer.proxy.request_reader import FLUSH, HEAD, LINGER, TUNNEL, WAIT, RequestReader
from balancer.proxy.timing_wheel import ticks
from balancer.proxy.tunnel import Tunnel
from balancer.proxy.write_progress import WriteProgress, reset

_MAX_PIPELINED: Final = 64 * 1024
_LINGER_TICKS: Final = ticks(2.0)
_IPV4_IN_IPV6: Final = "::ffff:"  # RFC 4291 section 2.5.5.2


class DownstreamConnection(asyncio.Protocol, RequestReader):
    """A protocol of the event loop. Its deadline is that of its present phase."""

    __slots__ = ("_lingers", "_progress", "_tunnel")

    def __init__(self, data_plane: DataPlane) -> None:
        RequestReader.__init__(self, data_plane)
        self._lingers = False
        self._progress = WriteProgress()
        self._tunnel: Tunnel | None = None

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
        if self._state >= FLUSH:
            return self._state == FLUSH
        if self._tunnel is not None:
            return self._tunnel.client_eof()
        # A client that only closed its sending side still gets the answers to all that it sent
        # whole, unless the present one waits for a backend.
        exchange = self._exchange
        if exchange is not None:
            return self._state == WAIT and not exchange.is_held
        return bool(self._buffer) and (self.blocked or self._yielded)

    def pause_writing(self) -> None:
        """Called by the event loop: the client reads slowly."""
        self.blocked = True
        if self._state == TUNNEL and self._tunnel is not None:
            self._tunnel.pause_upstream()
            return
        if self._exchange is not None:
            self._exchange.pause_upstream()
        self._watch_client()

    def resume_writing(self) -> None:
        """Called by the event loop: the client has caught up."""
        self.blocked = False
        if self._state >= FLUSH:
            if self._state == FLUSH:
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
        if state >= FLUSH:
            return
        if self._buffer:
            data = self._buffer + data
        self._buffer = data
        if state == WAIT or self.blocked or self._yielded:
            if len(data) > _MAX_PIPELINED:
                self.pause_reading()
        elif not self._advancing:
            self._advance()

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
            self._state = HEAD
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
        self._state = FLUSH
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
        self._state = LINGER
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
        self._state = LINGER
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
        elif self._state == TUNNEL and self._tunnel is not None:
            self._tunnel.close()
            self.transport.abort()
        elif self.blocked or self._state >= FLUSH:
            self._check_client()
        elif self._state == HEAD and self._buffer:
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
        if self._state == LINGER and not progress.unsent:
            self.transport.abort()
        elif plane.wheel.now - progress.moved_at < plane.ticks_stream:
            self._arm_watch()
        elif self._exchange is not None:
            self._exchange.client_stalled()
        else:
            self.abort()

    def leave(self) -> None:
        """Close if nothing is under way; called late in a graceful stop."""
        if self._exchange is None and self._state == HEAD:
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
        self._state = TUNNEL
        data, self._buffer = self._buffer, b""
        self._tunnel = Tunnel(self._data_plane, self, upstream, ended, client_eof=self._eof)
        if data:
            self._tunnel.client_data(data)

    def end_tunnel(self) -> None:
        """Close this side of a tunnel: the backend's connection is gone."""
        if not self.transport.is_closing():
            self._end(linger=True)
