"""After `kill -9` of the orchestrator at any step its job is finished, and nobody notices."""

import asyncio
import json
import stat
import sys
from pathlib import Path

import msgspec
import pytest

from orchestrator import guardian
from orchestrator.model import Deploy, JournalEvent, Release, Version
from orchestrator.policy import Policy
from orchestrator.processes import Processes
from orchestrator.recovery import (
    JOURNAL,
    PLAN,
    FleetPlan,
    Recovery,
    RecoveryError,
    recovering,
    state_from_journal,
)
from orchestrator.termination import TerminationPolicy
from tests.support.in_memory import RolloutBench
from tests.support.orchestrator import FAST, Clients, NoMigrator

PROGRAM = Path(__file__).parent / "left_alone.py"
MOMENTS = {
    "rolling": ("start", "wait_ready", "attach", "soak", "drain", "stop"),
    "blue-green": ("start", "wait_ready", "switch", "soak", "drain", "stop"),
    "canary": ("start", "wait_ready", "weigh", "pause", "analyse", "drain", "stop"),
}
QUICK = {
    ("rolling", "soak", "abort"),
    ("blue-green", "switch", "resume"),
    ("canary", "pause", "resume"),
}


def cells() -> list[object]:
    return [
        pytest.param(
            *(strategy, verb, command),
            marks=[] if (strategy, verb, command) in QUICK else [pytest.mark.soak],
        )
        for strategy, verbs in MOMENTS.items()
        for verb in verbs
        for command in ("resume", "abort")
    ]


def reached(folder: Path, verb: str) -> bool:
    """Whether the deployment has begun this verb."""
    deploying = False
    for line in (folder / JOURNAL).read_text().splitlines():
        deploying = deploying or '"verb":"deploy"' in line
        if deploying and f'"verb":"{verb}","state":"started"' in line:
            return True
    return False


@pytest.mark.parametrize(("strategy", "verb", "command"), cells())
async def test_its_job_is_finished(strategy: str, verb: str, command: str, tmp_path: Path) -> None:
    """Whatever it was doing, `resume` ends with the new version and `abort` with the old one."""
    await kill_and_recover(strategy, verb, command, tmp_path, TerminationPolicy())


@pytest.mark.parametrize("command", ["resume", "abort"])
async def test_a_lag_was_pending(command: str, tmp_path: Path) -> None:
    """Killed while the news of a stopped replica is on its way, it leaves nothing either."""
    late = TerminationPolicy(order="together", deregistration_lag_seconds=2.0)
    await kill_and_recover("rolling", "stop", command, tmp_path, late)


async def kill_and_recover(
    strategy: str, verb: str, command: str, tmp_path: Path, termination: TerminationPolicy
) -> None:
    pipe = asyncio.subprocess.PIPE
    orchestrator = await asyncio.create_subprocess_exec(
        *(sys.executable, str(PROGRAM), str(tmp_path), strategy),
        msgspec.json.encode(termination).decode(),
        stdout=pipe,
    )
    assert orchestrator.stdout is not None
    try:
        clients = Clients((await orchestrator.stdout.readline()).decode().strip())
        async with clients.sending(2):
            with pytest.raises(RecoveryError, match="another process manages this fleet"):
                async with recovering(tmp_path):
                    pass
            while not reached(tmp_path, verb):
                await clients.more(1)
            orchestrator.kill()
            await orchestrator.wait()
            async with recovering(tmp_path) as recovery:
                if command == "abort":
                    assert await recovery.abort() == "aborted: a serves"
                else:
                    result = await recovery.resume(NoMigrator())
                    assert (result.outcome, result.reason) == ("completed", None)
                serving = [one.version for one in recovery.rollout.serving()]
                assert serving == ["b" if command == "resume" else "a"] * 2
                assert len(recovery.rollout.all()) == 2
            await clients.more(20)
        assert clients.failed() == []
        # What was left is found again, and can be ended.
        left = mark(tmp_path)
        async with recovering(tmp_path) as recovery:
            assert [one.version for one in recovery.rollout.serving()] == serving
            await recovery.finish()
        assert guardian.marked_processes(left) == []
    finally:
        if orchestrator.returncode is None:
            orchestrator.kill()
            await orchestrator.wait()
        if (tmp_path / PLAN).exists():
            guardian.end_all((), mark(tmp_path))


def mark(folder: Path) -> str:
    return str(json.loads((folder / PLAN).read_text())["mark"])


def test_a_plan_is_for_its_owner_only(tmp_path: Path) -> None:
    """The plan can contain a password, so nobody else may read it; it goes when it is done."""
    a = Version(name="a", command=("a",))
    plan = FleetPlan(
        mark="m",
        admin="unix:/x",
        directories=("/x",),
        health=FAST,
        policy=Policy(),
        strategy="rolling",
        release=Release(name="r", start=a, steps=()),
    )
    with plan.in_force(tmp_path):
        assert stat.S_IMODE((tmp_path / PLAN).stat().st_mode) == 0o600
    assert not (tmp_path / PLAN).exists()


async def test_there_must_be_something(tmp_path: Path) -> None:
    """A folder without a fleet is refused in one line."""
    with pytest.raises(RecoveryError, match="no fleet to recover there"):
        async with recovering(tmp_path):
            pass


def test_what_a_journal_says() -> None:
    """A journal that breaks off says who served, what was being deployed, and what was started."""

    def event(number: int, verb: str, state: str, **rest: object) -> JournalEvent:
        return JournalEvent(at_ns=number, verb=verb, state=state, number=number, **rest)  # type: ignore[arg-type]

    def started(name: str) -> dict[str, object]:
        return {"replicas": (name,), "detail": {"addresses": {name: "h:1"}, "pids": {name: 7}}}

    events = [
        event(1, "start", "completed", **started("a-1")),
        event(2, "deploy", "started", version="b"),
        event(3, "start", "completed", **started("b-2")),
        event(4, "drain", "started", replicas=("a-1",)),
        event(5, "stop", "completed", replicas=("a-1",)),
        event(2, "deploy", "completed", version="b"),
        event(6, "deploy", "started", version="c"),
        event(7, "start", "started", replicas=("c-3",)),
    ]
    told = state_from_journal("a", events)
    assert (told.served, told.under_way) == (("a", "b"), "c")
    # The deployment is behind it, also before its step's own note.
    assert (told.done, told.schema, told.schemas) == (1, 0, (0, 0))
    more = [
        event(8, "migrate", "started", detail={"migration": "m"}),
        event(9, "step", "noted", detail={"done": 5}),
        event(6, "deploy", "completed", version="c"),
        event(10, "step", "noted", detail={"done": 6}),
    ]
    told = state_from_journal("a", events + more)
    assert (told.done, told.schema, told.schemas) == (6, 1, (0, 0, 1))
    assert told.started == {"b-2": ("h:1", 7)}
    assert (told.last_number, told.last_replica) == (10, 3)


async def test_a_deployment_under_way_is_not_undone(tmp_path: Path) -> None:
    """After `kill -9` amid a deployment `undo` asks to finish it or to go back first."""
    a, b = Version(name="a", command=("a",)), Version(name="b", command=("b",))
    plan = FleetPlan(
        mark="m",
        admin="unix:/x",
        directories=("/x",),
        health=FAST,
        policy=Policy(),
        strategy="rolling",
        release=Release(name="r", start=a, steps=(Deploy(version=b),)),
    )
    begun = JournalEvent(at_ns=1, verb="deploy", state="started", number=1, version="b")
    bench = RolloutBench(Policy())
    async with Processes() as processes:
        recovery = Recovery(
            tmp_path, plan, state_from_journal("a", [begun]), bench.rollout, processes
        )
        with pytest.raises(RecoveryError, match="the deployment of b was under way; resume or"):
            await recovery.undo(NoMigrator())
    assert bench.events == []
