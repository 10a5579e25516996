"""Kept connections for POST, in front of servers that close idle ones at any age."""

import asyncio
import itertools
import re
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.support.balancer import FAST, BalancerProcess, running_balancer

SERVER = Path(__file__).parent / "closing_server.py"
# Three POSTs to a GET; the GETs show for how long connections stay open.
SCRIPT = """
local n = 0
request = function()
  n = n + 1
  if n % 4 == 0 then return wrk.format("GET") end
  return wrk.format("POST", "/", nil, string.rep("x", 100))
end
"""


@asynccontextmanager
async def closing_server(seconds: float) -> AsyncIterator[str]:
    """A server process that closes idle connections after so many seconds; its address."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SERVER), str(seconds), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.kill()
        await process.wait()


async def load(running: BalancerProcess, script: Path, seconds: int) -> tuple[int, str]:
    """The requests that wrk sent in so many seconds, and what it said."""
    process = await asyncio.create_subprocess_exec(
        "wrk", "-t1", "-c16", f"-d{seconds}s", "--timeout", "60", "-s", str(script), running.url,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    text = (await process.communicate())[0].decode()
    found = re.search(r"(\d+) requests in", text)
    assert found is not None, text
    return int(found[1]), text


async def posts_through_cycles(
    directory: Path, *, cycles: int, posts: int, seconds: int = 10
) -> None:
    script = directory / "script.lua"
    script.write_text(SCRIPT)
    kinds = itertools.cycle((0.05, 0.2, 1.0, 5.0, 0.0))
    async with running_balancer(directory, *FAST) as running, AsyncExitStack() as stack:
        sent = cycled = 0
        fleet: list[tuple[str, AsyncExitStack]] = []
        numbers = itertools.count(1)

        async def enter() -> None:
            number = next(numbers)
            own = await stack.enter_async_context(AsyncExitStack())
            address = await own.enter_async_context(closing_server(next(kinds)))
            name = f"b-{number}"
            await running.admin.put_backend(name, address=address, version="b", weight=1)
            await running.admin.wait_up([name])
            fleet.append((name, own))

        for _ in range(4):
            await enter()
        while cycled < cycles or sent * 3 // 4 < posts:
            loading = asyncio.ensure_future(load(running, script, seconds))
            while not loading.done():
                await enter()
                name, own = fleet.pop(0)
                assert (await running.admin.drain(name, timeout=60)).cut == 0
                await running.admin.delete(name)
                await own.aclose()
                cycled += 1
                # Let the fleet stand for a while: what is learned takes a second.
                await asyncio.wait({loading}, timeout=2)
            count, text = loading.result()
            sent += count
            assert "Socket errors" not in text, text
            assert "Non-2xx" not in text, text
        balancer = (await running.admin.statistics())["balancer"]
        assert (balancer["failed"], balancer["reuse_losses"]) == (0, 0)
        sys.stderr.write(f"{sent} requests, {sent * 3 // 4} of them POST, {cycled} cycles\n")


@pytest.mark.skipif(not shutil.which("wrk"), reason="wrk is not installed")
async def test_no_post_is_lost_on_a_kept_connection(tmp_path: Path) -> None:
    """Behind servers that close idle connections after 0 to 5 s, no POST is lost (K1)."""
    # Four servers to begin with, and two more: each kind has been there.
    await posts_through_cycles(tmp_path, cycles=2, posts=0, seconds=5)


@pytest.mark.soak
@pytest.mark.skipif(not shutil.which("wrk"), reason="wrk is not installed")
async def test_no_post_of_two_million_is_lost(tmp_path: Path) -> None:
    """The same for two million POSTs and two hundred cycles (K1)."""
    await posts_through_cycles(tmp_path, cycles=200, posts=2_000_000)
