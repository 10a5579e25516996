"""The balancer itself restarts, and no client notices."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.balancer import (
    FAST,
    BalancerProcess,
    ReceivedRequest,
    backend,
    load,
    response,
    running_balancer,
)


async def restart(directory: Path, stack: AsyncExitStack) -> BalancerProcess:
    """Start a balancer that takes over from the one before, if there is one."""
    return await stack.enter_async_context(
        running_balancer(directory, *FAST, "--handover", str(directory / "handover.sock"))
    )


async def restarts_under_load(directory: Path, count: int) -> None:
    async with backend() as one, backend() as two, AsyncExitStack() as stack:
        running = await restart(directory, stack)
        await running.attach(a_1=one, a_2=two)
        async with load(running.host, running.port) as clients:
            for _ in range(count):
                await clients.more(100)
                successor = await restart(directory, stack)
                assert successor.port == running.port
                assert await running.process.wait() == 0
                running = successor
                assert {b.id: b.state for b in await running.admin.backends()} == {
                    "a-1": "up",
                    "a-2": "up",
                }
            await clients.more(100)
        assert clients.failures == []
        statistics = await running.admin.statistics()
        assert statistics["balancer"]["failed"] == 0
        assert await running.stop() == 0
        assert not (directory / "handover.sock").exists()


async def test_restarts_drop_nothing(tmp_path: Path) -> None:
    """Clients of every kind see no failure while the balancer restarts (R1)."""
    await restarts_under_load(tmp_path, 3)


@pytest.mark.soak
async def test_fifty_restarts_drop_nothing(tmp_path: Path) -> None:
    """The same through fifty restarts (R1)."""
    await restarts_under_load(tmp_path, 50)


async def test_a_drain_waits_for_the_predecessor(tmp_path: Path) -> None:
    """A drain asked of the successor waits for what the predecessor has under way (R2)."""
    release = asyncio.Event()

    async def slow(call: ReceivedRequest) -> None:
        await release.wait()
        call.writer.write(response(b"slow"))

    async with backend(slow) as one, AsyncExitStack() as stack:
        old = await restart(tmp_path, stack)
        await old.attach(a_1=one)
        reader, writer = await asyncio.open_connection(old.host, old.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        await one.wait_calls(1)
        new = await restart(tmp_path, stack)
        async with asyncio.TaskGroup() as tasks:
            draining = tasks.create_task(new.admin.drain("a-1", timeout=60))
            stream = new.admin.events()
            async for event in stream:
                if event["event"] == "snapshot":
                    known = {b["id"]: b for b in event["backends"]}["a-1"]
                    if known["state"] == "draining":
                        break
                elif event.get("change") == "draining":
                    break
            await stream.aclose()
            (view,) = await new.admin.backends()
            assert view.in_flight == 1
            assert not draining.done()
            release.set()
        assert draining.result().cut == 0
        assert (await reader.readuntil(b"slow")).startswith(b"HTTP/1.1 200 ")
        writer.close()
        assert await old.process.wait() == 0


async def test_a_client_of_the_admin_api_follows_the_restart(tmp_path: Path) -> None:
    """Verbs and events of a client that was there before go on with the successor (R3)."""
    async with backend() as one, backend() as two, AsyncExitStack() as stack:
        old = await restart(tmp_path, stack)
        await old.attach(a_1=one)
        stream = old.admin.events()
        assert (await anext(stream))["event"] == "snapshot"
        new = await restart(tmp_path, stack)
        await old.attach(a_2=two)
        async for event in stream:
            if event.get("id") == "a-2" and event.get("change") == "up":
                break
        await stream.aclose()
        assert {b.id for b in await new.admin.backends()} == {"a-1", "a-2"}


async def test_a_successor_that_fails_changes_nothing(tmp_path: Path) -> None:
    """When the new process cannot start, the old one serves on as if nothing had been (R4)."""
    async with backend() as one, AsyncExitStack() as stack:
        old = await restart(tmp_path, stack)
        await old.attach(a_1=one)
        handover = tmp_path / "handover.sock"
        reader, writer = await asyncio.open_unix_connection(str(handover))
        assert await reader.read(1) == b"H"
        writer.close()
        await old.admin.set_weights({"a-1": 2})
        async with load(old.host, old.port, clients=3) as clients:
            await clients.more(20)
        assert clients.failures == []
