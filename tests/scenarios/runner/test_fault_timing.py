"""A fault is made at its time, on the replica that it names, or not at all."""

import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import msgspec

from orchestrator.journal import Journal
from orchestrator.model import JournalEvent, Replica
from orchestrator.processes import Processes
from orchestrator.rollout import Rollout
from scenarios.runner.environment import Environment
from scenarios.runner.faults import Faults, PhaseClock
from scenarios.scenario.reader import load
from scenarios.scenario.spec import FaultSpec

SLEEP = ("sleep", "3600")


class Serving:
    """A rollout, as far as faults ask it: who serves, the one that has served longest first."""

    def __init__(self) -> None:
        self.replicas: Sequence[Replica] = ()

    def serving(self) -> Sequence[Replica]:
        return self.replicas


class Scene:
    """Faults with a clock, a journal and a rollout of their own."""

    def __init__(self, *specs: FaultSpec) -> None:
        self.events: list[JournalEvent] = []
        self.clock = PhaseClock()
        self.journal = Journal(listeners=[self.events.append, self.clock.hear])
        self.rollout = Serving()
        scenario = msgspec.structs.replace(load("good").scenario, faults=specs)
        self.faults = Faults(
            scenario,
            self.clock,
            self.journal,
            cast("Rollout", self.rollout),
            0,
            "",
            cast("Environment", None),
        )

    def begin(self, phase: str) -> None:
        self.clock.hear(
            JournalEvent(at_ns=0, number=1, verb="phase", state="started", detail={"name": phase})
        )

    def made(self) -> list[tuple[str, tuple[str, ...]]]:
        return [(one.state, tuple(one.replicas)) for one in self.events if one.verb == "fault"]


async def started(processes: Processes, tmp: Path) -> list[Replica]:
    """Two processes that only sleep, one of each version."""
    found = []
    for name in ("a-1", "b-2"):
        child = await processes.start(SLEEP, name=name, log=tmp / f"{name}.log")
        found.append(Replica(id=name, version=name[0], host="127.0.0.1", port=1, pid=child.pid))
    return found


async def test_faults_that_have_not_begun_are_called_off() -> None:
    """After the release no fault begins any more; the run does not wait for its time."""
    later = FaultSpec(do="kill", phase="settle", after_seconds=3600.0)
    never = FaultSpec(do="kill", phase="baseline", after_seconds=0.0)
    scene = Scene(later, never)
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        running = group.create_task(scene.faults.run())
        scene.begin("settle")
        await asyncio.sleep(0)
        assert not running.done()
        await asyncio.sleep(0.01)
        scene.faults.close()
    assert scene.made() == []


def state(pid: int) -> str:
    """The state of a process, as proc(5) has it, such as `T` for stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def test_the_longest_serving_replica_of_the_version_is_hit(tmp_path: Path) -> None:
    """A fault waits until a replica of its version serves; without a version it takes the first."""
    scene = Scene(
        FaultSpec(do="kill", phase="rollout", after_seconds=0.0, version="b"),
        FaultSpec(do="freeze", phase="baseline", after_seconds=0.0, seconds=3600.0),
    )
    async with Processes() as processes:
        a, b = await started(processes, tmp_path)
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            running = group.create_task(scene.faults.run())
            scene.begin("rollout")
            scene.rollout.replicas = [a]
            await asyncio.sleep(0.1)
            assert scene.made() == [], "it does not hit another version"
            scene.begin("baseline")
            while state(a.pid) != "T":  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
            assert scene.made() == [("started", ("a-1",))]
            scene.rollout.replicas = [a, b]
            descriptor = os.pidfd_open(b.pid)
            ended = asyncio.Event()
            asyncio.get_running_loop().add_reader(descriptor, ended.set)
            await ended.wait()
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)
            running.cancel()
        assert state(a.pid) != "T", "it goes on, also when the run is cut short"
        os.kill(a.pid, signal.SIGKILL)
    assert sorted(scene.made()) == [
        ("completed", ("b-2",)),
        ("failed", ("a-1",)),
        ("started", ("a-1",)),
        ("started", ("b-2",)),
    ]
    names = {one.detail["name"] for one in scene.events if one.verb == "fault"}
    assert names == {"kill", "freeze"}
