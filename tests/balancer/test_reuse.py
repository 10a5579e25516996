"""When a kept connection may carry a request that must not be sent twice."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.config import Timeouts
from balancer.connection_reuse import ReuseRecord
from balancer.proxy.response_head import read_any_response, read_response
from tests.support.balancer import (
    POST,
    LocalBalancer,
    ReceivedRequest,
    backend,
    closing,
    local_balancer,
    response,
    until,
)

MS = 1_000_000
EVENTS = st.one_of(
    st.tuples(st.sampled_from(["stayed_open", "closed"]), st.integers(0, 5000 * MS)),
    st.tuples(st.just("announced"), st.integers(0, 100)),
    st.tuples(st.just("request_lost"), st.none()),
)


@given(st.lists(EVENTS))
def test_the_bound_follows_from_what_was_seen(events: list[tuple[str, int | None]]) -> None:
    """The bound is half of the shortest time that the backend held or announced (K1)."""
    record = ReuseRecord()
    for name, value in events:
        getattr(record, name)(*(() if value is None else (value,)))
    closed = [value for name, value in events if name == "closed"]
    closed += [
        value * 1000 * MS for name, value in events if name == "announced" and value is not None
    ]
    lost = sum(name == "request_lost" for name, _ in events)
    proven = max((value for name, value in events if name == "stayed_open"), default=0)
    assert record.lost == lost
    if not proven or lost or any(value < 20 * MS for value in closed):
        assert record.safe_ns == 0
    else:
        assert record.safe_ns == min([proven, *closed]) // 2
    record.forget()
    assert record.safe_ns == 0
    assert record.reads_bodies is None


def test_bodies_are_checked_once_at_a_time_and_not_too_often() -> None:
    """A backend of which it is known, or was just asked, is not asked again (K3)."""
    record = ReuseRecord()
    assert record.may_check_bodies(1)
    assert not record.may_check_bodies(2)
    record.bodies_checked(reads=None, now_ns=3)
    assert not record.may_check_bodies(4)
    assert record.may_check_bodies(3 + 10_000 * MS)
    record.bodies_checked(reads=True, now_ns=5)
    assert not record.may_check_bodies(1 << 60)


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        (b"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n", 5),
        (b"keep-alive: max=10, Timeout=7\r\n", 7),
        (b'Keep-Alive: timeout="3"\r\n', 3),
        (b"Keep-Alive: max=5\r\n", None),
        (b"", None),
    ],
)
def test_an_announced_timeout_is_heard(fields: bytes, seconds: int | None) -> None:
    """`Keep-Alive: timeout` is read by both ways through a head, and does not pass (K1)."""
    head = b"HTTP/1.1 200 OK\r\nA: b\r\n%bContent-Length: 0\r\n\r\n" % fields
    for read in (read_response, read_any_response):
        found = read(head, b"GET")
        assert found is not None
        assert found.keep_alive == seconds
        assert b"imeout" not in found.fields


REUSE = Timeouts(reuse=0.3)


async def post(local: LocalBalancer) -> bytes:
    return await local.exchange(closing(POST))


async def test_posts_share_a_connection_that_is_known_to_stay_open() -> None:
    """A POST goes on a kept connection once such connections were seen to stay open (K1)."""
    async with backend() as one, local_balancer(timeouts=REUSE) as local:
        await local.attach(a_1=one)
        (held,) = local.balancer.control.pool.backends
        await post(local)
        await until(lambda: held.reuse.reads_bodies is not None)
        assert held.reuse.safe_ns == 0
        for _ in range(3):
            await post(local)
        assert len({call.connection for call in one.calls}) == 4, "nothing is known yet"
        await until(lambda: held.reuse.safe_ns > 0)
        assert held.reuse.safe_ns >= 100 * MS
        # One connection carries the rest, unless this machine was held up for longer than a
        # connection counts as just answered on.
        before = one.connections
        async with local.connection() as (reader, writer):
            for _ in range(20):
                writer.write(POST)
                await reader.readuntil(b"ok")
        assert one.connections - before < 15
        assert local.balancer.data_plane.reuse_losses == 0


async def test_a_post_does_not_go_on_a_connection_that_was_idle() -> None:
    """A POST that comes a while after the last answer goes on a fresh connection (K1)."""
    async with backend() as one, local_balancer(timeouts=REUSE) as local:
        await local.attach(a_1=one)
        (held,) = local.balancer.control.pool.backends
        assert held.reuse.may_check_bodies(0)
        held.reuse.bodies_checked(reads=True, now_ns=0)
        held.reuse.stayed_open(10_000 * MS)
        await post(local)
        await asyncio.sleep(0.1)
        await post(local)
    assert len({call.connection for call in one.calls}) == 2


async def test_a_server_that_closes_right_away_costs_no_post() -> None:
    """Behind a server that closes after each answer without a word, no POST fails (K1)."""

    async def answer_and_close(call: ReceivedRequest) -> None:
        call.writer.write(response())
        await call.writer.drain()
        call.writer.close()

    async with backend(answer_and_close) as one, local_balancer(timeouts=REUSE) as local:
        await local.attach(a_1=one)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(4):
                tasks.create_task(several(local, 100))
        counters = local.balancer.data_plane.counters
        assert (counters.requests, counters.failed) == (400, 0)
        assert local.balancer.data_plane.reuse_losses == 0


async def several(local: LocalBalancer, count: int) -> None:
    async with local.connection() as (reader, writer):
        for _ in range(count):
            writer.write(POST)
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")


async def test_what_is_known_ends_with_the_backend() -> None:
    """A backend that was down and is up again has to show anew what it does (K1)."""
    async with backend() as one, local_balancer() as local:
        await local.attach(a_1=one)
        (held,) = local.balancer.control.pool.backends
        held.reuse.stayed_open(10_000 * MS)
        assert held.reuse.safe_ns
        one.health_status = "500 Sick"
        await local.wait(lambda: held.state.value == "down")
        one.health_status = "200 OK"
        await local.wait(lambda: held.state.value == "up")
        assert held.reuse.safe_ns == 0


@pytest.mark.parametrize("reuse_post", [True, False])
async def test_posts_may_be_treated_as_others_treat_them(*, reuse_post: bool) -> None:
    """Only with `--reuse-post` does a POST go on any kept connection, and may be lost (K4)."""

    async def dies_on_the_second(call: ReceivedRequest) -> None:
        if sum(call.connection == other.connection for other in one.calls) > 1:
            call.writer.transport.abort()
        else:
            call.writer.write(response())

    async with (
        backend(dies_on_the_second) as one,
        local_balancer(reuse_post=reuse_post) as local,
    ):
        await local.attach(a_1=one)
        answers = [await post(local) for _ in range(2)]
        plane = local.balancer.data_plane
        assert answers[0].startswith(b"HTTP/1.1 200 ")
        assert answers[1].startswith(b"HTTP/1.1 502 " if reuse_post else b"HTTP/1.1 200 ")
        assert plane.reuse_losses == int(reuse_post)
        (held,) = local.balancer.control.pool.backends
        assert held.counters.failed_transport == 0, "a race is no failure of the backend"
