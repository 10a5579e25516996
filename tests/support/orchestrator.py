"""A real fleet for tests and benchmarks: processes behind the balancer, and clients."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.errors import MigrationFailed
from orchestrator.hooks import CommandHooks
from orchestrator.interfaces import ReplicaExit
from orchestrator.journal import Journal
from orchestrator.model import (
    Deploy,
    JournalEvent,
    Release,
    ReleaseResult,
    Replica,
    RunCommand,
    Version,
)
from orchestrator.platforms.local import LocalPlatform
from orchestrator.policy import Policy
from orchestrator.processes import Processes
from orchestrator.release import ReleaseRun, bring_up, take_down
from orchestrator.rollout import Rollout
from orchestrator.routers.hitless import Balancer, HealthCheck, start_balancer
from orchestrator.strategies import STRATEGIES
from orchestrator.supervisor import Supervisor

FAST = HealthCheck(path="/health", interval=0.2, fast_interval=0.05)


class NoMigrator:
    """A Migrator that has nothing to migrate."""

    async def apply(self, directory: Path, through: str | None, journal: Journal) -> None:
        """Refuse."""
        journal.note("migrate", error=f"refused: {directory} through {through}")
        raise MigrationFailed("there is no database here")

    async def roll_back(self, directory: Path, through: str | None, journal: Journal) -> None:
        """Refuse."""
        await self.apply(directory, through, journal)

    async def run(self, step: RunCommand, journal: Journal) -> None:
        """Refuse."""
        journal.note("migrate", error=f"refused: {step.name}")
        raise MigrationFailed("there is no database here")


@dataclass(slots=True)
class Clients:
    """Clients: each sends one request after the other, two on each connection.

    Attributes:
        answers: the status and body of each response; status 0 is a broken connection.
    """

    address: str
    path: str = "/"
    pause: float = 0.005
    answers: list[tuple[int, str]] = field(default_factory=list)
    _enough: asyncio.Event = field(default_factory=asyncio.Event)
    _answered: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def sending(self, count: int = 3) -> AsyncIterator[None]:
        """Send while the block runs."""
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(self._client())
            try:
                yield
            finally:
                self._enough.set()

    async def more(self, answers: int) -> None:
        """Wait for this many further responses."""
        until = len(self.answers) + answers
        while len(self.answers) < until:
            self._answered.clear()
            await self._answered.wait()

    def failed(self) -> list[tuple[int, str]]:
        """The responses that are not 200."""
        return [answer for answer in self.answers if answer[0] != 200]

    def served(self) -> Counter[str]:
        """How many 200 responses came from each version."""
        return Counter(body.strip() for status, body in self.answers if status == 200)

    async def _client(self) -> None:
        host, _, port = self.address.rpartition(":")
        while not self._enough.is_set():
            try:
                reader, writer = await asyncio.open_connection(host, int(port))
                for last in (False, True):
                    close = "Connection: close\r\n" if last else ""
                    writer.write(f"GET {self.path} HTTP/1.1\r\nHost: x\r\n{close}\r\n".encode())
                    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                    length = int(head.split("content-length: ")[1].split("\r\n")[0])
                    body = (await reader.readexactly(length)).decode()
                    self._note(int(head.split(" ")[1]), body)
                    if "connection: close" in head:
                        break
                writer.close()
            except (OSError, asyncio.IncompleteReadError) as error:
                self._note(0, str(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.pause):
                    await self._enough.wait()

    def _note(self, status: int, body: str) -> None:
        self.answers.append((status, body))
        self._answered.set()


@dataclass(slots=True, kw_only=True)
class RunningFleet:
    """A fleet behind the balancer, and the events of its journal."""

    rollout: Rollout
    platform: LocalPlatform
    balancer: Balancer
    supervisor: Supervisor
    events: list[JournalEvent]
    processes: Processes
    _heard: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, event: JournalEvent) -> None:
        """Take an event of the journal."""
        self.events.append(event)
        self._heard.set()

    async def happened(self, verb: str, state: str = "completed", times: int = 1) -> JournalEvent:
        """Wait until the journal has this event `times` times; return the last one."""
        while True:
            found = [one for one in self.events if (one.verb, one.state) == (verb, state)]
            if len(found) >= times:
                return found[times - 1]
            self._heard.clear()
            await self._heard.wait()

    async def release(self, strategy: str, old: Version, *new: Version) -> ReleaseResult:
        """Deploy the versions one after the other; the old one already serves."""
        steps = tuple(Deploy(version=version) for version in new)
        release = Release(name="r", start=old, steps=steps)
        return await ReleaseRun(release, self.rollout, STRATEGIES[strategy], NoMigrator()).run()

    def clients(self, path: str = "/") -> Clients:
        """Clients of this fleet."""
        return Clients(self.balancer.address, path)

    def left(self) -> Mapping[str, int]:
        """How many replicas of each version there are."""
        return Counter(one.version for one in self.rollout.all())


@asynccontextmanager
async def running_fleet(
    folder: Path,
    policy: Policy,
    start: Version,
    *,
    health: HealthCheck = FAST,
    affinity_cookie: str | None = None,
) -> AsyncIterator[RunningFleet]:
    """Run a fleet that serves a version; all of it has ended after the block."""
    made: list[RunningFleet] = []

    def on_exit(replica: Replica, ended: ReplicaExit) -> None:
        journal.note("replica", replicas=[replica.id], error=ended.reason)
        if made:
            made[0].supervisor.exited(replica, ended)

    with Journal(
        folder / "events.ndjson", listeners=[lambda event: made[0].hear(event) if made else None]
    ) as journal:
        async with (
            Processes() as processes,
            processes.directory("hitless-fleet-") as private,
            start_balancer(
                processes,
                directory=private,
                log=folder / "balancer.log",
                health=health,
                affinity_cookie=affinity_cookie,
            ) as balancer,
            LocalPlatform(processes, log_directory=folder, on_exit=on_exit) as platform,
        ):
            hooks = CommandHooks(processes, log=folder / "hooks.log", cwd=folder)
            rollout = Rollout(platform, balancer.router, journal, policy, hooks=hooks)
            made.append(
                RunningFleet(
                    rollout=rollout,
                    platform=platform,
                    balancer=balancer,
                    supervisor=Supervisor(rollout, platform, balancer.router),
                    events=[],
                    processes=processes,
                )
            )
            await bring_up(rollout, start)
            made[0].events.clear()
            yield made[0]
            await take_down(rollout)
