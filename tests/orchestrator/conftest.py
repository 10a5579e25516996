"""What the tests of the orchestrator share: processes, and a Postgres for each file."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from orchestrator.postgres import EmbeddedServer
from orchestrator.processes import Processes


@pytest.fixture
async def processes() -> AsyncIterator[Processes]:
    async with Processes() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def postgres(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedServer]:
    logs: Path = tmp_path_factory.mktemp("postgres")
    async with Processes() as running, EmbeddedServer(running, log_directory=logs) as server:
        yield server
