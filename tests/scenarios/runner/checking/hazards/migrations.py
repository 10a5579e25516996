"""How the tests of hazards carry out migrations, ask as the old version does, and check."""

from collections.abc import Iterable, Sequence
from typing import Any

import asyncpg

from orchestrator.database import connected
from orchestrator.errors import MigrationFailed
from scenarios.check.change_effects import ChangeEffects
from scenarios.check.migration_findings import MigrationFinding, MigrationSource, findings
from scenarios.check.observed import CellResult, Connections, EndpointResult, Observed, SchemaKey
from scenarios.check.sql_text import statements_of
from scenarios.runner.checking.change_trials import effects_of
from tests.scenarios.runner.checking.hazards.table import APART, STATEMENTS

LOCK_TIMEOUT = "5s"
LARGE = 5


async def apply(url: str, migration: str, lock_timeout: str = LOCK_TIMEOUT) -> None:
    """Carry out a migration, with a lock_timeout unless it says otherwise.

    Raises:
        MigrationFailed: Postgres refused it.
    """
    connection = await asyncpg.connect(url, server_settings={"lock_timeout": lock_timeout})
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
) -> tuple[list[ChangeEffects], dict[str, str], tuple[MigrationFinding, ...]]:
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


def told(found: Iterable[MigrationFinding]) -> list[str]:
    return [f"{one.file}:{one.line} {one.rule}: {one.observed}" for one in found]
