"""Each knob on real processes: what would happen if it were ignored does not."""

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from orchestrator.model import JournalEvent, Version
from orchestrator.policy import CanaryStep, Criteria, Policy, Preview
from tests.support.orchestrator import RunningFleet, running_fleet

QUICK = {"min_ready_seconds": 0.0, "canary_soak_seconds": 0.1}
EAGER = Criteria(patience_seconds=0.0)


def version(name: str, *options: str, **rest: object) -> Version:
    return Version(
        name=name,
        command=(
            *("{python}", "-m", "scenarios.subjects.service"),
            *("--version", "{version}", "--port", "{port}", *options),
        ),
        **rest,  # type: ignore[arg-type]
    )


def policy(**knobs: object) -> Policy:
    return Policy(**{"replicas": 1, "analysis": EAGER} | QUICK | knobs)  # type: ignore[arg-type]


def ended(scene: RunningFleet, verb: str) -> list[JournalEvent]:
    return [one for one in scene.events if one.verb == verb and one.state == "completed"]


def counts(events: Sequence[JournalEvent], first: set[str]) -> tuple[int, int]:
    """The most replicas that ran, and the fewest that had traffic, by the journal alone."""
    running, serving = set(first), set(first)
    most, fewest = len(running), len(serving)
    for event in events:
        about = set(event.replicas)
        match event.verb, event.state:
            case "start", "started":
                running |= about
            case "stop", "completed":
                running -= about
            case "attach", "completed":
                serving |= about
            case "drain", "started":
                serving -= about
        most, fewest = max(most, len(running)), min(fewest, len(serving))
    return most, fewest


@pytest.mark.parametrize(
    ("surge", "unavailable", "most", "fewest"),
    [("25%", 0, 4, 3), (0, "50%", 3, 2), ("100%", "25%", 6, 3)],
)
async def test_surge_and_unavailable(
    surge: int | str, unavailable: int | str, most: int, fewest: int, tmp_path: Path
) -> None:
    """`max_surge` (rounded up) and `max_unavailable` (rounded down) bound the fleet throughout."""
    knobs = policy(replicas=3, max_surge=surge, max_unavailable=unavailable)
    async with running_fleet(tmp_path, knobs, version("a")) as scene:
        result = await scene.release("rolling", version("a"), version("b"))
        assert counts(scene.events, {"a-1", "a-2", "a-3"}) == (most, fewest)
        assert scene.left() == {"b": 3}
    assert result.outcome == "completed"


@pytest.mark.parametrize("in_turn", [True, False])
async def test_the_first_replicas_start_in_turn(tmp_path: Path, *, in_turn: bool) -> None:
    """With `start_in_turn` each first replica starts once the one before is ready."""
    slow = version("a", "--start-seconds", "0.2")
    knobs = policy(replicas=3, start_in_turn=in_turn)
    async with running_fleet(tmp_path, knobs, slow):
        lines = (tmp_path / "events.ndjson").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    steps = [
        (one["verb"], tuple(one["replicas"]))
        for one in events
        if (one["verb"], one["state"]) in (("start", "started"), ("wait_ready", "completed"))
    ]
    each = [("a-1",), ("a-2",), ("a-3",)] if in_turn else [("a-1", "a-2", "a-3")]
    assert steps == [(verb, names) for names in each for verb in ("start", "wait_ready")]


async def test_deadline_and_minimum(tmp_path: Path) -> None:
    """`progress_deadline_seconds` ends the wait; `min_ready_seconds` is kept for each replica."""
    knobs = policy(min_ready_seconds=0.4, progress_deadline_seconds=5)
    never = version("c", "--start-seconds", "3600")
    async with running_fleet(tmp_path, knobs, version("a")) as scene:
        assert (await scene.release("rolling", version("a"), version("b"))).outcome == "completed"
        assert all((event.seconds or 0) >= 0.4 for event in ended(scene, "soak"))
        quick = policy(min_ready_seconds=0.4, progress_deadline_seconds=0.5)
        scene.rollout.policy = quick
        result = await scene.release("rolling", version("b"), never)
        assert result.outcome == "rolled_back"
        assert "deploy c: not ready within 0.5 s" in (result.reason or "")


async def test_drain_and_grace(tmp_path: Path) -> None:
    """`drain_timeout_seconds` ends a drain, and `termination_grace_seconds` ends in a kill."""
    knobs = policy(drain_timeout_seconds=0.2)
    stubborn = version("a", "--delay", "3600", "--deaf", termination_grace_seconds=0.2)
    async with running_fleet(tmp_path, knobs, stubborn) as scene:
        clients = scene.clients()
        async with clients.sending(1), asyncio.timeout(60):
            while (await scene.balancer.router.counts())["a-1"].in_flight == 0:  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.01)
            result = await scene.release("blue-green", stubborn, version("b"))
        assert result.outcome == "completed"
        (drain,) = ended(scene, "drain")
        assert (drain.seconds or 0) >= 0.2
        assert clients.failed() == []  # the balancer tries what was cut elsewhere
        assert [event.detail["killed"] for event in ended(scene, "stop")] == [["a-1"]]


async def test_readiness_is_a_gate_of_its_own(tmp_path: Path) -> None:
    """A replica that says that it is not ready is not shown to the balancer, however healthy."""
    unready = version("b", "--unready", readiness_path="/ready")
    async with running_fleet(
        tmp_path, policy(progress_deadline_seconds=1.0), version("a")
    ) as scene:
        result = await scene.release("rolling", version("a"), unready)
        assert result.outcome == "rolled_back"
        assert "b-2 (it answered GET /ready with 503: b)" in (result.reason or "")
        assert [e.seconds for e in scene.events if e.verb == "attach"] == []
    deadlines = [
        e.floor_seconds for e in scene.events if (e.verb, e.state) == ("wait_ready", "failed")
    ]
    assert deadlines == [1.0]  # the policy asked for it, so it is in the floor


async def test_preview(tmp_path: Path) -> None:
    """A set that does not answer its preview gets no traffic, and nobody sees it."""
    knobs = policy(preview=Preview(paths=("/",), requests=40))
    async with running_fleet(tmp_path, knobs, version("a")) as scene:
        clients = scene.clients()
        async with clients.sending(1):
            result = await scene.release(
                "blue-green", version("a"), version("b", "--fail-rate", "0.5")
            )
        assert result.outcome == "rolled_back"
        assert "of 40 requests failed; the limit is 0" in (result.reason or "")
        assert clients.failed() == []
        assert set(clients.served()) == {"a"}


async def test_promotion(tmp_path: Path) -> None:
    """Without `auto_promotion` the switch waits for somebody; the old set stays for its delay."""
    knobs = policy(auto_promotion=False, scale_down_delay_seconds=0.3)
    async with running_fleet(tmp_path, knobs, version("a")) as scene:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(scene.release("blue-green", version("a"), version("b")))
            await scene.happened("pause", "started")
            assert scene.rollout.control.status().endswith("the switch waits for a promotion")
            assert {one.version for one in scene.rollout.serving()} == {"a"}
            scene.rollout.control.promote()
        assert task.result().outcome == "completed"
        first, second = ended(scene, "pause")
        assert (first.detail["promoted"], second.detail["promoted"]) == (True, False)
        assert (second.seconds or 0) >= 0.3
        drain = next(e for e in scene.events if e.verb == "drain")
        assert drain.at_ns >= second.at_ns
        scene.rollout.policy = policy(auto_promotion_seconds=0.2)
        await scene.release("blue-green", version("b"), version("c"))
        assert [e.detail["promoted"] for e in ended(scene, "pause")] == [True, False, False]


async def test_canary_steps(tmp_path: Path) -> None:
    """Steps are followed in order: weights, a timed pause, one that waits, an analysis."""
    steps = (
        CanaryStep(weight=20),
        CanaryStep(pause=0.1),
        CanaryStep(analysis=True),
        CanaryStep(weight=60),
        CanaryStep(pause="promoted"),
        CanaryStep(weight=100),
    )
    async with running_fleet(
        tmp_path, policy(replicas=2, canary_steps=steps), version("a")
    ) as scene:
        async with asyncio.TaskGroup() as group:
            group.create_task(scene.release("canary", version("a"), version("b")))
            await scene.happened("pause", "started", times=2)
            scene.rollout.control.promote()
        done = [e.verb for e in scene.events if e.state == "completed"]
        chosen = [verb for verb in done if verb in ("weigh", "pause", "analyse")]
        assert chosen == ["weigh", "pause", "analyse", "weigh", "pause", "weigh"]
        shares = [event.detail["shares"] for event in ended(scene, "weigh")]
        assert shares == [{"a": 80, "b": 20}, {"a": 40, "b": 60}, {"a": 0, "b": 100}]


async def test_numbers_are_short_for_steps(tmp_path: Path) -> None:
    """A number is a weight, a pause of `canary_soak_seconds`, and an analysis that has patience."""
    knobs = policy(
        replicas=1,
        canary_steps=(50, 100),
        canary_soak_seconds=0.3,
        analysis=Criteria(patience_seconds=0.4),
    )
    async with running_fleet(tmp_path, knobs, version("a")) as scene:
        await scene.release("canary", version("a"), version("b"))
        done = [e.verb for e in scene.events if e.state == "completed"]
        chosen = [verb for verb in done if verb in ("weigh", "pause", "analyse")]
        assert chosen == ["weigh", "pause", "analyse"] * 2
        assert [event.detail["lasts_seconds"] for event in ended(scene, "pause")] == [0.3, 0.3]
        assert all((event.seconds or 0) >= 0.3 for event in ended(scene, "pause"))
        # Nobody sends anything, so each of them waits for its sample as long as it may.
        assert all((event.seconds or 0) >= 0.4 for event in ended(scene, "analyse"))


async def test_a_fresh_baseline(tmp_path: Path) -> None:
    """With `against = baseline` the canary has a twin of the old version, with the same share."""
    knobs = policy(
        replicas=2,
        canary_steps=(25, 100),
        analysis=Criteria(against="baseline", minimum_requests=10),
    )
    async with running_fleet(tmp_path, knobs, version("a")) as scene:
        clients = scene.clients()
        async with clients.sending(3):
            result = await scene.release("canary", version("a"), version("b"))
        assert (result.outcome, result.reason) == ("completed", None)
        starts = [event.replicas for event in ended(scene, "start")]
        assert starts[:2] == [("b-3",), ("a-4",)]
        assert ended(scene, "weigh")[0].detail["shares"] == {"a": 75, "b": 25}
        assert clients.failed() == []
        assert scene.left() == {"b": 2}


async def test_users_stick_to_their_version(tmp_path: Path) -> None:
    """With an affinity cookie a user who met a version stays with it during a canary."""
    steps = (CanaryStep(weight=50), CanaryStep(pause="promoted"), CanaryStep(weight=100))
    knobs = policy(canary_steps=steps)
    async with (
        running_fleet(tmp_path, knobs, version("a"), affinity_cookie="release") as scene,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(scene.release("canary", version("a"), version("b")))
        await scene.happened("pause", "started")
        for name in ("a", "b"):
            met = {await answer(scene, f"Cookie: release={name}\r\n") for _ in range(10)}
            assert met == {name}
        assert {await answer(scene, "") for _ in range(10)} == {"a", "b"}
        scene.rollout.control.promote()


async def answer(scene: RunningFleet, fields: str) -> str:
    host, _, port = scene.balancer.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n".encode())
    text = (await reader.read()).decode()
    writer.close()
    return text.rpartition("\r\n\r\n")[2].strip()


async def test_hooks(tmp_path: Path) -> None:
    """A hook knows the state; one that fails takes the deployment back, where none may fail it."""
    tell = "import os; print(os.environ['HITLESS_HOOK'], os.environ['HITLESS_SERVING'])"
    no = (sys.executable, "-c", "print('not on a Friday'); raise SystemExit(1)")
    hooks = {
        "before_switch": (sys.executable, "-c", tell),
        "after_deploy": (sys.executable, "-c", tell),
    }
    async with running_fleet(tmp_path, policy(hooks=hooks), version("a")) as scene:
        assert (
            await scene.release("blue-green", version("a"), version("b"))
        ).outcome == "completed"
        said = (tmp_path / "hooks.log").read_text().splitlines()
        assert said == ["before_switch a-1", "after_deploy b-2"]
        # The way back switches too: there the same hook may say what it likes.
        scene.rollout.policy = policy(hooks={"before_switch": no})
        result = await scene.release("blue-green", version("b"), version("c"))
        assert result.outcome == "rolled_back"
        assert result.reason == "deploy c: hook before_switch ended with status 1: not on a Friday"
        assert scene.left() == {"b": 1}


async def test_a_hook_that_hangs(tmp_path: Path) -> None:
    """A hook has a deadline."""
    hang = (sys.executable, "-c", "import time; time.sleep(3600)")
    knobs = policy(hooks={"before_deploy": hang}, hook_timeout_seconds=0.2)
    async with running_fleet(tmp_path, knobs, version("a")) as scene:
        result = await scene.release("rolling", version("a"), version("b"))
        # Nothing of the hook is left while the fleet goes on.
        children = {child.name for child in scene.processes._children.values()}
        assert children == {"balancer", "replica a-1"}
    assert result.reason == "deploy b: hook before_deploy did not end within 0.2 s"
