"""A database with the tables of the hazards."""

import asyncio

import pytest

from orchestrator.database import run_sql
from orchestrator.postgres import EmbeddedServer
from tests.scenarios.runner.checking.hazards.table import BASE


@pytest.fixture(scope="session")
def hazards_database(postgres_server: tuple[EmbeddedServer, str]) -> str:
    """A database of these tests' own."""
    return asyncio.run(postgres_server[0].create_database("hazards"))


@pytest.fixture
async def url(hazards_database: str) -> str:
    """The database, with the tables as they are before each migration."""
    await run_sql(hazards_database, [BASE])
    return hazards_database
