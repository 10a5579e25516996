"""A platform, a router and a migrator in memory, for the promises of every rollout."""

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

from orchestrator.errors import MigrationFailed, PlatformError
from orchestrator.interfaces import Drained, ProbeResult, ReplicaExit
from orchestrator.journal import Journal
from orchestrator.model import JournalEvent, Release, Replica, RunCommand, Step, Version
from orchestrator.policy import Criteria, Policy
from orchestrator.release import ReleaseRun, bring_up
from orchestrator.request_statistics import RequestCounts
from orchestrator.rollout import Rollout
from orchestrator.routers.capabilities import EVERYTHING
from orchestrator.strategies import STRATEGIES

A, B = Version(name="a", command=("a",)), Version(name="b", command=("b",))


class InMemoryFleet:
    """A platform and a router in memory; it checks the fleet after every change.

    Attributes:
        sick: the replicas that fail the router's checks.
        fail_at: the number of the call that fails, counted from `expect`.
    """

    admission_seconds = 0.0
    capabilities = EVERYTHING

    def __init__(self) -> None:
        self.running: dict[str, asyncio.Event] = {}
        self.weights: dict[str, float] = {}
        self.draining: set[str] = set()
        self.drained: set[str] = set()
        self.sick: set[str] = set()
        self.answers: dict[str, RequestCounts] = {}
        self.says: dict[tuple[str, str], ProbeResult] = {}
        self.calls = 0
        self.fail_at: int | None = None
        self.most = 0
        self.least = 0
        self.cold_stops: list[str] = []
        self.drains_to = Drained(0, 0.0)

    def expect(self, fail_at: int | None) -> None:
        """Begin to check the fleet and to count calls."""
        self.calls, self.fail_at = 0, fail_at
        self.most = self.least = len(self.available())

    def available(self) -> list[str]:
        """The replicas that get traffic and can answer it."""
        return [
            name
            for name, weight in self.weights.items()
            if weight > 0 and name in self.running and name not in self.draining
        ]

    @property
    def failed(self) -> bool:
        return self.fail_at is not None and self.calls > self.fail_at

    async def _call(self) -> None:
        await asyncio.sleep(0)
        number, self.calls = self.calls, self.calls + 1
        if number == self.fail_at:
            raise PlatformError(f"planted at call {number}")

    def _look(self) -> None:
        if not self.failed:
            self.most = max(self.most, len(self.running))
        self.least = min(self.least, len(self.available()))

    # The platform

    async def start(self, version: Version, replica_id: str) -> Replica:
        await self._call()
        self.running[replica_id] = asyncio.Event()
        self._look()
        return Replica(id=replica_id, version=version.name, host="h", port=len(self.running))

    def is_running(self, replica: Replica) -> bool:
        return replica.id in self.running

    async def wait_listening(self, replica: Replica) -> None:
        assert replica.id in self.running
        await self._call()

    def why_not_listening(self, replica: Replica) -> str:
        return f"{replica.id} does not listen"

    async def probe(self, replica: Replica, path: str, timeout: float) -> ProbeResult:  # noqa: ASYNC109 - the port's
        await self._call()
        assert timeout > 0
        return self.says.get((replica.version, path), ProbeResult(200, ""))

    async def wait_ended(self, replica: Replica) -> ReplicaExit:
        await self.running[replica.id].wait()
        return ReplicaExit("exited with status 1", ("boom",))

    async def stop(self, replica: Replica, grace: float) -> ReplicaExit:
        await self._call()
        assert grace >= 0
        if self.weights.get(replica.id, 0) > 0 and replica.id not in self.drained:
            self.cold_stops.append(replica.id)
        self.running.pop(replica.id, asyncio.Event()).set()
        self._look()
        return ReplicaExit("exited with status 0")

    # The router

    async def register(self, replica: Replica) -> None:
        await self._call()
        self.weights.setdefault(replica.id, 0.0)

    async def wait_up(self, ids: Collection[str]) -> None:
        await self._call()
        assert set(ids) <= self.weights.keys()

    async def why_not_up(self, ids: Collection[str]) -> Mapping[str, str]:
        await self._call()
        return {name: "its check fails" for name in ids if name in self.sick} | {
            name: "gone" for name in ids if name not in self.running
        }

    async def weigh(self, weights: Mapping[str, float]) -> None:
        await self._call()
        assert weights.keys() <= self.weights.keys()
        self.weights |= weights
        self._look()

    async def switch(self, ids: Collection[str]) -> None:
        await self._call()
        assert set(ids) <= self.weights.keys() & self.running.keys()
        assert not self.draining & set(ids)
        self.weights = {name: float(name in ids) for name in self.weights}
        self._look()

    async def drain(self, replica_id: str, timeout: float) -> Drained:  # noqa: ASYNC109 - the port's
        await self._call()
        assert timeout >= 0
        self.draining.add(replica_id)
        self._look()
        await asyncio.sleep(0)
        self.drained.add(replica_id)
        return self.drains_to

    async def remove(self, replica_id: str) -> None:
        await self._call()
        self.weights.pop(replica_id, None)

    async def counts(self) -> Mapping[str, RequestCounts]:
        await asyncio.sleep(0)  # no failure is planted here: statistics change nothing
        return self.answers

    # The migrator

    async def apply(self, directory: Path, through: str | None, journal: Journal) -> None:
        async with journal.verb("migrate", detail={"migration": through or directory.name}):
            if directory.name == "bad":
                raise MigrationFailed("planted", sqlstate="23502")

    async def roll_back(self, directory: Path, through: str | None, journal: Journal) -> None:
        detail = {"migration": through or directory.name, "direction": "rollback"}
        async with journal.verb("migrate", detail=detail):
            if directory.name == "bad":
                raise MigrationFailed("planted", sqlstate="23502")

    async def run(self, step: RunCommand, journal: Journal) -> None:
        direction = "rollback" if step.down else "apply"
        async with journal.verb("migrate", detail={"migration": step.name, "direction": direction}):
            pass


def policy_of(knobs: dict[str, object]) -> Policy:
    quick = {
        "min_ready_seconds": 0.0,
        "canary_soak_seconds": 0.0,
        "analysis": Criteria(patience_seconds=0.0),
    }
    return Policy(**quick | knobs)  # type: ignore[arg-type]


class RolloutBench:
    """One fleet of version A in memory, and the journal of what happens to it."""

    def __init__(self, policy: Policy, world: InMemoryFleet | None = None) -> None:
        self.world = world or InMemoryFleet()
        self.events: list[JournalEvent] = []
        journal = Journal(listeners=[self.events.append])
        self.rollout = Rollout(self.world, self.world, journal, policy)

    async def release(self, name: str, *steps: Step, fail_at: int | None = None) -> ReleaseRun:
        await bring_up(self.rollout, A)
        self.world.expect(fail_at)
        release = Release(name="r", start=A, steps=steps)
        run = ReleaseRun(release, self.rollout, STRATEGIES[name], self.world)
        await run.run()
        return run

    def versions(self) -> Counter[str]:
        """How many replicas of each version serve; nothing else runs or is registered."""
        assert {one.id for one in self.rollout.all()} == set(self.world.running)
        assert set(self.world.weights) == set(self.world.running)
        assert set(self.world.running) == set(self.world.available())
        return Counter(one.version for one in self.rollout.serving())


def assert_ordered(events: list[JournalEvent]) -> None:
    """Every verb that started has ended once, and the journal's order is that of time."""
    assert [event.at_ns for event in events] == sorted(event.at_ns for event in events)
    open_verbs: dict[int, str] = {}
    for event in events:
        if event.state == "started":
            assert event.number not in open_verbs
            open_verbs[event.number] = event.verb
        elif event.state != "noted":
            assert open_verbs.pop(event.number) == event.verb
            assert event.seconds is not None
            assert event.floor_seconds is not None
            assert 0 <= event.floor_seconds <= event.seconds
            assert (event.error is None) == (event.state == "completed")
    assert open_verbs == {}
