"""The balancer's tests: on the event loop that it runs on, with processes that end with them."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import uvloop

from tests.support.balancer import BalancerProcess, running_balancer


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], uvloop.Loop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and item.get_closest_marker("soak") is None:
            # uvloop waits in C, where the signal that pytest-timeout uses by default is not heard.
            item.add_marker(pytest.mark.timeout(90, method="thread"))


@pytest.fixture
async def start_balancer(
    tmp_path: Path,
) -> AsyncIterator[Callable[..., Awaitable[BalancerProcess]]]:
    async with AsyncExitStack() as stack:

        async def start(*options: str) -> BalancerProcess:
            return await stack.enter_async_context(running_balancer(tmp_path, *options))

        yield start
