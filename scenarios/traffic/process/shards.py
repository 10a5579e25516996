"""Several processes that send what one would: for rates that one processor cannot keep up with.

Each goes through the whole schedule and sends every n-th arrival, so that the plan does not depend
on their number. They append to one file of outcomes, whole lines at a time (`O_APPEND`). The mail
reaches this process, which hands it to the one whose journey waits for it.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from types import MappingProxyType, TracebackType
from typing import Self

import msgspec

from scenarios.evidence.mail import Mail
from scenarios.evidence.recorder import Recorder
from scenarios.traffic.errors import PlanError, TrafficError
from scenarios.traffic.intervals import Interval, merge
from scenarios.traffic.journeys.population import Population
from scenarios.traffic.plan import Plan
from scenarios.traffic.process.dialogue import MESSAGES, Command, Finished, Message

LONGEST_LINE = 4 * 1024 * 1024
"""Of the dialogue, in bytes: an interval's histograms can have some ten thousand buckets."""


class Shards:
    """The processes of a plan; an async context manager that leaves none of them behind.

    Args:
        plan: what they send together.
        mails: where each mail is written.

    Raises:
        PlanError: the plan cannot be followed.
        TrafficError: on entering or leaving, a process ended before it should have.
    """

    def __init__(self, plan: Plan, *, mails: Recorder[Mail]) -> None:
        self._plan = plan
        self._mails = mails
        self._population = Population(plan)
        self._shards: list[_Shard] = []
        self._stack = AsyncExitStack()
        self._since_ns = time.monotonic_ns()
        self._started = False
        self._stopped = False
        self.count = 0

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for index in range(self._plan.processes):
                self._shards.append(await stack.enter_async_context(_Shard(self._plan, index)))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.__aexit__(kind, error, traceback)

    def start(
        self, at_ns: int | None = None, values: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """Let arrivals begin, everywhere from the same time on.

        Raises:
            PlanError: they have begun, or have been stopped, before.
        """
        if self._started or self._stopped:
            raise PlanError("start is accepted only once, and only before stop and finish")
        self._started = True
        self._since_ns = time.monotonic_ns()
        begin_ns = self._since_ns if at_ns is None else at_ns
        self._tell(Command(do="start", at_ns=begin_ns, values=values))

    def released(self) -> None:
        """Let those go on who wait for the end of the release."""
        self._tell(Command(do="released"))

    def stop(self, at_ns: int | None = None) -> None:
        """End the arrivals, everywhere at the same time; what follows from those before goes on."""
        self._stopped = True
        self._tell(Command(do="stop", at_ns=time.monotonic_ns() if at_ns is None else at_ns))

    def finish(self) -> None:
        """Complete what is under way or planned, and plan nothing for mails that come now."""
        self._stopped = True
        self._tell(Command(do="finish"))

    async def drained(self) -> None:
        """Wait until every process has finished.

        Raises:
            TrafficError: one ended before that.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for shard in self._shards:
                    group.create_task(shard.listen(), name=f"shard {shard.index}")
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        self.count = sum(shard.requests for shard in self._shards)

    def deliver(self, mail: Mail) -> None:
        """Record a mail, and hand it to the process whose journey waits for it."""
        self._mails.write(mail)
        number = self._population.number_of(mail.recipient)
        if number is not None:
            self._shards[number % len(self._shards)].tell(Command(do="deliver", mail=mail))

    def tick(self) -> Interval:
        """What the processes have reported since the tick before; flushes the mails."""
        self._mails.flush()
        now = time.monotonic_ns()
        interval = merge(
            [interval for shard in self._shards for interval in shard.take()],
            at_ns=now,
            seconds=max(now - self._since_ns, 1) / 1e9,
            in_flight=sum(shard.in_flight for shard in self._shards),
        )
        self._since_ns = now
        return interval

    def _tell(self, command: Command) -> None:
        for shard in self._shards:
            shard.tell(command)


class _Shard:
    """One process; an async context manager that ends it."""

    def __init__(self, plan: Plan, index: int) -> None:
        self.index = index
        self.in_flight = 0
        self.requests = 0
        self._plan = msgspec.structs.replace(
            plan, shard=index, max_in_flight=max(1, plan.max_in_flight // plan.processes)
        )
        self._intervals: list[Interval] = []

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "scenarios.traffic",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            limit=LONGEST_LINE,
        )
        self._write(msgspec.json.encode(self._plan))
        try:
            await self._hear()  # it is ready
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._end()

    def tell(self, command: Command) -> None:
        """Say this; a process that is gone is noticed where it is listened to."""
        self._write(msgspec.json.encode(command))

    async def listen(self) -> None:
        """Take in what it reports until it has finished.

        Raises:
            TrafficError: it ended before that.
        """
        while True:
            message = await self._hear()
            if isinstance(message, Finished):
                self.requests = message.requests
                self.in_flight = 0
                return
            if isinstance(message, Interval):
                self.in_flight = message.tick.in_flight
                self._intervals.append(message)

    def take(self) -> list[Interval]:
        """What it has reported since the last call."""
        intervals, self._intervals = self._intervals, []
        return intervals

    def _write(self, line: bytes) -> None:
        if self._process.stdin is None:
            raise RuntimeError("a shard without an input")
        self._process.stdin.write(line + b"\n")

    async def _hear(self) -> Message:
        if self._process.stdout is None:
            raise RuntimeError("a shard without an output")
        line = await self._process.stdout.readline()
        if not line:
            code = await self._process.wait()
            raise TrafficError(f"shard {self.index} ended with status {code} before it was done")
        message: Message = MESSAGES.decode(line)
        return message

    async def _end(self) -> None:
        """The end of its input ends it, whatever it is doing."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._process.wait()
