"""What a rollout relies on from any Router; every implementation runs through it.

A router that cannot do something declares it (`Capabilities`). What it declares is tested as well:
the gap must be there, so that no router passes a test of drains because it does not count.
"""

import asyncio
import re
import socket
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import msgspec
import pytest

from orchestrator.errors import RouterError
from orchestrator.interfaces import KeepsIdleConnections, Router
from orchestrator.model import Replica, Version
from orchestrator.platforms.local import LocalPlatform
from orchestrator.processes import Processes
from orchestrator.request_statistics import RequestCounts
from orchestrator.routers.capabilities import Capabilities, Kind
from orchestrator.routers.exchange import Exchange
from orchestrator.routers.marked import RouterConfigError
from orchestrator.routers.registry import KINDS, check_router, start_router
from orchestrator.routers.settings import HealthCheck, RouterSettings, RunningRouter

NOBODY = (502, 503)  # nginx says 502 when it has nobody to ask, all others 503
EVEN_BY_TURN = (20, 3)  # each thread of a router may have a turn of its own
EVEN_BY_CHANCE = (200, 45)  # who draws lots for each connection misses this once in 10^10 times
APP = Path(__file__).parents[1] / "orchestrator" / "tiny_app.py"


async def _ask(
    host: str, port: int, path: str, request_id: str, method: str = "GET"
) -> tuple[int, str]:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(
            f"{method} {path} HTTP/1.1\r\nHost: x\r\nX-Request-Id: {request_id}\r\n"
            "Content-Length: 0\r\nConnection: close\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        body = await (reader.readexactly(int(length[1])) if length else reader.read())
    except asyncio.CancelledError:
        # A reset: a connection that is only closed may still be read, so the router would wait.
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise
    finally:
        writer.close()
    return int(head.split(b" ")[1]), body.decode()


@dataclass
class Subject:
    """A router under test, and replicas to give to it."""

    running: RunningRouter
    platform: LocalPlatform
    folder: Path
    numbers: "count[int]"
    stack: AsyncExitStack

    @property
    def router(self) -> Router:
        return self.running.router

    @property
    def can(self) -> Capabilities:
        return self.router.capabilities

    def need(self, **capabilities: object) -> None:
        """Leave out a test of what the router says it cannot do; its gap has a test of its own."""
        for name, wanted in capabilities.items():
            if getattr(self.can, name) != wanted:
                pytest.skip(f"{self.running.kind} declares {name}={getattr(self.can, name)!r}")

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

    async def get(
        self, path: str = "/", request_id: str = "", method: str = "GET"
    ) -> tuple[int, str]:
        """Send one request on a connection of its own; its status and body."""
        host, _, port = self.running.address.rpartition(":")
        return await _ask(host, int(port), path, request_id or f"{path.strip('/')}-1", method)

    async def meets_nobody(self) -> bool:
        """Whether a request finds no replica."""
        return (await self.get())[0] in NOBODY

    async def get_from(self, replica: Replica, path: str) -> tuple[int, str]:
        """Ask a replica itself."""
        return await _ask(replica.host, replica.port, path, "direct-1")

    async def end(self) -> None:
        """Let the router end, and its log be translated."""
        await self.stack.aclose()

    def exchanges(self, request_id: str) -> list[Exchange]:
        """What the router's log says of one request."""
        lines = (self.folder / "access.ndjson").read_bytes().splitlines()
        found = [msgspec.json.decode(line, type=Exchange) for line in lines]
        return [one for one in found if one.request_id == request_id]

    async def at_the_replica(
        self, path: str, replica: Replica, method: str = "GET"
    ) -> "asyncio.Future[tuple[int, str]]":
        """Send a request that takes long, and wait until the replica has it."""
        asked = asyncio.ensure_future(self.get(path, method=method))
        log, word = self.folder / f"{replica.id}.log", "hanging" if path == "/hang" else "begun"
        async with asyncio.timeout(30):
            while word not in log.read_text():  # noqa: ASYNC110 - the log is all that tells
                await asyncio.sleep(0.01)
        return asked

    async def counted(self, requests: int) -> Mapping[str, RequestCounts]:
        """The counts, once so many requests have been counted: a log may be late."""
        async with asyncio.timeout(30):
            while True:
                counts = await self.router.counts()
                if sum(one.requests for one in counts.values()) >= requests:
                    return counts
                await asyncio.sleep(0.01)

    async def answers(self, requests: int) -> Counter[str]:
        """Who answers so many requests."""
        got = [await self.get() for _ in range(requests)]
        return Counter(body for _, body in got)


@pytest.fixture(params=KINDS)
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Subject]:
    kind: Kind = request.param
    async with AsyncExitStack() as stack:
        processes = await stack.enter_async_context(Processes())
        private = await stack.enter_async_context(processes.directory("hitless-test-"))
        settings = RouterSettings(
            health=HealthCheck(path="/health", interval=0.2, fast_interval=0.05),
            directory=private,
            logs=tmp_path,
            access_log=tmp_path / "access.ndjson",
        )
        try:
            await check_router(kind, settings)
        except RouterConfigError as error:
            pytest.skip(f"{error}")
        platform = await stack.enter_async_context(LocalPlatform(processes, log_directory=tmp_path))
        ending = await stack.enter_async_context(AsyncExitStack())
        running = await ending.enter_async_context(start_router(kind, processes, settings))
        yield Subject(running, platform, tmp_path, count(1), ending)


async def test_registered_is_not_attached(subject: Subject) -> None:
    """A registered replica is checked, and gets no request until it has weight."""
    replica = await subject.up("a")
    assert await subject.meets_nobody()
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
    subject.need(weights=True)
    a, b = await subject.up("a"), await subject.up("b")
    await subject.router.weigh({a.id: 1.0})
    await subject.router.weigh({b.id: 0.25})
    answers = await subject.answers(100)
    assert answers["a"] == pytest.approx(80, abs=3)
    await subject.router.weigh({a.id: 0.0})
    assert await subject.answers(10) == {"b": 10}


async def test_without_weights_all_that_serve_are_alike(subject: Subject) -> None:
    """The gap: whoever has any weight gets as much as the others; who has none gets nothing."""
    subject.need(weights=False)
    a, b = await subject.up("a"), await subject.up("b")
    await subject.router.weigh({a.id: 1.0})
    await subject.router.weigh({b.id: 0.01})
    answers = await subject.answers(EVEN_BY_CHANCE[0])
    assert answers["a"] == pytest.approx(EVEN_BY_CHANCE[0] / 2, abs=EVEN_BY_CHANCE[1])
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
    asked, slack = EVEN_BY_TURN if subject.can.sees_requests else EVEN_BY_CHANCE
    answers = await subject.answers(asked)
    assert answers["a"] == pytest.approx(asked / 2, abs=slack)
    assert answers["a"] + answers["b"] == asked


async def test_a_drain_waits(subject: Subject) -> None:
    """A drain answers when what was in flight is done; new requests go elsewhere meanwhile."""
    if subject.can.drain_waits == "nothing":
        pytest.skip(f"{subject.running.kind} declares that its drain waits for nothing")
    a, b = await subject.up("a"), await subject.up("b")
    await subject.router.weigh({a.id: 1.0})
    slow = await subject.at_the_replica("/long", a)
    await subject.router.weigh({b.id: 1.0})
    drained = await subject.router.drain(a.id, 30)
    assert "ended" in (subject.folder / f"{a.id}.log").read_text()  # the drain has waited for it
    assert (await slow)[0] == 200
    assert (drained.cut, drained.left) == (0, 0)
    assert await subject.answers(5) == {"b": 5}


async def test_a_drain_has_an_end(subject: Subject) -> None:
    """What is still in flight when the drain's time is up is cut, and counted."""
    subject.need(cuts_at_deadline=True)
    a = await subject.up("a")
    await subject.router.weigh({a.id: 1.0})
    hanging = await subject.at_the_replica("/hang", a)
    assert (await subject.router.drain(a.id, 0.1)).cut == 1
    (end,) = await asyncio.gather(hanging, return_exceptions=True)
    assert isinstance(end, Exception) or end[0] >= 500


async def test_a_drain_may_keep_idle_connections_in_use(subject: Subject) -> None:
    """Who can keep idle connections in use sends requests on them until the replica closes them.

    No new connection is opened: without an idle one, the drain is like any other. The gap: all
    other routers do not have the verb.
    """
    router = subject.router
    assert isinstance(router, KeepsIdleConnections) == subject.can.keeps_idle
    if not isinstance(router, KeepsIdleConnections):
        assert not hasattr(router, "drain_keeping_idle")
        return
    a, b = await subject.up("a"), await subject.up("b")
    await router.switch([a.id, b.id])
    assert set(await subject.answers(4)) == {"a", "b"}
    draining = asyncio.ensure_future(router.drain_keeping_idle(a.id, 60))
    async with asyncio.timeout(30):
        while (await router.why_not_up([a.id])) == {}:  # noqa: ASYNC110 - the port has no event
            await asyncio.sleep(0.01)
    assert (await subject.answers(10))["a"] > 0
    assert not draining.done()
    await subject.platform.stop(a, 30)  # it closes its idle connections
    async with asyncio.timeout(30):
        assert (await draining)[0] == 0
    assert await subject.answers(4) == {"b": 4}
    await router.drain(b.id, 30)
    assert (await router.drain_keeping_idle(b.id, 30))[0] == 0
    assert (await router.drain_keeping_idle("nobody-9", 30)) == (0, 0.0, 0)


async def test_drained_can_be_removed_and_forgotten(subject: Subject) -> None:
    """A removed replica gets nothing; removing or draining what is unknown is no error."""
    a = await subject.up("a")
    await subject.router.weigh({a.id: 1.0})
    await subject.router.drain(a.id, 30)
    await subject.router.remove(a.id)
    await subject.router.remove(a.id)
    await subject.router.remove("nobody-9")
    assert await subject.router.drain(a.id, 30) == (0, 0.0, 0)
    assert await subject.meets_nobody()
    assert set(await subject.router.why_not_up([a.id])) == {a.id}


async def test_counts_are_by_replica(subject: Subject) -> None:
    """Requests and failures are counted by replica, and only ever grow.

    The gap: who sees no requests counts none.
    """
    if not subject.can.sees_requests:
        a = await subject.up("a")
        await subject.router.switch([a.id])
        assert await subject.answers(3) == {"a": 3}
        assert await subject.router.counts() == {}
        return
    a, b = await subject.up("a"), await subject.up("b", "failing")
    await subject.router.switch([a.id])
    assert (await subject.get("/slow"))[0] == 200
    await subject.router.switch([a.id, b.id])
    got = await subject.answers(10)
    counts = await subject.counted(11)
    assert counts[a.id][:2] == (got["a"] + 1, 0)
    assert counts[b.id][:2] == (got["b"], got["b"])
    assert sum(counts[a.id].latency.counts) == got["a"] + 1
    assert counts[a.id].latency.seconds >= 0.25  # /slow takes 0.3


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


async def test_a_router_that_does_not_cut_says_what_it_leaves(subject: Subject) -> None:
    """The gap: at a drain's deadline nothing is cut; what is left is told, or unknown."""
    subject.need(cuts_at_deadline=False)
    a = await subject.up("a")
    await subject.router.weigh({a.id: 1.0})
    hanging = await subject.at_the_replica("/hang", a)
    drained = await subject.router.drain(a.id, 0.5)
    assert drained.cut == 0
    assert drained.left == (1 if subject.can.counts_in_flight else None)
    assert not hanging.done()  # it is really left alone
    hanging.cancel()


async def test_a_drain_that_waits_for_nothing_ends_before_the_request(subject: Subject) -> None:
    """The gap: the drain ends while a request is under way, and does not claim to know of none."""
    subject.need(drain_waits="nothing")
    a, b = await subject.up("a"), await subject.up("b")
    await subject.router.weigh({a.id: 1.0})
    hanging = await subject.at_the_replica("/hang", a)
    await subject.router.weigh({b.id: 1.0})
    async with asyncio.timeout(20):
        drained = await subject.router.drain(a.id, 60)
    assert drained.left is None
    assert not hanging.done()
    assert await subject.answers(5) == {"b": 5}
    hanging.cancel()


async def test_a_drain_that_waits_for_all_is_held_up_by_others(subject: Subject) -> None:
    """The gap: a request at another replica holds up the drain of an idle one."""
    subject.need(drain_waits="all")
    a, b = await subject.up("a"), await subject.up("b")
    await subject.router.weigh({b.id: 1.0})
    hanging = await subject.at_the_replica("/hang", b)
    await subject.router.weigh({a.id: 1.0})
    assert (await subject.router.drain(a.id, 0.5)).left is None
    assert not hanging.done()
    hanging.cancel()


async def test_in_flight_is_counted_or_said_not_to_be(subject: Subject) -> None:
    """Who counts what is in flight tells of one request; who does not, tells of none."""
    a = await subject.up("a")
    await subject.router.weigh({a.id: 1.0})
    hanging = await subject.at_the_replica("/hang", a)
    counts = await subject.router.counts()
    assert counts.get(a.id, RequestCounts()).in_flight == (1 if subject.can.counts_in_flight else 0)
    hanging.cancel()


async def test_who_checks_its_backends_leaves_a_sick_one(subject: Subject) -> None:
    """A router with checks of its own stops using a replica that fails them.

    The replica still answers requests, so nothing but its health check says that it is sick. The
    gap: a router without checks goes on using it.
    """
    a, b = await subject.up("a"), await subject.up("b")
    await subject.router.switch([a.id, b.id])
    assert (await subject.answers(10))["b"] > 0
    assert (await subject.get_from(b, "/turn-sick"))[0] == 200
    async with asyncio.timeout(30):
        while b.id not in await subject.router.why_not_up([b.id]):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    if not subject.can.own_health:
        assert (await subject.answers(10))["b"] > 0
        return
    async with asyncio.timeout(30):  # its threads hear of it one after the other
        while await subject.answers(10) != {"a": 10}:
            pass


async def test_its_log_becomes_exchanges(subject: Subject) -> None:
    """Each request is one exchange with its id, replica, version, status and end.

    The stamp is the machine's monotonic clock, as exact as the record says.
    """
    subject.need(sees_requests=True)
    a = await subject.up("a")
    await subject.router.weigh({a.id: 1.0})
    before = time.monotonic_ns()
    assert (await subject.get("/things?q=1", request_id="r-1"))[0] == 200
    after = time.monotonic_ns()
    await subject.counted(1)
    await subject.end()
    (found,) = subject.exchanges("r-1")
    assert (found.status, found.end, found.backend, found.version) == (200, "complete", a.id, "a")
    assert (found.method, found.path) == ("GET", "/things")
    slack = found.resolution_ns + 1_000_000
    assert before - slack <= found.at_ns <= after + slack
    assert 0 <= found.total_ns <= after - before + slack


async def test_a_failure_has_a_reason_or_none_at_all(subject: Subject) -> None:
    """What the router answers for a replica that is gone has its own reason, and a neutral cause.

    The gap: a router that gives no reason does not say more than that it does not know.
    """
    subject.need(sees_requests=True)
    a = await subject.up("a")
    await subject.router.weigh({a.id: 1.0})
    hanging = await subject.at_the_replica("/hang", a, method="POST")  # which nobody may try again
    await subject.platform.stop(a, 0)  # a kill
    status = (await asyncio.gather(hanging, return_exceptions=True))[0]
    assert isinstance(status, Exception) or status[0] >= 500
    await subject.end()
    (found,) = subject.exchanges("hang-1")
    assert found.backend == a.id
    if subject.can.reasons:
        assert found.end in ("connection_terminated", "http_response_incomplete")
        assert found.confidence != "symptom"
        assert found.reason or subject.running.kind == "hitless"
    else:
        assert (found.end, found.confidence) == ("unknown", "symptom")


async def test_what_it_cannot_do_is_refused_at_the_start(subject: Subject, tmp_path: Path) -> None:
    """Settings that the router cannot honour are one clear line; a router that can, starts."""
    for name, value in (("affinity_cookie", "version"), ("hold_seconds", 1.0)):
        capability = {"affinity_cookie": "sticky", "hold_seconds": "holds"}[name]
        settings = RouterSettings(
            health=HealthCheck(path="/health"), directory=tmp_path, logs=tmp_path, **{name: value}
        )
        if getattr(subject.can, capability):
            assert await check_router(subject.running.kind, settings)
        else:
            with pytest.raises(RouterConfigError, match=name) as refused:
                await check_router(subject.running.kind, settings)
            assert "\n" not in str(refused.value)
    for key in ("retry", "passive_checks"):
        settings = RouterSettings(
            health=HealthCheck(path="/health"), directory=tmp_path, logs=tmp_path, **{key: False}
        )
        if subject.running.kind == "hitless":
            assert await check_router("hitless", settings)
        else:
            with pytest.raises(RouterConfigError, match=rf"^balancer\.{key}: router "):
                await check_router(subject.running.kind, settings)


async def test_a_change_leaves_clients_their_connections(subject: Subject) -> None:
    """A change of the backends leaves a client's idle connection open.

    Its next request goes to a replica that serves now. One gap: the connection is closed, and a
    request that is just being sent on it is lost. Another: the connection stays with its replica.
    """
    a, b = await subject.up("a"), await subject.up("b")
    await subject.router.switch([a.id])
    host, _, port = subject.running.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        writer.write(request)
        await reader.readuntil(b"\r\n\r\na")
        await subject.router.switch([b.id])
        if subject.can.reload_keeps_connections:
            writer.write(request)
            now = b"b" if subject.can.sees_requests else b"a"
            await reader.readuntil(b"\r\n\r\n" + now)
        else:
            async with asyncio.timeout(30):
                assert await reader.read() == b""
    finally:
        writer.close()


async def test_a_replica_that_leaves_costs_nothing(subject: Subject) -> None:
    """Replicas come and go under requests on new connections, and none of those fails.

    Caddy alone may lose some, since each of its changes opens new listening sockets: how many is a
    matter of luck (`findings/caddy-reload-loses-connections.sh`).
    """
    a, b = await subject.up("a"), await subject.up("b")
    await subject.router.switch([a.id, b.id])
    failures: list[object] = []
    over = False

    async def ask() -> None:
        while not over:
            try:
                status, _ = await subject.get()
            except (OSError, asyncio.IncompleteReadError) as error:
                failures.append(error)
            else:
                if status != 200:
                    failures.append(status)

    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(ask())
        try:
            for one in (a, b):
                c = await subject.up("c")
                await subject.router.weigh({c.id: 1.0})
                await subject.router.drain(one.id, 30)
                await subject.platform.stop(one, 5)
                await subject.router.remove(one.id)
        finally:
            over = True
    assert not failures or subject.running.kind == "caddy"
