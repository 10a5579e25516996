"""Does what a plan says to one running server, and writes down what happens."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterable

from scenarios.probe import family
from scenarios.probe.core_wait import CoreWait
from scenarios.probe.plans import ExperimentPlan, Prepare, Send, Signal
from scenarios.probe.raw_connection import RawConnection
from scenarios.probe.server import HOST, Server
from scenarios.probe.transcript import Exited, Family, Observation

_SECOND = 1_000_000_000
_PREPARE_SECONDS = 20.0
_CLOSE_SECONDS = 1.0
_LEFT_SECONDS = 1.5
_ORPHAN_SECONDS = 6.0
"""So long a server that outlives what started it is watched: it may still answer."""
_WAIT_LOOK_SECONDS = 0.1
_PENDING_LOOK_SECONDS = 0.02
_REACH_SECONDS = 0.3
"""So long a request that was sent may take to reach its handler."""
_TAKEN_SECONDS = 5.0
"""So long a server may take at most to take a signal: then it is busy with something else."""
_MOST_LATE_SECONDS = 1.5
"""A step of a plan is put off for so long at most: what is in flight does not last for ever."""


async def perform(plan: ExperimentPlan, server: Server) -> Observation:
    """Perform an experiment; the server has answered before, and is left as the plan leaves it."""
    performance = _Performance(plan, server)
    try:
        async with asyncio.TaskGroup() as group:
            await performance.go(group)
            performance.hang_up()
    finally:
        performance.close()
    return performance.observation()


class _Performance:
    def __init__(self, plan: ExperimentPlan, server: Server) -> None:
        self._plan = plan
        self._server = server
        self._connections: dict[str, RawConnection] = {}
        self._listening: list[asyncio.Task[None]] = []
        self._signals: list[int] = []
        self._origin = 0
        self._exited_ns: int | None = None
        self._ended_ns = 0
        self._family: Family | None = None
        self._listeners: list[int] = []
        self._waiting: int | None = None
        self._members: list[int] = []
        self._core_wait = CoreWait(())
        self._waited = self._late = self._behind = 0.0

    async def go(self, group: asyncio.TaskGroup) -> None:
        await asyncio.to_thread(self._look_at_family)
        for first in self._plan.prepare:
            await self._prepare(group, first)
        self._core_wait = CoreWait(self._members)
        self._listening.append(group.create_task(self._watch_exit()))
        self._listening.append(group.create_task(self._watch_core_wait()))
        # The first step is now, and the first signal as much later as the plan says.
        self._origin = time.monotonic_ns() - round(self._plan.begins * _SECOND)
        for step in sorted(self._plan.steps, key=lambda step: step.at):
            await self._until(step.at)
            if isinstance(step, Signal):
                await self._until_taken()
                self._signal()
            else:
                await self._send(group, step)
        await self._watch()
        self._ended_ns = time.monotonic_ns()
        await asyncio.to_thread(self._look_at_what_is_left)

    async def _prepare(self, group: asyncio.TaskGroup, first: Prepare) -> None:
        connection = await self._open(group, first.connection)
        await connection.send(first.data)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PREPARE_SECONDS):
                await connection.until(lambda reader: reader.complete > 0)
        if first.released and connection.says_close:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await connection.ended.wait()
            connection.close()

    async def _open(self, group: asyncio.TaskGroup, name: str) -> RawConnection:
        connection = RawConnection(name, HOST, self._server.port)
        self._connections[name] = connection
        if await connection.open():
            self._listening.append(group.create_task(connection.listen()))
        return connection

    async def _send(self, group: asyncio.TaskGroup, step: Send) -> None:
        connection = self._connections.get(step.connection)
        if connection is None and not step.kept:
            connection = await self._open(group, step.connection)
        if connection is not None:
            await connection.send(step.data)

    async def _until_taken(self) -> None:
        """Wait until the server has taken the signal before this one, or two would be one."""
        until = time.monotonic() + _TAKEN_SECONDS
        while time.monotonic() < until:
            if not family.is_pending(self._server.child.pid, self._stop_signal):
                return
            # The kernel tells nobody when a signal is taken.
            await asyncio.sleep(_PENDING_LOOK_SECONDS)

    @property
    def _stop_signal(self) -> signal.Signals:
        return signal.Signals[self._server.target.stop_signal]

    def _signal(self) -> None:
        if self._plan.counts_queue and self._waiting is None:
            self._waiting = family.waiting_connections(self._server.port)
        now = time.monotonic_ns()
        if not self._signals:
            self._origin = now
            self._core_wait = CoreWait(self._members)
        elif self._exited_ns is not None or not family.is_alive(self._server.child.pid):
            return  # nobody is there to hear it
        self._signals.append(now - self._origin)
        self._server.child.signal(self._stop_signal)

    def _look_at_family(self) -> None:
        server = self._server
        self._members = members = server.members()
        inodes = [one.inode for one in family.listeners() if one.port == server.port]
        self._listeners = family.holders(inodes, members)
        self._family = Family(
            started=family.process_name(server.child.pid),
            listening=_names(self._listeners),
            direct=server.child.pid in self._listeners,
            count=len(members),
        )

    async def _watch_exit(self) -> None:
        await self._server.child.wait()
        self._exited_ns = time.monotonic_ns()
        self._waited = self._core_wait.look()

    async def _watch_core_wait(self) -> None:
        """Look often enough to have seen a process shortly before it ends.

        The probe waits for a core as well, and then sees late what happened earlier: as late, at
        most, as it ever was here.
        """
        while self._exited_ns is None:
            planned = time.monotonic() + _WAIT_LOOK_SECONDS
            await asyncio.sleep(_WAIT_LOOK_SECONDS)
            self._late = max(self._late, time.monotonic() - planned)
            self._waited = self._core_wait.look()

    async def _until(self, at: float) -> None:
        """Wait until that moment of the plan, by a clock that stands while the server waits.

        So a server has the same time between two steps on a busy machine as on an idle one. Before
        the signal only as much of it is put off as a request needs to reach its handler: how old
        it is at the signal shall be what the plan says.
        """
        while True:
            late = self._core_wait.look()
            if not self._signals:
                late -= max(0.0, -self._plan.begins - _REACH_SECONDS)
            late = min(max(late, 0.0), _MOST_LATE_SECONDS)
            left = self._origin / _SECOND + at + late - time.monotonic()
            if left <= 0:
                self._behind = max(self._behind, -left)
                return
            await asyncio.sleep(left)

    async def _watch(self) -> None:
        """Watch until nothing can happen any more, or for as long as the plan says."""
        everything = asyncio.ensure_future(self._until_over())
        left = self._origin / _SECOND + self._plan.watch_seconds - time.monotonic()
        done, _ = await asyncio.wait([everything], timeout=max(left, 0.0))
        if not done:
            everything.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await everything

    async def _until_over(self) -> None:
        for connection in self._connections.values():
            if not self._signals:
                await connection.ended.wait()
        if not self._signals:
            return
        await self._server.child.wait()
        # What it left behind may still answer, or may just be about to end.
        orphans = time.monotonic() + _ORPHAN_SECONDS
        settled = time.monotonic() + _LEFT_SECONDS
        while time.monotonic() < orphans:
            everybody_gone = all(one.ended.is_set() for one in self._connections.values())
            if everybody_gone and time.monotonic() > settled:
                return
            if everybody_gone and not await asyncio.to_thread(self._server.members):
                return
            await asyncio.sleep(_LEFT_SECONDS / 10)

    def _look_at_what_is_left(self) -> None:
        if self._family is None or self._exited_ns is None:
            return
        left = self._server.members()
        inodes = [one.inode for one in family.listeners() if one.port == self._server.port]
        self._family = Family(
            started=self._family.started,
            listening=self._family.listening,
            direct=self._family.direct,
            count=self._family.count,
            left=len(left),
            still_serves=bool(inodes),
        )

    def hang_up(self) -> None:
        for listening in self._listening:
            listening.cancel()

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()

    def observation(self) -> Observation:
        if self._family is None:
            raise RuntimeError("an experiment was read before it was performed")
        status = self._server.child.returncode
        exited = (
            None
            if self._exited_ns is None or status is None
            else Exited(status, self._exited_ns - self._origin)
        )
        return Observation(
            experiment=self._plan.name,
            signals_ns=tuple(self._signals),
            transcripts={
                name: connection.transcript(self._origin)
                for name, connection in self._connections.items()
            },
            exited=exited,
            watched_ns=self._ended_ns - self._origin,
            family=self._family,
            waiting=self._waiting,
            core_wait_seconds=self._waited + self._late,
            late_seconds=self._behind,
        )


def _names(processes: Iterable[int]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(family.process_name(process) for process in processes))
