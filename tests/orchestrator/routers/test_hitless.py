"""Our own balancer as the router: what it is told at its start."""

import asyncio
import re
from pathlib import Path

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
