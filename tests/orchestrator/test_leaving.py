"""What a rollout does with a leaving or coming replica, in each order, with each lag."""

import asyncio
import time
from collections.abc import Collection, Mapping

import msgspec
import pytest

from orchestrator.errors import PlatformError, RouterError
from orchestrator.interfaces import Drained, ProbeResult, ReplicaExit
from orchestrator.model import Deploy, JournalEvent, Replica, Version
from orchestrator.release import bring_up, take_down
from orchestrator.request_statistics import RequestCounts
from orchestrator.termination import TerminationPolicy, lags_of
from tests.support.in_memory import A, B, InMemoryFleet, RolloutBench, policy_of

LAG = 0.06
PRE_STOP = 0.03


class Recorder(InMemoryFleet):
    """A fleet in memory that writes down what it is told, in order, with the time.

    Attributes:
        told: the calls that concern leaving and coming, as verb, replica and time.
        noticed_after: how many looks at its checks it takes until the router notices an end.
        dies: replicas that end by themselves, as soon as anybody waits for that.
    """

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, str, float]] = []
        self.noticed_after = 0
        self.dies: set[str] = set()
        self.router_fails = False

    def note(self, verb: str, name: str) -> None:
        self.told.append((verb, name, asyncio.get_running_loop().time()))

    def verbs(self, name: str) -> list[str]:
        return [verb for verb, about, _ in self.told if about == name]

    def at(self, verb: str, name: str) -> float:
        return next(at for done, about, at in self.told if (done, about) == (verb, name))

    async def wait_listening(self, replica: Replica) -> None:
        self.note("wait_listening", replica.id)
        await super().wait_listening(replica)

    async def register(self, replica: Replica) -> None:
        self.note("register", replica.id)
        await super().register(replica)

    async def wait_ended(self, replica: Replica) -> ReplicaExit:
        if replica.id in self.dies:
            return ReplicaExit("exited with status 1")
        return await super().wait_ended(replica)

    async def stop(self, replica: Replica, grace: float) -> ReplicaExit:
        self.note("stop", replica.id)
        self.grace = grace
        end = await super().stop(replica, grace)
        self.note("ended", replica.id)
        now = time.monotonic_ns()
        return end._replace(stop_asked_ns=now, ended_ns=now, exit_status=0)

    async def drain(self, replica_id: str, timeout: float) -> Drained:  # noqa: ASYNC109 - the port's
        self.note("drain", replica_id)
        if self.router_fails:
            raise RouterError("the router is gone")
        await super().drain(replica_id, timeout)
        return Drained(2, 0.0)

    async def remove(self, replica_id: str) -> None:
        self.note("remove", replica_id)
        await super().remove(replica_id)

    async def why_not_up(self, ids: Collection[str]) -> Mapping[str, str]:
        if self.noticed_after > 0:
            self.noticed_after -= 1
            return {}
        return await super().why_not_up(ids)


class Bench(RolloutBench):
    """One replica of A, told to leave with a termination policy."""

    world: Recorder

    def __init__(
        self, termination: TerminationPolicy, *, world: Recorder | None = None, **knobs: object
    ) -> None:
        settings: dict[str, object] = {"replicas": 1, "termination": termination}
        super().__init__(policy_of(settings | knobs), world or Recorder())

    async def leave(self, *, dies: bool = False) -> JournalEvent:
        """Bring A up, then drain and stop it; returns the event that ends the stop."""
        await bring_up(self.rollout, A)
        self.world.dies = {"a-1"} if dies else set()
        self.world.told.clear()
        self.world.note("begin", "a-1")
        leaving = self.rollout.serving()
        await self.rollout.drain(leaving)
        await self.rollout.stop(leaving)
        return self.events[-1]


def departure(event: JournalEvent) -> dict[str, int]:
    departures = event.detail["departures"]
    assert isinstance(departures, dict)
    found = departures["a-1"]
    assert isinstance(found, dict)
    return found


async def test_drain_first() -> None:
    """`drain-first`: told after the lag, drained, then preStop, then stopped and removed."""
    how = TerminationPolicy(deregistration_lag_seconds=LAG, pre_stop_seconds=PRE_STOP)
    bench = Bench(how)
    end = await bench.leave()
    assert bench.world.verbs("a-1") == ["begin", "drain", "stop", "ended", "remove"]
    world = bench.world
    assert world.at("drain", "a-1") - world.at("begin", "a-1") >= LAG
    assert world.at("stop", "a-1") - world.at("drain", "a-1") >= PRE_STOP
    seen = departure(end)
    order = ["began_ns", "router_told_ns", "drained_ns", "stop_asked_ns", "router_forgot_ns"]
    assert [seen[name] for name in order] == sorted(seen[name] for name in order)
    assert bench.world.cold_stops == []
    assert [one.verb for one in bench.events[-4:]] == ["drain", "drain", "stop", "stop"]


async def test_together() -> None:
    """`together`: the stop does not wait until the router knows; the verb ends with both."""
    bench = Bench(TerminationPolicy(order="together", deregistration_lag_seconds=LAG))
    end = await bench.leave()
    assert bench.world.verbs("a-1") == ["begin", "stop", "ended", "drain", "remove"]
    assert bench.world.at("drain", "a-1") - bench.world.at("begin", "a-1") >= LAG
    seen = departure(end)
    assert seen["stop_asked_ns"] < seen["router_told_ns"] <= seen["router_forgot_ns"]
    assert seen["cut"] == 2
    # Nothing says that it was drained before it was stopped.
    assert "drain" not in [one.verb for one in bench.events]
    assert bench.world.cold_stops == ["a-1"]


async def test_pre_stop_covers_the_lag() -> None:
    """`together` with a preStop above the lag: the router knows before the replica is stopped."""
    how = TerminationPolicy(
        order="together", deregistration_lag_seconds=PRE_STOP, pre_stop_seconds=2 * LAG
    )
    bench = Bench(how)
    await bench.leave()
    assert bench.world.verbs("a-1") == ["begin", "drain", "stop", "ended", "remove"]
    assert bench.world.at("stop", "a-1") - bench.world.at("begin", "a-1") >= 2 * LAG
    assert bench.world.cold_stops == []


async def test_stop_first() -> None:
    """`stop-first`: the router hears of it when the replica has ended and the lag has passed."""
    bench = Bench(TerminationPolicy(order="stop-first", deregistration_lag_seconds=LAG))
    end = await bench.leave()
    assert bench.world.verbs("a-1") == ["begin", "stop", "ended", "remove"]
    assert bench.world.at("remove", "a-1") - bench.world.at("ended", "a-1") >= LAG
    assert departure(end)["router_told_ns"] > departure(end)["ended_ns"]


async def test_checks_only() -> None:
    """`checks-only`: nobody tells the router; its entry goes only when its checks have noticed."""
    bench = Bench(TerminationPolicy(order="checks-only"))
    bench.world.noticed_after = 3
    end = await bench.leave()
    assert bench.world.verbs("a-1") == ["begin", "stop", "ended", "remove"]
    assert bench.world.noticed_after == 0
    seen = departure(end)
    assert "router_told_ns" not in seen
    assert seen["ended_ns"] <= seen["router_noticed_ns"] <= seen["router_forgot_ns"]


async def test_a_router_that_never_notices() -> None:
    """`checks-only` does not wait for ever: the drain's timeout bounds the wait."""
    bench = Bench(TerminationPolicy(order="checks-only"), drain_timeout_seconds=0.1)
    bench.world.noticed_after = 10**9
    end = await bench.leave()
    assert bench.world.verbs("a-1")[-1] == "remove"
    assert "router_noticed_ns" not in departure(end)
    assert bench.rollout.all() == ()


async def test_a_router_without_checks() -> None:
    """A router without checks of its own keeps the entry for the drain's timeout, and that is said.

    What its adapter knows from checks in its place does not count: the router does not know it.
    """
    world = Recorder()
    world.capabilities = msgspec.structs.replace(world.capabilities, own_health=False)
    bench = Bench(TerminationPolicy(order="checks-only"), world=world, drain_timeout_seconds=LAG)
    end = await bench.leave()
    assert world.at("remove", "a-1") - world.at("ended", "a-1") >= LAG
    seen = departure(end)
    assert seen["router_checks"] is False
    assert "router_noticed_ns" not in seen
    able = Bench(TerminationPolicy(order="checks-only"))
    assert "router_checks" not in departure(await able.leave())


async def test_grace_and_pre_stop() -> None:
    """The grace period is the policy's, or the version's, and may include preStop."""
    for how, grace in (
        (TerminationPolicy(), A.termination_grace_seconds),
        (TerminationPolicy(grace_seconds=3.0), 3.0),
        (TerminationPolicy(grace_seconds=3.0, pre_stop_seconds=0.01), 3.0),
        (
            TerminationPolicy(
                grace_seconds=3.0, pre_stop_seconds=0.5, grace_includes_pre_stop=True
            ),
            2.5,
        ),
    ):
        bench = Bench(how)
        await bench.leave(dies=True)
        assert bench.world.grace == pytest.approx(grace)


async def test_pre_stop_ends_with_the_replica() -> None:
    """A replica that ends by itself during preStop is not waited for."""
    bench = Bench(TerminationPolicy(pre_stop_seconds=3600.0))
    async with asyncio.timeout(60):
        await bench.leave(dies=True)
    assert bench.rollout.all() == ()


async def test_a_router_that_fails_does_not_save_the_replica() -> None:
    """When the router cannot be told, the replica is stopped all the same, and the verb fails."""
    bench = Bench(TerminationPolicy(order="together"))
    bench.world.router_fails = True
    stopping = bench.world.stop

    async def slowly(replica: Replica, grace: float) -> ReplicaExit:
        for _ in range(50):  # the router has failed long before
            await asyncio.sleep(0)
        return await stopping(replica, grace)

    bench.world.stop = slowly  # type: ignore[method-assign]
    with pytest.raises(RouterError, match="the router is gone"):
        await bench.leave()
    assert "ended" in bench.world.verbs("a-1")


async def test_an_end_of_the_run_waits_for_no_lag() -> None:
    """The fleet's set-up and its end, outside of a release, know no lags and no preStop."""
    how = TerminationPolicy(
        order="stop-first",
        deregistration_lag_seconds=3600.0,
        registration_lag_seconds=3600.0,
        pre_stop_seconds=3600.0,
    )
    bench = Bench(how)
    async with asyncio.timeout(60):
        await bring_up(bench.rollout, A)
        await take_down(bench.rollout)
    assert bench.world.verbs("a-1")[-4:] == ["drain", "stop", "ended", "remove"]


async def test_registration() -> None:
    """`when-ready` registers after the readiness checks, `when-started` at once, after its lag."""
    for registration, verbs in (
        ("when-ready", ["wait_listening", "register"]),
        ("when-started", ["register"]),
    ):
        how = TerminationPolicy(
            registration=registration,  # type: ignore[arg-type]
            registration_lag_seconds=LAG,
        )
        bench = Bench(how)
        await bring_up(bench.rollout, A)
        bench.world.told.clear()
        fresh = await bench.rollout.start(B, 1)
        bench.world.note("started", "b-2")
        await bench.rollout.wait_ready(fresh)
        assert bench.world.verbs("b-2") == ["started", *verbs]
        assert bench.world.at("register", "b-2") - bench.world.at("started", "b-2") >= LAG


async def test_a_version_that_is_never_ready_when_started() -> None:
    """With `when-started` nobody asks the replica whether it is ready; the router decides alone."""
    unready = Version(name="b", command=("b",), readiness_path="/ready")
    bench = Bench(TerminationPolicy(registration="when-started"))
    bench.world.says[("b", "/ready")] = ProbeResult(503, "not yet")
    run = await bench.release("rolling", Deploy(version=unready))
    assert run.result is not None
    assert run.result.outcome == "completed"


async def test_lags_follow_from_the_seed() -> None:
    """Two rollouts with one seed have the same lags, and with another seed other ones."""
    how = TerminationPolicy(order="stop-first", deregistration_lag_seconds=(0.0, 0.2))

    async def waited(seed: int) -> float:
        bench = Bench(how)
        bench.rollout._seed = seed
        await bench.leave()
        return bench.world.at("remove", "a-1") - bench.world.at("ended", "a-1")

    short, long = sorted(range(20), key=lambda seed: lags_of(how, seed, "a-1").deregistration)[::19]
    assert await waited(long) >= lags_of(how, long, "a-1").deregistration > 0.1
    assert lags_of(how, short, "a-1").deregistration < 0.1


async def test_the_last_request() -> None:
    """The departure says when the router's statistics last showed a new request."""
    bench = Bench(TerminationPolicy(order="stop-first", deregistration_lag_seconds=0.5))
    answers = iter([10, 12, 13])
    last = [13]

    async def counts() -> Mapping[str, RequestCounts]:
        last[0] = next(answers, last[0])
        return {"a-1": RequestCounts(last[0], 0)}

    bench.world.counts = counts  # type: ignore[method-assign]
    seen = departure(await bench.leave())
    assert seen["began_ns"] < seen["last_request_ns"] < seen["router_forgot_ns"]

    async def gone() -> Mapping[str, RequestCounts]:
        raise RouterError("no statistics")

    silent = Bench(TerminationPolicy(order="stop-first"))
    silent.world.counts = gone  # type: ignore[method-assign]
    assert "last_request_ns" not in departure(await silent.leave())


class IdleKeepingRecorder(Recorder):
    """A router that can go on using its idle connections.

    Attributes:
        allowed: how long the last such drain could take, in seconds.
    """

    allowed = 0.0

    async def drain_keeping_idle(self, replica_id: str, timeout: float) -> Drained:  # noqa: ASYNC109 - the port's
        self.note("drain_keeping_idle", replica_id)
        self.allowed = timeout
        return await super().drain(replica_id, timeout)


@pytest.mark.parametrize("order", ["drain-first", "together"])
async def test_close_idle(order: str) -> None:
    """`close_idle = false` reaches a router that can keep connections; another one is named."""
    keep = TerminationPolicy(order=order, close_idle=False)  # type: ignore[arg-type]
    able, unable = Bench(keep, world=IdleKeepingRecorder()), Bench(keep)
    kept, closed = departure(await able.leave()), departure(await unable.leave())
    assert "drain_keeping_idle" in able.world.verbs("a-1")
    assert (kept["idle_kept"], closed["idle_kept"]) == (True, False)
    slow = TerminationPolicy(order=order, close_idle=False, pre_stop_seconds=PRE_STOP)  # type: ignore[arg-type]
    world = IdleKeepingRecorder()
    await Bench(slow, world=world, drain_timeout_seconds=5.0).leave()
    # Nothing is cut while the replica is still told to serve.
    assert world.allowed == pytest.approx(5.0 + (PRE_STOP if order == "together" else 0.0))
    close = Bench(TerminationPolicy(order=order), world=IdleKeepingRecorder())  # type: ignore[arg-type]
    assert "idle_kept" not in departure(await close.leave())
    assert "drain_keeping_idle" not in close.world.verbs("a-1")


@pytest.mark.parametrize("order", ["drain-first", "together", "stop-first", "checks-only"])
async def test_a_rollback_leaves_nothing(order: str) -> None:
    """A deployment that fails while a lag is pending is rolled back, and nothing of it is left."""
    how = TerminationPolicy(
        order=order,  # type: ignore[arg-type]
        deregistration_lag_seconds=PRE_STOP,
        registration_lag_seconds=PRE_STOP,
    )
    bench = Bench(how, replicas=2)
    stopping = bench.world.stop
    failed: list[str] = []

    async def fails_once(replica: Replica, grace: float) -> ReplicaExit:
        if not failed:
            failed.append(replica.id)
            raise PlatformError("planted")
        return await stopping(replica, grace)

    bench.world.stop = fails_once  # type: ignore[method-assign]
    run = await bench.release("rolling", Deploy(version=B))
    assert run.result is not None
    assert run.result.outcome == "rolled_back"
    assert bench.versions() == {"a": 2}
