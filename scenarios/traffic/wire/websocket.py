"""A websocket that stays open: what a switch must not cut, and a drain has to wait for."""

import asyncio
import enum
import time
from collections.abc import Callable

import msgspec

from scenarios.traffic.settings import WebSocket
from scenarios.traffic.wire.connection import ClientExchange, Connection, Owner, StreamSocket
from scenarios.traffic.wire.frames import (
    Control,
    FrameError,
    FrameReader,
    Opcode,
    accept_for,
    close_code,
    close_reason,
    control_frame,
)

_SWITCHING = 101
_NORMAL = (1000).to_bytes(2)  # RFC 6455, section 7.4.1
_COME_BACK = frozenset({1001, 1012})
"""Going away (RFC 6455, section 7.4.1), and service restart (IANA's registry of close codes)."""
_ABNORMAL = 1006  # RFC 6455, section 7.4.1: the connection broke off
_KEY = b"\r\nSec-WebSocket-Key: "


class _State(enum.Enum):
    OPENING = enum.auto()  # the handshake is under way
    OPEN = enum.auto()
    CLOSING = enum.auto()  # our close frame is sent; the server's is awaited


class WebSocketConnection(Connection):
    """A connection that becomes a websocket, stays for its time, and is closed in order."""

    __slots__ = (
        "_end_ns",
        "_frames",
        "_ids",
        "_ping_seconds",
        "_reconnects",
        "_seconds",
        "_state",
        "_timeout_seconds",
        "_timer",
        "_unanswered_ns",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: StreamSocket,
        *,
        buffer: memoryview,
        owner: Owner,
        websocket: WebSocket,
        timeout_seconds: float,
    ) -> None:
        super().__init__(loop, sock, buffer=buffer, owner=owner)
        self._seconds = websocket.seconds
        self._ping_seconds = websocket.ping_seconds
        self._timeout_seconds = timeout_seconds
        self._reconnects = websocket.reconnect
        self._ids = websocket.ids
        self._frames = FrameReader(listens=websocket.ids is not None)
        self._state = _State.OPENING
        self._end_ns = 0
        self._unanswered_ns: int | None = None  # when the oldest ping without an answer was sent
        self._timer: asyncio.TimerHandle | None = None

    def carry(self, exchange: ClientExchange) -> None:
        """Send the handshake."""
        self._set_timer(self._timeout_seconds, self.give_up)
        super().carry(exchange)

    def hang_up(self) -> None:
        """Close it in order now, or as soon as it is open."""
        self._seconds = 0.0
        if self._state is _State.OPEN:
            self._say_goodbye()

    def close(self) -> None:
        """Close the socket; a second call does nothing."""
        if self._timer is not None:
            self._timer.cancel()
        super().close()

    def _succeed(self, exchange: ClientExchange) -> None:
        """The handshake has its answer."""
        reader = self._reader
        if self._state is not _State.OPENING or reader.status != _SWITCHING:
            super()._succeed(exchange)
            return
        key = exchange.payload.partition(_KEY)[2].partition(b"\r\n")[0].decode("ascii")
        if reader.accept != accept_for(key):
            self._fail("malformed", "Sec-WebSocket-Accept does not answer the key")
            return
        self._state = _State.OPEN
        self._end_ns = time.monotonic_ns() + round(self._seconds * 1e9)
        self._tick()
        if self._exchange is not None and reader.rest:
            self._take_in(exchange, memoryview(reader.rest))

    def _take_in(self, exchange: ClientExchange, data: memoryview) -> None:
        if self._state is _State.OPENING:
            super()._take_in(exchange, data)
            return
        try:
            for control in self._frames.feed(data):
                self._answer(exchange, control)
                if self._exchange is None:
                    return
        except FrameError as error:
            self._fail("malformed", str(error))

    def _answer(self, exchange: ClientExchange, control: Control) -> None:
        if control.opcode is Opcode.PING:
            self._say(control_frame(Opcode.PONG, control.payload))
        elif control.opcode is Opcode.PONG:
            self._unanswered_ns = None
        elif control.opcode is Opcode.TEXT:
            self._hear(exchange, control.payload)
        elif self._state is _State.CLOSING:
            super()._succeed(exchange)
        elif self._reconnects and close_code(control.payload) in _COME_BACK:
            self._say(control_frame(Opcode.CLOSE, control.payload))
            if self._exchange is not None:
                self._drop(exchange, close_code(control.payload) or _ABNORMAL)
        else:
            self._say(control_frame(Opcode.CLOSE, control.payload))
            if self._exchange is not None:
                self._fail("eof", f"closed by the server: {close_reason(control.payload)}")

    def _ended(self, error: str, detail: str) -> None:
        # A server that closes the connection without a close frame of its own has obeyed ours.
        if self._state is _State.CLOSING and error == "eof" and self._exchange is not None:
            super()._succeed(self._exchange)
        elif self._state is _State.OPENING:
            super()._ended(error, detail)
        elif self._reconnects and self._state is _State.OPEN and self._exchange is not None:
            self._drop(self._exchange, _ABNORMAL)
        else:
            self._fail(error, detail)

    def _drop(self, exchange: ClientExchange, code: int) -> None:
        """The server has ended it, and the client is about to reconnect."""
        exchange.closed = code
        super()._succeed(exchange)

    def _hear(self, exchange: ClientExchange, payload: bytes) -> None:
        """Take note of the number of a message."""
        try:
            message = msgspec.json.decode(payload)
            number = message[self._ids]
        except (msgspec.DecodeError, KeyError, TypeError):
            return  # another kind of message
        if isinstance(number, int) and not isinstance(number, bool):
            exchange.heard(number)

    def _tick(self) -> None:
        """Send the next ping, or close when the time has come."""
        left = (self._end_ns - time.monotonic_ns()) / 1e9
        if left <= 0:
            self._say_goodbye()
            return
        if self._unanswered_ns is None:
            self._unanswered_ns = time.monotonic_ns()
            self._say(control_frame(Opcode.PING))
        elif time.monotonic_ns() - self._unanswered_ns > self._timeout_seconds * 1e9:
            self._fail("timeout", "a ping was not answered in time")
            return
        if self._exchange is not None:
            self._set_timer(min(left, self._ping_seconds), self._tick)

    def _set_timer(self, seconds: float, callback: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, callback)

    def _say_goodbye(self) -> None:
        self._state = _State.CLOSING
        self._set_timer(self._timeout_seconds, self.give_up)
        self._say(control_frame(Opcode.CLOSE, _NORMAL))

    def _say(self, frame: bytes) -> None:
        self._unsent = memoryview(bytes(self._unsent or b"") + frame)
        self._write()
