"""A stream of server-sent events that stays open: what its client hears, and how it ends.

Source: HTML Living Standard, section 9.2, "Server-sent events".
"""

import asyncio
from collections.abc import Iterator

from scenarios.traffic.settings import EventStream
from scenarios.traffic.wire.connection import ClientExchange, Connection, Owner, StreamSocket

_OK = 200
_ENDED = 1000
_ABNORMAL = 1006
_LONGEST_LINE = 65_536


class EventIds:
    """Finds the ids of events in a stream, however it is cut into pieces. Pure."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[int]:
        """Take in a piece of the stream; yields each id that is a number."""
        *lines, self._rest = (self._rest + data).replace(b"\r\n", b"\n").split(b"\n")
        self._rest = self._rest[-_LONGEST_LINE:]
        for line in lines:
            name, _, value = line.partition(b":")
            text = value.strip(b" \r")
            if name == b"id" and text.isdigit():
                yield int(text)


class EventStreamConnection(Connection):
    """A connection whose response is a stream of events; its client ends it when its time is over.

    A server that ends it before has cut its client off, unless the client reconnects.
    """

    __slots__ = ("_ids", "_open", "_settings", "_timer")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: StreamSocket,
        *,
        buffer: memoryview,
        owner: Owner,
        stream: EventStream,
    ) -> None:
        super().__init__(loop, sock, buffer=buffer, owner=owner)
        self._settings = stream
        self._ids = EventIds()
        self._open = False
        self._timer: asyncio.TimerHandle | None = None

    def carry(self, exchange: ClientExchange) -> None:
        """Send the request, and listen to the body of its response."""
        super().carry(exchange)
        self._reader.listener = self._hear

    def hang_up(self) -> None:
        """End it in order now, or as soon as it is open."""
        if self._open:
            self._leave()
        else:
            self._settings = EventStream(seconds=0.0)

    def close(self) -> None:
        """Close the socket; a second call does nothing."""
        if self._timer is not None:
            self._timer.cancel()
        super().close()

    def _take_in(self, exchange: ClientExchange, data: memoryview) -> None:
        super()._take_in(exchange, data)
        if self._exchange is not None and not self._open and self._reader.status == _OK:
            self._open = True
            self._timer = self._loop.call_later(self._settings.seconds, self._leave)

    def _succeed(self, exchange: ClientExchange) -> None:
        """The response is complete: an error, or a stream that the server has ended."""
        if self._reader.status != _OK:
            super()._succeed(exchange)
        elif self._settings.reconnect:
            exchange.closed = _ENDED
            super()._succeed(exchange)
        else:
            self._fail("eof", "the server ended the stream")

    def _ended(self, error: str, detail: str) -> None:
        exchange = self._exchange
        if exchange is not None and self._open and self._settings.reconnect:
            exchange.closed = _ABNORMAL
            super()._succeed(exchange)
        else:
            super()._ended(error, detail)

    def _leave(self) -> None:
        """The client's time is over."""
        if self._exchange is not None:
            super()._succeed(self._exchange)

    def _hear(self, body: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        for number in self._ids.feed(body):
            exchange.heard(number)
