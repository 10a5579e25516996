"""Our own balancer as the router: what it is told at its start."""

import asyncio
import re
from pathlib import Path

import msgspec
import pytest

from orchestrator.model import Version
from orchestrator.platforms.local import LocalPlatform
from orchestrator.processes import Processes
from orchestrator.routers.registry import start_router
from orchestrator.routers.settings import HealthCheck, RouterSettings

APP = Path(__file__).parents[1] / "tiny_app.py"


@pytest.mark.parametrize("retry", [True, False])
async def test_retry_reaches_the_balancer(tmp_path: Path, *, retry: bool) -> None:
    """With `retry = false`, a GET whose replica is killed is a 502 though another one is up."""
    async with Processes() as processes:
        private = tmp_path / "private"
        private.mkdir()
        settings = RouterSettings(
            health=HealthCheck(path="/health", fast_interval=0.05),
            directory=private,
            logs=tmp_path,
            retry=retry,
        )
        async with (
            LocalPlatform(processes, log_directory=tmp_path) as platform,
            start_router("hitless", processes, settings) as running,
        ):
            command = ("{python}", "-u", str(APP), "{port}", "a")
            given = Version(name="a", command=command)
            replicas = [await platform.start(given, f"a-{number}") for number in (1, 2)]
            for one in replicas:
                await platform.wait_listening(one)
                await running.router.register(one)
            await running.router.wait_up([one.id for one in replicas])
            await running.router.weigh({"a-1": 1.0})
            host, _, port = running.address.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET /long HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            async with asyncio.timeout(30):
                while "begun" not in (tmp_path / "a-1.log").read_text():  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            await running.router.weigh({"a-2": 1.0})
            await platform.stop(replicas[0], 0)  # a kill
            status = re.match(rb"HTTP/1.1 (\d+)", await reader.read())
            writer.close()
            assert status is not None
            assert status[1] == (b"200" if retry else b"502")


@pytest.mark.parametrize(
    ("active", "passive", "notices"),
    [(True, True, True), (False, True, True), (True, False, True), (False, False, False)],
)
async def test_a_balancer_says_whether_it_notices_by_itself(
    tmp_path: Path, *, active: bool, passive: bool, notices: bool
) -> None:
    """Without active and passive checks, it declares that it has no health checks of its own.

    It still admits a replica by its checks, and leaves one that ended in service.
    """
    async with Processes() as processes:
        private = tmp_path / "private"
        private.mkdir()
        settings = RouterSettings(
            health=HealthCheck(path="/health", interval=0.05, fast_interval=0.05),
            directory=private,
            logs=tmp_path,
            active_checks=active,
            passive_checks=passive,
        )
        async with (
            LocalPlatform(processes, log_directory=tmp_path) as platform,
            start_router("hitless", processes, settings) as running,
        ):
            router = running.router
            assert router.capabilities.own_health == notices
            command = ("{python}", "-u", str(APP), "{port}", "a")
            replica = await platform.start(Version(name="a", command=command), "a-1")
            await platform.wait_listening(replica)
            await router.register(replica)
            await router.wait_up([replica.id])
            await router.weigh({"a-1": 1.0})
            await platform.stop(replica, 0)
            if active:
                async with asyncio.timeout(30):
                    while not await router.why_not_up(["a-1"]):  # noqa: ASYNC110 - no event for it
                        await asyncio.sleep(0.02)
            elif not passive:
                await asyncio.sleep(0.5)  # ten intervals
                assert not await router.why_not_up(["a-1"])


@pytest.mark.parametrize("seconds", [0.2, 30.0])
async def test_the_idle_timeout_reaches_the_balancer(tmp_path: Path, seconds: float) -> None:
    """A connection that was idle for longer than `idle_timeout` is not used again."""
    async with Processes() as processes:
        private = tmp_path / "private"
        private.mkdir()
        settings = RouterSettings(
            health=HealthCheck(path="/health", fast_interval=0.05),
            directory=private,
            logs=tmp_path,
            access_log=tmp_path / "access.ndjson",
            idle_timeout=seconds,
        )
        async with (
            LocalPlatform(processes, log_directory=tmp_path) as platform,
            start_router("hitless", processes, settings) as running,
        ):
            command = ("{python}", "-u", str(APP), "{port}", "a")
            replica = await platform.start(Version(name="a", command=command), "a-1")
            await platform.wait_listening(replica)
            await running.router.register(replica)
            await running.router.wait_up([replica.id])
            await running.router.weigh({"a-1": 1.0})
            host, _, port = running.address.rpartition(":")
            for wait in (0.0, 1.0):
                await asyncio.sleep(wait)  # longer than the shorter timeout
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert b" 200 " in (await reader.read())[:20]
                writer.close()
    lines = (tmp_path / "access.ndjson").read_bytes().splitlines()
    reused = [msgspec.json.decode(line).get("reused", False) for line in lines]
    assert reused == [False, seconds > 1]
