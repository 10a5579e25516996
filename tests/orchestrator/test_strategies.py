"""What each strategy promises about the fleet, at every moment and after every failure."""

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from orchestrator.errors import OrchestratorError, PlatformError
from orchestrator.interfaces import ProbeResult
from orchestrator.model import (
    Deploy,
    Migrate,
    Release,
    Replica,
    Version,
)
from orchestrator.policy import Criteria, PolicyError
from orchestrator.release import ReleaseRun, bring_up, take_down
from orchestrator.request_statistics import Latency, RequestCounts
from orchestrator.strategies import STRATEGIES, canary_size
from orchestrator.supervisor import Supervisor
from orchestrator.termination import Order, Registration, TerminationPolicy
from tests.support.in_memory import A, B, RolloutBench, assert_ordered, policy_of

policies = some.builds(
    dict,
    replicas=some.integers(1, 5),
    max_surge=some.integers(0, 5) | some.sampled_from(["0%", "25%", "100%"]),
    max_unavailable=some.integers(0, 6) | some.sampled_from(["0%", "25%", "100%"]),
    canary_steps=some.sets(some.integers(1, 99), max_size=4).map(lambda s: (*sorted(s), 100)),
    termination=some.builds(
        TerminationPolicy,
        order=some.sampled_from(get_args(Order)),
        registration=some.sampled_from(get_args(Registration)),
    ),
)


@settings(deadline=None, max_examples=150)
@given(some.sampled_from(sorted(STRATEGIES)), policies)
def test_every_strategy_ends_with_the_new_version(name: str, knobs: dict[str, object]) -> None:
    """Any strategy, with any knobs, ends with the new version at full strength and no other."""
    try:
        bench = RolloutBench(policy_of(knobs))
    except PolicyError:
        return  # both knobs are 0
    run = asyncio.run(bench.release(name, Deploy(version=B)))
    policy = bench.rollout.policy
    assert run.result is not None
    assert (run.result.outcome, run.result.versions) == ("completed", ("a", "b"))
    assert bench.versions() == {"b": policy.replicas}
    drained = policy.termination.order == "drain-first" and name != "naive"
    assert not (drained and bench.world.cold_stops)
    assert bench.world.cold_stops or drained or name in ("blue-green", "canary")
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
        bench = RolloutBench(policy_of(knobs))
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
    if name != "naive" and policy.termination.order == "drain-first":
        assert bench.world.cold_stops == []
    assert_ordered(bench.events)


def test_no_more_can_be_unavailable_than_there_are() -> None:
    """`max_unavailable` counts at most all replicas, whatever number it says."""
    assert policy_of({"replicas": 2, "max_unavailable": 5}).unavailable == 2
    assert policy_of({"replicas": 4, "max_unavailable": "200%"}).unavailable == 4


async def test_a_version_may_take_its_time_to_start() -> None:
    """`start_seconds` of a version replaces the policy's deadline for its replicas."""
    slow = Version(name="b", command=("b",), start_seconds=0.05)
    bench = RolloutBench(policy_of({"replicas": 1, "progress_deadline_seconds": 3600.0}))
    listening = asyncio.Event()

    async def never(replica: Replica) -> None:
        if replica.version == "b":
            await listening.wait()

    bench.world.wait_listening = never  # type: ignore[method-assign]
    run = await bench.release("rolling", Deploy(version=slow))
    assert run.result is not None
    assert (run.result.outcome, run.result.reason) == (
        "rolled_back",
        "deploy b: not ready within 0.05 s: b-2 (b-2 does not listen)",
    )


async def test_rolling_one_at_a_time() -> None:
    """With surge 1 and nobody unavailable, one is added, and then one is taken away, in turn."""
    bench = RolloutBench(policy_of({"replicas": 2}))
    await bench.release("rolling", Deploy(version=B))
    turn = ["start", "wait_ready", "attach", "soak", "drain", "stop"]
    verbs = [event.verb for event in bench.events if event.state == "started"]
    assert verbs[3:] == ["release", "deploy", *turn, *turn]


async def test_the_canarys_share_grows() -> None:
    """The canary's share follows the steps, and each step adds only the replicas that it needs."""
    bench = RolloutBench(policy_of({"replicas": 3}))
    await bench.release("canary", Deploy(version=B))
    ended = [event for event in bench.events if event.state == "completed"]
    shares = [event.detail["shares"] for event in ended if event.verb == "weigh"]
    assert shares == [
        {"a": 95.0, "b": 5.0},
        {"a": 75.0, "b": 25.0},
        {"a": 50.0, "b": 50.0},
        {"a": 0.0, "b": 100.0},
    ]
    assert [len(event.replicas) for event in ended if event.verb == "start"] == [3, 1, 2]


@given(some.floats(0.1, 100), some.integers(1, 50), some.integers(1, 50))
def test_a_canary_is_no_busier_than_the_others(percent: float, stable: int, replicas: int) -> None:
    """None of its replicas gets more than one of the stable version, while there can be enough."""
    size = canary_size(percent, stable, replicas)
    assert 1 <= size <= replicas
    if percent == 100:
        assert size == replicas
    elif size < replicas:
        assert percent / size <= (100 - percent) / stable * (1 + 1e-9)
    if size > 1 and percent < 100:  # and there are no more than it takes
        assert percent / (size - 1) > (100 - percent) / stable * (1 - 1e-9)


@pytest.mark.parametrize(("strategy", "verb"), [("rolling", "soak"), ("canary", "pause")])
async def test_a_replica_that_goes_down_while_it_is_checked(strategy: str, verb: str) -> None:
    """A new replica that fails the router's checks during a soak or a pause is rolled back."""
    bench = RolloutBench(policy_of({"replicas": 1}))
    waiting = getattr(bench.rollout, verb)

    async def fall_ill(replicas: Sequence[Replica], *arguments: object) -> None:
        bench.world.sick = {one.id for one in replicas}
        await waiting(replicas, *arguments)
        bench.world.sick = set()

    setattr(bench.rollout, verb, fall_ill)
    run = await bench.release(strategy, Deploy(version=B))
    assert run.result is not None
    assert (run.result.outcome, run.result.reason) == (
        "rolled_back",
        "deploy b: no longer up: b-2 (its check fails)",
    )


async def test_a_canary_that_fails_requests_goes_back() -> None:
    """A canary whose requests fail is rolled back at its first step, with the numbers as reason."""
    bench = RolloutBench(policy_of({"canary_soak_seconds": 0.01}))
    bench.world.answers = {"a-1": RequestCounts(1000, 1)}
    waiting = bench.rollout.pause

    async def pause(*arguments: object) -> None:
        bench.world.answers = {"a-1": RequestCounts(2000, 3), "b-4": RequestCounts(50, 5)}
        await waiting(*arguments)  # type: ignore[arg-type]

    bench.rollout.pause = pause  # type: ignore[method-assign, assignment]
    run = await bench.release("canary", Deploy(version=B))
    assert run.result is not None
    assert run.result.outcome == "rolled_back"
    assert run.result.reason == (
        "deploy b: analysis: fail: 5 of 50 requests to the canary failed (10.00%; the limit is "
        "1.10%: 1 of 1000 of the others before it, plus 1.00%; p = 1.2e-06, at most 0.01 is a fail)"
    )
    assert bench.versions() == {"a": 3}
    # What is broken loses its traffic at once: only an aborted canary goes back step by step.
    back = [event.verb for event in bench.events if event.state == "started"]
    assert back[back.index("rollback") :].count("weigh") == 0


def answered(requests: int, slow: int, failed: int = 0) -> RequestCounts:
    """So many requests, some of which took half a second, and all others a hundredth."""
    latency = Latency((0.01, 0.5), (requests - slow, slow, 0), slow * 0.5 + (requests - slow) / 100)
    return RequestCounts(requests, failed, latency)


@pytest.mark.parametrize(
    ("slow_looks", "failed", "outcome"),
    [
        (2, 0, "completed"),  # slow for a moment
        (1000, 0, "rolled_back"),  # slow in every sample
        (0, 20, "rolled_back"),  # failing is no matter of moments
    ],
)
async def test_a_canary_that_is_slow_at_first(slow_looks: int, failed: int, outcome: str) -> None:
    """Who is slow is looked at anew as long as there is patience; who fails is not."""
    criteria = Criteria(patience_seconds=1.0, minimum_requests=50)
    bench = RolloutBench(
        policy_of({"canary_steps": (50, 100), "analysis": criteria, "replicas": 1})
    )
    looks = 0

    async def counts() -> Mapping[str, RequestCounts]:
        nonlocal looks
        looks += 1
        # A hundred more between two looks, each slow while it is the time for that.
        slow = 100 * min(looks, slow_looks)
        return {"a-1": answered(100 * looks, 0), "b-2": answered(100 * looks, slow, failed * looks)}

    bench.world.counts = counts  # type: ignore[method-assign]
    run = await bench.release("canary", Deploy(version=B))
    assert run.result is not None
    assert run.result.outcome == outcome, run.result.reason
    (first, *_) = [e for e in bench.events if e.verb == "analyse" and e.state != "started"]
    assert (first.seconds or 0) >= (1.0 if slow_looks > 100 else 0.0)
    if failed:
        assert "requests to the canary failed" in (run.result.reason or "")
    elif outcome == "rolled_back":
        assert "the canary takes 500.0 ms on average" in (run.result.reason or "")


@pytest.mark.parametrize(("wish", "outcome"), [("proceed", "completed"), ("fail", "rolled_back")])
async def test_too_few_requests(wish: str, outcome: str) -> None:
    """Too few requests are inconclusive, which the journal says; the policy decides on it."""
    bench = RolloutBench(
        policy_of({"analysis": Criteria(patience_seconds=0.0, on_inconclusive=wish)})
    )
    run = await bench.release("canary", Deploy(version=B))
    assert run.result is not None
    assert run.result.outcome == outcome
    findings = [e.detail.get("finding") for e in bench.events if e.verb == "analyse"]
    assert set(findings) == {None, "inconclusive"}


async def test_a_failed_migration_ends_the_release() -> None:
    """After a failed migration nothing more is done, and what serves serves on."""
    bench = RolloutBench(policy_of({}))
    run = await bench.release(
        "rolling", Migrate(directory=Path("bad")), Deploy(version=B), Migrate(directory=Path("x"))
    )
    assert run.result is not None
    assert (run.result.outcome, run.result.reason) == ("failed", "migration: planted")
    assert bench.versions() == {"a": 3}
    assert [event.verb for event in bench.events][-2:] == ["migrate", "release"]


async def test_a_release_in_several_steps() -> None:
    """Steps run in order, and a later failure goes back to the version before it only."""
    bench = RolloutBench(policy_of({}))
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
    bench = RolloutBench(policy_of({}))
    await bring_up(bench.rollout, ASKED)
    bench.world.says[("a", "/ready")] = ProbeResult(503, "status demands a value")

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
        "not work with it: it answered GET /ready with 503: status demands a value; "
        "the fleet stays as it is"
    )
    # Nothing that serves was touched, and what never served is gone.
    assert Counter(one.version for one in bench.rollout.all()) == (
        {"a": 3} if fleet == "kept" else {}
    )
    assert bench.rollout.all() == bench.rollout.serving()
    assert_ordered(bench.events)


async def test_a_way_back_that_the_schema_allows() -> None:
    """When the schema has moved and the old version says that it is ready, it serves again."""
    bench = RolloutBench(policy_of({}))
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
    bench = RolloutBench(policy_of({}))

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
    bench = RolloutBench(policy_of({}))

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
        ({"max_surge": "many"}, "max_surge is 'many'; it must be a number or a percentage"),
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


async def test_a_replica_that_is_healed_during_a_switch() -> None:
    """The successor of a replica that lost its traffic in the meantime gets none either."""
    bench = RolloutBench(policy_of({"replicas": 2}))
    world, rollout = bench.world, bench.rollout
    await bring_up(rollout, A)
    supervisor = Supervisor(rollout, world, world)
    green = await rollout.start(B, 2)
    await rollout.wait_ready(green)
    lost = rollout.fleet.find("a-1")
    assert lost is not None
    lost.lost = True
    await rollout.deregister(lost)
    (fresh,) = await rollout.start(A, 1)
    await rollout.wait_ready([fresh])
    switch = world.switch
    async with asyncio.TaskGroup() as group:

        async def meanwhile(ids: Collection[str]) -> None:
            group.create_task(supervisor._take_place(lost, fresh))
            for _ in range(5):
                await asyncio.sleep(0)
            await switch(ids)

        world.switch = meanwhile  # type: ignore[method-assign]
        await rollout.switch(green)
    assert {name for name, weight in world.weights.items() if weight} == {"b-3", "b-4"}
    assert rollout.fleet.shares() == {"a": 0.0, "b": 100.0}
