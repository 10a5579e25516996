"""The lines of the generator's dialogue, and the two ends of it: standard input and output."""

import asyncio
import os
from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

from scenarios.evidence.mail import Mail
from scenarios.evidence.tick import Tick
from scenarios.traffic.histogram import Spread
from scenarios.traffic.intervals import Interval


class Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line on standard input, after the first.

    Attributes:
        do: what to do. `deliver` is for shards, whose mail reaches another process. `released`: the
            release has ended.
        at_ns: for `start`: what the arrivals' offsets count from; for `stop`: who comes later does
            not come. Absent: now.
        mail: for `deliver`: the mail.
        values: for `start`: what fills the plan's `known` placeholders.
    """

    do: Literal["start", "released", "stop", "finish", "deliver"]
    at_ns: int | None = None
    mail: Mail | None = None
    values: Mapping[str, str] = msgspec.field(default_factory=dict)


class Ready(msgspec.Struct, frozen=True, tag_field="event", tag="ready"):
    """The first line on standard output.

    Attributes:
        smtp: where the mailbox listens; empty for a shard, which has none.
    """

    smtp: str


class TickReport(
    Tick, frozen=True, kw_only=True, omit_defaults=False, tag_field="event", tag="tick"
):
    """A line on standard output for each tick, from the start on; a shard writes an `Interval`."""


class Finished(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="finished"):
    """The last line on standard output: the run in numbers.

    Attributes:
        requests: lines in `requests.ndjson`.
        latency: of the requests that were sent, from their planned times; absent if none was.
        schedule_lag: how late they were sent; absent if none was.
    """

    requests: int
    latency: Spread | None
    schedule_lag: Spread | None


Message: TypeAlias = Ready | TickReport | Interval | Finished
"""Any line on standard output."""

MESSAGES = msgspec.json.Decoder(Message)


class Aborted(Exception):  # noqa: N818 - an order, not an error
    """Standard input has ended, or a signal has come."""


class CommandReader(asyncio.Protocol):
    """Standard input as lines, and everything else that ends the dialogue, in one queue.

    Signals arrive here, and so do errors of the loop's callbacks: those belong to no task, so
    that without this they would only be logged.
    """

    def __init__(self) -> None:
        self._partial = b""
        self._queue: asyncio.Queue[bytes | Exception] = asyncio.Queue()
        self._aborted = asyncio.Event()

    async def next(self) -> bytes:
        """The next line.

        Raises:
            Exception: what came next was no line but what `fail` was called with.
        """
        item = await self._queue.get()
        if isinstance(item, Exception):
            raise item
        return item

    def fail(self, error: Exception) -> None:
        """Let `next` raise this once it has handed out what came before."""
        self._queue.put_nowait(error)

    def abort(self) -> None:
        """End the dialogue at once."""
        self._aborted.set()
        self.fail(Aborted())

    async def aborted(self) -> None:
        """Wait until the dialogue was ended by `abort`."""
        await self._aborted.wait()

    def data_received(self, data: bytes) -> None:
        """Split what has arrived into lines; blank ones mean nothing."""
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            if line.strip():
                self._queue.put_nowait(line)

    def eof_received(self) -> None:
        """Whoever started us is gone, or wants us gone."""
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The same."""
        del exc
        self.abort()


class MessageWriter:
    """Standard output. A reader that lags behind never makes the generator wait."""

    def __init__(self, loop: asyncio.AbstractEventLoop, reader: CommandReader, fd: int) -> None:
        self._loop = loop
        self._reader = reader
        self._fd = fd
        self._unwritten = bytearray()
        self._waits = False
        self._written = asyncio.Event()
        self._written.set()

    def write(self, event: msgspec.Struct | dict[str, object]) -> None:
        """Write one line of JSON, now or as soon as there is room for it."""
        self._unwritten += msgspec.json.encode(event) + b"\n"
        self._written.clear()
        if not self._waits:
            self._write()

    async def flushed(self) -> None:
        """Wait until all of it is written.

        Raises:
            Aborted: the dialogue was aborted before that.
        """
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(self._give_up_when_aborted(), name="watch")
            await self._written.wait()
            watch.cancel()
        if self._unwritten:
            raise Aborted

    def _write(self) -> None:
        try:
            while self._unwritten:
                written = os.write(self._fd, self._unwritten)
                del self._unwritten[:written]
        except BlockingIOError:
            if not self._waits:
                self._waits = True
                self._loop.add_writer(self._fd, self._write)
            return
        except BrokenPipeError:
            self._unwritten.clear()
            self._reader.abort()
        self._written.set()
        if self._waits:
            self._waits = False
            self._loop.remove_writer(self._fd)

    async def _give_up_when_aborted(self) -> None:
        await self._reader.aborted()
        if self._waits:
            self._loop.remove_writer(self._fd)
        self._written.set()
