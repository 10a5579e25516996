"""People pause, promote, abort, retry and undo; the users notice nothing."""

import asyncio
from pathlib import Path

import pytest

from orchestrator.control_socket import (
    ControlSocketError,
    send_command,
    serve_control_socket,
)
from orchestrator.errors import RolloutFailed
from orchestrator.journal import Journal
from orchestrator.model import Deploy, JournalEvent, Migrate, Release, Version
from orchestrator.policy import CanaryStep, Criteria, Policy
from orchestrator.release import ReleaseRun
from orchestrator.rollout_control import ControlError, RolloutControl
from orchestrator.strategies import STRATEGIES
from tests.support.in_memory import B, RolloutBench, policy_of
from tests.support.orchestrator import NoMigrator, RunningFleet, running_fleet

POLICY = Policy(
    replicas=2,
    min_ready_seconds=0.0,
    canary_soak_seconds=0.05,
    canary_steps=(25, 50, CanaryStep(pause="promoted"), 100),
    analysis=Criteria(patience_seconds=0.0),
)


def version(name: str, *options: str) -> Version:
    return Version(
        name=name,
        command=(
            *("{python}", "-m", "scenarios.subjects.service"),
            *("--version", "{version}", "--port", "{port}", *options),
        ),
    )


def running(scene: RunningFleet, strategy: str, *new: Version) -> ReleaseRun:
    steps = tuple(Deploy(version=one) for one in new)
    release = Release(name="r", start=version("a"), steps=steps)
    return ReleaseRun(release, scene.rollout, STRATEGIES[strategy], NoMigrator())


async def test_abort_goes_back_at_the_pace_it_came(tmp_path: Path) -> None:
    """An aborted canary loses its traffic step by step, and is drained before it is stopped."""
    async with running_fleet(tmp_path, POLICY, version("a")) as scene:
        clients = scene.clients()
        run = running(scene, "canary", version("b"))
        async with clients.sending(2), asyncio.TaskGroup() as group:
            task = group.create_task(run.run())
            await scene.happened("pause", "started", times=3)
            scene.rollout.control.abort()
            result = await task
        assert (result.outcome, result.reason) == ("aborted", "deploy b: aborted on request")
        shares = [
            event.detail["shares"]
            for event in scene.events
            if event.verb in ("weigh", "switch") and event.state == "completed"
        ]
        assert shares == [
            {"a": 75, "b": 25},
            {"a": 50, "b": 50},
            {"a": 75, "b": 25},
            {"a": 100, "b": 0},
        ]
        assert clients.failed() == []
        assert scene.left() == {"a": 2}


async def test_pause_promote_full_retry_and_undo(tmp_path: Path) -> None:
    """A paused rollout stands still; promoted in full it skips what waits; it can be undone."""
    async with running_fleet(tmp_path, POLICY, version("a")) as scene:
        control, clients = scene.rollout.control, scene.clients()
        run = running(scene, "canary", version("b"))
        async with clients.sending(2), asyncio.TaskGroup() as group:
            with pytest.raises(ControlError, match="no release is under way"):
                control.pause()
            task = group.create_task(run.run())
            await scene.happened("weigh", "started")
            control.pause()
            assert control.status() == "deploying b, paused"
            await scene.happened("weigh", "completed")
            await clients.more(20)
            assert scene.events[-1].verb == "weigh"  # nothing more has begun
            control.resume()
            await scene.happened("pause", "started", times=3)
            control.promote_full()
            assert (await task).outcome == "completed"
            task = group.create_task(run.undo())
            await scene.happened("pause", "started", times=4)
            control.promote_full()
            assert (await task).outcome == "completed"
            assert {one.version for one in scene.rollout.serving()} == {"a"}
        assert clients.failed() == []


async def test_a_failed_release_is_retried(tmp_path: Path) -> None:
    """What failed once can be tried again: the steps that were done are not done again."""
    flag = tmp_path / "flag"
    program = f"import os, sys; sys.exit(0 if os.path.exists({str(flag)!r}) else 3)"
    hook = ("python3", "-c", program)
    policy = Policy(replicas=1, min_ready_seconds=0.0, hooks={"before_switch": hook})
    async with running_fleet(tmp_path, policy, version("a")) as scene:
        run = running(scene, "blue-green", version("b"))
        first = await run.run()
        assert first.outcome == "rolled_back"
        flag.touch()
        assert (await run.retry()).outcome == "completed"
        assert scene.left() == {"b": 1}


def test_only_the_version_that_is_deployed_fails_its_deployment() -> None:
    """A crash loop of another version does not end the deployment under way."""
    control = RolloutControl()
    with control.release(), control.deployment("b"):
        control.fail_deployment("a", "a dies")
        asyncio.run(control.checkpoint())
        control.fail_deployment("b", "b dies")
        with pytest.raises(RolloutFailed, match="b dies"):
            asyncio.run(control.checkpoint())


def test_a_service_that_keeps_dying_fails_its_deployment() -> None:
    """People read what is deployed, and replicas are known by their version."""
    control = RolloutControl()
    with control.release(), control.deployment("prices v2", ["v2"]):
        assert control.status() == "deploying prices v2"
        control.fail_deployment("v2", "prices-v2-3 dies")
        with pytest.raises(RolloutFailed, match="prices-v2-3 dies"):
            asyncio.run(control.checkpoint())


async def test_promoted_in_full_skips_the_analysis(tmp_path: Path) -> None:
    """After `promote-full` no further sample is waited for: the canary is not judged."""
    patient = Policy(
        replicas=1,
        min_ready_seconds=0.0,
        canary_steps=(CanaryStep(weight=50), CanaryStep(pause="promoted"), 100),
        canary_soak_seconds=0.0,
        analysis=Criteria(patience_seconds=3600.0, on_inconclusive="fail"),
    )
    async with running_fleet(tmp_path, patient, version("a")) as scene:
        run = running(scene, "canary", version("b"))
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            task = group.create_task(run.run())
            await scene.happened("pause", "started")
            scene.rollout.control.promote_full()
        assert task.result().outcome == "completed"
        assert "analyse" not in {event.verb for event in scene.events}


async def test_the_control_socket(tmp_path: Path) -> None:
    """Another process sends commands to a socket; a refusal or a missing run is one clear line."""
    control = RolloutControl()
    path = tmp_path / "control.sock"

    def handle(command: str) -> str:
        return {"pause": control.pause, "status": control.status}[command]()

    async with serve_control_socket(path, handle):
        assert (await send_command(path, "status")).message == "no release is under way"
        refused = await send_command(path, "pause")
        assert (refused.ok, refused.message) == (False, "no release is under way")
        with control.release():
            assert (await send_command(path, "pause")).ok
            assert (await send_command(path, "status")).message == "between deployments, paused"
    with pytest.raises(ControlSocketError, match="does not answer"):
        await send_command(path, "status")


@pytest.mark.parametrize("word", ["pause", "abort"])
async def test_no_migration_begins_after_a_word(word: str) -> None:
    """A pause or an abort between two steps keeps back the migration that comes next."""
    bench = RolloutBench(policy_of({}))
    told = bench.events.append
    migration = Migrate(directory=Path("expand"))

    def hear(event: JournalEvent) -> None:
        told(event)
        if event.verb == "step" and event.detail == {"done": 1}:
            getattr(bench.rollout.control, word)()

    bench.rollout.journal = Journal(listeners=[hear])
    task = asyncio.ensure_future(bench.release("rolling", Deploy(version=B), migration))
    while not any(event.verb == "step" for event in bench.events):  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0)
    for _ in range(1000):  # far more turns of the loop than it takes
        await asyncio.sleep(0)
    assert "migrate" not in {event.verb for event in bench.events}
    if word == "pause":
        assert not task.done()
        bench.rollout.control.resume()
    result = (await task).result
    assert result is not None
    assert (result.outcome, "migrate" in {event.verb for event in bench.events}) == (
        ("completed", True) if word == "pause" else ("aborted", False)
    )
    assert bench.versions() == {"b": 3}
