"""Hooks run at their verbs, know the rollout's state, and stop what may be stopped."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from orchestrator.errors import RolloutFailed
from orchestrator.journal import Journal
from orchestrator.model import Deploy, Migrate, MigrateDown, Release, Step, Version
from orchestrator.policy import HOOKED, Policy
from orchestrator.release import ReleaseRun, bring_up
from orchestrator.rollout import Rollout
from orchestrator.strategies import STRATEGIES
from tests.orchestrator.test_migrate_down import Oracle
from tests.support.in_memory import RolloutBench, policy_of

A, B = (Version(name=name, command=(name,), readiness_path="/ready") for name in "ab")
UP = Migrate(directory=Path("expand"))


class Recorded:
    """Hooks that remember what they were told, and fail where they are asked to."""

    def __init__(self, *failing: str) -> None:
        self.told: list[Mapping[str, str]] = []
        self._failing = failing

    async def run(
        self,
        name: str,
        command: Sequence[str],
        state: Mapping[str, str],
        timeout: float,  # noqa: ASYNC109 - the port's
    ) -> None:
        assert list(command) == ["run", name]
        assert timeout == 7.0
        self.told.append(state)
        if name in self._failing:
            raise RolloutFailed(f"hook {name} says no")

    @property
    def names(self) -> list[str]:
        return [state["HITLESS_HOOK"] for state in self.told]


class Bench(RolloutBench):
    """A fleet in memory whose policy has a hook before and after each verb."""

    def __init__(self, hooks: Recorded, *names: str) -> None:
        super().__init__(Policy())
        wanted = names or tuple(f"{when}_{verb}" for verb in HOOKED for when in ("before", "after"))
        self.policy = policy_of(
            {
                "replicas": 2,
                "hooks": {name: ("run", name) for name in wanted},
                "hook_timeout_seconds": 7.0,
            }
        )
        journal = Journal(listeners=[self.events.append])
        self.rollout = Rollout(self.world, self.world, journal, self.policy, hooks=hooks)

    async def go(self, strategy: str, *steps: Step) -> ReleaseRun:
        await bring_up(self.rollout, A)
        run = ReleaseRun(
            Release(name="r", start=A, steps=steps),
            self.rollout,
            STRATEGIES[strategy],
            self.world,
            rehearsal=Oracle({}),
        )
        await run.run()
        return run


async def test_each_verb_has_its_hooks() -> None:
    """Before and after each verb of a release, in order, and none while a fleet is brought up."""
    hooks = Recorded()
    bench = Bench(hooks)
    run = await bench.go("blue-green", UP, Deploy(version=B))
    assert run.result is not None
    assert (run.result.outcome, run.result.reason) == ("completed", None)
    assert hooks.names == [
        *("before_migrate", "after_migrate", "before_deploy"),
        *("before_start", "after_start", "before_wait_ready", "after_wait_ready"),
        *("before_switch", "after_switch", "before_soak", "after_soak"),
        *("before_drain", "after_drain", "before_stop", "after_stop", "after_deploy"),
    ]
    journalled = [event.detail["name"] for event in bench.events if event.verb == "hook"]
    assert journalled[::2] == hooks.names


async def test_a_hook_knows_the_state() -> None:
    """The version and the replicas of its verb, who serves, and each version's share."""
    hooks = Recorded()
    await Bench(hooks, "before_switch", "after_switch", "before_start").go(
        "blue-green", Deploy(version=B)
    )
    start, before, after = hooks.told
    assert start["HITLESS_VERSION"] == "b"
    assert before["HITLESS_VERSION"] == after["HITLESS_VERSION"] == "b"
    assert start["HITLESS_REPLICAS"] == before["HITLESS_REPLICAS"] == "b-3 b-4"
    assert (before["HITLESS_SERVING"], after["HITLESS_SERVING"]) == ("a-1 a-2", "b-3 b-4")
    assert before["HITLESS_SHARES"] == '{"a":100.0,"b":0.0}'
    assert after["HITLESS_SHARES"] == '{"a":0.0,"b":100.0}'


@pytest.mark.parametrize("name", ["before_migrate", "after_migrate"])
async def test_a_hook_can_stop_a_migration(name: str) -> None:
    """A hook that fails fails the release at its migration; what serves serves on."""
    hooks = Recorded(name)
    bench = Bench(hooks)
    run = await bench.go("rolling", UP, Deploy(version=B))
    assert run.result is not None
    assert (run.result.outcome, run.result.reason) == (
        "failed",
        f"migration: hook {name} says no",
    )
    migrated = [event.state for event in bench.events if event.verb == "migrate"]
    assert migrated == ([] if name == "before_migrate" else ["started", "completed"])
    assert bench.versions() == {"a": 2}


@pytest.mark.parametrize("name", ["before_migrate", "after_migrate"])
async def test_a_hook_can_stop_a_migration_back(name: str) -> None:
    """The same where a migration is taken back."""
    bench = Bench(Recorded(name), name)
    run = await bench.go("rolling", MigrateDown(what=UP))
    assert run.result is not None
    assert (run.result.outcome, run.result.reason) == (
        "failed",
        f"migrate down: hook {name} says no",
    )


async def test_a_hook_cannot_stop_a_rollback() -> None:
    """On the way back the same hooks run, and what they say is only recorded."""
    hooks = Recorded("before_drain", "before_stop", "before_rollback")
    bench = Bench(hooks)
    run = await bench.go("rolling", Deploy(version=B))
    assert run.result is not None
    assert (run.result.outcome, run.result.reason) == (
        "rolled_back",
        "deploy b: hook before_drain says no",
    )
    assert bench.versions() == {"a": 2}
    assert "before_rollback" in hooks.names
    failed = [
        event.detail["name"] for event in bench.events if event.error and event.verb == "hook"
    ]
    assert failed == ["before_drain", "before_rollback", "before_drain", "before_stop"]


async def test_nothing_that_heals_runs_a_hook() -> None:
    """What happens beside a release, such as bringing replicas up, asks no hook."""
    hooks = Recorded("before_start", "before_stop")
    bench = Bench(hooks)
    await bring_up(bench.rollout, A)
    await bench.rollout.stop(bench.rollout.all())
    assert hooks.told == []
