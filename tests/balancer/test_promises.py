"""The rules for zero drop, on real sockets: choice, drain, reuse, retries, waiting."""

import asyncio
import json
from pathlib import Path

import pytest

from balancer.access_log import AccessLog
from balancer.affinity import Affinity
from balancer.backend import State
from balancer.config import Timeouts
from balancer.errors import ConflictError, UnknownBackendError
from balancer.health import HealthPolicy
from balancer.hold_queue import HoldPolicy
from balancer.outlier_detection import OutlierPolicy
from balancer.proxy.write_progress import reset
from tests.support.balancer import (
    CLOSE,
    GET,
    POST,
    Handler,
    LocalBalancer,
    ReceivedRequest,
    backend,
    closing,
    local_balancer,
    response,
    until,
)


def served_by(answer: bytes) -> bytes:
    return answer.partition(b"X-Served-By: ")[2].partition(b"\r\n")[0]


def dying(*, times: int, then: Handler | None = None, part: bytes = b"") -> Handler:
    """Reset the connection instead of answering, so many times."""
    left = times

    async def handler(call: ReceivedRequest) -> None:
        nonlocal left
        if left > 0:
            left -= 1
            call.writer.write(part)
            await call.writer.drain()
            call.writer.transport.abort()
        elif then is not None:
            await then(call)
        else:
            call.writer.write(response())

    return handler


async def never(call: ReceivedRequest) -> None:
    await call.reader.read()


# Membership


async def test_an_attach_is_idempotent() -> None:
    """Attaching again changes weight and version, never the address of a known id (M1)."""
    async with backend() as one, local_balancer() as local:
        await local.attach(a_1=one)
        control = local.balancer.control
        same = control.put("a-1", address=one.address, version="a2", weight=3)
        assert (same.state, same.weight, same.version) == (State.UP, 3, "a2")
        with pytest.raises(ConflictError, match="drain and delete it"):
            control.put("a-1", address="127.0.0.1:1", version="a", weight=1)
        assert same.address == one.address


async def test_an_id_can_come_back_after_it_was_removed() -> None:
    """After drain and delete an id may be attached anew, at any address, and starts as new (M1)."""
    async with backend() as one, backend() as two, local_balancer() as local:
        await local.attach(a_1=one)
        control = local.balancer.control
        await control.drain("a-1", timeout=30)
        with pytest.raises(ConflictError, match="draining"):
            control.put("a-1", address=one.address, version="a", weight=1)
        control.delete("a-1")
        with pytest.raises(UnknownBackendError):
            control.delete("a-1")
        fresh = control.put("a-1", address=two.address, version="a", weight=1)
        assert fresh.state is State.NEW


async def test_a_drain_closes_idle_connections_at_once() -> None:
    """A draining backend's idle connections are closed, and used ones not kept (M3)."""
    async with backend() as one, backend() as two, local_balancer() as local:
        await local.attach(a_1=one)
        answer = await local.exchange(closing(GET))
        assert served_by(answer) == b"a-1"
        (held,) = local.balancer.control.pool.backends
        assert len(local.balancer.data_plane.connection_pool.of(held)) == 1
        await local.attach(a_2=two)
        await local.balancer.control.drain("a-1", timeout=30)
        for connection in local.balancer.data_plane.connection_pool.of(held):
            assert connection.transport.is_closing()


async def test_a_drain_closes_a_connection_with_its_last_response() -> None:
    """A connection that a draining backend still answers on is closed, not kept (M3)."""
    release = asyncio.Event()

    async def slow(call: ReceivedRequest) -> None:
        await release.wait()
        call.writer.write(response())

    async with backend(slow) as one, local_balancer() as local, asyncio.TaskGroup() as tasks:
        await local.attach(a_1=one)
        (held,) = local.balancer.control.pool.backends
        pending = tasks.create_task(local.exchange(closing(GET)))
        await one.wait_calls(1)
        draining = tasks.create_task(local.balancer.control.drain("a-1", timeout=60))
        await local.wait(lambda: held.state is State.DRAINING)
        release.set()
        assert (await pending).startswith(b"HTTP/1.1 200 ")
        await draining
        for connection in local.balancer.data_plane.connection_pool.of(held):
            assert connection.transport.is_closing()


async def test_a_late_good_check_does_not_bring_a_draining_backend_back() -> None:
    """A check that passes while its backend drains changes nothing (M4)."""
    async with backend() as one, local_balancer() as local:
        await local.attach(a_1=one)
        control = local.balancer.control
        (held,) = control.pool.backends
        control.pool.drain("a-1")
        control.refused(held)
        before = one.connections
        for _ in range(20):
            await asyncio.sleep(0.01)
        assert held.state is State.DRAINING
        assert one.connections <= before + 1


async def test_a_backend_that_says_it_leaves_is_drained() -> None:
    """The shutdown status on the health path drains a backend at once (M5)."""
    policy = HealthPolicy(path="/health", interval=0.1, fast_interval=0.05, rise=1, leaving=503)
    async with backend() as one, local_balancer(health=policy) as local:
        await local.attach(a_1=one)
        (held,) = local.balancer.control.pool.backends
        one.health_status = "503 Leaving"
        await local.wait(lambda: held.state is State.DRAINING)
        assert local.balancer.control.pool.ring == ()


# Health


async def test_failing_checks_take_a_backend_down_and_good_ones_bring_it_back() -> None:
    """`fall` bad checks take a backend down, `rise` good ones bring it back (H2)."""
    policy = HealthPolicy(
        path="/health", interval=0.05, fast_interval=0.05, timeout=30, rise=4, fall=3
    )
    async with backend() as one, local_balancer(health=policy) as local:
        control = local.balancer.control
        changes: list[tuple[State, int]] = []
        held = control.put("a-1", address=one.address, version="a", weight=1)
        control.on_change = lambda: changes.append((held.state, one.checks))
        for status, state in (
            ("200 OK", State.UP), ("500 Sick", State.DOWN), ("200 OK", State.UP),
        ):  # fmt: skip
            one.checks, one.health_status = 0, status
            await local.wait(lambda state=state: held.state is state)
            # The number of checks at the moment of the change itself.
            assert changes[-1] == (state, policy.fall if state is State.DOWN else policy.rise)


async def test_a_check_that_hangs_has_failed() -> None:
    """A check without an answer in time is a failed one; a redirect is not followed (H3)."""
    policy = HealthPolicy(
        path="/ready", interval=0.05, fast_interval=0.05, timeout=0.1, rise=1, fall=1
    )

    async def handler(call: ReceivedRequest) -> None:
        await (never if hanging else redirect)(call)

    async def redirect(call: ReceivedRequest) -> None:
        call.writer.write(response(status="302 Found", fields=b"Location: /health\r\n"))

    hanging = False
    async with backend(handler) as one, local_balancer(health=policy) as local:
        local.balancer.control.put("a-1", address=one.address, version="a", weight=1)
        await one.wait_calls(3)
        hanging = True
        await one.wait_calls(6)
        (held,) = local.balancer.control.pool.backends
        assert held.state is State.NEW


async def test_a_refused_connection_is_proof() -> None:
    """A refused live connection goes elsewhere, and its backend is down at once (H4)."""
    slow = HealthPolicy(path="/health", interval=600, fast_interval=0.05, rise=1, fall=3)
    async with backend() as one, backend() as two, local_balancer(health=slow) as local:
        await local.attach(a_1=one, a_2=two)
        (first, second) = local.balancer.control.pool.backends
        await one.stop()
        answers = [await local.exchange(closing(POST)) for _ in range(2)]
        assert [served_by(answer) for answer in answers] == [b"a-2", b"a-2"]
        await local.wait(lambda: first.state is State.DOWN)
        assert second.state is State.UP


# Reuse and retries


async def test_posts_go_on_fresh_connections() -> None:
    """A request that may not be sent twice never uses a connection that was idle (K1)."""
    async with backend() as one, local_balancer() as local:
        await local.attach(a_1=one)
        for _ in range(3):
            await local.exchange(closing(POST))
    numbers = [call.connection for call in one.calls]
    assert len(set(numbers)) == 3


async def test_gets_share_a_connection() -> None:
    """Idempotent requests reuse an idle connection (K2)."""
    async with backend() as one, local_balancer() as local:
        await local.attach(a_1=one)
        async with local.connection() as (reader, writer):
            for _ in range(3):
                writer.write(GET)
                await reader.readuntil(b"ok")
    assert len({call.connection for call in one.calls}) == 1


async def test_a_connection_that_was_idle_for_too_long_is_not_reused() -> None:
    """An idle connection is reused within `reuse` seconds only, and closed after (K2)."""
    async with backend() as one, local_balancer(timeouts=Timeouts(reuse=0.1)) as local:
        await local.attach(a_1=one)
        (held,) = local.balancer.control.pool.backends
        await local.exchange(closing(GET))
        await until(lambda: not local.balancer.data_plane.connection_pool.of(held))
        await local.exchange(closing(GET))
    assert len({call.connection for call in one.calls}) == 2


async def test_a_connection_with_something_to_read_is_not_reused() -> None:
    """A connection that its backend has closed, or sent something on, is passed over (K2)."""
    closed = asyncio.Event()

    async def handler(call: ReceivedRequest) -> None:
        call.writer.write(response())
        await call.writer.drain()
        if len(one.calls) == 1:
            call.writer.transport.abort()
            closed.set()

    async with backend(handler) as one, local_balancer() as local:
        await local.attach(a_1=one)
        async with local.connection() as (reader, writer):
            for _ in range(2):
                writer.write(GET)
                await reader.readuntil(b"ok")
                await closed.wait()
    assert local.balancer.data_plane.counters.failed == 0


@pytest.mark.parametrize("request_", [GET, POST], ids=["GET", "POST"])
async def test_a_refused_connect_goes_elsewhere(request_: bytes) -> None:
    """When a connection is refused nothing was sent: any request goes to another backend (T1)."""
    slow = HealthPolicy(path="/health", interval=600, fast_interval=600, rise=1)
    async with backend() as one, backend() as two, local_balancer(health=slow) as local:
        await local.attach(a_1=one, a_2=two)
        await one.stop()
        answers = [await local.exchange(closing(request_)) for _ in range(4)]
    assert {served_by(answer) for answer in answers} == {b"a-2"}
    assert local.balancer.data_plane.counters.failed == 0


async def test_a_dead_idle_connection_costs_a_get_nothing(tmp_path: Path) -> None:
    """When a reused connection dies without a byte, a GET is sent again on a fresh one (T2).

    The log tells it apart from a request that was refused and never sent.
    """

    async def handler(call: ReceivedRequest) -> None:
        if len(one.calls) == 2:
            call.writer.transport.abort()
        else:
            call.writer.write(response())

    path = tmp_path / "log"
    with AccessLog(path) as log:
        async with backend(handler) as one, local_balancer(log=log) as local:
            await local.attach(a_1=one)
            async with local.connection() as (reader, writer):
                for _ in range(2):
                    writer.write(GET)
                    assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
    assert len(one.calls) == 3
    assert one.calls[1].connection == one.calls[0].connection
    assert one.calls[2].connection != one.calls[1].connection
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["attempts"], line["resent"]) for line in lines] == [(1, False), (2, True)]


async def test_a_get_that_died_is_sent_once_to_another() -> None:
    """When a fresh connection dies after the request, a GET goes once to another backend (T3)."""
    async with (
        backend(dying(times=9)) as one,
        backend() as two,
        local_balancer() as local,
    ):
        await local.attach(a_1=one, a_2=two)
        answers = [await local.exchange(closing(GET)) for _ in range(2)]
    assert {served_by(answer) for answer in answers} == {b"a-2"}
    assert len(one.calls) == 1


async def test_a_get_is_not_sent_a_third_time() -> None:
    """After two deaths the client is told, with the reason (T3)."""
    async with (
        backend(dying(times=9)) as one,
        backend(dying(times=9)) as two,
        local_balancer() as local,
    ):
        await local.attach(a_1=one, a_2=two)
        answer = await local.exchange(closing(GET))
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert b"error=connection_terminated" in answer
    assert len(one.calls) + len(two.calls) == 2


@pytest.mark.parametrize("method", [b"POST", b"PATCH"])
async def test_a_post_is_never_sent_twice(method: bytes) -> None:
    """A POST or PATCH whose connection died after a write earns 502; the app saw it once (T4)."""
    async with (
        backend(dying(times=9)) as one,
        backend(dying(times=9)) as two,
        local_balancer() as local,
    ):
        await local.attach(a_1=one, a_2=two)
        answer = await local.exchange(closing(POST.replace(b"POST", method)))
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert len(one.calls) + len(two.calls) == 1


async def test_an_idempotency_key_opts_a_post_in() -> None:
    """A POST with an Idempotency-Key is sent again like a PUT, body and all (T5)."""
    request = closing(POST).replace(CLOSE, CLOSE + b"Idempotency-Key: 1\r\n")
    async with backend(dying(times=1)) as one, local_balancer() as local:
        await local.attach(a_1=one)
        async with backend() as two:
            await local.attach(a_2=two)
            answers = [await local.exchange(request) for _ in range(2)]
            assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in answers)
            assert [call.body for call in one.calls + two.calls] == [b"x"] * 3


async def test_a_large_body_is_not_sent_twice() -> None:
    """A body over the replay limit is not kept, so its PUT is not sent again (T5)."""
    body = b"x" * 100_000
    put = closing(b"PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    async with (
        backend(dying(times=1)) as one,
        local_balancer(replay_bytes=1000) as local,
    ):
        await local.attach(a_1=one)
        answer = await local.exchange(put)
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert len(one.calls) == 1


async def test_retries_have_a_budget() -> None:
    """Beyond the budget a death is told to the client instead of tried again (T6)."""
    async with (
        backend(dying(times=99)) as one,
        backend(dying(times=99)) as two,
        local_balancer(retry_ratio=0.0, retry_minimum=1) as local,
    ):
        await local.attach(a_1=one, a_2=two)
        for _ in range(3):
            assert (await local.exchange(closing(GET))).startswith(b"HTTP/1.1 502 ")
    assert len(one.calls) + len(two.calls) == 4
    assert local.balancer.data_plane.retries == 1


async def test_an_apps_5xx_is_relayed() -> None:
    """A 5xx of the app is an answer like any other: it is not tried elsewhere (T7)."""

    async def broken(call: ReceivedRequest) -> None:
        call.writer.write(response(b"broken", status="503 No"))

    async with backend(broken) as one, backend(broken) as two, local_balancer() as local:
        await local.attach(a_1=one, a_2=two)
        answer = await local.exchange(closing(GET))
    assert answer.endswith(b"broken")
    assert b"Proxy-Status" not in answer
    assert len(one.calls) + len(two.calls) == 1


async def test_the_first_byte_has_a_deadline() -> None:
    """A backend that does not answer in time earns 504, and its connection is not kept (T8)."""
    async with backend(never) as one, local_balancer(timeouts=Timeouts(first_byte=0.2)) as local:
        await local.attach(a_1=one)
        answer = await local.exchange(closing(GET))
    assert answer.startswith(b"HTTP/1.1 504 ")
    assert b"error=http_response_timeout" in answer


async def test_the_whole_exchange_has_a_deadline() -> None:
    """An exchange over its total time earns 504, or is reset when it has begun (T8)."""

    async def drip(call: ReceivedRequest) -> None:
        call.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            call.writer.write(b"x")
            await call.writer.drain()
            await asyncio.sleep(0.02)

    async with backend(drip) as one, local_balancer(timeouts=Timeouts(total=0.3)) as local:
        await local.attach(a_1=one)
        with pytest.raises(ConnectionResetError):
            await local.exchange(closing(GET))
        one.handler = never
        assert (await local.exchange(closing(GET))).startswith(b"HTTP/1.1 504 ")


async def test_a_stalled_response_is_reset() -> None:
    """A response that stops half way is reset when its time is over (T8)."""

    async def half(call: ReceivedRequest) -> None:
        call.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
        await call.reader.read()

    async with backend(half) as one, local_balancer(timeouts=Timeouts(stream=0.2)) as local:
        await local.attach(a_1=one)
        with pytest.raises(ConnectionResetError):
            await local.exchange(closing(GET))


async def test_a_client_that_goes_away_takes_its_request_along() -> None:
    """A client that resets its connection ends its exchange, at the backend as well (T9)."""
    gone = asyncio.Event()

    async def handler(call: ReceivedRequest) -> None:
        await call.reader.read()
        gone.set()

    async with backend(handler) as one, local_balancer() as local:
        await local.attach(a_1=one)
        (held,) = local.balancer.control.pool.backends
        async with local.connection() as (_, writer):
            writer.write(POST)
            await one.wait_calls(1)
            assert held.in_flight == 1
            reset(writer.transport)
        await gone.wait()
        assert held.in_flight == 0
        assert local.balancer.data_plane.counters.aborted == 1


# Waiting for a backend


async def test_without_a_backend_the_answer_is_503_at_once() -> None:
    """With no backend up the answer is 503 with Retry-After, unless holding is on (W1)."""
    async with local_balancer() as local:
        answer = await local.exchange(closing(GET))
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: 1\r\n" in answer
    assert b'error=destination_unavailable; details="no backend is up"' in answer


async def wait_held(local: LocalBalancer, count: int) -> None:
    await until(lambda: len(local.balancer.data_plane.hold) == count)


async def test_held_requests_are_served_in_order() -> None:
    """Requests that wait are served in the order in which they came, once a backend is up (W2)."""
    async with backend() as one, local_balancer(hold=HoldPolicy(seconds=60)) as local:
        async with asyncio.TaskGroup() as tasks:
            pending = []
            for number in range(5):
                request = closing(POST).replace(b"POST /", b"POST /%d" % number)
                pending.append(tasks.create_task(local.exchange(request)))
                await wait_held(local, number + 1)
            await local.attach(a_1=one)
        assert all(task.result().startswith(b"HTTP/1.1 200 ") for task in pending)
    assert sorted(call.path for call in one.calls) == [b"/%d" % n for n in range(5)]
    assert [call.body for call in one.calls] == [b"x"] * 5


async def test_held_requests_see_backends_that_came_later() -> None:
    """A request that waits takes a backend that was attached after it came (W2)."""
    async with backend() as one, local_balancer(hold=HoldPolicy(seconds=60)) as local:
        async with asyncio.TaskGroup() as tasks:
            pending = tasks.create_task(local.exchange(closing(GET)))
            await wait_held(local, 1)
            local.balancer.control.put("z-9", address=one.address, version="z", weight=0)
            await local.wait(lambda: local.balancer.control.pool.backends[0].state is State.UP)
            assert not pending.done()
            local.balancer.control.set_active(["z-9"])
        assert served_by(pending.result()) == b"z-9"


async def test_holding_has_bounds() -> None:
    """Over the number, the size or the time that may be held, the answer is 503 at once (W3)."""
    for policy, reason in (
        (HoldPolicy(seconds=60, count=0), b"too many requests wait"),
        (HoldPolicy(seconds=60, size=1), b"too many requests wait"),
        (HoldPolicy(seconds=0.1), b"no backend came up in time"),
    ):
        async with local_balancer(hold=policy) as local:
            answer = await local.exchange(closing(GET))
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert reason in answer
        assert b"Retry-After: 1" in answer


async def test_a_waiter_whose_client_has_gone_is_dropped() -> None:
    """A request that waits leaves the queue with its client, and is never sent (W4)."""
    async with backend() as one, local_balancer(hold=HoldPolicy(seconds=60)) as local:
        async with local.connection() as (_, writer):
            writer.write(GET)
            await wait_held(local, 1)
        await wait_held(local, 0)
        assert local.balancer.data_plane.hold.size == 0
        await local.attach(a_1=one)
        await local.exchange(closing(GET))
        assert len(one.calls) == 1


# Choice


async def test_weights_are_shares() -> None:
    """Requests go to backends in proportion to their weights, smoothly (C1)."""
    async with backend() as one, backend() as two, local_balancer() as local:
        await local.attach(a_1=one, b_1=two)
        local.balancer.control.set_weights({"a-1": 0.75, "b-1": 0.25})
        async with local.connection() as (reader, writer):
            for _ in range(40):
                writer.write(GET)
                await reader.readuntil(b"ok")
    assert (len(one.calls), len(two.calls)) == (30, 10)


async def test_a_user_stays_on_a_version() -> None:
    """With affinity, a user's requests stay on the version that answered the first one (C3)."""
    async with backend() as one, backend() as two, local_balancer(affinity="ver") as local:
        await local.attach(a_1=one, b_1=two)
        first = await local.exchange(closing(GET))
        version = first.partition(b"Set-Cookie: ver=")[2].partition(b";")[0]
        assert version in (b"a", b"b")
        for _ in range(4):
            again = closing(GET).replace(CLOSE, CLOSE + b"Cookie: x=1; ver=%b\r\n" % version)
            answer = await local.exchange(again)
            assert served_by(answer).startswith(version)
            assert b"Set-Cookie" not in answer
        lost = closing(GET).replace(CLOSE, CLOSE + b"Cookie: ver=gone\r\n")
        assert b"Set-Cookie: ver=" in await local.exchange(lost)


def test_an_affinity_cookie_is_read_as_it_stands() -> None:
    """Only a whole cookie of the right name counts (C3)."""
    affinity = Affinity("ver")
    assert affinity.version(b"a=b; ver=x1; c=d") == "x1"
    assert affinity.version(b"server=x1") is None
    assert affinity.version(b"ver=x 1") is None
    assert affinity.version(None) is None


# Passive health


async def test_a_backend_that_keeps_failing_is_ejected() -> None:
    """Failures in a row take a backend out of the choice for a while, never the last one (O1)."""
    policy = OutlierPolicy(consecutive=3, seconds=600)
    async with (
        backend(dying(times=99)) as one,
        backend() as two,
        local_balancer(outliers=policy, retry_minimum=99) as local,
    ):
        await local.attach(a_1=one, a_2=two)
        first, second = local.balancer.control.pool.backends
        while not first.ejected:
            await local.exchange(closing(GET))
        assert first.state is State.UP
        seen = len(one.calls)
        two.handler = dying(times=3)
        for _ in range(4):
            await local.exchange(closing(GET))
        assert len(one.calls) == seen
        assert not second.ejected
