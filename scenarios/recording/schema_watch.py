"""Sees how the schema of a database changes while somebody else migrates it.

Postgres' catalogs are read again and again. Reading them waits for no lock of a table, so a
migration that holds one is seen as soon as it commits.
"""

import asyncio
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from orchestrator.database import connected
from orchestrator.journal import Journal

POLL_SECONDS = 0.1

_COLUMNS = """
SELECT n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
    a.atthasdef
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND a.attnum > 0 AND NOT a.attisdropped
    AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
"""
_SHOWN = 3


class SchemaColumn(NamedTuple):
    """A column as the catalogs describe it.

    Attributes:
        kind: its type.
        required: whether it is NOT NULL.
        has_default: whether it has a default.
    """

    kind: str
    required: bool
    has_default: bool


Schema = Mapping[str, Mapping[str, SchemaColumn]]
"""The columns of each table, by their names; a table outside of `public` has its schema's name."""


async def watch_schema(url: str, journal: Journal) -> None:
    """Note each change of the schema as a migration that has just been completed, until cancelled.

    Raises:
        EnvironmentFailure: the database does not answer.
    """
    async with connected(url) as connection:
        before = _schema(await connection.fetch(_COLUMNS))
        while True:
            await asyncio.sleep(POLL_SECONDS)
            now = _schema(await connection.fetch(_COLUMNS))
            changes = list(changes_of(before, now))
            if changes:
                detail = {"migration": _told(changes)}
                async with journal.verb("migrate", detail=detail, background=True):
                    pass
            before = now


def _schema(rows: list[tuple[str, str, str, str, bool, bool]]) -> Schema:
    found: dict[str, dict[str, SchemaColumn]] = {}
    for namespace, table, column, kind, required, has_default in rows:
        name = table if namespace == "public" else f"{namespace}.{table}"
        found.setdefault(name, {})[column] = SchemaColumn(kind, required, has_default)
    return found


def changes_of(before: Schema, now: Schema) -> Iterator[str]:
    """PURE: how a schema changed, a few words for each change; what may break something first."""
    kept = sorted(before.keys() & now.keys())
    yield from (f"drop table {table}" for table in sorted(before.keys() - now.keys()))
    for table in kept:
        gone = sorted(before[table].keys() - now[table].keys())
        yield from (f"drop column {table}.{column}" for column in gone)
    for table in kept:
        for column in sorted(before[table].keys() & now[table].keys()):
            yield from _of_column(f"{table}.{column}", before[table][column], now[table][column])
    for table in kept:
        for column in sorted(now[table].keys() - before[table].keys()):
            new = now[table][column]
            required = " not null" if new.required and not new.has_default else ""
            yield f"add column {table}.{column}{required}"
    yield from (f"create table {table}" for table in sorted(now.keys() - before.keys()))


def _of_column(name: str, before: SchemaColumn, now: SchemaColumn) -> Iterator[str]:
    if before.kind != now.kind:
        yield f"change the type of {name} to {now.kind}"
    if before.required != now.required:
        yield f"{'set' if now.required else 'drop'} not null of {name}"
    if before.has_default and not now.has_default:
        yield f"drop the default of {name}"


def _told(changes: list[str]) -> str:
    more = len(changes) - _SHOWN
    return ", ".join(changes[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
