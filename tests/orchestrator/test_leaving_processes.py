"""How real replicas leave behind the real balancer: each setting shows in what users see."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from orchestrator.model import JournalEvent, Version
from orchestrator.policy import Criteria, Policy
from orchestrator.release import take_down
from orchestrator.termination import TerminationPolicy
from tests.support.orchestrator import RunningFleet, running_fleet

APP = Path(__file__).parent / "tiny_app.py"


def version(name: str, mode: str = "") -> Version:
    return Version(
        name=name,
        command=("{python}", "-u", str(APP), "{port}", "{version}"),
        env={"MODE": mode},
    )


def policy(**termination: object) -> Policy:
    return Policy(
        replicas=2,
        min_ready_seconds=0.0,
        canary_soak_seconds=0.0,
        analysis=Criteria(patience_seconds=0.0),
        termination=TerminationPolicy(**termination),  # type: ignore[arg-type]
    )


class Departed(msgspec.Struct, frozen=True):
    """What the journal says of one departure."""

    began_ns: int
    stop_asked_ns: int
    ended_ns: int
    children_ended_ns: int
    router_forgot_ns: int
    stopped_listening_ns: int | None = None
    router_told_ns: int | None = None
    router_noticed_ns: int | None = None
    last_request_ns: int | None = None
    drained_ns: int | None = None
    exit_status: int | None = None
    killed: bool = False
    left_behind: int = 0


def departures(events: list[JournalEvent]) -> dict[str, Departed]:
    found: dict[str, Departed] = {}
    for event in events:
        if (event.verb, event.state) == ("stop", "completed"):
            found |= msgspec.convert(event.detail["departures"], dict[str, Departed])
    return found


@asynccontextmanager
async def posting(fleet: RunningFleet, clients: int = 12) -> AsyncIterator[list[int]]:
    """Send slow POSTs, which nobody repeats; their statuses, 0 for a connection that broke."""
    statuses: list[int] = []
    enough = asyncio.Event()

    async def client() -> None:
        host, _, port = fleet.balancer.address.rpartition(":")
        while not enough.is_set():
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(
                b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
            head = (await reader.read()).split(b" ", 2)
            writer.close()
            statuses.append(int(head[1]) if len(head) > 1 else 0)

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())
        try:
            yield statuses
        finally:
            enough.set()


@pytest.mark.parametrize("order", ["drain-first", "together", "stop-first", "checks-only"])
async def test_only_drain_first_saves_a_server_that_cuts(order: str, tmp_path: Path) -> None:
    """A server that drops its requests at SIGTERM loses some unless it is drained first."""
    async with running_fleet(tmp_path, policy(order=order), version("a", "abrupt")) as fleet:
        async with posting(fleet) as statuses:
            result = await fleet.release("rolling", version("a", "abrupt"), version("b"))
        assert result.outcome == "completed"
        failed = [status for status in statuses if status != 200]
        assert (failed == []) == (order == "drain-first")
        for gone in departures(fleet.events).values():
            assert gone.exit_status == -15
            if order == "drain-first":
                assert gone.drained_ns is not None
                assert gone.drained_ns <= gone.stop_asked_ns
            elif order == "stop-first":
                assert gone.router_told_ns is not None
                assert gone.ended_ns <= gone.router_told_ns
            elif order == "checks-only":
                assert gone.router_told_ns is None
                assert gone.router_noticed_ns is not None


async def test_pre_stop_serves_on(tmp_path: Path) -> None:
    """During preStop a replica that the router does not know to leave goes on answering."""
    knobs = policy(order="stop-first", pre_stop_seconds=1.0)
    async with running_fleet(tmp_path, knobs, version("a")) as fleet:
        clients = fleet.clients()
        async with clients.sending(3):
            result = await fleet.release("rolling", version("a"), version("b"))
        assert result.outcome == "completed"
        gone = departures(fleet.events)
        assert set(gone) == {"a-1", "a-2"}
        for one in gone.values():
            assert one.stop_asked_ns - one.began_ns >= 1.0e9
            assert one.last_request_ns is not None
            assert one.last_request_ns > one.began_ns
        assert clients.failed() == []


async def test_a_lag_keeps_a_draining_replica_in_use(tmp_path: Path) -> None:
    """`drain-first` with a lag: the replica serves until the router knows, and loses nothing."""
    knobs = policy(deregistration_lag_seconds=[0.4, 0.5])
    knobs = msgspec.convert(msgspec.to_builtins(knobs), Policy)
    async with running_fleet(tmp_path, knobs, version("a", "abrupt")) as fleet:
        async with posting(fleet) as statuses:
            await fleet.release("rolling", version("a", "abrupt"), version("b"))
        assert set(statuses) == {200}
        for one in departures(fleet.events).values():
            assert one.router_told_ns is not None
            assert one.router_told_ns - one.began_ns >= 0.4e9
            assert one.last_request_ns is not None
            assert one.last_request_ns > one.began_ns


async def test_the_policys_grace_period(tmp_path: Path) -> None:
    """`grace_seconds` is kept instead of the version's, which here would be an hour."""
    deaf = msgspec.structs.replace(version("a", "deaf"), termination_grace_seconds=3600.0)
    async with running_fleet(tmp_path, policy(grace_seconds=0.2), deaf) as fleet:
        async with asyncio.timeout(60):
            await fleet.release("rolling", deaf, version("b"))
        for one in departures(fleet.events).values():
            assert (one.killed, one.exit_status) == (True, -9)
            assert one.ended_ns - one.stop_asked_ns >= 0.2e9


async def test_registration_when_started(tmp_path: Path) -> None:
    """`when-started`: the router decides alone; a version that says it is not ready gets in."""
    unready = Version(
        name="b",
        command=(
            *("{python}", "-m", "scenarios.subjects.service"),
            *("--version", "{version}", "--port", "{port}", "--unready"),
        ),
        readiness_path="/ready",
    )
    async with running_fleet(tmp_path, policy(registration="when-started"), version("a")) as fleet:
        result = await fleet.release("rolling", version("a"), unready)
        assert (result.outcome, fleet.left()) == ("completed", {"b": 2})


@pytest.mark.parametrize("how", ["abort", "cancel"])
async def test_an_end_while_a_lag_is_pending(how: str, tmp_path: Path) -> None:
    """An abort or Ctrl-C while the news of a stopped replica is on its way leaves nothing."""
    knobs = policy(order="together", deregistration_lag_seconds=1.0)
    async with running_fleet(tmp_path, knobs, version("a")) as fleet:
        clients = fleet.clients()
        async with clients.sending(2):
            release = asyncio.ensure_future(fleet.release("rolling", version("a"), version("b")))
            await fleet.happened("stop", "started")
            if how == "abort":
                fleet.rollout.control.abort()
                result = await release
                assert (result.outcome, fleet.left()) == ("aborted", {"a": 2})
            else:
                release.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await release
            await clients.more(10)
        assert clients.failed() == []
        await take_down(fleet.rollout)
        assert fleet.left() == {}
        assert await fleet.balancer.router.counts() == {}
