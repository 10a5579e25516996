"""A client whose outcomes can be awaited."""

from collections.abc import AsyncIterator, Callable

import pytest

from tests.scenarios.traffic.servers import Asker


@pytest.fixture
async def asker() -> AsyncIterator[Callable[..., Asker]]:
    """Makes clients that are closed at the end of the test."""
    made: list[Asker] = []

    def make(port: int, *, timeout_seconds: float = 30.0) -> Asker:
        made.append(Asker(port, timeout_seconds=timeout_seconds))
        return made[-1]

    yield make
    for one in made:
        one.client.close()
