"""A balancer process for each test that wants one, gone when the test ends."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from balancer.testing import Running, running_balancer


@pytest.fixture
async def start_balancer(
    tmp_path: Path,
) -> AsyncIterator[Callable[..., Awaitable[Running]]]:
    async with AsyncExitStack() as stack:

        async def start(*options: str) -> Running:
            return await stack.enter_async_context(running_balancer(tmp_path, *options))

        yield start
