"""What several runs share is made once, and nothing of a run is left behind."""

import asyncio
from pathlib import Path

import asyncpg
import msgspec
import pytest

from orchestrator.errors import MigrationFailed
from scenarios.evidence.run_folder import RunFolder
from scenarios.runner.environment import environment
from scenarios.scenario.reader import load
from scenarios.scenario.spec import DatabaseSpec


async def names(url: str) -> set[str]:
    """The databases of ours on the server."""
    connection = await asyncpg.connect(url)
    try:
        found = await connection.fetch("SELECT datname FROM pg_database")
        return {row["datname"] for row in found if row["datname"].startswith("hitless_")}
    finally:
        await connection.close()


async def count(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM subscriptions"))
    finally:
        await connection.close()


def spec(rows: int) -> DatabaseSpec:
    """The newsletter's database with so many rows."""
    found = load("expand-contract").scenario.database
    assert found is not None
    assert found.rows is not None
    return msgspec.structs.replace(found, rows=msgspec.structs.replace(found.rows, count=rows))


async def test_each_run_has_a_database_of_its_own(postgres_url: str, tmp_path: Path) -> None:
    """Each begins with the scenario's schema and rows, and is gone when its run has ended."""
    before, loaded = await names(postgres_url), load("expand-contract")
    log = tmp_path / "migrator.log"
    async with environment(postgres_url) as place:
        async with place.database(loaded, spec(7), log) as first:
            async with place.database(loaded, spec(7), log) as second:
                connection = await asyncpg.connect(first)
                await connection.execute("DELETE FROM subscriptions")
                await connection.close()
                assert (await count(first), await count(second)) == (0, 7)
                running = await names(postgres_url) - before
            # The schema was migrated once: the second run's is a copy of the same template.
            assert len(running) == 3
            assert len(await names(postgres_url) - before) == 2
        with pytest.raises(LookupError):
            async with place.database(loaded, spec(0), log) as third:
                assert await count(third) == 0
                raise LookupError
        # What other runs may use again stays until the end: a template for each kind of base.
        assert len(await names(postgres_url) - before) == 2
    assert await names(postgres_url) == before
    assert "base" in log.read_text()


async def test_a_base_that_cannot_be_applied(postgres_url: str, tmp_path: Path) -> None:
    """A base migration that fails is an error with its reason, and leaves no database."""
    before, loaded = await names(postgres_url), load("expand-contract")
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "0001.broken.sql").write_text("SELECT no_such_column")
    broken = msgspec.structs.replace(spec(1), migrate=str(tmp_path / "base"))
    async with environment(postgres_url) as place:
        with pytest.raises(MigrationFailed, match="no_such_column"):
            async with place.database(loaded, broken, tmp_path / "log"):
                pass
        assert await names(postgres_url) == before


async def test_the_server_is_started_once_and_its_log_is_the_runs(tmp_path: Path) -> None:
    """Whoever asks first starts it; a run's folder has what was logged during that run alone."""

    async def fail(url: str, words: str) -> None:
        connection = await asyncpg.connect(url)
        with pytest.raises(asyncpg.PostgresError):
            await connection.execute(f"DO $$ BEGIN RAISE EXCEPTION '{words}'; END $$")
        await connection.close()

    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    async with environment() as place:
        assert place.server_log is None
        async with place.postgres_log(first):
            one, other = await asyncio.gather(place.server(), place.server())
            assert one is other
            url = await one.create_database("mine")
            await fail(url, "in the first run")
        assert place.server_log is not None
        await fail(url, "between the runs")
        async with place.postgres_log(second):
            await fail(url, "in the second run")
    told = [
        {line.message for line in RunFolder(folder).server_lines.read() if line.sqlstate == "P0001"}
        for folder in (first, second)
    ]
    assert told == [{"in the first run"}, {"in the second run"}]
    assert "in the second run" in RunFolder(second).server_log.read_text()
    assert "between the runs" not in RunFolder(second).server_log.read_text()
