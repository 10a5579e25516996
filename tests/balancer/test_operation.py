"""What an operator and an orchestrator do with the balancer, on real processes and sockets."""

import asyncio
import json
import signal
import stat
from collections.abc import Awaitable, Callable

import httpx
import pytest

from balancer.client import AdminError
from tests.support.balancer import FAST, BalancerProcess, ReceivedRequest, backend, response

Start = Callable[..., Awaitable[BalancerProcess]]


async def test_a_backend_enters_after_its_checks_and_serves(start_balancer: Start) -> None:
    """A new backend takes traffic once its checks pass, and the client learns who answered (M1)."""
    async with backend() as one:
        running = await start_balancer(*FAST)
        url = f"http://{running.host}:{running.port}/hello?x=1"
        async with httpx.AsyncClient() as client:
            early = await client.get(url)
            await running.admin.put_backend("a-1", address=one.address, version="a", weight=1)
            await running.admin.wait_up(["a-1"])
            late = await client.get(url, headers={"X-Request-Id": "r-1"})
    assert early.status_code == 503
    assert early.headers["proxy-status"].startswith("hitless; error=destination_unavailable;")
    assert late.status_code == 200
    assert late.headers["x-served-by"] == "a-1"
    assert one.calls[-1].values(b"X-Request-Id") == [b"r-1"]


async def test_a_standby_is_checked_but_takes_nothing(start_balancer: Start) -> None:
    """A backend of weight 0 comes up, takes no request, and takes them once it has weight (M6)."""
    async with backend() as one, backend() as two:
        running = await start_balancer(*FAST)
        await running.admin.put_backend("a-1", address=one.address, version="a", weight=1)
        await running.admin.put_backend("b-1", address=two.address, version="b", weight=0)
        await running.admin.wait_up(["a-1", "b-1"])
        async with httpx.AsyncClient(base_url=f"http://{running.host}:{running.port}") as client:
            for _ in range(4):
                await client.get("/")
            assert (len(one.calls), len(two.calls)) == (4, 0)
            await running.admin.set_active(["b-1"])
            for _ in range(4):
                await client.get("/")
        assert (len(one.calls), len(two.calls)) == (4, 4)
        weights = {one.id: one.weight for one in await running.admin.backends()}
    assert weights == {"a-1": 0, "b-1": 1}


async def test_the_active_set_must_be_up(start_balancer: Start) -> None:
    """A switch to a backend that is not up is refused, and changes nothing (M6)."""
    async with backend() as one:
        running = await start_balancer(*FAST)
        await running.admin.put_backend("a-1", address=one.address, version="a", weight=1)
        await running.admin.put_backend("b-1", address="127.0.0.1:1", version="b", weight=0)
        await running.admin.wait_up(["a-1"])
        with pytest.raises(AdminError, match="b-1 is new") as caught:
            await running.admin.set_active(["a-1", "b-1"])
        assert caught.value.status == 409
        weights = {one.id: one.weight for one in await running.admin.backends()}
    assert weights == {"a-1": 1, "b-1": 0}


async def test_a_drain_waits_for_what_is_under_way(start_balancer: Start) -> None:
    """A drain takes nothing new, answers when the last request has ended, and cuts none (M3)."""
    release = asyncio.Event()

    async def slow(call: ReceivedRequest) -> None:
        await release.wait()
        call.writer.write(response(b"slow"))

    async with backend(slow) as one, backend() as two:
        running = await start_balancer(*FAST)
        await running.admin.put_backend("a-1", address=one.address, version="a", weight=1)
        await running.admin.wait_up(["a-1"])
        base = f"http://{running.host}:{running.port}"
        async with httpx.AsyncClient(base_url=base) as client, asyncio.TaskGroup() as tasks:
            pending = tasks.create_task(client.post("/", content=b"x"))
            await one.wait_calls(1)
            await running.admin.put_backend("a-2", address=two.address, version="a", weight=1)
            await running.admin.wait_up(["a-2"])
            draining = tasks.create_task(running.admin.drain("a-1", timeout=60))
            while {b.id: b.state for b in await running.admin.backends()}["a-1"] != "draining":
                pass
            assert (await client.get("/")).headers["x-served-by"] == "a-2"
            assert not draining.done()
            release.set()
        assert pending.result().text == "slow"
        assert draining.result().cut == 0
        await running.admin.delete("a-1")
        assert [one.id for one in await running.admin.backends()] == ["a-2"]


async def test_a_drain_that_is_over_cuts_and_says_so(start_balancer: Start) -> None:
    """What a drain's deadline ends is counted, and the client is told why (M3)."""

    async def never(call: ReceivedRequest) -> None:
        await call.reader.read()

    async with backend(never) as one:
        running = await start_balancer(*FAST)
        await running.admin.put_backend("a-1", address=one.address, version="a", weight=1)
        await running.admin.wait_up(["a-1"])
        base = f"http://{running.host}:{running.port}"
        async with httpx.AsyncClient(base_url=base) as client, asyncio.TaskGroup() as tasks:
            pending = tasks.create_task(client.post("/", content=b"x"))
            await one.wait_calls(1)
            drained = await running.admin.drain("a-1", timeout=0.05)
        assert drained.cut == 1
        assert pending.result().status_code == 502
        assert "connection_terminated" in pending.result().headers["proxy-status"]


async def test_events_come_in_order(start_balancer: Start) -> None:
    """The event stream begins with a snapshot, and numbers every change after it (A4)."""
    async with backend() as one:
        running = await start_balancer(*FAST)
        seen = []
        stream = running.admin.events()
        async for event in stream:
            seen.append(event)
            if event["event"] == "snapshot":
                await running.admin.put_backend("a-1", address=one.address, version="a", weight=1)
            elif event.get("change") == "up":
                break
        await stream.aclose()
    assert [event.get("change", event["event"]) for event in seen] == ["snapshot", "attached", "up"]
    numbers = [event["sequence"] for event in seen]
    assert numbers == list(range(numbers[0], numbers[0] + 3))


async def test_a_reader_of_events_may_leave(start_balancer: Start) -> None:
    """A reader that goes away is no error, and the others read on (A4)."""
    async with backend() as one:
        running = await start_balancer(*FAST)
        leaves, stays = running.admin.events(), running.admin.events()
        assert (await anext(leaves))["event"] == (await anext(stays))["event"] == "snapshot"
        await leaves.aclose()
        # Each change is written to whoever reads: the first finds out, the others follow.
        for weight in (1, 2, 3):
            await running.admin.put_backend("a-1", address=one.address, version="a", weight=weight)
            while (await anext(stays)).get("weight") != weight:
                pass
        await stays.aclose()
        assert await running.stop() == 0
    assert running.errors.read_text() == ""


async def test_statistics_and_access_log_agree(start_balancer: Start) -> None:
    """Every exchange is counted once and has one line, complete at the balancer's end (A7)."""

    async def broken(call: ReceivedRequest) -> None:
        call.writer.write(response(b"no", status="500 No"))

    async with backend(broken) as one:
        running = await start_balancer(*FAST)
        await running.admin.put_backend("a-1", address=one.address, version="a", weight=1)
        await running.admin.wait_up(["a-1"])
        async with httpx.AsyncClient(base_url=f"http://{running.host}:{running.port}") as client:
            await client.get("/secret?token=s")
            statistics = await running.admin.statistics()
        assert await running.stop() == 0
    assert statistics["versions"]["a"]["requests"] == 1
    assert statistics["backends"]["a-1"]["status_5xx"] == 1
    assert statistics["balancer"]["failed"] == 1
    (line,) = [json.loads(text) for text in running.access_log.read_text().splitlines()]
    assert (line["path"], line["status"], line["end"]) == ("/secret", 500, "complete")
    assert (line["backend"], line["version"], line["reused"]) == ("a-1", "a", False)
    assert 0 <= line["wait_ns"] <= line["first_byte_ns"] <= line["total_ns"]


async def test_the_admin_socket_is_for_its_owner(start_balancer: Start) -> None:
    """The unix socket of the admin API has mode 0600, and is taken away at the end (A3)."""
    running = await start_balancer()
    assert stat.S_IMODE(running.admin_path.stat().st_mode) == 0o600
    await running.stop()
    assert not running.admin_path.exists()


async def test_sigterm_ends_what_is_under_way(start_balancer: Start) -> None:
    """After SIGTERM no connection is taken, what is under way ends well, and exit is 0 (A8)."""
    release = asyncio.Event()

    async def slow(call: ReceivedRequest) -> None:
        await release.wait()
        call.writer.write(response(b"slow"))

    async with backend(slow) as one:
        running = await start_balancer(*FAST)
        await running.admin.put_backend("a-1", address=one.address, version="a", weight=1)
        await running.admin.wait_up(["a-1"])
        async with httpx.AsyncClient(base_url=f"http://{running.host}:{running.port}") as client:
            async with asyncio.TaskGroup() as tasks:
                pending = tasks.create_task(client.get("/"))
                await one.wait_calls(1)
                stream = running.admin.events()
                async for event in stream:
                    if event["event"] == "snapshot":
                        running.process.send_signal(signal.SIGTERM)
                    elif event["event"] == "stopping":
                        break
                await stream.aclose()
                with pytest.raises(ConnectionRefusedError):
                    await asyncio.open_connection(running.host, running.port)
                release.set()
            assert pending.result().text == "slow"
            assert pending.result().headers["connection"] == "close"
        assert await running.process.wait() == 0


async def test_a_second_sigterm_does_not_wait(start_balancer: Start) -> None:
    """Asked twice, the balancer stops at once, whatever is under way (A8)."""

    async def never(call: ReceivedRequest) -> None:
        await call.reader.read()

    async with backend(never) as one:
        running = await start_balancer(*FAST, "--timeout-stop", "600")
        await running.attach(a_1=one)
        _, writer = await asyncio.open_connection(running.host, running.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
        await one.wait_calls(1)
        stream = running.admin.events()
        async for event in stream:
            if event["event"] == "snapshot":
                running.process.terminate()
            elif event["event"] == "stopping":
                break
        await stream.aclose()
        running.process.terminate()
        assert await running.process.wait() == 0
        writer.close()
    (line,) = [json.loads(text) for text in running.access_log.read_text().splitlines()]
    assert line["end"] == "stopped"
