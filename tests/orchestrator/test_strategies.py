"""What each strategy promises about the fleet, at every moment and after every failure."""

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from orchestrator.errors import MigrationFailed, OrchestratorError, PlatformError
from orchestrator.journal import Journal
from orchestrator.model import (
    Deploy,
    Event,
    Migrate,
    Release,
    Replica,
    RunCommand,
    Version,
)
from orchestrator.platform import Answer, Count, Drained, Ended
from orchestrator.policy import Criteria, Policy, PolicyError
from orchestrator.release import ReleaseRun, bring_up, take_down
from orchestrator.rollout import Rollout
from orchestrator.strategies import STRATEGIES

A, B = Version(name="a", command=("a",)), Version(name="b", command=("b",))


class World:
    """A platform and a router in memory; it looks at the fleet after every change.

    Attributes:
        fail_at: the number of the call, counted from now, that fails.
    """

    admission_seconds = 0.0

    def __init__(self) -> None:
        self.running: dict[str, asyncio.Event] = {}
        self.weights: dict[str, float] = {}
        self.draining: set[str] = set()
        self.drained: set[str] = set()
        self.answers: dict[str, Count] = {}
        self.says: dict[tuple[str, str], Answer] = {}
        self.calls = 0
        self.fail_at: int | None = None
        self.most = 0
        self.least = 0
        self.cold_stops: list[str] = []

    def expect(self, fail_at: int | None) -> None:
        """Begin to look, and to count calls."""
        self.calls, self.fail_at = 0, fail_at
        self.most = self.least = len(self.available())

    def available(self) -> list[str]:
        """Who gets traffic and can answer it."""
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

    async def ask(self, replica: Replica, path: str, timeout: float) -> Answer:  # noqa: ASYNC109 - the port's
        await self._call()
        assert timeout > 0
        return self.says.get((replica.version, path), Answer(200, ""))

    async def wait_ended(self, replica: Replica) -> Ended:
        await self.running[replica.id].wait()
        return Ended("exited with status 1", ("boom",))

    async def stop(self, replica: Replica, grace: float) -> Ended:
        await self._call()
        assert grace >= 0
        if self.weights.get(replica.id, 0) > 0 and replica.id not in self.drained:
            self.cold_stops.append(replica.id)
        self.running.pop(replica.id, asyncio.Event()).set()
        self._look()
        return Ended("exited with status 0")

    # The router

    async def register(self, replica: Replica) -> None:
        await self._call()
        self.weights.setdefault(replica.id, 0.0)

    async def wait_up(self, ids: Collection[str]) -> None:
        await self._call()
        assert set(ids) <= self.weights.keys()

    async def why_not_up(self, ids: Collection[str]) -> Mapping[str, str]:
        await self._call()
        return {name: "gone" for name in ids if name not in self.running}

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
        return Drained(0, 0.0)

    async def remove(self, replica_id: str) -> None:
        await self._call()
        self.weights.pop(replica_id, None)

    async def counts(self) -> Mapping[str, Count]:
        await self._call()
        return self.answers

    # The migrator

    async def apply(self, directory: Path, through: str | None, journal: Journal) -> None:
        async with journal.verb("migrate", detail={"migration": through or directory.name}):
            if directory.name == "bad":
                raise MigrationFailed("planted", sqlstate="23502")

    async def roll_back(self, directory: Path, through: str | None, journal: Journal) -> None:
        raise NotImplementedError

    async def run(self, step: RunCommand, journal: Journal) -> None:
        raise NotImplementedError


policies = some.builds(
    dict,
    replicas=some.integers(1, 5),
    max_surge=some.integers(0, 5) | some.sampled_from(["0%", "25%", "100%"]),
    max_unavailable=some.integers(0, 6) | some.sampled_from(["0%", "25%", "100%"]),
    canary_steps=some.sets(some.integers(1, 99), max_size=4).map(lambda s: (*sorted(s), 100)),
)


def policy_of(knobs: dict[str, object]) -> Policy:
    quick = {
        "min_ready_seconds": 0.0,
        "canary_soak_seconds": 0.0,
        "analysis": Criteria(patience_seconds=0.0),
    }
    return Policy(**quick | knobs)  # type: ignore[arg-type]


class Bench:
    """One fleet of A on a World, and the journal of what happens to it."""

    def __init__(self, policy: Policy) -> None:
        self.world = World()
        self.events: list[Event] = []
        journal = Journal(listeners=[self.events.append])
        self.rollout = Rollout(self.world, self.world, journal, policy)

    async def release(
        self, name: str, *steps: Migrate | Deploy, fail_at: int | None = None
    ) -> ReleaseRun:
        await bring_up(self.rollout, A)
        self.world.expect(fail_at)
        release = Release(name="r", start=A, steps=steps)
        run = ReleaseRun(release, self.rollout, STRATEGIES[name], self.world)
        await run.run()
        return run

    def versions(self) -> Counter[str]:
        assert {one.id for one in self.rollout.all()} == set(self.world.running)
        assert set(self.world.running) == set(self.world.available())
        return Counter(one.version for one in self.rollout.serving())


@settings(deadline=None, max_examples=150)
@given(some.sampled_from(sorted(STRATEGIES)), policies)
def test_every_strategy_ends_with_the_new_version(name: str, knobs: dict[str, object]) -> None:
    """Any strategy, with any knobs, ends with the new version at full strength and no other."""
    try:
        bench = Bench(policy_of(knobs))
    except PolicyError:
        return  # both knobs are 0
    run = asyncio.run(bench.release(name, Deploy(version=B)))
    policy = bench.rollout.policy
    assert run.result is not None
    assert (run.result.outcome, run.result.versions) == ("completed", ("a", "b"))
    assert bench.versions() == {"b": policy.replicas}
    assert (bench.world.cold_stops == []) == (name != "naive")
    if name == "rolling":
        assert bench.world.most <= policy.replicas + policy.surge
        assert bench.world.least >= policy.replicas - policy.unavailable
    elif name != "naive":
        assert bench.world.least >= policy.replicas
    assert_ordered(bench.events)


@settings(deadline=None, max_examples=400)
@given(some.sampled_from(sorted(STRATEGIES)), policies, some.integers(0, 60))
def test_after_any_failure_the_old_version_serves(
    name: str, knobs: dict[str, object], fail_at: int
) -> None:
    """Wherever a platform or router fails, the version before serves again, alone and in full."""
    try:
        bench = Bench(policy_of(knobs))
    except PolicyError:
        return
    run = asyncio.run(bench.release(name, Deploy(version=B), fail_at=fail_at))
    assert run.result is not None
    policy = bench.rollout.policy
    if bench.world.failed:
        assert run.result.outcome == "rolled_back"
        assert f"planted at call {fail_at}" in (run.result.reason or "")
        assert run.result.versions == ("a",)
        assert bench.versions() == {"a": policy.replicas}
        if name == "rolling":
            assert bench.world.least >= policy.replicas - policy.unavailable
        elif name != "naive":
            # A replica that could not be drained or stopped is lost, and then made anew.
            assert bench.world.least >= 0
    else:
        assert bench.versions() == {"b": policy.replicas}
    if name != "naive":
        assert bench.world.cold_stops == []
    assert_ordered(bench.events)


def assert_ordered(events: list[Event]) -> None:
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


async def test_rolling_one_at_a_time() -> None:
    """With surge 1 and nobody unavailable, one is added, and then one is taken away, in turn."""
    bench = Bench(policy_of({"replicas": 2}))
    await bench.release("rolling", Deploy(version=B))
    turn = ["start", "wait_ready", "attach", "soak", "drain", "stop"]
    verbs = [event.verb for event in bench.events if event.state == "started"]
    assert verbs[3:] == ["release", "deploy", *turn, *turn]


async def test_the_canarys_share_grows() -> None:
    """The canary's share follows the steps, and each step adds only the replicas that it needs."""
    bench = Bench(policy_of({"replicas": 3}))
    await bench.release("canary", Deploy(version=B))
    ended = [event for event in bench.events if event.state == "completed"]
    shares = [event.detail["shares"] for event in ended if event.verb == "weigh"]
    assert shares == [
        {"a": 95.0, "b": 5.0},
        {"a": 75.0, "b": 25.0},
        {"a": 50.0, "b": 50.0},
        {"a": 0.0, "b": 100.0},
    ]
    assert [len(event.replicas) for event in ended if event.verb == "start"] == [3, 1, 1, 1]


async def test_a_canary_that_fails_requests_goes_back() -> None:
    """A canary whose requests fail is rolled back at its first step, with the numbers as reason."""
    bench = Bench(policy_of({"canary_soak_seconds": 0.01}))
    bench.world.answers = {"a-1": Count(1000, 0)}
    waiting = bench.rollout.pause

    async def pause(*arguments: object) -> None:
        bench.world.answers = {"a-1": Count(2000, 1), "b-4": Count(50, 5)}
        await waiting(*arguments)  # type: ignore[arg-type]

    bench.rollout.pause = pause  # type: ignore[method-assign, assignment]
    run = await bench.release("canary", Deploy(version=B))
    assert run.result is not None
    assert run.result.outcome == "rolled_back"
    assert run.result.reason == (
        "deploy b: analysis: fail: 5 of 50 requests to the canary failed (10.00%; the limit is "
        "1.10%: 1 of 1000 of the others, plus 1.00%; p = 1.2e-06, at most 0.01 is a fail)"
    )
    assert bench.versions() == {"a": 3}


@pytest.mark.parametrize(("wish", "outcome"), [("proceed", "completed"), ("fail", "rolled_back")])
async def test_too_few_requests(wish: str, outcome: str) -> None:
    """Too few requests are inconclusive, which the journal says; the policy decides on it."""
    bench = Bench(policy_of({"analysis": Criteria(patience_seconds=0.0, on_inconclusive=wish)}))
    run = await bench.release("canary", Deploy(version=B))
    assert run.result is not None
    assert run.result.outcome == outcome
    findings = [e.detail.get("finding") for e in bench.events if e.verb == "analyse"]
    assert set(findings) == {None, "inconclusive"}


async def test_a_failed_migration_ends_the_release() -> None:
    """After a failed migration nothing more is done, and what serves serves on."""
    bench = Bench(policy_of({}))
    run = await bench.release(
        "rolling", Migrate(directory=Path("bad")), Deploy(version=B), Migrate(directory=Path("x"))
    )
    assert run.result is not None
    assert (run.result.outcome, run.result.reason) == ("failed", "migration: planted")
    assert bench.versions() == {"a": 3}
    assert [event.verb for event in bench.events][-2:] == ["migrate", "release"]


async def test_a_release_in_several_steps() -> None:
    """Steps run in order, and a later failure goes back to the version before it only."""
    bench = Bench(policy_of({}))
    bad = Version(name="c", command=("c",))
    steps = [Migrate(directory=Path("x")), Deploy(version=B), Deploy(version=bad)]
    start = bench.world.start

    async def refuse_c(version: Version, replica_id: str) -> Replica:
        if version is bad:
            raise PlatformError("no c here")
        return await start(version, replica_id)

    bench.world.start = refuse_c  # type: ignore[method-assign]
    run = await bench.release("blue-green", *steps)
    assert run.result is not None
    assert (run.result.outcome, run.result.versions) == ("rolled_back", ("a", "b"))
    assert run.result.reason == "deploy c: no c here"
    assert bench.versions() == {"b": 3}


ASKED = Version(name="a", command=("a",), readiness_path="/ready")


@pytest.mark.parametrize("fleet", ["kept", "gone"])
async def test_a_way_back_that_the_schema_forbids(fleet: str) -> None:
    """When the schema has moved under the old version, it is asked; a no holds the fleet."""
    bench = Bench(policy_of({}))
    await bring_up(bench.rollout, ASKED)
    bench.world.says[("a", "/ready")] = Answer(503, "status demands a value")

    async def never(_ids: Collection[str]) -> None:
        raise PlatformError("b is sick")

    bench.world.wait_up = never  # type: ignore[method-assign]
    steps = (Migrate(directory=Path("contract")), Deploy(version=B))
    release = Release(name="r", start=ASKED, steps=steps)
    strategy = STRATEGIES["rolling" if fleet == "kept" else "naive"]
    result = await ReleaseRun(release, bench.rollout, strategy, bench.world).run()
    assert result.outcome == "failed"
    assert result.reason == (
        "deploy b: b is sick; rollback to a: refused: the schema has changed, and version a does "
        "not work with it: it answered 503: status demands a value to GET /ready; "
        "what serves, serves on"
    )
    # Nothing that serves was touched, and what never served is gone.
    assert Counter(one.version for one in bench.rollout.all()) == (
        {"a": 3} if fleet == "kept" else {}
    )
    assert bench.rollout.all() == bench.rollout.serving()
    assert_ordered(bench.events)


async def test_a_way_back_that_the_schema_allows() -> None:
    """When the schema has moved and the old version says that it is ready, it serves again."""
    bench = Bench(policy_of({}))
    await bring_up(bench.rollout, ASKED)
    attach = bench.rollout.attach

    async def fail(*_: object) -> None:
        raise PlatformError("planted")

    bench.rollout.attach = fail  # type: ignore[method-assign, assignment]
    steps = (Migrate(directory=Path("expand")), Deploy(version=B))
    release = Release(name="r", start=ASKED, steps=steps)
    result = await ReleaseRun(release, bench.rollout, STRATEGIES["rolling"], bench.world).run()
    bench.rollout.attach = attach  # type: ignore[method-assign]
    assert (result.outcome, result.reason) == ("rolled_back", "deploy b: planted")
    assert bench.versions() == {"a": 3}
    assert "rehearse" in {event.verb for event in bench.events}


async def test_when_the_way_back_fails_too() -> None:
    """A rollback that fails is `failed`, with both reasons, and what serves is left alone."""
    bench = Bench(policy_of({}))

    async def refuse(_version: Version, replica_id: str) -> Replica:
        raise PlatformError(f"no room for {replica_id}")

    await bring_up(bench.rollout, A)
    bench.world.start = refuse  # type: ignore[method-assign]
    release = Release(name="r", start=A, steps=(Deploy(version=B),))
    result = await ReleaseRun(release, bench.rollout, STRATEGIES["naive"], bench.world).run()
    assert result.outcome == "failed"
    assert result.reason == "deploy b: no room for b-4; rollback to a: no room for a-7"


@settings(deadline=None, max_examples=100)
@given(some.sampled_from(sorted(STRATEGIES)), some.integers(0, 60))
def test_cancelled_at_any_moment(name: str, at: int) -> None:
    """A cancelled release says so in its result and its journal, and can be taken down."""
    bench = Bench(policy_of({}))

    async def scenario() -> ReleaseRun:
        await bring_up(bench.rollout, A)
        bench.world.expect(None)
        release = Release(name="r", start=A, steps=(Deploy(version=B),))
        run = ReleaseRun(release, bench.rollout, STRATEGIES[name], bench.world)
        task = asyncio.ensure_future(run.run())
        call = bench.world._call

        async def cancel_at() -> None:
            if bench.world.calls == at:
                task.cancel()
            await call()

        bench.world._call = cancel_at  # type: ignore[method-assign]
        await asyncio.wait([task])
        bench.world._call = call  # type: ignore[method-assign]
        await take_down(bench.rollout)
        return run

    run = asyncio.run(scenario())
    assert run.result is not None
    assert run.result.outcome in ("aborted", "completed")
    assert bench.world.running == {}
    assert_ordered(bench.events)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"replicas": 0}, "replicas is 0; it must be at least 1"),
        ({"max_surge": 0}, "are both 0"),
        ({"max_surge": "1%", "max_unavailable": "10%", "replicas": 5}, None),
        ({"max_surge": "0%", "max_unavailable": "10%", "replicas": 5}, "are both 0"),
        ({"max_surge": "many"}, "max_surge is 'many'; it must be a number, or a share"),
        ({"max_unavailable": -1}, "max_unavailable is -1"),
        (
            {"drain_timeout_seconds": -1.0},
            "drain_timeout_seconds is -1.0; it must be a number, 0 or more",
        ),
        ({"min_ready_seconds": float("nan")}, "min_ready_seconds is nan"),
        ({"canary_steps": (5, 50)}, "canary_steps are 5, 50; their weights must rise"),
        ({"canary_steps": ()}, "canary_steps are empty"),
        ({"canary_steps": (50, 20, 100)}, "must rise"),
    ],
)
def test_policies_that_cannot_be_followed(knobs: dict[str, object], message: str | None) -> None:
    """A policy that no rollout can follow is refused with the setting and what would be right."""
    if message is None:
        assert policy_of(knobs).surge == 1  # rounds up
        return
    with pytest.raises(PolicyError, match=message) as info:
        policy_of(knobs)
    assert isinstance(info.value, OrchestratorError)
