"""Details of the promises: each of these fails when just that detail is taken away."""

import asyncio
import contextlib
import json
import socket
from pathlib import Path
from time import monotonic_ns

import pytest

from balancer.access_log import AccessLog
from balancer.backend import Backend, State
from balancer.config import Limits, Timeouts
from balancer.dialing import addresses
from balancer.health import HealthPolicy
from balancer.outlier_detection import OutlierDetector, OutlierPolicy
from balancer.proxy import connection_pool
from balancer.proxy.connection_pool import ConnectionPool
from balancer.proxy.upstream import UpstreamConnection
from balancer.statistics import complete
from tests.support.balancer import (
    GET,
    POST,
    ReceivedRequest,
    backend,
    closing,
    local_balancer,
    response,
    until,
)

# Checks so rarely that live traffic alone finds out.
RARELY = HealthPolicy(path="/health", interval=600, fast_interval=600, rise=1)


@contextlib.asynccontextmanager
async def idle_connection():  # noqa: ANN201 - the pool, a backend, and the other end
    """A pool with one idle connection, and the socket of its other end."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        one = Backend("a-1", host, port, "a", 1.0, State.UP)
        async with local_balancer() as local:
            pool = ConnectionPool(local.balancer.data_plane.wheel, reuse=1.0, head_limit=1000)
            _, connection = await loop.create_connection(
                lambda: UpstreamConnection(pool, one), host, port
            )
            other, _ = server.accept()
            with other:
                pool.put(connection, monotonic_ns())
                yield pool, one, other
            connection.discard()


async def test_an_idle_connection_is_taken() -> None:
    """A connection that is open, quiet and was idle for a moment is reused (K2)."""
    async with idle_connection() as (pool, one, _):
        assert pool.take(one, monotonic_ns()) is not None


@pytest.mark.parametrize("ends", [True, False], ids=["an end", "bytes"])
async def test_what_the_loop_has_not_seen_yet_counts(*, ends: bool) -> None:
    """A connection with an end or bytes that nobody has read yet is not reused (K2)."""
    async with idle_connection() as (pool, one, other):
        # The event loop does not run between these two.
        if ends:
            other.shutdown(socket.SHUT_WR)
        else:
            other.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert pool.take(one, monotonic_ns()) is None


async def test_a_connection_is_not_reused_after_its_time() -> None:
    """A connection that was idle for longer than `reuse` is not reused (K2)."""
    async with idle_connection() as (pool, one, _):
        assert pool.take(one, monotonic_ns() + 1_000_000_000) is None


async def test_a_connection_that_its_backend_ends_is_not_kept() -> None:
    """A response with `Connection: close` ends its connection, also if it stays open (K2)."""

    async def says_close(call: ReceivedRequest) -> None:
        call.writer.write(response(fields=b"Connection: close\r\n"))

    async with backend(says_close) as one, local_balancer() as local:
        await local.attach(a_1=one)
        for _ in range(2):
            await local.exchange(closing(GET))
    assert len({call.connection for call in one.calls}) == 2


async def test_a_connection_with_a_body_under_way_is_not_kept() -> None:
    """A connection whose request was not sent whole is closed with its response (K2)."""
    put = b"PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nx"
    async with backend(read_body=False) as one, local_balancer(reuse_post=True) as local:
        await local.attach(a_1=one)
        await local.exchange(put)
        await local.exchange(closing(GET))
    assert len({call.connection for call in one.calls}) == 2


async def test_a_backend_that_drains_while_it_is_connected_to_gets_nothing() -> None:
    """A backend that begins to drain while a connection is opened is not sent to (C2)."""
    async with backend() as one, backend() as two, local_balancer() as local:
        await local.attach(a_1=one)
        control = local.balancer.control

        async def look_up_late(host: str, port: int) -> list[tuple[str, int]]:
            found = await addresses(host, port)
            if one.address == f"{host}:{port}":
                await local.attach(a_2=two)
                control.pool.drain("a-1")
            return found

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(connection_pool, "addresses", look_up_late)
            answer = await local.exchange(closing(POST))
    assert b"X-Served-By: a-2" in answer
    assert one.calls == []


async def test_a_lost_idle_connection_is_nobodys_failure() -> None:
    """A GET that is sent again since its kept connection died counts against no backend (T2)."""

    async def handler(call: ReceivedRequest) -> None:
        if len(one.calls) == 2:
            call.writer.transport.abort()
        else:
            call.writer.write(response())

    async with backend(handler) as one, local_balancer(retry_minimum=0, retry_ratio=0.0) as local:
        await local.attach(a_1=one)
        for _ in range(2):
            assert (await local.exchange(closing(GET))).startswith(b"HTTP/1.1 200 ")
        (held,) = local.balancer.control.pool.backends
        assert held.counters.failed_transport == 0
    assert len(one.calls) == 3


async def test_failed_connects_leave_the_budget_alone() -> None:
    """A request whose connect failed may still be retried within the budget (T1)."""

    async def dies(call: ReceivedRequest) -> None:
        call.writer.transport.abort()

    async with (
        backend() as one,
        backend(dies) as two,
        backend() as three,
        local_balancer(health=RARELY, retry_minimum=1, retry_ratio=0.0) as local,
    ):
        await local.attach(a_1=one, a_2=two, a_3=three)
        await one.stop()
        assert (await local.exchange(closing(GET))).startswith(b"HTTP/1.1 200 ")


async def test_when_all_refuse_the_client_is_told_in_time(tmp_path: Path) -> None:
    """While all backends refuse, the choice begins again, with pauses, for a time (T1)."""
    path = tmp_path / "log"
    with AccessLog(path) as log:
        timeouts = Timeouts(connect=0.5)
        async with (
            backend() as one,
            local_balancer(log=log, health=RARELY, timeouts=timeouts) as local,
        ):
            await local.attach(a_1=one)
            (held,) = local.balancer.control.pool.backends
            local.balancer.control.stop_probes()
            await one.stop()
            answer = await local.exchange(closing(POST))
            assert held.state is State.UP
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert b"error=connection_refused" in answer
    (line,) = map(json.loads, path.read_text().splitlines())
    assert 2 <= line["attempts"] < 20
    assert line["total_ns"] >= 500_000_000


async def test_a_connect_has_a_deadline() -> None:
    """A backend that takes no connection in time is passed over (T8)."""
    with socket.socket() as full, contextlib.ExitStack() as stack:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):  # fill the queue of connections that wait to be accepted
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        host, port = full.getsockname()
        async with local_balancer(health=RARELY, timeouts=Timeouts(connect=0.2)) as local:
            control = local.balancer.control
            held = control.pool.attach("a-1", host=host, port=port, version="a", weight=1)
            control.pool.mark(held, State.UP)
            answer = await local.exchange(closing(GET))
        assert answer.startswith(b"HTTP/1.1 504 ")
        assert b"error=connection_timeout" in answer


def test_an_apps_errors_are_no_failures() -> None:
    """An app that answers 5xx is not ejected for it, however many they are (O4)."""
    bad, good = (Backend(f"a-{n}", "h", n, "a", 1.0, State.UP) for n in (1, 2))
    detector = OutlierDetector(OutlierPolicy())
    detector.sweep([bad, good], 0.0)
    for _ in range(100):
        complete(500, 1, 1, bad.counters)
        complete(200, 1, 1, good.counters)
    assert detector.sweep([bad, good], 1.0) == []


async def test_an_ejection_ends() -> None:
    """A backend comes back when its ejection is over (O5)."""

    async def dies(call: ReceivedRequest) -> None:
        call.writer.transport.abort()

    policy = OutlierPolicy(consecutive=1, seconds=0.1)
    async with backend(dies) as one, backend() as two, local_balancer(outliers=policy) as local:
        await local.attach(a_1=one, a_2=two)
        bad = local.balancer.control.pool.get("a-1")
        while not bad.ejected:
            await local.exchange(closing(GET))
        await local.wait(lambda: not bad.ejected)


async def test_pipelined_requests_fill_no_memory() -> None:
    """A client that sends much while its request is under way is not read from for now (P13)."""
    release = asyncio.Event()

    async def waits(call: ReceivedRequest) -> None:
        await release.wait()
        call.writer.write(response())

    async with backend(waits) as one, local_balancer() as local:
        await local.attach(a_1=one)
        async with local.connection() as (reader, writer):
            writer.write(GET * 5000)
            (client,) = local.balancer.data_plane.clients
            await until(lambda: client.paused)
            release.set()
            for _ in range(100):
                await reader.readuntil(b"ok")


async def test_a_client_that_left_is_not_counted() -> None:
    """A connection that has ended counts no longer against the limit of its client (S6)."""
    async with backend() as one, local_balancer(limits=Limits(client_connections=1)) as local:
        await local.attach(a_1=one)
        for _ in range(3):
            assert (await local.exchange(closing(GET))).startswith(b"HTTP/1.1 200 ")
            await until(lambda: not local.balancer.data_plane.clients)
