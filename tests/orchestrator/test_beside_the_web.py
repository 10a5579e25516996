"""A release deploys what runs beside the web in its place, and takes all of it back together."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest

from orchestrator.errors import PlatformError, RolloutFailed
from orchestrator.interfaces import ReplicaExit
from orchestrator.journal import SetJournal
from orchestrator.model import (
    Deploy,
    DeployServices,
    Release,
    ReleaseResult,
    Replica,
    Step,
    Version,
)
from orchestrator.policy import Healing
from orchestrator.process_sets import Place, ProcessSet
from orchestrator.release import ReleaseRun, bring_up
from orchestrator.rollout import Rollout
from orchestrator.strategies import STRATEGIES
from orchestrator.supervisor import Supervisor
from tests.support.in_memory import InMemoryFleet, RolloutBench, assert_ordered, policy_of

A = Version(name="a", command=("a",))
B = Version(name="b", command=("b",))


class Sick(InMemoryFleet):
    """A platform that cannot start version B."""

    async def start(self, version: Version, replica_id: str) -> Replica:
        if version.name == "b":
            raise PlatformError("no b here")
        return await super().start(version, replica_id)


class Scene:
    """A web and sets of processes, all in memory, with one journal."""

    def __init__(self, places: Sequence[Place], *, sick: Place | None = None) -> None:
        self.web = RolloutBench(policy_of({}))
        self.sets = [self._set(place, sick=place == sick) for place in places]

    def _set(self, place: Place, *, sick: bool) -> ProcessSet:
        world = Sick() if sick else InMemoryFleet()
        journal = SetJournal(self.web.rollout.journal, place, in_turn=place != "with")
        rollout = Rollout(world, world, journal, policy_of({"replicas": 2}), prefix=f"{place}-")
        rollout.control = self.web.rollout.control
        return ProcessSet(
            name=place,
            place=place,
            rollout=rollout,
            strategy=STRATEGIES["rolling"],
            versions={"a": A, "b": B},
        )

    async def release(self) -> ReleaseResult:
        await bring_up(self.web.rollout, A)
        for one in self.sets:
            await one.bring_up("a")
        release = Release(name="r", start=A, steps=(Deploy(version=B),))
        run = ReleaseRun(
            release,
            self.web.rollout,
            STRATEGIES["rolling"],
            self.web.world,
            beside=self.sets,
        )
        return await run.run()

    def versions(self) -> dict[str, Counter[str]]:
        found = {one.name: Counter(each.version for each in one.rollout.all()) for one in self.sets}
        return {"web": self.web.versions(), **found}

    def deployments(self) -> list[str]:
        """Whose new processes came, in order."""
        verbs = [
            one
            for one in self.web.events
            if one.verb in ("start", "stop") and one.state == "completed" and one.version == "b"
        ]
        return list(dict.fromkeys(str(one.detail.get("processes", "web")) for one in verbs))


async def test_each_set_is_deployed_in_its_place() -> None:
    """What comes before the web is complete before the web begins, and what comes after waits."""
    scene = Scene(["after", "before"])
    assert (await scene.release()).outcome == "completed"
    assert scene.deployments() == ["before", "web", "after"]
    assert scene.versions() == {"web": {"b": 3}, "after": {"b": 2}, "before": {"b": 2}}
    assert_ordered(scene.web.events)


async def test_a_set_with_the_web_goes_at_the_same_time() -> None:
    """Neither waits for the other, and the floor of the release counts the web alone."""
    scene = Scene(["with"])
    result = await scene.release()
    assert result.outcome == "completed"
    assert scene.versions() == {"web": {"b": 3}, "with": {"b": 2}}
    assert result.floor_seconds <= result.seconds
    assert_ordered(scene.web.events)


@pytest.mark.parametrize("place", ["before", "with", "after"])
async def test_a_set_that_cannot_be_deployed_takes_everything_back(place: Place) -> None:
    """The web and the other sets have the version before again, whichever of them was sick."""
    scene = Scene(["before", "with", "after"], sick=place)
    result = await scene.release()
    assert (result.outcome, result.reason) == ("rolled_back", "deploy b: no b here")
    assert scene.versions() == {
        "web": {"a": 3},
        "before": {"a": 2},
        "with": {"a": 2},
        "after": {"a": 2},
    }


class Services(Scene):
    """A web and two services, `stock` and `prices`, all in memory, with one journal."""

    def __init__(self, *, sick: str = "") -> None:
        super().__init__([])
        self.worlds = {
            name: Sick() if name == sick else InMemoryFleet() for name in ("stock", "prices")
        }
        self.sets = [self._service(name, world) for name, world in self.worlds.items()]

    def _service(self, name: str, world: InMemoryFleet) -> ProcessSet:
        journal = SetJournal(self.web.rollout.journal, name, in_turn=True)
        policy = policy_of({"replicas": 2, "healing": Healing(crash_loop=1)})
        rollout = Rollout(world, world, journal, policy, prefix=f"{name}-")
        rollout.control = self.web.rollout.control
        return ProcessSet(
            name=name,
            place=None,
            rollout=rollout,
            strategy=STRATEGIES["rolling"],
            versions={"a": A, "b": B},
            start="a",
        )

    async def release(self, *steps: Step) -> ReleaseResult:  # type: ignore[override]
        await bring_up(self.web.rollout, A)
        for one in self.sets:
            await one.bring_up("a")
        run = ReleaseRun(
            Release(name="r", start=A, steps=steps),
            self.web.rollout,
            STRATEGIES["rolling"],
            self.web.world,
            beside=self.sets,
        )
        return await run.run()


async def test_a_step_deploys_only_the_services_that_it_names() -> None:
    """The web and the other service keep their versions and their replicas."""
    scene = Services()
    result = await scene.release(DeployServices(services={"prices": "b"}))
    assert (result.outcome, result.versions) == ("completed", ("a",))
    assert scene.versions() == {"web": {"a": 3}, "stock": {"a": 2}, "prices": {"b": 2}}
    assert scene.deployments() == ["prices"]
    assert_ordered(scene.web.events)


async def test_services_can_go_together_with_the_web() -> None:
    """All of one step are deployed at the same time."""
    scene = Services()
    both = Deploy(version=B, services={"prices": "b", "stock": "b"})
    assert (await scene.release(both)).outcome == "completed"
    assert scene.versions() == {"web": {"b": 3}, "stock": {"b": 2}, "prices": {"b": 2}}


@pytest.mark.parametrize("together", [True, False])
async def test_a_service_that_cannot_be_deployed_takes_its_step_back(*, together: bool) -> None:
    """Everything of the step has its version before again; an earlier step stays."""
    scene = Services(sick="prices")
    last: Step = Deploy(version=B, services={"prices": "b"})
    if not together:
        last = DeployServices(services={"prices": "b"})
    result = await scene.release(DeployServices(services={"stock": "b"}), last)
    assert result.outcome == "rolled_back"
    assert "no b here" in str(result.reason)
    assert scene.versions() == {"web": {"a": 3}, "stock": {"b": 2}, "prices": {"a": 2}}


async def test_a_service_that_dies_fails_no_deployment_but_its_own() -> None:
    """Also where the web's new version has the same name as the one that the service runs."""
    scene = Services()
    control, world, (_, prices) = scene.web.rollout.control, scene.worlds["prices"], scene.sets
    supervisor = Supervisor(prices.rollout, world, world)

    def kill_one() -> None:
        victim = prices.rollout.serving()[0]
        world.running.pop(victim.id).set()
        supervisor.exited(victim, ReplicaExit("was killed"))

    start = scene.web.world.start

    async def kill_meanwhile(version: Version, replica_id: str) -> Replica:
        if replica_id == "b-4":
            kill_one()
        return await start(version, replica_id)

    scene.web.world.start = kill_meanwhile  # type: ignore[method-assign]
    healing = asyncio.ensure_future(supervisor.run())
    try:
        steps = DeployServices(services={"prices": "b"}), Deploy(version=B)
        assert (await scene.release(*steps)).outcome == "completed"
        told = [one for one in scene.web.events if one.verb == "heal" and one.error]
        assert [one.error for one in told] == [
            "crash loop: 1 replicas of prices-b died within 60 s; the limit is 0"
        ]
        with control.release(), control.deployment("prices b", ["prices-b"]):
            kill_one()
            async with asyncio.timeout(60):
                with pytest.raises(RolloutFailed, match="replicas of prices-b died"):
                    await control.wait_for_end()
    finally:
        healing.cancel()
        await asyncio.wait([healing])
