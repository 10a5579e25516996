"""What each change of the schema does to a copy of the database, and what it leaves there."""

import io
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import asyncpg

from orchestrator.database import connected
from orchestrator.errors import MigrationFailed
from scenarios.check.change_effects import ChangeEffects, LeftBehind
from scenarios.check.trial_plan import EffectsTrial
from scenarios.runner.checking.check_context import CheckContext, carry_out
from scenarios.runner.checking.statement_recorder import recorded

# ruff: noqa: S608 - all names come from the catalog, quoted by Postgres itself
_OURS = "n.nspname !~ '^(pg_|information_schema|hitless_check)'"
_TABLES = f"""
SELECT c.oid, c.oid::regclass::text AS name, c.relkind::text AS kind,
    n.nspname AS schema_name, c.relname AS bare_name,
    pg_relation_filenode(c.oid) AS file
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm', 'v') AND c.relispopulated AND {_OURS}"""
_INDEXES = f"""
SELECT c.oid, c.oid::regclass::text AS name, i.indrelid::regclass::text AS table_name,
    i.indisvalid AS valid, pg_relation_filenode(c.oid) AS file
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'i' AND {_OURS}"""
_DETACHED = """
SELECT inhrelid::regclass::text AS name, inhparent::regclass::text AS table_name
FROM pg_inherits WHERE inhdetachpending"""
_VIRTUAL = f"""
SELECT a.attrelid::regclass::text AS table_name, quote_ident(a.attname) AS name
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE a.attgenerated = 'v' AND NOT a.attisdropped AND {_OURS}"""
# Before Postgres 18 there is no constraint of the type `n`.
_NOT_VALID = f"""
SELECT k.oid, k.conname AS name, k.conrelid::regclass::text AS table_name,
    CASE k.contype WHEN 'c' THEN 'NOT (' || pg_get_expr(k.conbin, k.conrelid) || ')'
        ELSE (SELECT quote_ident(a.attname) || ' IS NULL' FROM pg_attribute a
            WHERE a.attrelid = k.conrelid AND a.attnum = k.conkey[1]) END AS broken,
    (SELECT quote_ident(a.attname) FROM pg_attribute a WHERE a.attrelid = k.conrelid
        AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND a.attidentity = ''
        ORDER BY a.attnum LIMIT 1) AS any_column
FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace
WHERE NOT k.convalidated AND k.contype IN ('c', 'n') AND k.conrelid <> 0 AND {_OURS}"""
_UNIQUE = """
SELECT conname FROM pg_constraint WHERE conrelid = $1::oid AND contype IN ('p', 'u') LIMIT 1"""
_MOST_ROWS = 0.5


@dataclass(slots=True)
class _Catalog:
    """What the catalog says, as far as a change can leave something bad there."""

    tables: Mapping[int, Any]
    indexes: Mapping[int, Any]
    detached: set[tuple[str, str]]
    virtual: set[tuple[str, str]]
    not_valid: Mapping[int, Any]
    rows: Mapping[str, int] = field(default_factory=dict)

    def table(self, name: str) -> Any:  # noqa: ANN401 - asyncpg ships no types
        """The relation with a name; None if there is none."""
        return next((one for one in self.tables.values() if one["name"] == name), None)


async def try_effects(
    context: CheckContext, trial: EffectsTrial, tell: Callable[[str], None]
) -> tuple[ChangeEffects, ...]:
    """Carry out all changes of the release on one copy, up to the first one that fails.

    Args:
        context: what all trials share.
        trial: the changes.
        tell: told if nothing can be recorded, since event triggers need a superuser.

    Raises:
        EnvironmentFailure: the server does not answer.
    """
    found: list[ChangeEffects] = []
    async with context.database(()) as url:
        if not url:
            return ()
        async with connected(url) as connection:
            if await connection.fetchval("SELECT current_setting('is_superuser')") != "on":
                tell("what the migrations do is not recorded: that needs a superuser")
                return ()
        for advance in trial.advances:
            work = partial(carry_out, context, url, [advance])
            effects = await effects_of(url, advance.change, work)
            if not advance.taken_back:
                found.append(effects)
            if effects.failed is not None:
                break
    return tuple(found)


async def effects_of(url: str, change: str, work: Callable[[], Awaitable[None]]) -> ChangeEffects:
    """Do something to the schema of a database, and tell what it did.

    Args:
        url: the database; nobody else uses it.
        change: its name.
        work: does it.

    Raises:
        EnvironmentFailure: the server lets nobody create event triggers, or it does not answer.
    """
    failure: MigrationFailed | None = None
    async with connected(url) as connection:
        before = await _catalog(connection)
        begun = int(await connection.fetchval("SELECT pg_current_xact_id()::text"))
        async with recorded(connection) as recording:
            try:
                await work()
            except MigrationFailed as error:
                failure = error
        statements = recording.effects()
        rewritten = {one.rewrites for one in statements}
        after = await _catalog(connection)
        left = [
            *_invalid(before, after),
            *_pending(before, after),
            *_rewritten(before, after, rewritten),
            *await _views(connection, before, after),
            *await _unreadable(connection, before, after),
            *await _refused(connection, before, after),
        ]
        changed = [
            name
            for name, rows in recording.rows.items()
            if rows
            and name not in rewritten
            and await _changed_at_once(connection, after, name, begun) >= _MOST_ROWS * rows
        ]
    return ChangeEffects(
        change=change,
        statements=statements,
        changed_rows=tuple(changed),
        left_behind=tuple(left),
        failed=None if failure is None else str(failure),
        sqlstate=None if failure is None else failure.sqlstate,
    )


async def _catalog(connection: Any) -> _Catalog:  # noqa: ANN401 - asyncpg ships no types
    return _Catalog(
        tables={row["oid"]: row for row in await connection.fetch(_TABLES)},
        indexes={row["oid"]: row for row in await connection.fetch(_INDEXES)},
        detached={(row["name"], row["table_name"]) for row in await connection.fetch(_DETACHED)},
        virtual={(row["name"], row["table_name"]) for row in await connection.fetch(_VIRTUAL)},
        not_valid={row["oid"]: row for row in await connection.fetch(_NOT_VALID)},
    )


def _invalid(before: _Catalog, after: _Catalog) -> list[LeftBehind]:
    return [
        LeftBehind(kind="invalid_index", name=row["name"], table=row["table_name"])
        for oid, row in after.indexes.items()
        if not row["valid"] and (oid not in before.indexes or before.indexes[oid]["valid"])
    ]


def _pending(before: _Catalog, after: _Catalog) -> list[LeftBehind]:
    return [
        LeftBehind(kind="pending_detach", name=name, table=table)
        for name, table in sorted(after.detached - before.detached)
    ]


def _rewritten(before: _Catalog, after: _Catalog, known: set[str | None]) -> list[LeftBehind]:
    """What was written anew without an event: by VACUUM FULL, CLUSTER, TRUNCATE or REINDEX."""
    tables = {
        row["name"]
        for oid, row in after.tables.items()
        if oid in before.tables and before.tables[oid]["file"] != row["file"]
    }
    found = [LeftBehind(kind="rewritten", name=name, table=name) for name in sorted(tables - known)]
    found += [
        LeftBehind(kind="rewritten", name=row["name"], table=row["table_name"])
        for oid, row in after.indexes.items()
        if oid in before.indexes
        and before.indexes[oid]["file"] != row["file"]
        and row["table_name"] not in tables
    ]
    return found


async def _views(connection: Any, before: _Catalog, after: _Catalog) -> list[LeftBehind]:  # noqa: ANN401
    """Views that have the name of a table; what Postgres refuses to do with them."""
    found = []
    for row in after.tables.values():
        table = before.table(row["name"])
        if row["kind"] != "v" or table is None or table["kind"] == "v":
            continue
        name = row["name"]
        statements = [
            f"TRUNCATE {name}",
            f"ALTER TABLE {name} ADD COLUMN hitless_check integer",
        ]
        constraint = await connection.fetchval(_UNIQUE, table["oid"])
        if constraint is not None:
            rows = f"INSERT INTO {name} SELECT * FROM {name} WHERE false"
            statements.append(f'{rows} ON CONFLICT ON CONSTRAINT "{constraint}" DO NOTHING')
        copying = connection.copy_to_table(
            row["bare_name"], schema_name=row["schema_name"], source=io.BytesIO()
        )
        tried = [await _tried(connection, copying)]
        tried += [await _tried(connection, connection.execute(one)) for one in statements]
        refused = [one for one in tried if one is not None]
        found.append(
            LeftBehind(
                kind="view_for_table",
                name=name,
                table=name,
                sqlstates=tuple(dict.fromkeys(code for code, _ in refused)),
                message=refused[0][1] if refused else "",
            )
        )
    return found


async def _unreadable(connection: Any, before: _Catalog, after: _Catalog) -> list[LeftBehind]:  # noqa: ANN401
    """Virtual columns whose expression fails for rows that are there."""
    found = []
    for name, table in sorted(after.virtual - before.virtual):
        query = f"SELECT count(({name})::text) FROM {table}"
        refused = await _tried(connection, connection.execute(query))
        if refused is not None:
            found.append(
                LeftBehind(
                    kind="unreadable_rows", name=name, table=table,
                    sqlstates=(refused[0],), message=refused[1],
                )
            )  # fmt: skip
    return found


async def _refused(connection: Any, before: _Catalog, after: _Catalog) -> list[LeftBehind]:  # noqa: ANN401
    """Constraints that were not checked on old rows, and the old rows that break them."""
    found = []
    for oid, row in after.not_valid.items():
        if oid in before.not_valid:
            continue
        table, column, where = row["table_name"], row["any_column"], row["broken"]
        rows = await connection.fetchval(f"SELECT count(*) FROM {table} WHERE {where}")
        change = f"UPDATE {table} SET {column} = {column} WHERE {where}"
        refused = await _tried(connection, connection.execute(change)) if rows else None
        if refused is not None:
            found.append(
                LeftBehind(
                    kind="refused_rows", name=row["name"], table=table, rows=rows,
                    sqlstates=(refused[0],), message=refused[1],
                )
            )  # fmt: skip
    return found


async def _tried(connection: Any, work: Awaitable[object]) -> tuple[str, str] | None:  # noqa: ANN401
    """The code and the message with which Postgres refuses a statement; it is undone at once."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await work
    except asyncpg.PostgresError as error:
        return error.sqlstate or "", str(error)
    finally:
        await transaction.rollback()
    return None


async def _changed_at_once(connection: Any, after: _Catalog, name: str, begun: int) -> int:  # noqa: ANN401
    """Of how many rows of a table the newest version is from one transaction since then."""
    row = after.table(name)
    if row is None or row["kind"] not in ("r", "m"):
        return 0
    query = (
        "SELECT max(count) FROM (SELECT count(*) FROM "
        f"{name} WHERE xmin::text::bigint > $1 GROUP BY xmin::text) AS groups"
    )
    return await connection.fetchval(query, begun) or 0
