"""Drains that let idle connections be used on, and a balancer that never tries again."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.backend import Backend, State
from balancer.backend_pool import BackendPool
from balancer.client import AdminError
from balancer.config import Timeouts
from balancer.control_plane import DrainResult
from balancer.health import HealthPolicy
from tests.balancer.test_promises import served_by
from tests.support.balancer import (
    FAST,
    GET,
    POST,
    LocalBalancer,
    ReceivedRequest,
    ScriptedBackend,
    answer_ok,
    backend,
    closing,
    local_balancer,
    response,
    running_balancer,
    until,
)

# Idle connections end by the drain alone, not because they were idle for long.
LASTING = Timeouts(reuse=60)


async def used(local: LocalBalancer, *backends: ScriptedBackend) -> list[Backend]:
    """Attach backends as `a-1`, `a-2` …, and leave one idle connection to each."""
    names = {f"a_{number}": one for number, one in enumerate(backends, 1)}
    await local.attach(**names)
    for _ in backends:
        assert (await local.exchange(closing(GET))).startswith(b"HTTP/1.1 200 ")
    pool = local.balancer.data_plane.connection_pool
    found = list(local.balancer.control.pool.backends)
    assert all(pool.has_idle(one) for one in found)
    return found


def begin_drain(
    tasks: asyncio.TaskGroup, local: LocalBalancer, seconds: float = 600
) -> "asyncio.Task[DrainResult]":
    control = local.balancer.control
    return tasks.create_task(control.drain("a-1", timeout=seconds, close_idle=False))


async def test_a_drain_may_leave_idle_connections_in_use() -> None:
    """A draining backend takes its share on its idle connections, and gets no new one (M8)."""
    async with (
        backend() as one, backend() as two,
        local_balancer(timeouts=LASTING) as local, asyncio.TaskGroup() as tasks,
    ):  # fmt: skip
        leaving, _ = await used(local, one, two)
        draining = begin_drain(tasks, local)
        await local.wait(lambda: leaving.state is State.DRAINING)
        before = len(one.calls)
        answers = [await local.exchange(closing(GET)) for _ in range(10)]
        assert Counter(served_by(one) for one in answers) == {b"a-1": 5, b"a-2": 5}
        assert len({call.connection for call in one.calls[before - 1 :]}) == 1
        assert not draining.done()
        # The backend ends: its connection closes, and the drain is over.
        await one.stop()
        assert (await draining)[:2] == (0, 0)
        answers = [await local.exchange(closing(GET)) for _ in range(4)]
        assert {served_by(answer) for answer in answers} == {b"a-2"}


async def test_more_requests_than_idle_connections_go_elsewhere() -> None:
    """While its idle connections are in use, a draining backend gets no request (M8)."""
    release = asyncio.Event()

    async def handler(call: ReceivedRequest) -> None:
        if call.path == b"/wait":
            await release.wait()
        call.writer.write(response())

    async with (
        backend(handler) as one, backend() as two,
        local_balancer(timeouts=LASTING) as local, asyncio.TaskGroup() as tasks,
    ):  # fmt: skip
        leaving, _ = await used(local, one, two)
        begin_drain(tasks, local)
        await local.wait(lambda: leaving.state is State.DRAINING)
        wait = GET.replace(b" / ", b" /wait ")
        held: list[asyncio.Task[bytes]] = []
        while not any(call.path == b"/wait" for call in one.calls):
            held.append(tasks.create_task(local.exchange(closing(wait))))
            await until(lambda: len(one.calls) + len(two.calls) >= 2 + len(held))
        before = one.connections
        answers = [await local.exchange(closing(GET)) for _ in range(6)]
        assert {served_by(answer) for answer in answers} == {b"a-2"}
        release.set()
        assert all([(await one).startswith(b"HTTP/1.1 200 ") for one in held])
        answers = [await local.exchange(closing(GET)) for _ in range(6)]
        assert b"a-1" in {served_by(answer) for answer in answers}, "it was put back"
        assert one.connections == before
        await one.stop()


async def test_the_deadline_ends_the_use_of_idle_connections() -> None:
    """At the drain's deadline idle connections are closed, and what is under way is cut (M8)."""

    async def handler(call: ReceivedRequest) -> None:
        if call.path == b"/hang":
            await call.reader.read()
        await answer_ok(call)

    async with (
        backend(handler) as one, backend() as two,
        local_balancer(timeouts=LASTING) as local, asyncio.TaskGroup() as tasks,
    ):  # fmt: skip
        leaving, _ = await used(local, one, two)
        drained = await begin_drain(tasks, local, 0.2)
        assert (drained.cut, drained.cut_tunnels) == (0, 0)
        assert drained.seconds > 0.19  # a clock may be a little early
        assert not leaving.keeps_idle
        await until(lambda: not local.balancer.data_plane.connection_pool.has_any(leaving))
        answers = [await local.exchange(closing(GET)) for _ in range(4)]
        assert {served_by(answer) for answer in answers} == {b"a-2"}
    async with (
        backend(handler) as one,
        local_balancer(timeouts=LASTING, retry=False) as local, asyncio.TaskGroup() as tasks,
    ):  # fmt: skip
        await used(local, one)
        hanging = tasks.create_task(local.exchange(closing(GET.replace(b" / ", b" /hang "))))
        await one.wait_calls(2)
        assert (await begin_drain(tasks, local, 0.2)).cut == 1
        assert (await hanging).startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize("reuse_post", [True, False])
async def test_a_post_goes_to_a_draining_backend_only_if_asked(*, reuse_post: bool) -> None:
    """Without `--reuse-post`, no POST goes on a draining backend's idle connection (M8)."""
    async with (
        backend() as one, backend() as two,
        local_balancer(timeouts=LASTING, reuse_post=reuse_post) as local,
        asyncio.TaskGroup() as tasks,
    ):  # fmt: skip
        leaving, _ = await used(local, one, two)
        leaving.reuse.stayed_open(10**12)
        assert leaving.reuse.safe_ns
        begin_drain(tasks, local)
        await local.wait(lambda: leaving.state is State.DRAINING)
        answers = []
        for _ in range(6):
            await local.exchange(closing(GET))
            answers.append(await local.exchange(closing(POST)))
        assert (b"a-1" in {served_by(answer) for answer in answers}) is reuse_post
        assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in answers)
        await one.stop()


async def test_nobody_is_left_when_only_idle_connections_are() -> None:
    """With a draining backend alone, a request without an idle connection is answered 503 (M8)."""
    async with (
        backend() as one,
        local_balancer(timeouts=LASTING) as local, asyncio.TaskGroup() as tasks,
    ):  # fmt: skip
        (leaving,) = await used(local, one)
        draining = begin_drain(tasks, local)
        await local.wait(lambda: leaving.state is State.DRAINING)
        assert (await local.exchange(closing(GET))).startswith(b"HTTP/1.1 200 ")
        assert (await local.exchange(closing(POST))).startswith(b"HTTP/1.1 503 ")
        # An ordinary drain, asked for later, ends the use of the connections.
        await local.balancer.control.drain("a-1", timeout=600)
        assert (await draining).cut == 0
        assert (await local.exchange(closing(GET))).startswith(b"HTTP/1.1 503 ")
        # With no connection left, asking again is over at once.
        assert (await begin_drain(tasks, local)).cut == 0


async def test_the_admin_api_keeps_idle_connections(tmp_path: Path) -> None:
    """`close_idle=false` is a query of the drain; a value that is no flag is refused (M8)."""
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(backend())
        options = (*FAST, "--timeout-reuse", "60")
        process = await stack.enter_async_context(running_balancer(tmp_path, *options))
        admin = process.admin
        await admin.put_backend("a-1", address=one.address, version="a", weight=1)
        await admin.wait_up(["a-1"])
        reader, writer = await asyncio.open_connection(process.host, process.port)
        writer.write(GET)
        await reader.readuntil(b"ok")
        with pytest.raises(AdminError, match='"close_idle" must be true or false'):
            await admin._call("POST", "backends/a-1/drain", params={"close_idle": "no"})
        (view,) = await admin.backends()
        assert view.state == "up"
        draining = asyncio.ensure_future(admin.drain("a-1", timeout=60, close_idle=False))
        async with asyncio.timeout(60):
            while (await admin.backends())[0].state != "draining":  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        writer.write(GET)
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        assert not draining.done()
        await one.stop()
        assert (await draining).cut == 0
        writer.close()


@given(
    backends=st.lists(
        st.tuples(st.integers(1, 5), st.booleans(), st.booleans()), min_size=1, max_size=6
    ),
    fresh=st.booleans(),
)
def test_the_choice_counts_only_those_with_idle_connections(
    *, backends: list[tuple[int, bool, bool]], fresh: bool
) -> None:
    """Only backends that are up, and draining ones with an idle connection, have shares (M8)."""
    idle = {f"a-{number}": has for number, (_, _, has) in enumerate(backends)}
    pool = BackendPool(has_idle=lambda one: idle[one.id])
    expected: Counter[str] = Counter()
    for number, (weight, drains, has) in enumerate(backends):
        one = pool.attach(f"a-{number}", host="h", port=number + 1, version="a", weight=weight)
        pool.mark(one, State.UP)
        if drains:
            pool.drain(one.id, close_idle=False)
        if not drains or (has and not fresh):
            expected[one.id] = weight
    total = sum(expected.values())
    chosen: Counter[str] = Counter()
    for _ in range(total or 1):
        got = pool.acquire(fresh=fresh)
        if got is not None:
            chosen[got.id] += 1
            pool.release(got)
    if any(drains for _, drains, _ in backends) and not fresh:
        assert chosen == expected
    else:
        assert set(chosen) <= set(expected)
        assert chosen.total() == (total if expected else 0)


# No second try

SLOW_CHECKS = HealthPolicy(path="/health", interval=600, fast_interval=600, rise=1)


async def dies(call: ReceivedRequest) -> None:
    call.writer.transport.abort()


@pytest.mark.parametrize("retry", [True, False])
@pytest.mark.parametrize("request_", [GET, POST], ids=["get", "post"])
async def test_a_refused_request_may_be_lost(request_: bytes, *, retry: bool) -> None:
    """With `--no-retry`, a refused connection is a 502 at once, whoever else is up (T10)."""
    async with (
        backend() as one, backend() as two,
        local_balancer(health=SLOW_CHECKS, retry=retry) as local,
    ):  # fmt: skip
        await local.attach(a_1=one, a_2=two)
        await one.stop()
        answers = [await local.exchange(closing(request_)) for _ in range(2)]
    statuses = sorted(answer.split(b" ")[1] for answer in answers)
    assert statuses == ([b"200", b"200"] if retry else [b"200", b"502"])


@pytest.mark.parametrize("retry", [True, False])
async def test_a_reset_request_may_be_lost(*, retry: bool) -> None:
    """With `--no-retry`, a connection that dies after the request is a 502 at once (T10)."""
    async with backend(dies) as one, backend() as two, local_balancer(retry=retry) as local:
        await local.attach(a_1=one, a_2=two)
        answers = [await local.exchange(closing(GET)) for _ in range(2)]
        statuses = sorted(answer.split(b" ")[1] for answer in answers)
        assert statuses == ([b"200", b"200"] if retry else [b"200", b"502"])
        assert len(one.calls) + len(two.calls) == (3 if retry else 2)
        assert local.balancer.data_plane.retries == int(retry)


async def test_a_dead_idle_connection_may_cost_a_get() -> None:
    """With `--no-retry`, a GET on a kept connection that died is a 502 and a reuse loss (T10)."""

    async def handler(call: ReceivedRequest) -> None:
        if len(one.calls) == 2:
            call.writer.transport.abort()
        else:
            call.writer.write(response())

    async with backend(handler) as one, local_balancer(retry=False) as local:
        (held,) = await used(local, one)
        assert (await local.exchange(closing(GET))).startswith(b"HTTP/1.1 502 ")
        assert one.calls[1].connection == one.calls[0].connection
        assert len(one.calls) == 2
        assert local.balancer.data_plane.reuse_losses == 1
        assert held.counters.consecutive_failures == 0, "it is nobody's failure"
        assert (await local.exchange(closing(GET))).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("passive_checks", [True, False])
async def test_live_failures_may_teach_nothing(*, passive_checks: bool) -> None:
    """With `--no-passive-checks`, failed requests neither eject nor hurry a check (O7)."""
    async with (
        backend() as one, backend() as two,
        local_balancer(
            health=SLOW_CHECKS, retry=False, passive_checks=passive_checks
        ) as local,
    ):  # fmt: skip
        await local.attach(a_1=one, a_2=two)
        dead = local.balancer.control.pool.get("a-1")
        await one.stop()
        answers = [await local.exchange(closing(GET)) for _ in range(2)]
        if passive_checks:
            await local.wait(lambda: dead.state is State.DOWN)
            return
        answers = [await local.exchange(closing(GET)) for _ in range(40)]
        await local.balancer.control._sweep()
        assert sum(b" 502 " in answer[:14] for answer in answers) == 20
        assert (dead.state, dead.ejected) == (State.UP, False)


@pytest.mark.parametrize("passive_checks", [True, False])
async def test_active_checks_may_only_admit(*, passive_checks: bool) -> None:
    """With `--no-active-checks`, a backend that is up is checked only where traffic failed (H6)."""
    health = HealthPolicy(path="/health", interval=0.02, fast_interval=0.02, rise=2, active=False)
    async with (
        backend() as one, backend() as two,
        local_balancer(
            health=health, retry=False, passive_checks=passive_checks
        ) as local,
    ):  # fmt: skip
        await local.attach(a_1=one, a_2=two)
        dead, alive = (local.balancer.control.pool.get(name) for name in ("a-1", "a-2"))
        await local.wait(lambda: (dead.state, alive.state) == (State.UP, State.UP))
        checks = one.checks, two.checks
        await one.stop()
        await asyncio.sleep(0.2)  # ten intervals
        assert (one.checks, two.checks) == checks
        assert dead.state is State.UP
        for _ in range(2):
            await local.exchange(closing(GET))
        if passive_checks:
            await local.wait(lambda: dead.state is State.DOWN)
        else:
            assert dead.state is State.UP
