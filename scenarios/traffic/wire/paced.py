"""Long requests: a body that is sent slowly, a response that is read slowly.

They are what a switch or a drain has to wait for. Both ends of the wire see a slow peer: a slow
reader keeps little in its kernel's buffer, so that the server and whatever is between feel it.
"""

import asyncio
import socket
from typing import Final

from scenarios.traffic.settings import Pace
from scenarios.traffic.wire.connection import ClientExchange, Connection, Owner, StreamSocket

# A piece every twentieth of a second: smooth for a balancer, cheap for us.
_PIECE_SECONDS: Final = 0.05
_UNPACED: Final = 64 * 1024


def _piece_size(rate: float | None) -> int:
    return _UNPACED if rate is None else max(1, min(round(rate * _PIECE_SECONDS), _UNPACED))


def limit_receive_buffer(sock: socket.socket, pace: Pace) -> None:
    """Before it connects: keep the kernel from reading ahead of a slow reader.

    Raises:
        OSError: the socket refuses.
    """
    if pace.download is not None:
        # The kernel has a minimum of its own, some 2 KiB.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2 * _piece_size(pace.download))


class PacedConnection(Connection):
    """A connection that carries one exchange, piece by piece."""

    __slots__ = ("_download", "_head_size", "_reading", "_upload", "_writing")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: StreamSocket, *, owner: Owner, pace: Pace
    ) -> None:
        buffer = memoryview(bytearray(_piece_size(pace.download)))
        super().__init__(loop, sock, buffer=buffer, owner=owner)
        self._upload = pace.upload
        self._download = pace.download
        self._head_size = 0
        self._reading: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None

    def carry(self, exchange: ClientExchange) -> None:
        """Send this exchange: its head at once, its body at the pace."""
        self._head_size = exchange.payload.index(b"\r\n\r\n") + 4
        super().carry(exchange)

    def close(self) -> None:
        """Close the socket; a second call does nothing."""
        for timer in (self._reading, self._writing):
            if timer is not None:
                timer.cancel()
        super().close()

    def _piece(self, unsent: memoryview) -> memoryview:
        return unsent[: self._head_size or _piece_size(self._upload)]

    def _write_more(self, written: int) -> None:
        in_head = min(written, self._head_size)
        self._head_size -= in_head
        if self._upload is None or self._head_size:
            self._write_later()
            return
        self._pause_writing()
        self._writing = self._loop.call_later((written - in_head) / self._upload, self._write)

    def _take_in(self, exchange: ClientExchange, data: memoryview) -> None:
        super()._take_in(exchange, data)
        if self._exchange is not None and self._download is not None and not self._reading:
            self._loop.remove_reader(self._fd)
            self._reading = self._loop.call_later(len(data) / self._download, self._read_on)

    def _read_on(self) -> None:
        self._reading = None
        self._loop.add_reader(self._fd, self._read_all)
        if self._has_pending():
            self._read_all()

    def _has_pending(self) -> bool:
        return self._reading is None and super()._has_pending()
