"""Whole releases on real processes, behind the real balancer, under light traffic."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from orchestrator.journal import Journal
from orchestrator.model import (
    Deploy,
    Event,
    Release,
    ReleaseResult,
    RunCommand,
    Version,
)
from orchestrator.platforms.local import LocalPlatform
from orchestrator.policy import Criteria, Policy
from orchestrator.processes import Processes
from orchestrator.release import ReleaseRun, bring_up, take_down
from orchestrator.rollout import Rollout
from orchestrator.routers.hitless import HealthCheck, start_balancer
from orchestrator.strategies import STRATEGIES
from scenarios.evidence.event import read_events

APP = Path(__file__).parent / "tiny_app.py"
CLIENTS = 3


def version(name: str, mode: str = "") -> Version:
    return Version(
        name=name,
        command=("{python}", "-u", str(APP), "{port}", "{version}"),
        env={"MODE": mode},
    )


POLICY = Policy(
    replicas=2,
    min_ready_seconds=0.1,
    canary_soak_seconds=0.2,
    analysis=Criteria(minimum_requests=20),
)


class Stage:
    """A fleet behind a balancer, clients in front of it, and what both saw."""

    def __init__(self, rollout: Rollout, address: str, events: list[Event]) -> None:
        self.rollout = rollout
        self.address = address
        self.events = events
        self.answers: list[tuple[int, str]] = []
        self._enough = asyncio.Event()
        self._answered = asyncio.Event()

    async def release(self, strategy: str, new: Version) -> ReleaseResult:
        """Bring A up, deploy under traffic, and take everything down again."""
        old = version("a")
        await bring_up(self.rollout, old)
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(self._client())
            release = Release(name="r", start=old, steps=(Deploy(version=new),))
            run = ReleaseRun(release, self.rollout, STRATEGIES[strategy], NO_MIGRATOR)
            result = await run.run()
            served = len(self.answers)
            while len(self.answers) < served + 2 * CLIENTS:
                self._answered.clear()
                await self._answered.wait()
            self._enough.set()
        return result

    def failed(self) -> list[tuple[int, str]]:
        return [answer for answer in self.answers if answer[0] != 200]

    def served(self) -> Counter[str]:
        return Counter(body for status, body in self.answers if status == 200)

    async def _client(self) -> None:
        """One request after the other, every second one on a connection that is kept."""
        host, _, port = self.address.rpartition(":")
        while not self._enough.is_set():
            reader, writer = await asyncio.open_connection(host, int(port))
            for last in (False, True):
                close = "Connection: close\r\n" if last else ""
                writer.write(f"GET / HTTP/1.1\r\nHost: x\r\n{close}\r\n".encode())
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
                body = (await reader.readexactly(length)).decode()
                self.answers.append((int(head.split(" ")[1]), body))
                self._answered.set()
                if "connection: close" in head.lower():
                    break
            writer.close()
            await asyncio.sleep(0.005)  # light traffic


class NoMigrator:
    async def apply(self, directory: Path, through: str | None, journal: Journal) -> None:
        raise NotImplementedError

    async def roll_back(self, directory: Path, through: str | None, journal: Journal) -> None:
        raise NotImplementedError

    async def run(self, step: RunCommand, journal: Journal) -> None:
        raise NotImplementedError


NO_MIGRATOR = NoMigrator()


@asynccontextmanager
async def stage(folder: Path, policy: Policy = POLICY) -> AsyncIterator[Stage]:
    events: list[Event] = []
    health = HealthCheck(path="/health", interval=0.2, fast_interval=0.05)
    with Journal(folder / "events.ndjson", listeners=[events.append]) as journal:
        async with (
            Processes() as processes,
            processes.directory("hitless-test-") as private,
            start_balancer(
                processes, directory=private, log=folder / "balancer.log", health=health
            ) as balancer,
            LocalPlatform(processes, log_directory=folder) as platform,
        ):
            rollout = Rollout(platform, balancer.router, journal, policy)
            yield Stage(rollout, balancer.address, events)
            await take_down(rollout)
    assert [event.at_ns for event in read_events(folder / "events.ndjson")] == [
        event.at_ns for event in events
    ]


@pytest.mark.parametrize("strategy", ["rolling", "blue-green", "canary"])
async def test_nothing_is_dropped(strategy: str, tmp_path: Path) -> None:
    """No request fails while a good version is deployed, and then only the new one answers."""
    async with stage(tmp_path) as scene:
        result = await scene.release(strategy, version("b"))
    assert (result.outcome, result.reason) == ("completed", None)
    assert scene.failed() == []
    assert set(scene.served()) == {"a", "b"}
    assert scene.answers[-1] == (200, "b")
    assert 0 < result.floor_seconds <= result.seconds
    drains = [event for event in scene.events if event.verb == "drain" and event.seconds]
    assert {event.detail["cut"] for event in drains} == {0}


async def test_naive_is_an_outage(tmp_path: Path) -> None:
    """Stopping everything before anything is started fails requests: the negative control."""
    async with stage(tmp_path) as scene:
        result = await scene.release("naive", version("b"))
    assert result.outcome == "completed"
    assert scene.failed() != []
    assert {status for status, _ in scene.failed()} <= {502, 503}
    assert scene.answers[-1] == (200, "b")


@pytest.mark.parametrize("strategy", ["rolling", "blue-green", "canary"])
async def test_a_sick_version_is_never_let_in(strategy: str, tmp_path: Path) -> None:
    """A version whose health check fails is rolled back at the deadline, and nothing fails."""
    policy = Policy(replicas=2, progress_deadline_seconds=1.0)
    async with stage(tmp_path, policy) as scene:
        result = await scene.release(strategy, version("b", "sick"))
        left = Counter(one.version for one in scene.rollout.all())
    assert result.outcome == "rolled_back"
    assert (result.reason or "").startswith("deploy b: not ready within 1 s: b-3 (")
    assert left == {"a": 2}
    assert scene.failed() == []
    assert set(scene.served()) == {"a"}


async def test_a_version_that_dies_is_not_waited_for(tmp_path: Path) -> None:
    """A replica that ends before it is ready ends the deployment at once, with its last words."""
    policy = Policy(replicas=2, progress_deadline_seconds=3600.0)
    async with stage(tmp_path, policy) as scene:
        result = await scene.release("rolling", version("b", "dies"))
    assert result.outcome == "rolled_back"
    assert result.reason == (
        "deploy b: b-3 exited with status 3; its log ends: no configuration; giving up"
    )
    assert scene.failed() == []


async def test_a_failing_canary_goes_back(tmp_path: Path) -> None:
    """A canary that answers 500 is judged by its requests and rolled back; the old one serves."""
    async with stage(tmp_path) as scene:
        result = await scene.release("canary", version("b", "failing"))
        left = Counter(one.version for one in scene.rollout.serving())
    assert result.outcome == "rolled_back"
    assert "analysis: fail" in (result.reason or "")
    assert left == {"a": 2}
    assert {status for status, _ in scene.failed()} == {503}
    assert len(scene.failed()) < len(scene.answers) / 2


async def test_a_replica_killed_while_it_soaks(tmp_path: Path) -> None:
    """A new replica that is killed while it proves itself takes the deployment back."""
    policy = Policy(replicas=2, min_ready_seconds=3600.0)
    async with stage(tmp_path, policy) as scene:
        soaking = scene.rollout.soak

        async def kill_one(*arguments: object) -> None:
            victim = next(one for one in scene.rollout.serving() if one.version == "b")
            os.kill(victim.pid, signal.SIGKILL)
            await soaking(*arguments)  # type: ignore[arg-type]

        scene.rollout.soak = kill_one  # type: ignore[method-assign, assignment]
        result = await scene.release("blue-green", version("b"))
        left = Counter(one.version for one in scene.rollout.serving())
    assert result.outcome == "rolled_back"
    assert "was ended by signal 9" in (result.reason or "")
    assert left == {"a": 2}
    assert scene.answers[-1] == (200, "a")
