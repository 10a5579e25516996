"""A client and a generator whose outcomes can be awaited."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.support.generator import Run, running_in
from tests.support.servers import Asker


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


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a generator against a port; `outcomes(tmp_path)` is what it recorded."""
    return running_in(tmp_path)
