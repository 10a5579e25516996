"""What a rollout relies on from any Router; every implementation runs through it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from orchestrator.errors import RouterError
from orchestrator.interfaces import Router
from orchestrator.model import Replica, Version
from orchestrator.platforms.local import LocalPlatform
from orchestrator.processes import Processes
from orchestrator.request_statistics import RequestCounts
from orchestrator.routers.hitless import HealthCheck, start_balancer

APP = Path(__file__).parents[1] / "orchestrator" / "tiny_app.py"


@dataclass
class Subject:
    """A router under test, and replicas to give to it."""

    router: Router
    address: str
    platform: LocalPlatform
    numbers: "count[int]"

    async def replica(self, version: str, mode: str = "") -> Replica:
        """Start a replica and register it; it listens already."""
        command = ("{python}", "-u", str(APP), "{port}", "{version}")
        given = Version(name=version, command=command, env={"MODE": mode})
        replica = await self.platform.start(given, f"{version}-{next(self.numbers)}")
        await self.platform.wait_listening(replica)
        await self.router.register(replica)
        return replica

    async def up(self, version: str, mode: str = "") -> Replica:
        """Start a replica, register it, and wait until it is up."""
        replica = await self.replica(version, mode)
        async with asyncio.timeout(30):
            await self.router.wait_up([replica.id])
        return replica

    async def get(self, path: str = "/") -> tuple[int, str]:
        """Send one request on a connection of its own; its status and body."""
        host, _, port = self.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = (await reader.read()).decode()
        writer.close()
        head, _, body = answer.partition("\r\n\r\n")
        return int(head.split(" ")[1]), body

    async def answers(self, requests: int) -> Counter[str]:
        """Who answers so many requests."""
        got = [await self.get() for _ in range(requests)]
        return Counter(body for _, body in got)


async def hitless(stack: AsyncExitStack, processes: Processes, folder: Path) -> tuple[Router, str]:
    private = await stack.enter_async_context(processes.directory("hitless-test-"))
    health = HealthCheck(path="/health", interval=0.2, fast_interval=0.05)
    balancer = await stack.enter_async_context(
        start_balancer(processes, directory=private, log=folder / "balancer.log", health=health)
    )
    return balancer.router, balancer.address


@pytest.fixture(params=[hitless])
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Subject]:
    async with AsyncExitStack() as stack:
        processes = await stack.enter_async_context(Processes())
        router, address = await request.param(stack, processes, tmp_path)
        platform = await stack.enter_async_context(LocalPlatform(processes, log_directory=tmp_path))
        yield Subject(router, address, platform, count(1))


def names(replicas: Sequence[Replica]) -> list[str]:
    return [replica.id for replica in replicas]


async def test_registered_is_not_attached(subject: Subject) -> None:
    """A registered replica is checked, and gets no request until it has weight."""
    replica = await subject.up("a")
    assert (await subject.get())[0] == 503
    await subject.router.weigh({replica.id: 1.0})
    assert await subject.get() == (200, "a")


async def test_only_the_healthy_are_up(subject: Subject) -> None:
    """A replica whose check fails is not up, which is said by name; a healthy one is."""
    sick = await subject.replica("b", "sick")
    waiting = asyncio.ensure_future(subject.router.wait_up([sick.id]))
    healthy = await subject.up("a")
    assert not waiting.done()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    why = await subject.router.why_not_up([sick.id, healthy.id, "nobody-9"])
    assert set(why) == {sick.id, "nobody-9"}
    assert all(why.values())


async def test_weights_are_shares(subject: Subject) -> None:
    """Traffic follows the weights, and an assignment leaves those that it does not name alone."""
    a, b = await subject.up("a"), await subject.up("b")
    await subject.router.weigh({a.id: 1.0})
    await subject.router.weigh({b.id: 0.25})
    answers = await subject.answers(100)
    assert answers["a"] == pytest.approx(80, abs=3)
    await subject.router.weigh({a.id: 0.0})
    assert await subject.answers(10) == {"b": 10}


async def test_switch_is_all_or_nothing(subject: Subject) -> None:
    """A switch moves all traffic; one to a replica that is not up is refused, and moves none."""
    a, b, sick = await subject.up("a"), await subject.up("b"), await subject.replica("c", "sick")
    await subject.router.weigh({a.id: 1.0})
    with pytest.raises(RouterError, match=sick.id):
        await subject.router.switch([b.id, sick.id])
    assert await subject.answers(10) == {"a": 10}
    await subject.router.switch([b.id])
    assert await subject.answers(10) == {"b": 10}
    await subject.router.switch([a.id, b.id])
    assert await subject.answers(10) == {"a": 5, "b": 5}


async def test_a_drain_waits(subject: Subject) -> None:
    """A drain answers when what was in flight is done; new requests go elsewhere meanwhile."""
    a = await subject.up("a")
    await subject.router.weigh({a.id: 1.0})
    slow = asyncio.ensure_future(subject.get("/slow"))
    while (await subject.router.counts()).get(a.id, RequestCounts()).requests == 0:
        await subject.get()  # once this one is answered, the slow one is at the replica
    b = await subject.up("b")
    second = asyncio.ensure_future(subject.get("/slow"))
    await subject.router.weigh({b.id: 1.0, a.id: 1.0})
    drained = await subject.router.drain(a.id, 30)
    assert drained.cut == 0
    assert await subject.answers(5) == {"b": 5}
    assert (await slow)[0] == (await second)[0] == 200


async def test_a_drain_has_an_end(subject: Subject, tmp_path: Path) -> None:
    """What is still in flight when the drain's time is up is cut, and counted."""
    a = await subject.up("a")
    await subject.router.weigh({a.id: 1.0})
    hanging = asyncio.ensure_future(subject.get("/hang"))
    log = tmp_path / f"{a.id}.log"
    async with asyncio.timeout(30):
        while "hanging" not in log.read_text():  # noqa: ASYNC110 - the log is all that tells
            await asyncio.sleep(0.01)
    assert (await subject.router.drain(a.id, 0.1)).cut == 1
    (end,) = await asyncio.gather(hanging, return_exceptions=True)
    assert isinstance(end, Exception) or end[0] >= 500


async def test_drained_can_be_removed_and_forgotten(subject: Subject) -> None:
    """A removed replica gets nothing; removing or draining what is unknown is no error."""
    a = await subject.up("a")
    await subject.router.weigh({a.id: 1.0})
    await subject.router.drain(a.id, 30)
    await subject.router.remove(a.id)
    await subject.router.remove(a.id)
    await subject.router.remove("nobody-9")
    assert await subject.router.drain(a.id, 30) == (0, 0.0)
    assert (await subject.get())[0] == 503
    assert set(await subject.router.why_not_up([a.id])) == {a.id}


async def test_counts_are_by_replica(subject: Subject) -> None:
    """Requests and failures are counted by replica, and only ever grow."""
    a, b = await subject.up("a"), await subject.up("b", "failing")
    await subject.router.switch([a.id, b.id])
    await subject.answers(10)
    counts = await subject.router.counts()
    assert [counts[one.id][:2] for one in (a, b)] == [(5, 0), (5, 5)]
    assert sum(counts[a.id].latency.counts) == 5
    assert counts[a.id].latency.seconds > 0


async def test_registering_again_changes_nothing(subject: Subject) -> None:
    """A replica that is registered again stays up."""
    a = await subject.up("a")
    await subject.router.register(a)
    assert await subject.router.why_not_up([a.id]) == {}


async def test_admission_takes_no_less_than_it_says(subject: Subject) -> None:
    """What the router says about admission is a lower bound of what it takes."""
    replica = await subject.platform.start(
        Version(name="a", command=("{python}", str(APP), "{port}", "a")), "a-1"
    )
    await subject.platform.wait_listening(replica)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await subject.router.register(replica)
    await subject.router.wait_up([replica.id])
    assert loop.time() - began >= subject.router.admission_seconds * 0.9
