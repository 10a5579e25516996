"""Records which locks the statements of a migration take, and through which tables they work.

Event triggers of Postgres tell it, whatever tool migrates. At the end of each statement that
changes the schema, the locks of its session are written down, and how many rows its transaction
has read and changed until then. A deferred trigger adds when the transaction committed. Postgres
itself says which tables a statement rewrites. Statements that change only rows cause no such event:
they count where they are between such a statement and its commit.
"""

import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from scenarios.check.change_effects import StatementEffect
from scenarios.check.lock_result import mode_in_words, strength

_HISTORY = re.compile(
    r"""(?:^|[."])(?:_yoyo|yoyo_|alembic_version|knex_|flyway_|databasechangelog|aerich\b)"""
    r"""|migrations?"?$|schema_(?:version|history)"?$""",
    re.IGNORECASE,
)
"""The tables in which migration tools keep what they have done; they never grow large."""

_MOST_WORDS = 4_000
_MOST_ROWS = 0.5
"""A statement works through a table if it reads or changes at least this part of its rows."""

_RECORDER = (
    "CREATE SCHEMA hitless_check",
    """CREATE TABLE hitless_check.tables AS
        SELECT c.oid, c.oid::regclass::text AS name
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'm') AND c.relispopulated
        AND n.nspname !~ '^(pg_|information_schema|hitless_check)'""",
    """CREATE TABLE hitless_check.statements (
        id bigserial PRIMARY KEY, query text, started timestamptz, ended timestamptz,
        committed timestamptz, transaction text, lock_timeout text, locks jsonb, rewritten text,
        work_before jsonb, work jsonb, work_at_commit jsonb
    )""",
    """CREATE FUNCTION hitless_check.work() RETURNS jsonb LANGUAGE sql AS $$
        SELECT coalesce(jsonb_object_agg(t.name, w.rows), '{}')
        FROM hitless_check.tables t, LATERAL (SELECT
            pg_stat_get_xact_tuples_returned(t.oid) + pg_stat_get_xact_tuples_inserted(t.oid)
            + pg_stat_get_xact_tuples_updated(t.oid) + pg_stat_get_xact_tuples_deleted(t.oid)
        ) AS w (rows) WHERE w.rows > 0
    $$""",
    """CREATE FUNCTION hitless_check.at_start() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM set_config('hitless_check.started', clock_timestamp()::text, true);
        PERFORM set_config('hitless_check.rewritten', '', true);
        PERFORM set_config('hitless_check.work', hitless_check.work()::text, true);
    END $$""",
    """CREATE FUNCTION hitless_check.at_rewrite() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM set_config('hitless_check.rewritten', coalesce(
            (SELECT name FROM hitless_check.tables
                WHERE oid = pg_event_trigger_table_rewrite_oid()), ''), true);
    END $$""",
    """CREATE FUNCTION hitless_check.at_end() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO hitless_check.statements (
            query, started, ended, transaction, lock_timeout, locks, rewritten, work_before, work
        )
        SELECT current_query(),
            coalesce(nullif(current_setting('hitless_check.started', true), '')::timestamptz,
                statement_timestamp()),
            clock_timestamp(), pg_current_xact_id()::text, current_setting('lock_timeout'),
            (SELECT jsonb_agg(jsonb_build_array(t.name, l.mode))
                FROM pg_locks l JOIN hitless_check.tables t ON t.oid = l.relation
                WHERE l.pid = pg_backend_pid() AND l.granted),
            current_setting('hitless_check.rewritten', true),
            coalesce(nullif(current_setting('hitless_check.work', true), '')::jsonb, '{}'),
            hitless_check.work();
    END $$""",
    """CREATE FUNCTION hitless_check.at_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        UPDATE hitless_check.statements
        SET committed = clock_timestamp(), work_at_commit = hitless_check.work()
        WHERE id = NEW.id;
        RETURN NULL;
    END $$""",
    """CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON hitless_check.statements
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hitless_check.at_commit()""",
    """CREATE EVENT TRIGGER hitless_check_start ON ddl_command_start
        EXECUTE FUNCTION hitless_check.at_start()""",
    """CREATE EVENT TRIGGER hitless_check_rewrite ON table_rewrite
        EXECUTE FUNCTION hitless_check.at_rewrite()""",
    """CREATE EVENT TRIGGER hitless_check_end ON ddl_command_end
        EXECUTE FUNCTION hitless_check.at_end()""",
)
_REMOVED = (
    "DROP EVENT TRIGGER hitless_check_start",
    "DROP EVENT TRIGGER hitless_check_rewrite",
    "DROP EVENT TRIGGER hitless_check_end",
    "DROP SCHEMA hitless_check CASCADE",
)
_STATEMENTS = """
SELECT query, transaction, lock_timeout, rewritten, coalesce(locks, '[]')::text AS locks,
    work_before::text, work::text, coalesce(work_at_commit, work)::text AS work_at_commit,
    extract(epoch FROM coalesce(committed, ended) - started)::float8 AS seconds
FROM hitless_check.statements ORDER BY id"""

_Work = dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedStatement:
    """A statement that changed the schema.

    Attributes:
        query: what the client sent.
        locks: the locks that its transaction then held, each as a table and a mode.
        rewritten: the table that it wrote anew; empty if it wrote none.
        seconds: how long it took until the commit.
        transaction: the id of its transaction.
        lock_timeout: whether `lock_timeout` was set.
        work_before: how many rows of each table its transaction had read and changed before it.
        work: the same, after it.
        work_at_commit: the same, at the end of the transaction.
    """

    query: str
    locks: tuple[tuple[str, str], ...]
    rewritten: str
    seconds: float
    transaction: str
    lock_timeout: bool
    work_before: Mapping[str, int]
    work: Mapping[str, int]
    work_at_commit: Mapping[str, int]


@dataclass(slots=True)
class StatementRecording:
    """What a block recorded; it is filled when the block ends.

    Attributes:
        rows: how many rows each table had before.
        statements: the statements, in order.
    """

    rows: Mapping[str, int]
    statements: list[RecordedStatement] = field(default_factory=list)

    def effects(self) -> tuple[StatementEffect, ...]:
        """The statements, as data."""
        numbers: dict[str, int] = {}
        for one in self.statements:
            numbers.setdefault(one.transaction, len(numbers) + 1)
        following = [*self.statements, None][1:]
        return tuple(
            StatementEffect(
                text=one.query.strip()[:_MOST_WORDS],
                transaction=numbers[one.transaction],
                locks=_strongest(one.locks),
                works_through=self._works_through(one.work_before, one.work),
                then_works_through=self._works_through(
                    one.work,
                    one.work_at_commit
                    if then is None or then.transaction != one.transaction
                    else then.work_before,
                ),
                rewrites=one.rewritten or None,
                lock_timeout=one.lock_timeout,
            )
            for one, then in zip(self.statements, following, strict=True)
        )

    def _works_through(
        self, before: Mapping[str, int], after: Mapping[str, int]
    ) -> tuple[str, ...]:
        return tuple(
            table
            for table, count in after.items()
            if not _HISTORY.search(table)
            and 0 < _MOST_ROWS * self.rows.get(table, 0) <= count - before.get(table, 0)
        )


@asynccontextmanager
async def recorded(connection: Any) -> AsyncIterator[StatementRecording]:  # noqa: ANN401 - asyncpg ships no types
    """Record what other sessions do to a database in the block, also where the block fails.

    Args:
        connection: an asyncpg connection of our own to it.
    """
    await connection.execute(";".join(_RECORDER))
    recording = StatementRecording(await _row_counts(connection))
    try:
        yield recording
    finally:
        try:
            recording.statements = await _recorded_statements(connection)
        finally:
            await connection.execute(";".join(_REMOVED))


async def _row_counts(connection: Any) -> Mapping[str, int]:  # noqa: ANN401
    names = [row[0] for row in await connection.fetch("SELECT name FROM hitless_check.tables")]
    if not names:
        return {}
    # The names come from the catalog, quoted by Postgres itself.
    counts = ", ".join(f"(SELECT count(*) FROM {name})" for name in names)  # noqa: S608
    return dict(zip(names, await connection.fetchrow(f"SELECT {counts}"), strict=True))


async def _recorded_statements(connection: Any) -> list[RecordedStatement]:  # noqa: ANN401
    return [
        RecordedStatement(
            query=row["query"],
            locks=msgspec.json.decode(row["locks"], type=tuple[tuple[str, str], ...]),
            rewritten=row["rewritten"] or "",
            seconds=row["seconds"],
            transaction=row["transaction"],
            lock_timeout=row["lock_timeout"] != "0",
            work_before=msgspec.json.decode(row["work_before"], type=_Work),
            work=msgspec.json.decode(row["work"], type=_Work),
            work_at_commit=msgspec.json.decode(row["work_at_commit"], type=_Work),
        )
        for row in await connection.fetch(_STATEMENTS)
    ]


def _strongest(locks: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """The strongest lock on each table, of those that hold up writes."""
    found: dict[str, str] = {}
    for table, name in locks:
        mode = mode_in_words(name)
        if strength(mode) > strength(found.get(table, "")):
            found[table] = mode
    return tuple(sorted(found.items()))
