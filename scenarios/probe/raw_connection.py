"""A raw client connection that writes down each thing that happens on it."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable

from scenarios.probe.answer_reader import AnswerReader
from scenarios.probe.transcript import Happened, Transcript, TranscriptMoment

_CHUNK = 65_536
_MASKED_CLOSE = b"\x88\x82" + bytes(4) + (1000).to_bytes(2)
_MOST_BYTES = 1_000_000
"""So much of what a server says is kept; nothing that we ask for is longer."""


class RawConnection:
    """One connection; `transcript` has what happened on it.

    Attributes:
        name: its name in the plan.
        reader: what the server has said.
        ended: set when the connection has ended or was refused.
    """

    def __init__(self, name: str, host: str, port: int) -> None:
        self.name = name
        self.reader = AnswerReader()
        self.ended = asyncio.Event()
        self._address = (host, port)
        self._moments: list[tuple[int, Happened, bytes]] = []
        self._heard = 0
        self._answered_close = False
        self._changed = asyncio.Event()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setblocking(False)

    async def open(self) -> bool:
        """Connect; whether somebody accepted."""
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(self._socket, self._address)
        except OSError:
            self._note(Happened.REFUSED)
            self.ended.set()
            return False
        # Each write is a segment of its own, so that half a body is half a body.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._note(Happened.CONNECTED)
        return True

    async def send(self, data: bytes) -> None:
        """Send; a connection that has ended meanwhile tells by its reading side."""
        if self.ended.is_set():
            return
        self._note(Happened.SENT, data)
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def listen(self) -> None:
        """Write down what comes, until the server ends the connection."""
        loop = asyncio.get_running_loop()
        while not self.ended.is_set():
            try:
                data = await loop.sock_recv(self._socket, _CHUNK)
            except OSError:
                self._note(Happened.RESET)
                self.ended.set()
            else:
                if data:
                    self.reader.feed(data)
                    self._heard += len(data)
                    kept = data if self._heard <= _MOST_BYTES else b""
                    self._note(Happened.HEARD, kept)
                    await self._answer_close()
                else:
                    self.reader.end()
                    self._note(Happened.FIN)
                    self.ended.set()
                    if self.reader.upgraded:
                        # A WebSocket client ends its side as well (RFC 6455, section 7.1.1).
                        with contextlib.suppress(OSError):
                            self._socket.shutdown(socket.SHUT_WR)
            self._changed.set()

    async def until(self, condition: Callable[[AnswerReader], bool]) -> None:
        """Wait until what the server said fulfils the condition, or the connection has ended."""
        while not condition(self.reader) and not self.ended.is_set():
            self._changed.clear()
            await self._changed.wait()

    @property
    def says_close(self) -> bool:
        """Whether the last answer says that the connection ends with it, or it has ended."""
        answers = self.reader.answers
        return self.ended.is_set() or bool(answers and answers[-1].closes)

    def close(self) -> None:
        """Let go of it."""
        self._socket.close()

    def transcript(self, origin_ns: int) -> Transcript:
        """What happened, in nanoseconds from the origin."""
        moments = (TranscriptMoment(at - origin_ns, what, data) for at, what, data in self._moments)
        return Transcript(self.name, tuple(moments))

    async def _answer_close(self) -> None:
        """Answer a WebSocket's close frame, as a client must (RFC 6455, section 5.5.1)."""
        if self.reader.close_code is not None and not self._answered_close:
            self._answered_close = True
            with contextlib.suppress(OSError):
                await asyncio.get_running_loop().sock_sendall(self._socket, _MASKED_CLOSE)

    def _note(self, what: Happened, data: bytes = b"") -> None:
        self._moments.append((time.monotonic_ns(), what, data))
