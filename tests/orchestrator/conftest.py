"""What the tests of the orchestrator share: processes and a Postgres for each test's loop."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.postgres import EmbeddedServer
from orchestrator.processes import Processes


@pytest.fixture
async def processes() -> AsyncIterator[Processes]:
    async with Processes() as running:
        yield running


@pytest.fixture
async def postgres(processes: Processes, tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    async with EmbeddedServer(processes, log_directory=tmp_path) as server:
        yield server
