"""One client's connection: reads requests, in order, and writes what comes of them."""

import asyncio
import socket
import struct
from collections.abc import Callable
from time import monotonic_ns
from typing import cast

from balancer.errors import MessageError
from balancer.proxy import answers
from balancer.proxy.answers import Refusal
from balancer.proxy.exchange import Exchange
from balancer.proxy.framing import ChunkedBody
from balancer.proxy.grammar import (
    CHUNKED,
    HOPELESS,
    NO_BODY,
)
from balancer.proxy.plane import Plane
from balancer.proxy.ports import Client, Tunnelled
from balancer.proxy.request_head import RequestHead, read_request
from balancer.proxy.wheel import ticks
from balancer.proxy.witness import Witness

# What a connection is doing.
_HEAD = 0  # waiting for a request's head, or in the midst of it
_BODY = 1  # in the midst of a request's body
_WAIT = 2  # the request is read; its response is not complete
_TUNNEL = 3  # bytes pass as they are
_LINGER = 4  # the last response is written; what the client still sends is thrown away

_MAX_PIPELINED = 64 * 1024
_LINGER_TICKS = ticks(2.0)
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with 0 seconds: close with RST, see socket(7)


class Downstream(asyncio.Protocol, Client):
    """A protocol of the event loop; as a deadline, it is that of its present phase."""

    __slots__ = (
        "_advancing",
        "_backend_eof",
        "_begun",
        "_buffer",
        "_chunked",
        "_eof",
        "_exchange",
        "_fields",
        "_left",
        "_peer",
        "_plane",
        "_seen",
        "_state",
        "_told",
        "_told_host",
        "_trusted",
        "_tunnel",
        "_tunnel_bytes",
        "_tunnel_ended",
        "_witness",
    )

    def __init__(self, plane: Plane) -> None:
        Client.__init__(self)
        self._plane = plane
        self._state = _HEAD
        self._buffer = b""
        self._exchange: Exchange | None = None
        self._left = 0
        self._chunked: ChunkedBody | None = None
        self._witness = Witness()
        self._eof = False
        self._begun = False
        self._seen = 0
        self._backend_eof = False
        self._advancing = False
        self._peer = ""
        self._trusted = False
        self._told = b""
        self._told_host: bytes | None = None
        self._fields = b""
        self._tunnel: Tunnelled | None = None
        self._tunnel_bytes = 0
        self._tunnel_ended: Callable[[int], None] | None = None
        self.persistent = True
        self.blocked = False
        self.paused = False
        self.kind = "new"

    # The event loop's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        plane = self._plane
        self.transport = cast("asyncio.Transport", transport)
        name = transport.get_extra_info("peername")
        self._peer = name[0] if name else "unknown"
        counts = plane.client_counts
        counts[self._peer] = count = counts.get(self._peer, 0) + 1
        plane.clients.add(self)
        limits = plane.limits
        if len(plane.clients) > limits.connections:
            self._turn_away(answers.TOO_MANY)
        elif limits.client_connections and count > limits.client_connections:
            self._turn_away(answers.TOO_MANY_OF_CLIENT)
        else:
            self._trusted = bool(plane.config.trust) and plane.is_trusted(self._peer)
            self._fields = (
                b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: http\r\n" % self._peer.encode("ascii")
            )
            plane.wheel.arm(self, plane.ticks_head)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        del exc  # however it was lost, it is gone
        plane = self._plane
        plane.wheel.disarm(self)
        plane.clients.discard(self)
        count = plane.client_counts.get(self._peer, 0) - 1
        if count > 0:
            plane.client_counts[self._peer] = count
        else:
            plane.client_counts.pop(self._peer, None)
        if self._tunnel is not None:
            self._close_tunnel()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.client_gone()
        plane.client_left()

    def eof_received(self) -> bool:
        """Called by the event loop; returns whether to leave our side open."""
        self._eof = True
        if self._state == _TUNNEL and self._tunnel is not None:
            if self._backend_eof or self._tunnel.transport.is_closing():
                return False
            self._tunnel.transport.write_eof()
            return True
        # Between requests or after the last one, an end is an end. A client that only closed its
        # sending side still gets the answer to what it sent whole, unless that waits for a backend.
        exchange = self._exchange
        return self._state == _WAIT and exchange is not None and not exchange.is_held

    def pause_writing(self) -> None:
        """Called by the event loop: the client reads slowly."""
        self.blocked = True
        if self._tunnel is not None:
            self._tunnel.transport.pause_reading()
        elif self._exchange is not None:
            self._exchange.pause_upstream()

    def resume_writing(self) -> None:
        """Called by the event loop: the client has caught up."""
        self.blocked = False
        if self._tunnel is not None:
            self._tunnel.transport.resume_reading()
        elif self._exchange is not None:
            self._exchange.resume_upstream()
        elif not self._advancing:
            self.resume_reading()
            self._advance()

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        state = self._state
        if state == _TUNNEL:
            self._from_tunnel_client(data)
            return
        if state == _LINGER:
            return
        if self._buffer:
            data = self._buffer + data
        self._buffer = data
        if state == _WAIT or self.blocked:
            if len(data) > _MAX_PIPELINED:
                self.pause_reading()
        elif not self._advancing:
            self._advance()

    # Reading requests

    def _advance(self) -> None:
        """Take as much out of the buffer as the present state can use."""
        self._advancing = True
        try:
            while self._buffer:
                if self._state == _HEAD:
                    # A client that does not read its answers gets to ask no more for now.
                    if self.blocked or not self._take_head():
                        return
                elif self._state == _BODY:
                    self._take_body()
                else:
                    return
        except MessageError as error:
            self._reject(_refusal(error))
        finally:
            self._advancing = False

    def _take_head(self) -> bool:
        """Read a head; False when it is not complete yet."""
        data = self._buffer
        plane = self._plane
        limits = plane.limits
        seen = self._seen
        # A head that trickles in is not read anew with every byte, only when its end is there.
        if seen and data.find(b"\r\n\r\n", max(0, seen - 3)) < 0:
            return self._take_part_of_head(data, seen)
        head = read_request(data, cookies=plane.affinity is not None)
        if head is None:
            return self._take_part_of_head(data, seen)
        self._seen = 0
        end = head.size
        length = head.length
        if len(head.target) > limits.target_bytes:
            self._reject(answers.LONG_TARGET)
            return False
        if end > limits.header_bytes or data.count(b"\n", 0, end) - 2 > limits.header_count:
            self._reject(answers.LARGE_HEAD)
            return False
        if length > 0 and 0 < limits.body_bytes < length:
            self._reject(answers.LARGE_BODY)
            return False
        raw = data[:end] if end < len(data) else data
        self._witness.head(raw, whole=length == NO_BODY)
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
        if head.max_forwards == 0 and head.method in (b"TRACE", b"OPTIONS"):
            exchange.refuse(answers.NO_FORWARDS)
        else:
            exchange.start()
        return True

    def _take_part_of_head(self, data: bytes, seen: int) -> bool:
        if data.startswith(b"\r\n"):
            # RFC 9112 section 2.2: one empty line before a request is forgiven.
            if data.startswith((b"\r\n\r", b"\r\n\n")):
                raise MessageError(400, "empty lines before the request")
            self._buffer = data[2:]
            self._seen = 0
            return bool(self._buffer)
        limits = self._plane.limits
        size = self._seen = len(data)
        line_end = data.find(b"\r\n", 0, limits.target_bytes + 64)
        if line_end < 0 and size > limits.target_bytes + 64:
            self._reject(answers.LONG_TARGET)
        elif size > limits.header_bytes or data.count(b"\n") - 1 > limits.header_count:
            self._reject(answers.LARGE_HEAD)
        elif data.find(b"\r\n\r\n", max(0, seen - 3)) >= 0 or HOPELESS.search(
            data, max(0, seen - 1)
        ):
            raise MessageError(400, "malformed request head")
        elif not self._begun:
            # The clock of a slow head starts with its first byte.
            self._begun = True
            self._plane.wheel.arm(self, self._plane.ticks_head)
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
        self._witness.body(piece, end=end)
        if end:
            self._state = _WAIT
        exchange.body([piece], end=end)

    def _take_chunks(self, body: ChunkedBody, data: bytes, exchange: Exchange) -> None:
        pieces, used = body.feed(data)
        self._witness.body(data[:used], end=body.done)
        self._buffer = data[used:]
        limit = self._plane.limits.body_bytes
        self._left += sum(map(len, pieces))
        if limit and self._left > limit:
            self._reject(answers.LARGE_BODY)
            return
        if body.done:
            self._state = _WAIT
            self._chunked = None
        exchange.body(pieces, end=body.done, trailers=body.trailers)

    # Writing answers

    def _reject(self, refusal: Refusal) -> None:
        """The request breaks a rule: answer, and read no further (RFC 9112 section 9.6)."""
        exchange = self._exchange
        self.persistent = False
        if exchange is not None:
            exchange.reject(refusal)
            return
        request_id = self._plane.new_request_id()
        self._plane.count_refused(refusal, request_id, self.kind)
        self.answer(refusal, request_id=request_id, unread=True, method=b"")

    def answer(self, refusal: Refusal, *, request_id: bytes, unread: bool, method: bytes) -> None:
        """Answer in the backend's place, and end the exchange."""
        if unread or self._plane.stopping:
            self.persistent = False
        text = answers.render(refusal, persistent=self.persistent, with_body=method != b"HEAD")
        head, _, body = text.partition(b"\r\n\r\n")
        self.transport.write(b"%b\r\nX-Request-Id: %b\r\n\r\n%b" % (head, request_id, body))
        self.exchange_done(early=unread)

    def exchange_done(self, *, early: bool) -> None:
        """The response has been written; `early` when the request was not all read."""
        self._exchange = None
        if self.persistent and not self._eof:
            self._state = _HEAD
            self.kind = "reused"
            self._plane.wheel.arm(self, self._plane.ticks_keep_alive)
            if self.paused:
                self.resume_reading()
            if self._buffer and not self._advancing:
                self._advance()
        elif self._eof or not (early or self._plane.stopping or self._buffer):
            self._state = _LINGER
            self.transport.close()
        else:
            self._linger()

    def _linger(self) -> None:
        """Close our side, and swallow what still comes: a reset would destroy the answer."""
        self._state = _LINGER
        self._buffer = b""
        self._chunked = None
        self._plane.wheel.arm(self, _LINGER_TICKS)
        if self.paused:
            self.resume_reading()
        if not self.transport.is_closing():
            self.transport.write_eof()

    def _turn_away(self, refusal: Refusal) -> None:
        self._plane.refused_connections += 1
        self.persistent = False
        self._state = _LINGER
        self._plane.count_refused(refusal, self._plane.new_request_id(), self.kind)
        self.transport.write(answers.render(refusal, persistent=False, with_body=True))
        self._linger()

    def abort(self) -> None:
        """End the connection with a reset: a cut response must not look complete."""
        self._exchange = None
        self._state = _LINGER
        reset(self.transport)

    # Time and flow

    def expired(self) -> None:
        """Called by the wheel: the present phase has taken too long."""
        if self._exchange is not None:
            self._exchange.expired()
        elif self._state == _HEAD and self._buffer:
            self._reject(answers.SLOW_HEAD)
        elif self._state == _LINGER:
            self.transport.abort()
        elif self._state == _TUNNEL:
            self._close_tunnel()
            self.transport.abort()
        else:
            self.transport.close()

    def leave(self) -> None:
        """Close if nothing is under way; called late in a graceful stop."""
        if self._exchange is None and self._state == _HEAD:
            self.transport.close()

    def cut_off(self) -> None:
        """End whatever is under way; the last act of a stop."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.client_gone(answers.STOPPED)
        self.abort()

    def pause_reading(self) -> None:
        """Read no more from the client for now."""
        if not self.paused and not self.transport.is_closing():
            self.paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read from the client again."""
        if self.paused and not self.transport.is_closing():
            self.paused = False
            self.transport.resume_reading()

    def forwarded_fields(self, head: RequestHead) -> bytes:
        """What the backend is told about the client: Via and X-Forwarded-*."""
        if head.host == self._told_host and head.via is None and head.minor and self._told:
            return self._told  # most clients name the same host again and again
        via = b"1.1 hitless" if head.minor else b"1.0 hitless"
        if head.via is not None:
            via = head.via + b", " + via
        if not self._trusted:
            host = head.host
            if host is None:
                return b"%bVia: %b\r\n" % (self._fields, via)
            told = b"%bX-Forwarded-Host: %b\r\nVia: %b\r\n" % (self._fields, host, via)
            if head.via is None and head.minor:
                self._told_host, self._told = host, told
            return told
        peer = self._peer.encode("ascii")
        chain = peer if head.forwarded_for is None else head.forwarded_for + b", " + peer
        host = head.forwarded_host or head.host
        return b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\n%bVia: %b\r\n" % (
            chain,
            head.forwarded_proto or b"http",
            b"" if host is None else b"X-Forwarded-Host: %b\r\n" % host,
            via,
        )

    # Tunnels

    def begin_tunnel(self, line: Tunnelled, ended: Callable[[int], None]) -> None:
        """Pass bytes between the client and the backend from here on."""
        self._exchange = None
        self._state = _TUNNEL
        self._tunnel = line
        self._tunnel_ended = ended
        line.peer = self
        self._plane.wheel.arm(self, self._plane.ticks_tunnel)
        if self._buffer:
            data, self._buffer = self._buffer, b""
            self._from_tunnel_client(data)

    def _from_tunnel_client(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._plane.wheel.arm(self, self._plane.ticks_tunnel)
            self._tunnel.transport.write(data)

    def tunnel_data(self, data: bytes) -> None:
        """Pass the backend's bytes on."""
        self._tunnel_bytes += len(data)
        self._plane.wheel.arm(self, self._plane.ticks_tunnel)
        self.transport.write(data)

    def tunnel_eof(self) -> bool:
        """The backend will send no more; returns whether it may still be sent to."""
        self._backend_eof = True
        if self._eof or self.transport.is_closing():
            return False
        self.transport.write_eof()
        return True

    def tunnel_lost(self) -> None:
        """The backend's connection is gone."""
        self._close_tunnel()
        if not self.transport.is_closing():
            self._linger()

    def _close_tunnel(self) -> None:
        line, self._tunnel = self._tunnel, None
        if line is not None:
            line.peer = None
            if not line.transport.is_closing():
                line.transport.close()
        if self._tunnel_ended is not None:
            ended, self._tunnel_ended = self._tunnel_ended, None
            ended(self._tunnel_bytes)


def reset(transport: asyncio.Transport) -> None:
    """Close with RST."""
    if not transport.is_closing():
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()


def _refusal(error: MessageError) -> Refusal:
    return Refusal(error.status, "http_request_error", error.reason)
