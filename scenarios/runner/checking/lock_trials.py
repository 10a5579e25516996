"""Which locks each change of the schema holds, for how long, at three sizes of the tables.

Event triggers of Postgres tell it, whatever tool migrates. At the end of each statement that
changes the schema, the locks of its session are written down. A deferred trigger adds when the
transaction committed. Postgres itself says which tables a statement rewrites. Statements that
change only rows cause no such event: they count where they are between such a statement and its
commit.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from orchestrator.database import connected, run_sql
from orchestrator.migrations import APPLICATION_NAME as MIGRATOR
from orchestrator.tasks import first_error
from scenarios.check.lock_result import HeldLock, mode_in_words, strength
from scenarios.check.trial_plan import Advance, LockTrial
from scenarios.evidence.locks import LockWait
from scenarios.evidence.run_folder import RecordFile
from scenarios.recording.lock_watch import BUSY_SECONDS, LockWatch
from scenarios.runner.checking.check_context import CheckContext, carry_out
from scenarios.runner.checking.trials import Trial, TriedReplica, trial_at
from scenarios.scenario.reader import Loaded

_WORDS = 100

_RECORDER = (
    "CREATE SCHEMA hitless_check",
    """CREATE TABLE hitless_check.statements (
        id bigserial PRIMARY KEY, query text, started timestamptz, ended timestamptz,
        committed timestamptz, locks jsonb, rewritten text
    )""",
    """CREATE FUNCTION hitless_check.at_start() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM set_config('hitless_check.started', clock_timestamp()::text, true);
        PERFORM set_config('hitless_check.rewritten', '', true);
    END $$""",
    """CREATE FUNCTION hitless_check.at_rewrite() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM set_config('hitless_check.rewritten',
            pg_event_trigger_table_rewrite_oid()::regclass::text, true);
    END $$""",
    """CREATE FUNCTION hitless_check.at_end() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO hitless_check.statements (query, started, ended, locks, rewritten)
        SELECT current_query(),
            coalesce(nullif(current_setting('hitless_check.started', true), '')::timestamptz,
                statement_timestamp()),
            clock_timestamp(),
            (SELECT jsonb_agg(jsonb_build_array(l.relation::regclass::text, l.mode))
                FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
                JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE l.pid = pg_backend_pid() AND l.granted AND c.relkind IN ('r', 'p', 'm')
                AND n.nspname !~ '^(pg_|information_schema|hitless_check)'),
            current_setting('hitless_check.rewritten', true);
    END $$""",
    """CREATE FUNCTION hitless_check.at_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        UPDATE hitless_check.statements SET committed = clock_timestamp() WHERE id = NEW.id;
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
_TABLES = """
SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname !~ '^(pg_|information_schema|hitless_check)'"""
_STATEMENTS = """
SELECT query, coalesce(locks, '[]')::text AS locks, rewritten,
    extract(epoch FROM coalesce(committed, ended) - started)::float8 AS seconds
FROM hitless_check.statements ORDER BY id"""


class _Statement(msgspec.Struct, frozen=True):
    """A statement that changed the schema."""

    query: str
    locks: tuple[tuple[str, str], ...]
    rewritten: str
    seconds: float


async def try_locks(context: CheckContext, trial: LockTrial) -> tuple[HeldLock, ...]:
    """Measure the locks of all changes of the release, with so many rows and with fewer.

    The version that serves then answers journeys all the time, so that locks are waited for.

    Raises:
        EnvironmentFailure: the server lets nobody create event triggers, or it does not answer.
        MigrationFailed: a migration failed.
    """
    database = context.loaded.scenario.database
    if context.server is None or database is None or database.rows is None:
        return ()
    found: dict[tuple[str, str], list[tuple[int, HeldLock]]] = {}
    for rows in trial.sizes:
        loaded = _with_rows(context.loaded, rows)
        spec = loaded.scenario.database
        if spec is None:
            continue
        log = context.folder / "migrations.log"
        template = await context.environment.template(loaded, spec, log)
        name = f"check_{next(context.numbers)}"
        async with (
            context.server.database(name, template=template) as url,
            trial_at(context, url) as place,
        ):
            replicas: dict[str, TriedReplica] = {}
            for number, advance in enumerate(trial.advances):
                serving = trial.serving[number] if trial.serving else None
                if serving is not None and serving not in replicas:
                    replicas[serving] = await place.start(serving)
                    await place.warm_up(replicas[serving])
                tried = None if serving is None else replicas[serving]
                for lock in await _one(context, url, advance, rows, place, tried):
                    found.setdefault((lock.change, lock.table), []).append((rows, lock))
    return tuple(_joined(locks) for locks in found.values())


async def _one(  # noqa: PLR0917 - one change, where, and under which traffic
    context: CheckContext,
    url: str,
    advance: Advance,
    rows: int,
    place: Trial,
    tried: TriedReplica | None,
) -> list[HeldLock]:
    """The strongest lock on each table that was there before the change."""
    async with connected(url) as connection:
        before = {row[0] for row in await connection.fetch(_TABLES)}
    await run_sql(url, _RECORDER)
    waits = context.folder / f"waits-{next(context.numbers)}.ndjson"
    try:
        async with _traffic(place, tried), _watched(url, waits):
            await carry_out(context, url, [advance])
        async with connected(url) as connection:
            statements = [
                _Statement(
                    query=" ".join(row["query"].split()),
                    locks=msgspec.json.decode(row["locks"], type=tuple[tuple[str, str], ...]),
                    rewritten=row["rewritten"] or "",
                    seconds=row["seconds"],
                )
                for row in await connection.fetch(_STATEMENTS)
            ]
    finally:
        await run_sql(
            url,
            [
                "DROP EVENT TRIGGER hitless_check_start",
                "DROP EVENT TRIGGER hitless_check_rewrite",
                "DROP EVENT TRIGGER hitless_check_end",
                "DROP SCHEMA hitless_check CASCADE",
            ],
        )
    strongest = _strongest(advance.change, statements, before, rows)
    found = RecordFile(waits, LockWait).read() if waits.exists() else ()
    return list(with_waits(strongest, found, rows).values())


@asynccontextmanager
async def _traffic(place: Trial, tried: TriedReplica | None) -> AsyncIterator[None]:
    """Journeys on the replica, for as long as the block lasts."""
    with first_error():
        async with asyncio.TaskGroup() as group:
            playing = None if tried is None else group.create_task(place.keep_playing(tried))
            yield
            if playing is not None:
                playing.cancel()


@asynccontextmanager
async def _watched(url: str, path: Path) -> AsyncIterator[None]:
    """Who waits for whom is written to the file, for as long as the block lasts."""
    watch = LockWatch(url, path, lambda *_: None)
    with first_error():
        async with asyncio.TaskGroup() as group:
            task = group.create_task(watch.run())
            watch.busy = True
            while not watch.looked and not task.done():  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(BUSY_SECONDS)
            yield
            task.cancel()


def with_waits(
    locks: Mapping[str, HeldLock], waits: Iterable[LockWait], rows: int
) -> dict[str, HeldLock]:
    """PURE: the locks of a change with how long it waited for them, and who waited for it.

    What the change waited is taken off the time that it held its lock.
    """
    waited: defaultdict[str, float] = defaultdict(float)
    held_up: dict[str, float] = {}
    for wait in waits:
        if wait.relation is None:
            continue
        if wait.waiter.application == MIGRATOR:
            waited[wait.relation] += wait.seconds
        elif any(session.application == MIGRATOR for session in wait.chain):
            held_up[wait.relation] = max(held_up.get(wait.relation, 0.0), wait.seconds)
    replace = msgspec.structs.replace
    return {
        table: replace(
            lock,
            seconds=tuple(
                (count, max(seconds - waited[table], 0.0)) for count, seconds in lock.seconds
            ),
            waited=((rows, waited[table]),),
            held_up=((rows, held_up.get(table, 0.0)),),
        )
        for table, lock in locks.items()
    }


def _strongest(
    change: str, statements: Iterable[_Statement], before: set[str], rows: int
) -> Mapping[str, HeldLock]:
    """The strongest lock on each table, with the statement that took it first.

    A transaction keeps its locks, so the first statement of those that had it held it for longest.
    """
    found: dict[str, HeldLock] = {}
    for statement in statements:
        for table, name in statement.locks:
            mode = mode_in_words(name)
            known = found.get(table)
            if table not in before or not strength(mode):
                continue
            rewrites = statement.rewritten == table or (known is not None and known.rewrites)
            if known is not None and strength(known.mode) >= strength(mode):
                found[table] = msgspec.structs.replace(known, rewrites=rewrites)
                continue
            found[table] = HeldLock(
                change=change,
                table=table,
                mode=mode,
                statement=statement.query[:_WORDS],
                seconds=((rows, statement.seconds),),
                rewrites=rewrites,
            )
    return found


def _joined(locks: list[tuple[int, HeldLock]]) -> HeldLock:
    """One lock at all sizes."""
    last = locks[-1][1]
    return msgspec.structs.replace(
        last,
        seconds=tuple(one for _, lock in locks for one in lock.seconds),
        waited=tuple(one for _, lock in locks for one in lock.waited),
        held_up=tuple(one for _, lock in locks for one in lock.held_up),
    )


def _with_rows(loaded: Loaded, count: int) -> Loaded:
    database = loaded.scenario.database
    if database is None or database.rows is None:
        return loaded
    replace = msgspec.structs.replace
    rows = replace(database.rows, count=count)
    return Loaded(replace(loaded.scenario, database=replace(database, rows=rows)), loaded.path)
