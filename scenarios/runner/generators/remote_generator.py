"""One generator elsewhere, as the harness commands and reads it."""

import asyncio
import hashlib
import time
import zlib
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from scenarios.errors import LoadError, StorageError
from scenarios.runner.generators.clock_track import ClockReading, RoundTrip, reading_of
from scenarios.traffic.intervals import Interval
from scenarios.traffic.process.dialogue import MESSAGES, Command, Finished
from scenarios.traffic.remote.messages import (
    About,
    Assignment,
    GeneratorClock,
    GeneratorReport,
    SetUpRequests,
    TrafficTarget,
)

T = TypeVar("T")

GIVE_UP_SECONDS = 45.0
"""After so long without an answer a generator is lost; it takes the harness for dead a little
later (`SILENCE_SECONDS`), so that no traffic goes on that nobody reads."""

_AGAIN_SECONDS = 0.5
_ROUND_TRIPS = 16


class NotReachedError(Exception):
    """No answer came; another attempt may get one."""


class RefusedError(Exception):
    """The generator refused what it was asked for; the message is its one line."""


class Reach(Protocol):
    """A way to a generator."""

    async def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Send one request to it; returns the body of its answer.

        Raises:
            NotReachedError: no answer came.
            RefusedError: it answered with an error.
        """


class RemoteGenerator:
    """One generator.

    Attributes:
        number: which one, from 1 on.
        name: what it is, such as the name of its pod.
        node: where it runs; None if unknown.
        before: its clock before the traffic.
        after: its clock after the traffic; None before that.
        between: round trips meanwhile.
        finished: whether all of its evidence is here.
        sha256: of all of its evidence, once it has finished.
        lost: why it is lost; None while it is not.
    """

    def __init__(self, number: int, name: str, node: str | None, reach: Reach, parts: Path) -> None:
        """Say which one it is.

        Args:
            number: which one, from 1 on.
            name: what it is.
            node: where it runs.
            reach: the way to it.
            parts: the folder for what it has recorded.
        """
        self.number = number
        self.name = name
        self.node = node
        self.evidence = parts / f"generator-{number}"
        self.before = ClockReading(0, RoundTrip(0, 0, 0).bounds)
        self.after: ClockReading | None = None
        self.between: list[RoundTrip] = []
        self.finished = False
        self.sha256: str | None = None
        self.requests = 0
        self.lost: str | None = None
        self._reach = reach
        self._gone = asyncio.Event()
        self._commands = 0
        self._messages = 0
        self._bytes = 0
        self._digest = hashlib.sha256()

    def lose(self, reason: str) -> None:
        """Something has happened to it; the first reason counts.

        Args:
            reason: a sentence without its subject, such as `was evicted`.
        """
        if self.lost is None and not self.finished:
            self.lost = reason
            self._gone.set()

    async def about(self) -> About:
        """Who answers.

        Raises:
            NotReachedError: nobody.
            RefusedError: it was refused.
        """
        return msgspec.msgpack.decode(await self._reach.ask("GET", "/about"), type=About)

    async def check(self, target: TrafficTarget) -> None:
        """Let it connect to the target once.

        Raises:
            LoadError: it is lost, or refuses; the message has its line.
        """
        await self._post("/check", msgspec.msgpack.encode(target))

    async def set_up(self, requests: SetUpRequests) -> dict[str, str]:
        """Let it send the requests of the set-up; returns what they captured.

        Raises:
            LoadError: it is lost, or one of the requests failed.
        """
        answer = await self._post("/set-up", msgspec.msgpack.encode(requests))
        return msgspec.msgpack.decode(answer, type=dict[str, str])

    async def begin(self, assignment: Assignment) -> None:
        """Give it its part.

        Raises:
            LoadError: it is lost, or cannot follow the plan.
        """
        await self._post("/plan", msgspec.msgpack.encode(assignment))

    async def tell(self, command: Command) -> None:
        """Give it a command.

        Raises:
            LoadError: it is lost, or refuses.
        """
        self._commands += 1
        path = f"/command?number={self._commands}"
        await self._timed("POST", path, msgspec.json.encode(command))

    async def end(self) -> None:
        """Let it end; one that is gone already has."""
        try:
            await self._reach.ask("POST", "/end")
        except (NotReachedError, RefusedError):
            return

    async def read_clock(self) -> ClockReading:
        """Read its clock some times, one after the other.

        Raises:
            LoadError: it is lost.
        """
        trips = []
        for _ in range(_ROUND_TRIPS):
            sent_ns, answer, received_ns = await self._timed("GET", "/clock")
            read = msgspec.msgpack.decode(answer, type=GeneratorClock)
            trips.append(RoundTrip(sent_ns, read.at_ns, received_ns))
        return reading_of(trips)

    async def report(self) -> list[Interval]:
        """Take in what it has said and recorded since the last time.

        Raises:
            LoadError: it is lost.
            StorageError: its evidence cannot be kept.
        """
        path = f"/report?message={self._messages}&byte={self._bytes}"
        sent_ns, answer, received_ns = await self._timed("GET", path)
        report = msgspec.msgpack.decode(answer, type=GeneratorReport)
        self.between.append(RoundTrip(sent_ns, report.at_ns, received_ns))
        self._messages += len(report.messages)
        if report.evidence:
            await asyncio.to_thread(self._store, report.evidence)
        messages = [MESSAGES.decode(line) for line in report.messages]
        for one in messages:
            if isinstance(one, Finished):
                self.requests = one.requests
        ended = report.ended
        if ended is not None and self._bytes >= ended.size:
            if ended.code != 0:
                self.lose(ended.sentence)
            elif self._digest.hexdigest() != ended.sha256:
                self.lose("its evidence arrived damaged: its SHA-256 is another one")
            else:
                self.finished, self.sha256 = True, ended.sha256
        return [one for one in messages if isinstance(one, Interval)]

    def _store(self, piece: bytes) -> None:
        raw = zlib.decompress(piece)
        try:
            with self.evidence.open("ab") as file:
                file.write(raw)
        except OSError as error:
            raise StorageError(f"{self.evidence}: {error.strerror}") from error
        self._digest.update(raw)
        self._bytes += len(raw)

    async def _post(self, path: str, body: bytes) -> bytes:
        """Ask once; what was asked for may have happened even if no answer came."""
        try:
            return await self._until_gone(self._reach.ask("POST", path, body))
        except NotReachedError as error:
            self.lose(f"did not answer: {error}")
        except RefusedError as error:
            raise LoadError(f"generator {self.number}: {error}") from error
        raise self._lost()

    async def _timed(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes, int]:
        """Ask until an answer comes; returns it with the times around its round trip.

        What is asked for more than once must not happen more than once.
        """
        give_up = time.monotonic() + GIVE_UP_SECONDS
        while True:
            sent_ns = time.monotonic_ns()
            try:
                answer = await self._until_gone(self._reach.ask(method, path, body))
            except NotReachedError as error:
                if time.monotonic() > give_up:
                    self.lose(f"did not answer for {GIVE_UP_SECONDS:.0f} s: {error}")
                    raise self._lost() from error
            except RefusedError as error:
                self.lose(f"refused what it was asked for: {error}")
                raise self._lost() from error
            else:
                return sent_ns, answer, time.monotonic_ns()
            await self.pause(_AGAIN_SECONDS)

    async def pause(self, seconds: float) -> None:
        """Wait before it is asked again.

        Raises:
            LoadError: it is lost.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._gone.wait()
        except TimeoutError:
            return
        raise self._lost()

    async def _until_gone(self, asking: Coroutine[Any, Any, bytes]) -> bytes:
        """The answer, unless the generator is lost meanwhile.

        Raises:
            LoadError: it is lost.
        """
        if self._gone.is_set():
            asking.close()
            raise self._lost()
        asked = asyncio.create_task(asking)
        gone = asyncio.create_task(self._gone.wait())
        try:
            await asyncio.wait((asked, gone), return_when=asyncio.FIRST_COMPLETED)
            if not asked.done():
                raise self._lost()
            return asked.result()
        finally:
            for task in (asked, gone):
                task.cancel()
            await asyncio.gather(asked, gone, return_exceptions=True)

    def _lost(self) -> LoadError:
        return LoadError(f"generator {self.number} {self.lost or 'has ended'}")
