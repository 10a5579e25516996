"""Whole releases on real processes, behind the real balancer, under light traffic."""

import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from orchestrator.model import ReleaseResult, Version
from orchestrator.policy import Criteria, Policy
from scenarios.evidence.run_folder import RunFolder
from tests.support.orchestrator import Clients, RunningFleet, running_fleet

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


async def release(
    fleet: RunningFleet, strategy: str, new: Version
) -> tuple[ReleaseResult, Clients]:
    """Deploy a version under light traffic, and go on until each client saw how it ended."""
    clients = fleet.clients()
    async with clients.sending(CLIENTS):
        result = await fleet.release(strategy, version("a"), new)
        await clients.more(2 * CLIENTS)
    return result, clients


@pytest.mark.parametrize("strategy", ["rolling", "blue-green", "canary"])
async def test_nothing_is_dropped(strategy: str, tmp_path: Path) -> None:
    """No request fails while a good version is deployed, and then only the new one answers."""
    async with running_fleet(tmp_path, POLICY, version("a")) as fleet:
        result, clients = await release(fleet, strategy, version("b"))
    assert (result.outcome, result.reason) == ("completed", None)
    assert clients.failed() == []
    assert set(clients.served()) == {"a", "b"}
    assert clients.answers[-1] == (200, "b")
    assert 0 < result.floor_seconds <= result.seconds
    recorded = [event.at_ns for event in RunFolder(tmp_path).events.read()]
    assert recorded[-len(fleet.events) :] == [event.at_ns for event in fleet.events]
    drains = [event for event in fleet.events if event.verb == "drain" and event.seconds]
    assert {event.detail["cut"] for event in drains} == {0}


async def test_naive_is_an_outage(tmp_path: Path) -> None:
    """Stopping everything before anything is started fails requests: the negative control."""
    async with running_fleet(tmp_path, POLICY, version("a")) as fleet:
        result, clients = await release(fleet, "naive", version("b"))
    assert result.outcome == "completed"
    assert clients.failed() != []
    assert {status for status, _ in clients.failed()} <= {502, 503}
    assert clients.answers[-1] == (200, "b")


@pytest.mark.parametrize("strategy", ["rolling", "blue-green", "canary"])
async def test_a_sick_version_is_never_let_in(strategy: str, tmp_path: Path) -> None:
    """A version whose health check fails is rolled back at the deadline, and nothing fails."""
    policy = Policy(replicas=2, progress_deadline_seconds=1.0)
    async with running_fleet(tmp_path, policy, version("a")) as fleet:
        result, clients = await release(fleet, strategy, version("b", "sick"))
        left = Counter(one.version for one in fleet.rollout.all())
    assert result.outcome == "rolled_back"
    assert (result.reason or "").startswith("deploy b: not ready within 1 s: b-3 (")
    assert left == {"a": 2}
    assert clients.failed() == []
    assert set(clients.served()) == {"a"}


async def test_a_version_that_dies_is_not_waited_for(tmp_path: Path) -> None:
    """A replica that ends before it is ready ends the deployment at once, with its last words."""
    policy = Policy(replicas=2, progress_deadline_seconds=3600.0)
    async with running_fleet(tmp_path, policy, version("a")) as fleet:
        result, clients = await release(fleet, "rolling", version("b", "dies"))
    assert result.outcome == "rolled_back"
    assert result.reason == (
        "deploy b: b-3 exited with status 3; its log ends: no configuration; giving up"
    )
    assert clients.failed() == []


async def test_a_failing_canary_goes_back(tmp_path: Path) -> None:
    """A canary that answers 500 is judged by its requests and rolled back; the old one serves."""
    async with running_fleet(tmp_path, POLICY, version("a")) as fleet:
        result, clients = await release(fleet, "canary", version("b", "failing"))
        left = Counter(one.version for one in fleet.rollout.serving())
    assert result.outcome == "rolled_back"
    assert "analysis: fail" in (result.reason or "")
    assert left == {"a": 2}
    assert {status for status, _ in clients.failed()} == {503}
    assert len(clients.failed()) < len(clients.answers) / 2


async def test_a_replica_killed_while_it_soaks(tmp_path: Path) -> None:
    """A new replica that is killed while it proves itself takes the deployment back."""
    policy = Policy(replicas=2, min_ready_seconds=3600.0)
    async with running_fleet(tmp_path, policy, version("a")) as fleet:
        soaking = fleet.rollout.soak

        async def kill_one(*arguments: object) -> None:
            victim = next(one for one in fleet.rollout.serving() if one.version == "b")
            os.kill(victim.pid, signal.SIGKILL)
            await soaking(*arguments)  # type: ignore[arg-type]

        fleet.rollout.soak = kill_one  # type: ignore[method-assign, assignment]
        result, clients = await release(fleet, "blue-green", version("b"))
        left = Counter(one.version for one in fleet.rollout.serving())
    assert result.outcome == "rolled_back"
    assert "was ended by signal 9" in (result.reason or "")
    assert left == {"a": 2}
    assert clients.answers[-1] == (200, "a")
