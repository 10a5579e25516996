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
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import msgspec
import uvloop

from scenarios.errors import EvidenceError
from scenarios.evidence.mail import Mail
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.recorder import Recorder
from scenarios.evidence.request_id import is_try
from scenarios.exit_status import ExitStatus
from scenarios.traffic.errors import PlanError, TrafficError
from scenarios.traffic.generator import Generator
from scenarios.traffic.histogram import Histogram
from scenarios.traffic.intervals import Interval
from scenarios.traffic.journeys.mailbox import mailbox
from scenarios.traffic.plan import Plan, host_and_port
from scenarios.traffic.process.dialogue import (
    Aborted,
    Command,
    CommandReader,
    Finished,
    MessageWriter,
    Ready,
    TickReport,
)
from scenarios.traffic.process.shards import Shards

# Where there is no limit, the kernel's own must not be exceeded; this is far below any.
_DESCRIPTORS = 65536


class Traffic(Protocol):
    """What sends: a generator, or the shards that send in its place."""

    @property
    def count(self) -> int:
        """How many requests have been recorded."""

    def start(
        self, at_ns: int | None = None, values: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """Let arrivals begin."""

    def released(self) -> None:
        """The release has ended."""

    def stop(self, at_ns: int | None = None) -> None:
        """End the arrivals."""

    def finish(self) -> None:
        """Complete what is under way."""

    async def drained(self) -> None:
        """Wait until nothing is left to do."""

    def deliver(self, mail: Mail) -> None:
        """A mail has reached the mailbox."""

    def tick(self) -> Interval:
        """What happened since the tick before."""


def main() -> int:
    """Serve one plan over standard input and output; returns the exit status."""
    allow_descriptors()
    try:
        return uvloop.run(_dialogue())
    except (PlanError, TrafficError, EvidenceError) as error:
        print(f"traffic: {error}", file=sys.stderr)  # noqa: T201 - the one line for the user
        return ExitStatus.USAGE if isinstance(error, PlanError) else ExitStatus.ENVIRONMENT


async def _dialogue() -> int:
    loop = asyncio.get_running_loop()
    reader = CommandReader()
    loop.set_exception_handler(lambda _, context: reader.fail(_error_of(context)))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, reader.abort)
    if not _is_pipe(sys.stdin.fileno()):
        raise PlanError("standard input must be a pipe: its end is what aborts the traffic")
    await loop.connect_read_pipe(lambda: reader, sys.stdin)
    # A file or a terminal takes every line at once; a pipe may have a reader that lags behind.
    os.set_blocking(sys.stdout.fileno(), not _is_pipe(sys.stdout.fileno()))
    writer = MessageWriter(loop, reader, sys.stdout.fileno())
    try:
        await _serve_plan(reader, writer)
        await writer.flushed()
    except Aborted:
        return ExitStatus.INTERRUPTED
    return ExitStatus.PASS


async def _serve_plan(reader: CommandReader, writer: MessageWriter) -> None:
    plan = _plan_of(await reader.next())
    totals = _Totals()
    async with _traffic(plan) as (traffic, smtp):
        writer.write(Ready(smtp=smtp))
        await _run(reader, _Ticker(plan, writer, traffic, totals), traffic)
    writer.write(
        Finished(
            requests=traffic.count,
            latency=totals.latencies.spread(),
            schedule_lag=totals.lags.spread(),
        )
    )


@asynccontextmanager
async def _traffic(plan: Plan) -> AsyncIterator[tuple[Traffic, str]]:
    """What sends, and where its mailbox listens."""
    requests_path = Path(plan.requests_path)
    if plan.shard is not None:
        with Recorder[Outcome](requests_path, append=True) as requests:
            async with Generator(plan, requests=requests, mails=None) as generator:
                yield generator, ""
        return
    with (
        Recorder[Outcome](requests_path) as requests,
        Recorder[Mail](Path(plan.mails_path)) as mails,
    ):
        sender: Generator | Shards
        if plan.processes > 1:
            sender = Shards(plan, mails=mails)
        else:
            sender = Generator(plan, requests=requests, mails=mails)
        async with (
            sender as traffic,
            mailbox(_to_users(traffic), host=plan.mail_host) as (host, port),
        ):
            yield traffic, host_and_port(host, port)


def _to_users(traffic: Traffic) -> Callable[[Mail], None]:
    """Delivers the mails of the run's users; those who only tried a journey are none of them."""

    def deliver(mail: Mail) -> None:
        if not is_try(mail.recipient):
            traffic.deliver(mail)

    return deliver


class _Totals:
    """The durations of the whole run."""

    def __init__(self) -> None:
        self.latencies = Histogram()
        self.lags = Histogram()

    def add(self, interval: Interval) -> None:
        self.latencies.add(interval.latencies)
        self.lags.add(interval.lags)


class _Ticker:
    """Writes a line for each tick."""

    def __init__(
        self, plan: Plan, writer: MessageWriter, traffic: Traffic, totals: _Totals
    ) -> None:
        self._seconds = plan.tick_seconds
        self._is_shard = plan.shard is not None
        self._writer = writer
        self._traffic = traffic
        self._totals = totals
        self.started = asyncio.Event()

    async def run(self) -> None:
        await self.started.wait()
        loop = asyncio.get_running_loop()
        due = loop.time() + self._seconds
        while True:
            await asyncio.sleep(due - loop.time())
            self.tick()
            # After a stall the ticks that were missed are one long tick.
            due = max(due + self._seconds, loop.time())

    def tick(self) -> None:
        interval = self._traffic.tick()
        self._totals.add(interval)
        if self._is_shard:
            self._writer.write(interval)
        else:
            self._writer.write(msgspec.convert(interval.tick, TickReport, from_attributes=True))


async def _run(reader: CommandReader, ticker: _Ticker, traffic: Traffic) -> None:
    """Execute commands until the traffic is finished."""
    try:
        # What stands now stands to the end: collections need not look at it again, so that none
        # is long enough to make a request late.
        gc.collect()
        gc.freeze()
        async with asyncio.TaskGroup() as group:
            tasks = (
                group.create_task(
                    _execute_commands(reader, ticker, traffic), name="commands of the parent"
                ),
                group.create_task(ticker.run(), name="ticks"),
            )
            await traffic.drained()
            for task in tasks:
                task.cancel()
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    if ticker.started.is_set():
        ticker.tick()


async def _execute_commands(reader: CommandReader, ticker: _Ticker, traffic: Traffic) -> None:
    while True:
        line = await reader.next()
        try:
            command = msgspec.json.decode(line, type=Command)
        except msgspec.DecodeError as error:
            raise PlanError(f"not a command: {line.decode(errors='replace')}: {error}") from None
        match command.do:
            case "start":
                traffic.start(command.at_ns, command.values)
                ticker.started.set()
            case "released":
                traffic.released()
            case "stop":
                traffic.stop(command.at_ns)
            case "finish":
                traffic.finish()
            case "deliver":
                if command.mail is None:
                    raise PlanError("not a command: deliver is of a mail")
                traffic.deliver(command.mail)


def _plan_of(line: bytes) -> Plan:
    try:
        return msgspec.json.decode(line, type=Plan)
    except msgspec.DecodeError as error:
        raise PlanError(f"the plan, line 1 of standard input: {error}") from None


def allow_descriptors() -> None:
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
