r"""The generator's dialogue with whoever started it, over standard input and output.

In: the Plan as one line of JSON, then lines such as `{"do":"start"}`, `{"do":"stop"}` (no new
arrivals; mails and what follows from them go on) and `{"do":"finish"}` (complete what is in
flight and what is already planned, then end). The end of the input, SIGTERM and SIGINT abort at
once. Out: `{"event":"ready","smtp":"127.0.0.1:PORT"}` when the mailbox listens, a line for each
tick from the start on, `{"event":"finished","requests":N,...}` when every file is complete.

Exit status: 0 finished, 2 the plan or a command is wrong, 4 a file or a port cannot be had, 130
aborted. What was recorded is on disk in every case.
"""

import asyncio
import gc
import os
import resource
import signal
import stat
import sys
from pathlib import Path
from typing import Any, Literal

import msgspec
import uvloop

from scenarios.evidence.mail import Mail
from scenarios.evidence.ndjson import EvidenceError
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.recorder import Recorder
from scenarios.evidence.tick import Tick
from scenarios.traffic.generator import Generator
from scenarios.traffic.histogram import Spread
from scenarios.traffic.mailbox import mailbox
from scenarios.traffic.plan import Plan, PlanError, TrafficError

EXIT_FINISHED = 0
EXIT_USAGE = 2
EXIT_ENVIRONMENT = 4
EXIT_ABORTED = 130

# Where there is no limit, the kernel's own must not be exceeded; this is far below any.
_DESCRIPTORS = 65536


class Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line on standard input, after the first."""

    do: Literal["start", "stop", "finish"]


class _Ready(msgspec.Struct, frozen=True, tag_field="event", tag="ready"):
    smtp: str


class Finished(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="finished"):
    """The last line on standard output: the run in numbers.

    Attributes:
        requests: lines in `requests.ndjson`.
        latency: of the requests that were sent, from their planned times; absent if none was.
        schedule_lag: how late they were sent; absent if none was.
        latency_hdr: the latencies in HdrHistogram's exchange format, in microseconds.
    """

    requests: int
    latency: Spread | None
    schedule_lag: Spread | None
    latency_hdr: str


class _Aborted(Exception):  # noqa: N818 - an order, not an error
    """Standard input has ended, or a signal has come."""


class Inbox(asyncio.Protocol):
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
        self.fail(_Aborted())

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


class _Voice:
    """Standard output. A reader that lags behind never makes the generator wait."""

    def __init__(self, loop: asyncio.AbstractEventLoop, inbox: Inbox, fd: int) -> None:
        self._loop = loop
        self._inbox = inbox
        self._fd = fd
        self._unsaid = bytearray()
        self._waits = False
        self._said = asyncio.Event()
        self._said.set()

    def say(self, event: msgspec.Struct | dict[str, object]) -> None:
        """Write one line of JSON, now or as soon as there is room for it."""
        self._unsaid += msgspec.json.encode(event) + b"\n"
        self._said.clear()
        if not self._waits:
            self._write()

    async def silence(self) -> None:
        """Wait until all of it is written.

        Raises:
            _Aborted: the dialogue was aborted before that.
        """
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(self._give_up_when_aborted(), name="watch")
            await self._said.wait()
            watch.cancel()
        if self._unsaid:
            raise _Aborted

    def _write(self) -> None:
        try:
            while self._unsaid:
                written = os.write(self._fd, self._unsaid)
                del self._unsaid[:written]
        except BlockingIOError:
            if not self._waits:
                self._waits = True
                self._loop.add_writer(self._fd, self._write)
            return
        except BrokenPipeError:
            self._unsaid.clear()
            self._inbox.abort()
        self._said.set()
        if self._waits:
            self._waits = False
            self._loop.remove_writer(self._fd)

    async def _give_up_when_aborted(self) -> None:
        await self._inbox.aborted()
        if self._waits:
            self._loop.remove_writer(self._fd)
        self._said.set()


def main() -> int:
    """Hold the dialogue; returns the exit status."""
    _allow_descriptors()
    try:
        return uvloop.run(_dialogue())
    except (PlanError, TrafficError, EvidenceError) as error:
        print(f"traffic: {error}", file=sys.stderr)  # noqa: T201 - the one line for the user
        return EXIT_USAGE if isinstance(error, PlanError) else EXIT_ENVIRONMENT


async def _dialogue() -> int:
    loop = asyncio.get_running_loop()
    inbox = Inbox()
    loop.set_exception_handler(lambda _, context: inbox.fail(_error_of(context)))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, inbox.abort)
    if not _is_pipe(sys.stdin.fileno()):
        raise PlanError("standard input must be a pipe: its end is what aborts the traffic")
    await loop.connect_read_pipe(lambda: inbox, sys.stdin)
    # A file or a terminal takes every line at once; a pipe may have a reader that lags behind.
    os.set_blocking(sys.stdout.fileno(), not _is_pipe(sys.stdout.fileno()))
    voice = _Voice(loop, inbox, sys.stdout.fileno())
    try:
        await _follow(inbox, voice)
        await voice.silence()
    except _Aborted:
        return EXIT_ABORTED
    return EXIT_FINISHED


async def _follow(inbox: Inbox, voice: _Voice) -> None:
    plan = _plan_of(await inbox.next())
    with (
        Recorder[Outcome](Path(plan.requests_path)) as requests,
        Recorder[Mail](Path(plan.mails_path)) as mails,
    ):
        async with (
            Generator(plan, requests=requests, mails=mails) as generator,
            mailbox(generator.deliver) as (host, port),
        ):
            voice.say(_Ready(smtp=f"{host}:{port}"))
            await _run(inbox, voice, generator, plan.tick_seconds)
    voice.say(
        Finished(
            requests=requests.count,
            latency=generator.latency.spread(),
            schedule_lag=generator.schedule_lag.spread(),
            latency_hdr=generator.latency.encode(),
        )
    )


async def _run(inbox: Inbox, voice: _Voice, generator: Generator, tick_seconds: float) -> None:
    """Obey until the traffic is finished."""
    started = asyncio.Event()
    try:
        # What stands now stands to the end: collections need not look at it again, so that none
        # is long enough to make a request late.
        gc.collect()
        gc.freeze()
        async with asyncio.TaskGroup() as group:
            tasks = (
                group.create_task(_obey(inbox, generator, started), name="obey"),
                group.create_task(_tick(voice, generator, started, tick_seconds), name="tick"),
            )
            await generator.drained()
            for task in tasks:
                task.cancel()
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    if started.is_set():
        _say_tick(voice, generator.tick())


async def _obey(inbox: Inbox, generator: Generator, started: asyncio.Event) -> None:
    while True:
        line = await inbox.next()
        try:
            command = msgspec.json.decode(line, type=Command)
        except msgspec.DecodeError as error:
            raise PlanError(f"not a command: {line.decode(errors='replace')}: {error}") from None
        match command.do:
            case "start":
                generator.start()
                started.set()
            case "stop":
                generator.stop()
            case "finish":
                generator.finish()


async def _tick(
    voice: _Voice, generator: Generator, started: asyncio.Event, seconds: float
) -> None:
    await started.wait()
    loop = asyncio.get_running_loop()
    due = loop.time() + seconds
    while True:
        await asyncio.sleep(due - loop.time())
        _say_tick(voice, generator.tick())
        # After a stall the ticks that were missed are one long tick.
        due = max(due + seconds, loop.time())


def _say_tick(voice: _Voice, tick: Tick) -> None:
    voice.say({"event": "tick", **msgspec.structs.asdict(tick)})


def _plan_of(line: bytes) -> Plan:
    try:
        return msgspec.json.decode(line, type=Plan)
    except msgspec.DecodeError as error:
        raise PlanError(f"the plan, line 1 of standard input: {error}") from None


def _allow_descriptors() -> None:
    """As many descriptors as this user may have: each request in flight needs one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if most == resource.RLIM_INFINITY else most
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _error_of(context: dict[str, Any]) -> Exception:
    error = context.get("exception")
    return error if isinstance(error, Exception) else RuntimeError(context["message"])


def _is_pipe(fd: int) -> bool:
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
