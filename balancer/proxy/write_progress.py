"""Whether the other side of a connection takes what was written to it; and how to cut it off."""

import asyncio
import contextlib
import fcntl
import socket
import struct
import termios
from typing import Final

_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER with 0 seconds: close with RST, see socket(7)


class WriteProgress:
    """Watches the bytes that were written and not yet acknowledged.

    Attributes:
        unsent: how many there were at the last look.
        moved_at: the tick at which there were last fewer than before.
    """

    __slots__ = ("moved_at", "unsent")

    def __init__(self) -> None:
        self.unsent = 0
        self.moved_at = 0

    def begin(self, transport: asyncio.Transport, now: int) -> None:
        """Begin to watch, at tick `now`."""
        self.unsent = count_unsent(transport)
        self.moved_at = now

    def look(self, transport: asyncio.Transport, now: int) -> None:
        """See whether bytes were taken since the last look, at tick `now`."""
        unsent = count_unsent(transport)
        if unsent < self.unsent:
            self.moved_at = now
        self.unsent = min(unsent, self.unsent)


def count_unsent(transport: asyncio.Transport) -> int:
    """Bytes that were written and that the peer has not acknowledged, see tcp(7)."""
    sock = transport.get_extra_info("socket")
    left = transport.get_write_buffer_size()
    if sock is None:
        return left
    try:
        queued = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
    except (OSError, ValueError):
        return left  # it is closed
    return left + int.from_bytes(queued, "little")


def reset(transport: asyncio.Transport) -> None:
    """Close with RST, which nobody takes for the end of a response."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):  # it is closed already
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()
