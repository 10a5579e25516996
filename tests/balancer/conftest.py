"""The balancer's tests: on the event loop that it runs on, with processes that end with them."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import uvloop

from balancer.testing import Running, running_balancer


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], uvloop.Loop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def start_balancer(
    tmp_path: Path,
) -> AsyncIterator[Callable[..., Awaitable[Running]]]:
    async with AsyncExitStack() as stack:

        async def start(*options: str) -> Running:
            return await stack.enter_async_context(running_balancer(tmp_path, *options))

        yield start
