"""Hazards that need somebody else at the same time: readers, writers, and an end in the middle."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import pytest

from orchestrator.database import connected
from orchestrator.errors import MigrationFailed
from scenarios.check.migration_findings import MigrationFinding, MigrationSource, findings
from scenarios.check.observed import Observed
from scenarios.runner.checking.change_trials import effects_of
from tests.scenarios.runner.checking.hazards.migrations import apply, told
from tests.scenarios.runner.checking.hazards.table import APART

WAITS = """
SELECT l.mode FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE NOT l.granted AND l.locktype = 'relation' AND a.query LIKE $1"""
PHASE = "SELECT 1 FROM pg_stat_progress_create_index WHERE phase = $1"
SESSION = "SELECT pid FROM pg_stat_activity WHERE query LIKE $1 AND pid <> pg_backend_pid()"
ENDED = SESSION.replace("pid", "pg_terminate_backend(pid)", 1)
WAITING = f"{SESSION} AND wait_event_type = 'Lock'"


@asynccontextmanager
async def open_transaction(url: str, statement: str) -> AsyncIterator[Any]:
    """Somebody whose transaction stays open behind a statement."""
    async with connected(url) as other:
        transaction = other.transaction()
        await transaction.start()
        await other.execute(statement)
        yield other
        await transaction.rollback()


async def until(url: str, query: str, *arguments: object) -> Any:
    """Ask until there is an answer; outside of a transaction, which would see no news."""
    async with connected(url) as eye, asyncio.timeout(30):
        while not (answer := await eye.fetchval(query, *arguments)):  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.005)
    return answer


async def end(url: str, like: str) -> None:
    """End the session with such a statement."""
    assert await until(url, ENDED, like)


async def found_after(
    url: str, sql: str, work: Callable[[], Awaitable[None]]
) -> list[MigrationFinding]:
    """What a check finds after a migration with this text went as `work` lets it go."""
    effects = await effects_of(url, "m", work)
    source = MigrationSource(change="m", file="m.sql", sql=sql)
    return list(findings([source], Observed(effects=(effects,)), {"m": ()}, {}))


async def test_a_concurrent_index_that_runs_into_lock_timeout_leaves_an_invalid_index(
    url: str,
) -> None:
    """It waits for a writer, fails with 55P03, and the next try meets what it left."""
    sql = APART + "CREATE INDEX CONCURRENTLY by_age ON people (age)"

    async def work() -> None:
        async with open_transaction(url, "UPDATE people SET age = 0 WHERE id = 1"):
            await apply(url, sql, lock_timeout="50ms")

    found = await found_after(url, sql, work)
    assert [(one.rule, one.sqlstate) for one in found] == [
        ("failing-migration", "55P03"),
        ("invalid-index", None),
    ], told(found)
    with pytest.raises(MigrationFailed) as again:
        await apply(url, sql)
    assert again.value.sqlstate == "42P07"


async def test_a_detach_that_is_ended_stays_pending(url: str) -> None:
    """Its rows are gone, inserts of them fail with 23514, and no other detach may run (55000)."""
    sql = APART + "ALTER TABLE events DETACH PARTITION events_old CONCURRENTLY"

    async def work() -> None:
        async with (
            open_transaction(url, "SELECT count(*) FROM events"),
            asyncio.TaskGroup() as group,
        ):
            task = group.create_task(_refused(apply(url, sql, lock_timeout="0")))
            await until(url, WAITING, "ALTER TABLE events DETACH%")
            await end(url, "ALTER TABLE events DETACH%")
            await task

    found = await found_after(url, sql, work)
    assert [one.rule for one in found] == ["pending-detach"], told(found)
    async with connected(url) as connection:
        assert await connection.fetchval("SELECT min(at) FROM events") == 100
        assert await _code(connection, "INSERT INTO events VALUES (50)") == "23514"
    with pytest.raises(MigrationFailed) as other:
        await apply(url, APART + "ALTER TABLE events DETACH PARTITION events_new CONCURRENTLY")
    assert other.value.sqlstate == "55000"
    await apply(url, "ALTER TABLE events DETACH PARTITION events_old FINALIZE")


async def test_a_detach_that_ends_leaves_nothing(url: str) -> None:
    """The harmless twin."""
    sql = APART + "ALTER TABLE events DETACH PARTITION events_old CONCURRENTLY"
    assert told(await found_after(url, sql, lambda: apply(url, sql))) == []


async def test_a_rebuild_that_is_ended_at_its_end_leaves_the_old_index(url: str) -> None:
    """It waited for a reader; `people_email_ccold` is written for ever, and no query uses it."""
    sql = APART + "REINDEX INDEX CONCURRENTLY people_email"

    async def work() -> None:
        async with (
            open_transaction(url, "SELECT count(*) FROM people"),
            asyncio.TaskGroup() as group,
        ):
            task = group.create_task(_refused(apply(url, sql, lock_timeout="0")))
            await until(url, PHASE, "waiting for readers before marking dead")
            await end(url, "REINDEX%")
            await task

    found = await found_after(url, sql, work)
    assert [one.rule for one in found] == ["invalid-index"], told(found)
    assert "people_email_ccold" in found[0].observed


@pytest.mark.parametrize(
    ("statement", "mode"),
    [
        ("VACUUM FULL people", "AccessExclusiveLock"),
        ("CLUSTER people USING people_email", "AccessExclusiveLock"),
        ("REINDEX TABLE people", "AccessExclusiveLock"),
    ],
)
async def test_what_writes_a_table_anew_waits_for_each_reader(
    statement: str, mode: str, url: str
) -> None:
    """It asks for a lock that holds up reads: for REINDEX, on the index that each query opens."""
    async with (
        open_transaction(url, "SELECT count(*) FROM people WHERE email = 'x'"),
        asyncio.TaskGroup() as group,
    ):
        task = group.create_task(_refused(apply(url, APART + statement)))
        assert await until(url, WAITS, f"{statement}%") == mode
        await end(url, f"{statement}%")
        await task


async def test_everybody_queues_behind_a_migration_that_waits_without_a_limit(url: str) -> None:
    """One idle reader and an ALTER block all later reads; with lock_timeout the ALTER gives way."""
    alter = "ALTER TABLE people ADD COLUMN a integer"
    async with open_transaction(url, "SELECT 1 FROM people"), connected(url) as other:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(_refused(apply(url, alter, lock_timeout="0")))
            await until(url, WAITS, "ALTER TABLE people%")
            await other.execute("SET lock_timeout = '20ms'")
            assert await _code(other, "SELECT 1 FROM people") == "55P03"
            await end(url, "ALTER TABLE people%")
            await task
        with pytest.raises(MigrationFailed) as gave_way:
            await apply(url, alter, lock_timeout="20ms")
        assert gave_way.value.sqlstate == "55P03"
        assert await _code(other, "SELECT 1 FROM people") is None


async def test_two_tables_in_one_transaction_deadlock_with_the_other_order(url: str) -> None:
    """The migration locks people and then letters, a request letters and then people: 40P01."""
    async with (
        open_transaction(url, "ALTER TABLE people ADD COLUMN a integer") as migration,
        open_transaction(url, "UPDATE letters SET body = '' WHERE id = 1") as request,
    ):
        codes = await asyncio.gather(
            _code(migration, "ALTER TABLE letters ADD COLUMN a integer"),
            _code(request, "UPDATE people SET age = 0 WHERE id = 1"),
        )
    assert sorted(filter(None, codes)) == ["40P01"]


async def _refused(work: Awaitable[None]) -> None:
    with suppress(MigrationFailed, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        await work


async def _code(connection: Any, statement: str) -> str | None:
    try:
        await connection.execute(statement)
    except asyncpg.PostgresError as error:
        return error.sqlstate or ""
    return None
