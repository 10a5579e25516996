"""Sets of processes beside the web follow a release as replicas do, and leave nothing behind."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from orchestrator.errors import OrchestratorError
from orchestrator.journal import Journal, SetJournal
from orchestrator.model import JournalEvent, Version
from orchestrator.platforms.local import LocalPlatform, logged
from orchestrator.policy import Policy
from orchestrator.process_sets import Intake, Place, ProcessSet
from orchestrator.processes import Processes
from orchestrator.rollout import Rollout
from orchestrator.strategies import STRATEGIES

SLEEPS = "import time; print('ready', flush=True); time.sleep(600)"
HAS_CHILDREN = """
import subprocess, sys, time
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
print(subprocess.Popen(sleep).pid, flush=True)
print(subprocess.Popen(sleep, process_group=0).pid, flush=True)
print(subprocess.Popen(sleep, start_new_session=True).pid, flush=True)
print("ready", flush=True)
time.sleep(600)
"""


def version(name: str, script: str = SLEEPS, ready: str | None = "^ready") -> Version:
    return Version(
        name=name,
        command=(sys.executable, "-c", script),
        listens=False,
        ready_log=ready,
        whole_family=True,
        termination_grace_seconds=30.0,
        start_seconds=60.0,
    )


@asynccontextmanager
async def workers(
    folder: Path,
    *versions: Version,
    strategy: str = "rolling",
    place: Place = "with",
    drain: signal.Signals | None = None,
    in_hand: Callable[[str], int] = lambda _: 0,
) -> AsyncIterator[tuple[ProcessSet, LocalPlatform, list[JournalEvent]]]:
    events: list[JournalEvent] = []
    with Journal(listeners=[events.append]) as journal:
        async with Processes() as processes, LocalPlatform(processes, log_directory=folder) as on:
            policy = Policy(replicas=2, min_ready_seconds=0.0, canary_steps=(50, 100))
            rollout = Rollout(
                on,
                Intake(on, drain, in_hand),
                SetJournal(journal, "worker", in_turn=False),
                policy,
                prefix="worker-",
            )
            yield (
                ProcessSet(
                    name="worker",
                    place=place,
                    rollout=rollout,
                    strategy=STRATEGIES[strategy],
                    versions={one.name: one for one in versions},
                ),
                on,
                events,
            )
            await rollout.stop(rollout.all())


@pytest.mark.parametrize("strategy", ["naive", "rolling", "blue-green"])
async def test_a_set_is_deployed_like_replicas(strategy: str, tmp_path: Path) -> None:
    """Afterwards only the new version runs, in its number, and each event names the set."""
    async with workers(tmp_path, version("a"), version("b"), strategy=strategy) as (one, _, events):
        await one.bring_up("a")
        assert [each.id for each in one.rollout.serving()] == ["worker-a-1", "worker-a-2"]
        await one.deploy("b")
        assert [each.version for each in one.rollout.all()] == ["b", "b"]
        assert {event.detail["processes"] for event in events} == {"worker"}
        first_stop = next(n for n, event in enumerate(events) if event.verb == "stop")
        last_start = max(n for n, event in enumerate(events) if event.verb == "start")
        assert (first_stop < last_start) == (strategy in ("naive", "rolling"))


async def test_a_set_that_is_not_ready_says_what_it_lacks(tmp_path: Path) -> None:
    """One line names the process and the line of the log that did not come."""
    never = msgspec.structs.replace(version("a", ready="^never"), start_seconds=0.5)
    async with workers(tmp_path, never) as (one, _, _):
        with pytest.raises(OrchestratorError) as failure:
            await one.bring_up("a")
    assert "worker-a-1 (no line of its log matches '^never')" in str(failure.value)


async def test_a_deployment_that_failed_is_taken_back(tmp_path: Path) -> None:
    """The processes of the version before run again, in their number, and no others."""
    broken = version("b", "raise SystemExit(3)")
    async with workers(tmp_path, version("a"), broken, strategy="naive") as (one, _, _):
        await one.bring_up("a")
        with pytest.raises(OrchestratorError, match="exited with status 3"):
            await one.deploy("b")
        await one.restore("a")
        assert [each.version for each in one.rollout.all()] == ["a", "a"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
async def test_what_a_process_has_started_ends_with_it(tmp_path: Path) -> None:
    """Also what moved to a process group or a session of its own, as in a container."""
    async with workers(tmp_path, version("a", HAS_CHILDREN)) as (one, on, _):
        await one.bring_up("a")
        children = _children(tmp_path / "worker-a-1.log")
        others = _children(tmp_path / "worker-a-2.log")
        assert all(map(_runs, children))
        first = one.rollout.all()[:1]
        on.send_signal(first[0], signal.SIGTERM, group=False)
        await one.rollout.stop(first)
        assert not any(map(_runs, children))
        assert all(map(_runs, others)), "the other process has children of its own"
        on.kill_family(one.rollout.all()[0])
        await on.wait_ended(one.rollout.all()[0])
        await one.rollout.stop(one.rollout.all())
        assert not any(map(_runs, others))


async def test_a_drain_tells_the_process_and_waits_for_its_jobs(tmp_path: Path) -> None:
    """The drain signal comes before the stop, which waits until no job is in hand."""
    script = """
import signal, time
signal.signal(signal.SIGUSR1, lambda *_: print("no more jobs", flush=True))
print("ready", flush=True)
while True:
    time.sleep(0.05)
"""
    log = tmp_path / "worker-a-1.log"

    def in_hand(process: str) -> int:  # the process ends its job when it has got the signal
        return process == "worker-a-1" and "no more jobs" not in log.read_text()

    async with workers(tmp_path, version("a", script), drain=signal.SIGUSR1, in_hand=in_hand) as (
        one,
        _,
        events,
    ):
        await one.bring_up("a")
        await one.rollout.drain(one.rollout.all()[:1])
        assert "no more jobs" in log.read_text()
        (ended,) = (
            event for event in events if (event.verb, event.state) == ("drain", "completed")
        )
        assert "left" not in ended.detail


def _children(log: Path) -> list[int]:
    return [int(line) for line in log.read_text().split() if line.isdigit()]


def _runs(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in ("Z", "X")


def test_this_process_is_not_one_of_them() -> None:
    """The helper above tells a running process from one that has ended."""
    assert _runs(os.getpid())


async def test_a_line_is_found_in_a_log_that_grows_without_end(tmp_path: Path) -> None:
    """Each line is read once, also one that is cut where a part of the log ends."""
    log = tmp_path / "log"
    waiting = asyncio.ensure_future(logged(log, "^ready$"))
    await asyncio.sleep(0)
    log.write_bytes(b"not ready\n" * 20_000)
    with log.open("ab") as file:
        file.write(b"x" * 100_000 + b"\nrea")
        file.flush()
        await asyncio.sleep(0)
        assert not waiting.done()
        file.write(b"dy\n")
    await asyncio.wait_for(waiting, 30)
