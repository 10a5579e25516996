"""What the tests of the orchestrator share: processes, and the session's Postgres."""

from collections.abc import AsyncIterator

import pytest

from orchestrator.postgres import EmbeddedServer
from orchestrator.processes import Processes


@pytest.fixture
async def processes() -> AsyncIterator[Processes]:
    async with Processes() as running:
        yield running


@pytest.fixture
def postgres(postgres_server: tuple[EmbeddedServer, str]) -> EmbeddedServer:
    return postgres_server[0]
