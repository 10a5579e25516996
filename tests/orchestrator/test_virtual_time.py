"""Virtual time is exact, in order, deterministic, and shut off from the real world."""

import asyncio
import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import virtual_time
from orchestrator.clock import monotonic_ns
from orchestrator.virtual_time import DeadlockError, RealWorldError, VirtualTimeLoop


def now_ns() -> int:
    return monotonic_ns()


def test_a_year_is_exact() -> None:
    """A sleep moves the clock by exactly its length, to the nanosecond."""

    async def main() -> int:
        await asyncio.sleep(365 * 86400)
        await asyncio.sleep(0.000_000_001)
        return now_ns()

    assert virtual_time.run(main()) == 365 * 86400 * 10**9 + 1


def test_the_rest_of_a_time_passes() -> None:
    """Who sleeps for less than a nanosecond, again and again until an instant, gets there."""

    async def main() -> int:
        loop = asyncio.get_running_loop()
        until = loop.time() + 0.1 + 1e-10
        while (left := until - loop.time()) > 0:  # noqa: ASYNC110 - it is what is tested
            await asyncio.sleep(min(left, 0.03))
        return now_ns()

    assert virtual_time.run(main()) == pytest.approx(100_000_000, abs=2)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40))
def test_equal_deadlines_keep_their_order(delays: list[int]) -> None:
    """Callbacks run by deadline, and by the order of asking where deadlines are equal."""

    async def main() -> list[tuple[int, int]]:
        loop = asyncio.get_running_loop()
        ran: list[tuple[int, int]] = []
        for number, delay in enumerate(delays):
            loop.call_later(delay / 1000, ran.append, (delay, number))
        await asyncio.sleep(1)
        return ran

    assert virtual_time.run(main()) == sorted((delay, n) for n, delay in enumerate(delays))


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=300))
def test_a_cancelled_timer_never_runs(timers: list[tuple[int, bool]]) -> None:
    """Of many timers exactly those run that were not cancelled."""

    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        ran: list[int] = []
        handles = [
            loop.call_later(delay / 1000, ran.append, number)
            for number, (delay, _) in enumerate(timers)
        ]
        for handle, (_, cancelled) in zip(handles, timers, strict=True):
            if cancelled:
                handle.cancel()
        await asyncio.sleep(1)
        return sorted(ran)

    wanted = [number for number, (_, cancelled) in enumerate(timers) if not cancelled]
    assert virtual_time.run(main()) == wanted


def test_memory_of_cancelled_timers_is_given_back() -> None:
    """Timeouts that never strike do not pile up until their deadlines."""

    async def main() -> int:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        for _ in range(5_000):
            async with asyncio.timeout(3600):
                await asyncio.sleep(0)
        return len(loop._timers)

    assert virtual_time.run(main()) < 500


def test_tasks_are_cancelled_in_the_same_order_in_every_process() -> None:
    """The order in which a task group cancels its tasks does not depend on their addresses.

    It keeps them in a set, whose order follows from the hashes of its members.
    """

    async def main(cancelled: list[int]) -> None:
        async def wait(number: int) -> None:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.append(number)
                raise

        with contextlib.suppress(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                for number in range(50):
                    group.create_task(wait(number))
                await asyncio.sleep(1)
                raise ValueError

    orders, filling = list[list[int]](), list[bytearray]()
    for size in range(8):
        orders.append([])
        filling.extend(bytearray(size * 100) for _ in range(size * 7))
        virtual_time.run(main(orders[-1]))
    assert sorted(orders[0]) == list(range(50))
    assert all(one == orders[0] for one in orders)


def test_asyncio_works_unchanged() -> None:
    """Task groups, timeouts, events, locks, queues and cancellation behave as on a real loop."""

    async def main() -> list[str]:
        said: list[str] = []
        queue: asyncio.Queue[str] = asyncio.Queue(maxsize=1)
        opened = asyncio.Event()

        async def producer() -> None:
            for word in ("one", "two", "three"):
                await asyncio.sleep(1)
                await queue.put(word)
            opened.set()

        async def consumer() -> None:
            while not (opened.is_set() and queue.empty()):
                said.append(f"{await queue.get()} at {now_ns() // 10**9}")

        async with asyncio.TaskGroup() as group:
            group.create_task(producer())
            group.create_task(consumer())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.get_running_loop().create_future()
        said.append(f"timeout at {now_ns() // 10**9}")
        return said

    assert virtual_time.run(main()) == ["one at 1", "two at 2", "three at 3", "timeout at 8"]


def test_a_deadlock_is_an_error_that_names_who_waits() -> None:
    """Where nothing is due any more, the loop says so instead of waiting for ever."""

    async def main() -> None:
        await asyncio.sleep(3)
        await asyncio.Event().wait()

    with pytest.raises(DeadlockError, match="at 3 s every task waits"):
        virtual_time.run(main())


def open_connection() -> Awaitable[object]:
    return asyncio.open_connection("127.0.0.1", 9)


def start_process() -> Awaitable[object]:
    return asyncio.create_subprocess_exec(sys.executable, "-c", "")


def in_a_thread() -> Awaitable[object]:
    return asyncio.to_thread(time.monotonic)


def look_up() -> Awaitable[object]:
    return asyncio.get_running_loop().getaddrinfo("localhost", 80)


async def wait_readable() -> None:
    asyncio.get_running_loop().add_reader(0, print)


async def listen() -> None:
    await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)


@pytest.mark.parametrize(
    "reach", [open_connection, start_process, in_a_thread, look_up, wait_readable, listen]
)
def test_the_real_world_is_out_of_reach(reach: Callable[[], Awaitable[object]]) -> None:
    """Sockets, processes, threads and look-ups are refused, and not even begun."""

    async def main() -> None:
        await reach()

    with pytest.raises(RealWorldError):
        virtual_time.run(main())


def test_nothing_real_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run in virtual time opens no socket, starts no thread or process, and asks no clock."""

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("the real world was touched")

    async def main() -> int:
        for _ in range(100):
            async with asyncio.timeout(10), asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(1))
        return now_ns()

    monkeypatch.setattr(socket, "socket", forbidden)
    monkeypatch.setattr(threading.Thread, "start", forbidden)
    monkeypatch.setattr(subprocess, "Popen", forbidden)
    monkeypatch.setattr(time, "monotonic", forbidden)
    monkeypatch.setattr(time, "sleep", forbidden)
    assert virtual_time.run(main()) == 100 * 10**9


def test_a_thread_cannot_call_in() -> None:
    """Only the loop's own thread decides what runs next."""
    errors: list[BaseException] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def call() -> None:
            try:
                loop.call_soon_threadsafe(print)
            except RealWorldError as error:
                errors.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()

    virtual_time.run(main())
    assert len(errors) == 1


async def test_on_a_real_loop_the_time_is_the_loops() -> None:
    """The same question works on a real loop, so that code need not know where it runs."""
    before = asyncio.get_running_loop().time()
    assert now_ns() >= before * 10**9 - 1
