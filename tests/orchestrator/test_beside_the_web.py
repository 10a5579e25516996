"""A release deploys what runs beside the web in its place, and takes all of it back together."""

from collections import Counter
from collections.abc import Sequence

import pytest

from orchestrator.errors import PlatformError
from orchestrator.journal import SetJournal
from orchestrator.model import Deploy, Release, ReleaseResult, Replica, Version
from orchestrator.process_sets import Place, ProcessSet
from orchestrator.release import ReleaseRun, bring_up
from orchestrator.rollout import Rollout
from orchestrator.strategies import STRATEGIES
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
