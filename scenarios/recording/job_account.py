"""The application's account of its jobs: a file that its processes append to, read as it grows.

Each line is one JSON object. `job` and `what` are required; the rest is optional:

    {"job": "17", "what": "begun", "at_ns": 123, "by": "worker-a-1", "name": "send_mail"}
"""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from orchestrator.errors import EnvironmentFailure
from scenarios.evidence.jobs import JobEvent, What
from scenarios.evidence.recorder import Recorder

_LONGEST = 1 << 20
_SHOWN = 120


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    """A line as applications write it."""

    job: str | int
    what: What
    at_ns: int | float | None = None
    by: str | None = None
    version: str | None = None
    pid: int | None = None
    name: str | None = None
    key: str | int | None = None
    due: str | int | float | None = None
    error: str | None = None


_decoder = msgspec.json.Decoder(_Line)


def event_of(line: bytes, read_ns: int) -> JobEvent:
    """PURE: one line of an account.

    Args:
        line: the line.
        read_ns: when it was read, which is the time of a line that has none.

    Raises:
        msgspec.DecodeError: it is no line about a job.
    """
    told = _decoder.decode(line)
    return JobEvent(
        job=str(told.job),
        what=told.what,
        at_ns=read_ns if told.at_ns is None else int(told.at_ns),
        by=told.by,
        version=told.version,
        pid=told.pid,
        name=told.name,
        key=None if told.key is None else str(told.key),
        due=None if told.due is None else str(told.due),
        error=told.error,
    )


class JobAccount:
    """What the application has told so far.

    Attributes:
        path: the file that it appends to.
        events: what it has told, in the order of the file.
        unreadable: how many lines were no lines about jobs.
        first_unreadable: the first of them, and what is wrong with it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.events: list[JobEvent] = []
        self.unreadable = 0
        self.first_unreadable: str | None = None
        self._offset = 0
        self._rest = b""
        self._lines = 0
        self._in_hand: dict[str, set[str]] = {}
        self._open: dict[str, None] = {}
        self._ended: set[str] = set()

    def read(self) -> None:
        """Take in what was written since the last time; a line without its end waits."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        now_ns = time.monotonic_ns()
        for line in lines:
            self._lines += 1
            if line.strip():
                self._take(line, now_ns)

    def in_hand(self, process: str) -> int:
        """How many jobs a process has begun and not ended, by its id."""
        self.read()
        return len(self._in_hand.get(process, ()))

    def busy(self) -> dict[str, set[str]]:
        """The jobs that each process has begun and not ended; only processes with such a job."""
        self.read()
        return {process: set(jobs) for process, jobs in self._in_hand.items() if jobs}

    def unfinished(self) -> set[str]:
        """The jobs that were asked for or begun, and have neither ended nor failed."""
        self.read()
        return set(self._open)

    def ended(self) -> set[str]:
        """The jobs that have ended."""
        return self._ended

    def record(self, path: Path) -> None:
        """Write everything that was told as evidence.

        Raises:
            EvidenceError: it cannot be written.
        """
        self.read()
        if self._rest.strip():
            self._lines += 1
            self._take(self._rest, time.monotonic_ns())
            self._rest = b""
        with Recorder[JobEvent](path) as recorder:
            for event in self.events:
                recorder.write(event)

    def _take(self, line: bytes, now_ns: int) -> None:
        try:
            event = event_of(line, now_ns)
        except (msgspec.DecodeError, ValueError, OverflowError) as error:
            self.unreadable += 1
            if self.first_unreadable is None:
                text = line[:_SHOWN].decode("utf-8", "replace")
                self.first_unreadable = f"line {self._lines} ({text}): {error}"
            return
        self.events.append(event)
        match event.what:
            case "asked":
                self._open[event.job] = None
            case "begun":
                self._open[event.job] = None
                if event.by is not None:
                    self._in_hand.setdefault(event.by, set()).add(event.job)
            case "ended" | "failed":
                self._open.pop(event.job, None)
                if event.what == "ended":
                    self._ended.add(event.job)
                if event.by is not None:
                    self._in_hand.get(event.by, set()).discard(event.job)


@asynccontextmanager
async def account_socket(socket: Path, account: Path) -> AsyncIterator[None]:
    """Append to the account what comes over a Unix socket, line by line.

    A line without a time gets the time at which it came.

    Raises:
        EnvironmentFailure: the socket cannot be made.
    """
    connections: set[asyncio.Task[None]] = set()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, ValueError):  # ValueError: a line too long
                while line := await reader.readline():
                    _append(account, _stamped(line))
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(take(reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    try:
        server = await asyncio.start_unix_server(connected, path=socket, limit=_LONGEST)
    except OSError as error:
        raise EnvironmentFailure(f"{socket}: {error.strerror}") from error
    async with server:
        try:
            yield
        finally:
            for task in connections:
                task.cancel()
            await asyncio.gather(*connections, return_exceptions=True)


def _stamped(line: bytes) -> bytes:
    with contextlib.suppress(msgspec.DecodeError):
        told = msgspec.json.decode(line)
        if isinstance(told, dict) and "at_ns" not in told:
            return msgspec.json.encode({**told, "at_ns": time.monotonic_ns()}) + b"\n"
    return line.rstrip(b"\n") + b"\n"


def _append(path: Path, line: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)
