"""Replicas that die are replaced, what dies again and again is condemned, and fleets scale."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from orchestrator.errors import RouterError
from orchestrator.model import Version
from orchestrator.policy import Autoscaling, Healing, Policy, PolicyError
from orchestrator.release import bring_up
from orchestrator.request_statistics import RequestCounts
from orchestrator.supervisor import CrashHistory, Supervisor, desired_replicas
from tests.support.in_memory import RolloutBench, policy_of
from tests.support.orchestrator import RunningFleet, running_fleet

HEALING = Healing(liveness_interval_seconds=0.1, liveness_timeout_seconds=0.5, backoff_seconds=0.05)
POLICY = Policy(replicas=2, min_ready_seconds=0.1, canary_soak_seconds=0.2, healing=HEALING)


def version(name: str, *options: str) -> Version:
    return Version(
        name=name,
        command=(
            *("{python}", "-m", "scenarios.subjects.service"),
            *("--version", "{version}", "--port", "{port}", *options),
        ),
        liveness_path="/live",
    )


@asynccontextmanager
async def supervised(scene: RunningFleet) -> AsyncIterator[None]:
    task = asyncio.ensure_future(scene.supervisor.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_lost_replica_is_replaced(number: signal.Signals, tmp_path: Path) -> None:
    """A replica that is killed, or hangs, loses its place to a new one, and the users go on."""
    async with running_fleet(tmp_path, POLICY, version("a")) as scene, supervised(scene):
        clients = scene.clients()
        async with clients.sending(2):
            await clients.more(5)
            victim = scene.rollout.serving()[0]
            os.kill(victim.pid, number)
            healed = await scene.happened("heal")
            before = len(clients.answers)
            await clients.more(10)
        assert healed.replicas == (victim.id,)
        assert healed.detail["successor"] == "a-3"
        assert [one.id for one in scene.rollout.serving()] == ["a-3", "a-2"]
        assert not scene.platform.is_running(victim)
        assert {status for status, _ in clients.answers[before:]} == {200}
        # Each client has one request under way, and GET may be tried again elsewhere.
        assert len(clients.failed()) <= 2


@pytest.mark.parametrize("strategy", ["rolling", "blue-green", "canary"])
async def test_an_old_replica_dies_amid_a_release(strategy: str, tmp_path: Path) -> None:
    """A release goes on when an old replica is killed under it, and ends as it was promised."""
    async with running_fleet(tmp_path, POLICY, version("a")) as scene, supervised(scene):
        clients = scene.clients()

        async def kill() -> None:
            await scene.happened("wait_ready", "started", times=1)
            os.kill(scene.rollout.serving()[0].pid, signal.SIGKILL)

        scene.events.clear()
        async with clients.sending(2), asyncio.TaskGroup() as group:
            group.create_task(kill())
            result = await scene.release(strategy, version("a"), version("b"))
        assert (result.outcome, result.reason) == ("completed", None)
        # A replacement that was still being started when the release ended is given up again.
        begun = [one for one in scene.events if (one.verb, one.state) == ("heal", "started")]
        if begun:
            await scene.happened("heal", times=len(begun))
        assert scene.left() == {"b": 2}
        assert len(clients.failed()) <= 2
        assert_within(scene, surge=2 if strategy == "rolling" else 3)


async def test_a_replica_that_is_being_checked_is_not_healed(tmp_path: Path) -> None:
    """A new replica that dies while a deployment checks it is not healed: the deployment fails."""
    # The old replicas must not be healed either, so a busy machine has time to answer for them.
    healing = msgspec.structs.replace(HEALING, liveness_timeout_seconds=60.0)
    patient = msgspec.structs.replace(POLICY, min_ready_seconds=3600.0, healing=healing)
    async with running_fleet(tmp_path, patient, version("a")) as scene, supervised(scene):

        async def kill() -> None:
            soak = await scene.happened("soak", "started")
            victim = next(one for one in scene.rollout.all() if one.id in soak.replicas)
            os.kill(victim.pid, signal.SIGKILL)

        async with asyncio.timeout(80), asyncio.TaskGroup() as group:
            group.create_task(kill())
            result = await scene.release("blue-green", version("a"), version("b"))
        assert result.outcome == "rolled_back"
        assert "heal" not in {event.verb for event in scene.events}
        assert scene.left() == {"a": 2}


async def test_a_replica_is_lost_while_weights_are_set(tmp_path: Path) -> None:
    """Weights under way are not refused because one that they name is just being replaced."""
    async with running_fleet(tmp_path, POLICY, version("a")) as scene, supervised(scene):
        router, (victim, other) = scene.balancer.router, scene.rollout.serving()
        weigh = router.weigh

        async def slowly(weights: Mapping[str, float]) -> None:
            router.weigh = weigh  # type: ignore[method-assign]
            os.kill(victim.pid, signal.SIGKILL)
            await scene.happened("heal", "started")
            for _ in range(20):  # whoever does not wait for us has taken it off the list by then
                await router.counts()
            await weigh(weights)

        router.weigh = slowly  # type: ignore[method-assign]
        await scene.rollout.attach([victim, other])
        await scene.happened("heal")
        assert [one.id for one in scene.rollout.serving()] == ["a-3", "a-2"]


async def test_a_replica_is_replaced_before_weights_are_set(tmp_path: Path) -> None:
    """Weights that were worked out for one that was replaced meanwhile go to its successor."""
    async with running_fleet(tmp_path, POLICY, version("a")) as scene, supervised(scene):
        router, victim = scene.balancer.router, scene.rollout.serving()[0]
        canary = await scene.rollout.start(version("b"), 1)
        await scene.rollout.wait_ready(canary)
        counts = router.counts

        async def slowly() -> Mapping[str, RequestCounts]:
            router.counts = counts  # type: ignore[method-assign]
            os.kill(victim.pid, signal.SIGKILL)
            await scene.happened("heal")
            return await counts()

        router.counts = slowly  # type: ignore[method-assign]
        await scene.rollout.weigh(canary, 20)
        shares = {one.replica.id: one.weight for one in scene.rollout.fleet}
        assert shares == {"a-4": 1.0, "a-2": 1.0, "b-3": 0.5}


@pytest.mark.parametrize("failures", [1, 4])
async def test_how_often_a_replica_may_fail_its_liveness_path(
    failures: int, tmp_path: Path
) -> None:
    """A hung replica is replaced after `liveness_failures` failed checks in a row, no fewer."""
    healing = Healing(
        liveness_interval_seconds=0.05, liveness_timeout_seconds=0.1, liveness_failures=failures
    )
    policy = msgspec.structs.replace(POLICY, healing=healing)
    async with running_fleet(tmp_path, policy, version("a")) as scene, supervised(scene):
        os.kill(scene.rollout.serving()[0].pid, signal.SIGSTOP)
        healed = await scene.happened("heal", "started")
        assert healed.detail["reason"] == f"it failed {failures} checks of /live in a row"
        await scene.happened("heal")


async def test_a_lost_replica_is_drained_while_it_is_replaced(tmp_path: Path) -> None:
    """Whoever drains a replica that is just being taken off the router's list is not refused."""
    async with running_fleet(tmp_path, POLICY, version("a")) as scene, supervised(scene):
        router, gone, go_on = scene.balancer.router, asyncio.Event(), asyncio.Event()
        remove = router.remove

        async def slowly(replica_id: str) -> None:
            await remove(replica_id)
            gone.set()
            await go_on.wait()

        router.remove = slowly  # type: ignore[method-assign]
        victim = scene.rollout.serving()[0]
        os.kill(victim.pid, signal.SIGKILL)
        await gone.wait()
        await scene.rollout.drain([victim])
        go_on.set()
        healed = await scene.happened("heal")
        router.remove = remove  # type: ignore[method-assign]
        # Somebody wants it to go: its place is not filled again.
        assert "successor" not in healed.detail
        assert [one.id for one in scene.rollout.serving()] == ["a-2"]


def assert_within(scene: RunningFleet, surge: int) -> None:
    """No more processes ran at any time than replicas and surge."""
    running: set[str] = {"a-1", "a-2"}
    for event in scene.events:
        if event.verb == "start" and event.state == "completed":
            running |= set(event.replicas)
        if (event.verb, event.state) in {("stop", "completed"), ("replica", "noted")}:
            running -= set(event.replicas)
        assert len(running) <= 2 + surge, (event, running)


async def test_a_crash_loop_takes_the_release_back(tmp_path: Path) -> None:
    """A version that dies again and again while it is deployed is condemned and rolled back."""
    dies = version("b", "--leak", "1024", "--memory", "2")
    healing = Healing(crash_loop=3, backoff_seconds=0.01, liveness_interval_seconds=0.1)
    policy = Policy(replicas=2, min_ready_seconds=0.0, scale_down_delay_seconds=0, healing=healing)
    async with running_fleet(tmp_path, policy, version("a")) as scene, supervised(scene):
        soak = scene.rollout.soak

        async def patient(*_: object) -> None:
            # Nobody looks at the new ones for longer than they live: only the supervisor does.
            await scene.rollout.control.wait_for_end()

        scene.rollout.soak = patient  # type: ignore[method-assign, assignment]
        clients = scene.clients()
        async with clients.sending(2):
            result = await scene.release("blue-green", version("a"), dies)
        scene.rollout.soak = soak  # type: ignore[method-assign]
        assert result.outcome == "rolled_back"
        assert "crash loop: 3 replicas of b died within 60 s; the limit is 2" in (
            result.reason or ""
        )
        assert scene.rollout.usable("a") == scene.rollout.serving()


async def test_scaling_up_and_down(tmp_path: Path) -> None:
    """A fleet scales up and down under traffic, and nobody notices."""
    async with running_fleet(tmp_path, POLICY, version("a")) as scene:
        clients = scene.clients()
        async with clients.sending(2):
            await scene.supervisor.scale(4, "a test")
            assert len(scene.rollout.serving()) == 4
            await clients.more(20)
            await scene.supervisor.scale(1, "a test")
            await clients.more(20)
        assert clients.failed() == []
        assert [one.id for one in scene.rollout.all()] == ["a-1"]


async def test_a_spike_brings_replicas_and_its_end_takes_them(tmp_path: Path) -> None:
    """The autoscaler follows the requests in flight, up at once and down after its delay."""
    scaling = Autoscaling(
        target=2, least=1, most=3, interval_seconds=0.1, scale_down_delay_seconds=0.3
    )
    policy = Policy(replicas=1, healing=HEALING, autoscaling=scaling)
    async with (
        running_fleet(tmp_path, policy, version("a", "--delay", "0.2")) as scene,
        supervised(scene),
    ):
        clients = scene.clients()
        async with clients.sending(8):
            while len(scene.rollout.serving()) < 3:
                await scene.happened("scale", times=scaled(scene) + 1)
        while len(scene.rollout.serving()) > 1:
            await scene.happened("scale", times=scaled(scene) + 1)
        assert clients.failed() == []
        first = next(one for one in scene.events if one.verb == "scale")
        assert "in flight on 1 replicas; the target is 2 each" in str(first.detail["reason"])


def scaled(scene: RunningFleet) -> int:
    return sum(one.verb == "scale" and one.state == "completed" for one in scene.events)


@given(some.integers(0, 500), some.integers(1, 20), some.integers(1, 20), some.integers(1, 20))
def test_what_the_autoscaler_wants(in_flight: int, replicas: int, least: int, most: int) -> None:
    """It stays within its bounds, and what it wants would bring each replica to its target."""
    if least > most:
        with pytest.raises(PolicyError, match="least <= most"):
            Autoscaling(target=5, least=least, most=most)
        return
    scaling = Autoscaling(target=5, least=least, most=most)
    count = desired_replicas(in_flight, replicas, scaling).replicas
    assert least <= count <= most
    if least < count < most and count != replicas:
        assert (count - 1) * 5 < in_flight <= count * 5
    if abs(in_flight / replicas / 5 - 1) <= 0.1:
        assert count == min(max(replicas, least), most)


def test_back_off() -> None:
    """The first replacement is at once, the next ones ever later, and old deaths are forgotten."""
    exits = CrashHistory(
        Healing(backoff_seconds=1, backoff_most_seconds=3, crash_window_seconds=10)
    )
    waits = []
    for second in range(4):
        exits.note("a", second)
        waits.append(exits.backoff("a"))
    assert waits == [0, 1, 2, 3]
    assert exits.verdict("a") is None
    exits.note("a", 4)
    assert exits.verdict("a") == "crash loop: 5 replicas of a died within 10 s; the limit is 4"
    exits.note("a", 60)
    assert (exits.backoff("a"), exits.verdict("a")) == (0, None)
    assert exits.backoff("b") == 0


class Scaled:
    """A fleet in memory whose replicas all have so many requests in flight, and its autoscaler."""

    def __init__(self, delay: float) -> None:
        scaling = Autoscaling(
            target=2, least=1, most=4, interval_seconds=0.001, scale_down_delay_seconds=delay
        )
        self.bench = RolloutBench(policy_of({"replicas": 2, "autoscaling": scaling}))
        self.each, self.looks, self.error = 2, 0, ""
        world = self.bench.world

        async def counts() -> Mapping[str, RequestCounts]:
            self.looks += 1
            if self.error:
                raise RouterError(self.error)
            return {name: RequestCounts(in_flight=self.each) for name in world.running}

        world.counts = counts  # type: ignore[method-assign]

    async def bring_up(self) -> None:
        """Let its replicas serve."""
        await bring_up(self.bench.rollout, Version(name="a", command=("a",)))

    @asynccontextmanager
    async def running(self, *, serves: bool = True) -> AsyncIterator[None]:
        if serves:
            await self.bring_up()
        supervisor = Supervisor(self.bench.rollout, self.bench.world, self.bench.world)
        task = asyncio.ensure_future(supervisor.run())
        try:
            async with asyncio.timeout(60):
                yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def looked(self, times: int = 20) -> None:
        """Wait until the autoscaler has looked so often."""
        wanted = self.looks + times
        while self.looks < wanted:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)

    @property
    def serving(self) -> int:
        return len(self.bench.rollout.serving())


async def test_a_fleet_shrinks_only_after_its_delay() -> None:
    """A load that has just fallen takes no replica away; one that stays low does."""
    patient, eager = Scaled(delay=3600.0), Scaled(delay=0.0)
    for scaled in (patient, eager):
        async with scaled.running():
            await scaled.looked()
            assert scaled.serving == 2
            scaled.each = 0
            await scaled.looked()
            if scaled is eager:
                while scaled.serving > 1:
                    await scaled.looked(1)
            assert scaled.serving == (2 if scaled is patient else 1)


async def test_a_fleet_of_which_nobody_serves_is_not_scaled() -> None:
    """While no replica serves, nobody can say how many are needed; afterwards the fleet scales."""
    scaled = Scaled(delay=0.0)
    async with scaled.running(serves=False):
        await scaled.looked()
        assert scaled.serving == 0
        await scaled.bring_up()
        scaled.each = 9
        while scaled.serving < 4:
            await scaled.looked(1)


async def test_a_fleet_does_not_scale_amid_a_deployment() -> None:
    """A strategy counts its replicas, so their number stays as it is until the deployment ends."""
    scaled = Scaled(delay=0.0)
    async with scaled.running():
        with scaled.bench.rollout.control.release(), scaled.bench.rollout.control.deployment("b"):
            scaled.each = 9
            looks = scaled.looks
            await asyncio.sleep(0.05)
            assert (scaled.serving, scaled.looks - looks <= 1) == (2, True)
        while scaled.serving < 4:
            await scaled.looked(1)


async def test_a_router_that_does_not_answer_is_asked_again() -> None:
    """A router that is gone for a moment is noted, and scaling goes on when it is back."""
    scaled = Scaled(delay=0.0)
    async with scaled.running():
        scaled.error = "no answer"
        await scaled.looked(3)
        scaled.error, scaled.each = "", 9
        while scaled.serving < 4:
            await scaled.looked(1)
    noted = [one.error for one in scaled.bench.events if one.verb == "scale" and one.error]
    assert noted[:3] == ["no answer"] * 3


async def test_a_fleet_that_cannot_grow_serves_on() -> None:
    """New replicas that are not admitted are stopped again; those that serve stay."""
    scaled = Scaled(delay=0.0)
    async with scaled.running():
        world, wait_up = scaled.bench.world, scaled.bench.world.wait_up

        async def refuse(ids: Collection[str]) -> None:
            await wait_up(ids)
            raise RouterError("not admitted")

        world.wait_up = refuse  # type: ignore[method-assign]
        scaled.each = 9
        while not any(one.verb == "scale" and one.state == "noted" for one in scaled.bench.events):
            await scaled.looked(1)
        scaled.each = 2
        world.wait_up = wait_up  # type: ignore[method-assign]
        await scaled.looked()
        assert scaled.bench.versions() == {"a": scaled.serving}
        assert scaled.serving >= 2
    assert scaled.bench.rollout.policy.replicas == scaled.serving
