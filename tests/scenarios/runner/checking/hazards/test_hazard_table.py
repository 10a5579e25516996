"""Each hazard of the table on a real Postgres: its lock, its error, and its recipe.

Migrations are carried out as yoyo does it: each file in a transaction, or each statement for
itself. The old version is a session with prepared statements.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import asyncpg
import pytest

from orchestrator.database import connected, run_sql
from orchestrator.errors import MigrationFailed
from orchestrator.postgres import EmbeddedServer
from scenarios.check.change_effects import ChangeEffects
from scenarios.check.findings import Finding, MigrationSource, findings
from scenarios.check.observed import CellResult, Connections, EndpointResult, Observed, SchemaKey
from scenarios.check.sql_text import statements_of
from scenarios.runner.checking.change_trials import effects_of
from tests.scenarios.runner.checking.hazards.table import APART, BASE, STATEMENTS, TABLE, Hazard

LOCK_TIMEOUT = {"lock_timeout": "5s"}
LARGE = 5


async def apply(url: str, migration: str) -> None:
    """Carry out a migration, with a lock_timeout unless it says otherwise."""
    connection = await asyncpg.connect(url, server_settings=LOCK_TIMEOUT)
    try:
        if migration.startswith(APART):
            for one in statements_of(migration):
                await connection.execute(one.text)
        else:
            async with connection.transaction():
                for one in statements_of(migration):
                    await connection.execute(one.text)
    except asyncpg.PostgresError as error:
        raise MigrationFailed(str(error), sqlstate=error.sqlstate) from error
    finally:
        await connection.close()


class _Undone(Exception):  # noqa: N818 - it is no mistake
    """Rolls a transaction back."""


class OldVersion:
    """The old version: a session that prepared its statements before the change."""

    def __init__(self, connection: Any, asks: Sequence[str]) -> None:
        self._connection = connection
        self._asks = asks

    async def cell(
        self, schema: SchemaKey, connections: Connections, *, undone: bool = False
    ) -> CellResult:
        """What became of its statements; `undone`: each is rolled back, and stays prepared."""
        found = []
        for name in self._asks:
            arguments = [LARGE] if "$1" in STATEMENTS[name] else []
            code = message = None
            try:
                async with self._connection.transaction():
                    await self._connection.fetch(STATEMENTS[name], *arguments)
                    if undone:
                        raise _Undone  # noqa: TRY301 - so that the block ends with a rollback
            except _Undone:
                pass
            except asyncpg.PostgresError as error:
                code, message = error.sqlstate, str(error)
            except asyncpg.DataError as error:
                code, message = "22000", str(error)
            found.append(
                EndpointResult(
                    endpoint=name, requests=1, failed=int(bool(code)), sqlstate=code,
                    message=message,
                )
            )  # fmt: skip
        return CellResult(
            schema=schema, version="a", connections=connections, endpoints=tuple(found)
        )


async def checked(
    url: str, migrations: Sequence[str], asks: Sequence[str]
) -> tuple[list[ChangeEffects], dict[str, str], tuple[Finding, ...]]:
    """Carry out migrations; what they did, what is refused at the end, and what a check finds."""
    names = [f"m{number}" for number in range(len(migrations))]
    before = {name: tuple(names[:number]) for number, name in enumerate(names)}
    observed = Observed()
    async with connected(url) as connection:
        old = OldVersion(connection, asks)
        cell = await old.cell((), "warm", undone=True)
        assert cell.ok, cell
        for name, migration in zip(names, migrations, strict=True):
            observed = observed.joined(Observed(cells=(cell,)))
            effects = await effects_of(url, name, lambda text=migration: apply(url, text))  # type: ignore[misc]
            observed = observed.joined(Observed(effects=(effects,)))
            cell = await old.cell((*before[name], name), "warm")
    async with connected(url) as connection:
        fresh = await OldVersion(connection, asks).cell(cell.schema, "fresh")
    observed = observed.joined(Observed(cells=(cell, fresh)))
    refused = {
        one.endpoint: one.sqlstate or ""
        for one in (*cell.endpoints, *fresh.endpoints)
        if not one.ok
    }
    sources = [
        MigrationSource(change=name, file=f"{name}.sql", sql=text)
        for name, text in zip(names, migrations, strict=True)
    ]
    return (
        list(observed.effects),
        refused,
        findings(sources, observed, before, dict.fromkeys(names, "a")),
    )


def strongest(effects: Iterable[ChangeEffects]) -> dict[str, str]:
    return {table: mode for one in effects for each in one.statements for table, mode in each.locks}


def told(found: Iterable[Finding]) -> list[str]:
    return [f"{one.file}:{one.line} {one.rule}: {one.observed}" for one in found]


@pytest.fixture(scope="module")
def database(postgres_server: tuple[EmbeddedServer, str]) -> str:
    """A database of this module's own."""
    return asyncio.run(postgres_server[0].create_database("hazards"))


@pytest.fixture
async def url(database: str) -> str:
    """The database with the tables of the hazards."""
    await run_sql(database, [BASE])
    return database


@pytest.mark.parametrize("hazard", TABLE, ids=str)
async def test_each_hazard_is_observed_and_found_with_its_lock_and_error(
    hazard: Hazard, url: str
) -> None:
    """Postgres takes the lock of the table, and refuses with its code; a check names the hazard."""
    await run_sql(url, filter(None, [hazard.before]))
    effects, refused, found = await checked(url, [hazard.migration], hazard.asks)
    assert effects[0].sqlstate == hazard.fails, effects[0].failed
    assert refused == hazard.refused
    assert strongest(effects) == hazard.locks
    assert {one.rule for one in found} == hazard.finds, told(found)
    assert all(one.recipe for one in found)


@pytest.mark.parametrize("hazard", TABLE, ids=str)
async def test_the_recipe_of_each_hazard_is_harmless(hazard: Hazard, url: str) -> None:
    """The same in the safe way: nothing fails, nothing waits, and a check is silent."""
    await run_sql(url, filter(None, [hazard.before]))
    effects, refused, found = await checked(url, hazard.safe, hazard.safe_asks)
    assert [one.failed for one in effects] == [None] * len(hazard.safe)
    assert refused == {}
    assert told(found) == []
