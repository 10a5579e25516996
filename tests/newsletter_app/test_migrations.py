"""The migration sets, as yoyo runs them."""

import asyncio
import re

import asyncpg
import psycopg
import pytest
from yoyo import read_migrations

from tests.newsletter_app.conftest import MIGRATIONS, Database, Server, migrate, rows

PLANS = ["big_bang", "with_default", "expand_contract"]
LOCKING = "big_bang_locking"
FOLDERS = ["base", *PLANS, LOCKING]

SCHEMA = """
SELECT c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod)
       || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END
       || coalesce(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), '')
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relkind = 'r' AND c.relname LIKE 'subscription%'
UNION ALL
SELECT conrelid::regclass::text, conname::text, pg_get_constraintdef(oid)
FROM pg_constraint WHERE conrelid::regclass::text LIKE 'subscription%'
UNION ALL
SELECT tablename::text, indexname::text, indexdef FROM pg_indexes
WHERE tablename LIKE 'subscription%'
ORDER BY 1, 2, 3
"""


def ids(folder: str) -> list[str]:
    return [migration.id for migration in read_migrations(str(MIGRATIONS / folder))]


async def schema(url: str) -> set[tuple[str, ...]]:
    # A constraint that is not valid yet refuses the same rows as one that is.
    return {tuple(str(word).removesuffix(" NOT VALID") for word in row)
            for row in await rows(url, SCHEMA)}  # fmt: skip


async def add_subscribers(url: str, count: int) -> None:
    await rows(
        url,
        "INSERT INTO subscriptions (id, email, name, subscribed_at)"
        " SELECT gen_random_uuid(), 'user' || n || '@example.com', 'user', now()"
        " FROM generate_series(1, $1::int) AS n",
        count,
    )


@pytest.mark.parametrize("folder", ["base", *PLANS])
async def test_every_step_can_be_undone_and_redone(folder: str, postgres: Server) -> None:
    """Each migration applies, rolls back to the schema before it, and applies again."""
    url = postgres.create()
    if folder != "base":
        migrate(url, "base")
        await add_subscribers(url, 10)
    for migration_id in ids(folder):
        before = await schema(url)
        assert migrate(url, folder, only=[migration_id]) == [migration_id]
        after = await schema(url)
        assert migrate(url, folder, only=[migration_id], rollback=True) == [migration_id]
        assert await schema(url) == before
        assert migrate(url, folder, only=[migration_id]) == [migration_id]
        assert await schema(url) == after


@pytest.mark.parametrize("folder", PLANS)
async def test_a_whole_set_can_be_undone_and_redone(folder: str, postgres: Server) -> None:
    """Each set applies to a table with rows, rolls back to the start, and applies again."""
    url = postgres.create()
    migrate(url, "base")
    await add_subscribers(url, 10)
    before = await schema(url)
    assert migrate(url, folder) == ids(folder)
    after = await schema(url)
    assert migrate(url, folder, rollback=True) == ids(folder)[::-1]
    assert await schema(url) == before
    assert migrate(url, folder) == ids(folder)
    assert await schema(url) == after
    assert await rows(url, "SELECT DISTINCT status FROM subscriptions") == [("active",)]


async def test_all_plans_lead_to_the_same_schema(postgres: Server) -> None:
    """The three plans end in one schema, but for the default that gives one of them its name."""
    ends = {}
    for folder in PLANS:
        url = postgres.create()
        migrate(url, "base")
        migrate(url, folder)
        ends[folder] = await schema(url)
    assert ends["expand_contract"] == ends["big_bang"]
    assert {
        (table, name, text.removesuffix(" DEFAULT 'active'::text"))
        for table, name, text in ends["with_default"]
    } == ends["big_bang"]


async def test_the_locking_set_ends_the_same_way(postgres: Server) -> None:
    """What is done in one transaction, as it should not be, leaves the same schema and rows."""
    url = postgres.create()
    migrate(url, "base")
    await add_subscribers(url, 10)
    migrate(url, "expand_contract", only=ids("expand_contract")[:4])
    before = await schema(url)
    assert migrate(url, LOCKING) == ids(LOCKING)
    after = await schema(url)
    assert migrate(url, LOCKING, rollback=True) == ids(LOCKING)
    assert await schema(url) == before
    migrate(url, "expand_contract", only=ids("expand_contract")[4:])
    assert await schema(url) == after
    assert await rows(url, "SELECT DISTINCT status FROM subscriptions") == [("active",)]


def test_ids_are_unique_and_every_file_has_its_rollback() -> None:
    """No id is in two sets, and no migration can be rolled back silently without doing anything."""
    names = [migration_id for folder in FOLDERS for migration_id in ids(folder)]
    assert len(names) == len(set(names))
    for folder in FOLDERS:
        for migration_id in ids(folder):
            assert (MIGRATIONS / folder / f"{migration_id}.rollback.sql").is_file()


def test_every_change_of_the_schema_gives_up_its_wait_for_a_lock() -> None:
    """Each file with DDL begins with a lock_timeout; the bad example is what it is without."""
    for path in sorted(MIGRATIONS.glob("*/*.sql")):
        if path.name == f"{LOCKING}.0001.status-not-null.sql":
            continue
        code = re.sub(r"--.*", "", path.read_text()).strip()
        if re.search(r"\b(ALTER|CREATE|DROP)\b", code):
            assert code.startswith("SET LOCAL lock_timeout = '100ms';"), path.name


@pytest.mark.parametrize("folder", PLANS)
async def test_a_step_that_cannot_get_its_lock_fails_and_leaves_nothing(
    folder: str, database: Database
) -> None:
    """Behind a long transaction a step ends with 55P03, changes nothing, and works later."""
    url = database("S0")
    before = await schema(url)
    reader = await asyncpg.connect(url)
    try:
        async with reader.transaction():
            await reader.fetch("SELECT count(*) FROM subscriptions")
            with pytest.raises(psycopg.errors.LockNotAvailable) as failure:
                await asyncio.to_thread(migrate, url, folder)
            assert failure.value.sqlstate == "55P03"
    finally:
        await reader.close()
    assert await schema(url) == before
    assert migrate(url, folder) == ids(folder)


async def test_the_backfill_waits_for_rows_that_a_request_holds(database: Database) -> None:
    """All rows get a status, in batches, also one that was locked and one that came late."""
    url = database("S1+tokens")
    await add_subscribers(url, 2_500)
    without = "SELECT count(*) FROM subscriptions WHERE status IS NULL"
    holder = await asyncpg.connect(url)
    watcher = await asyncpg.connect(url)
    try:
        transaction = holder.transaction()
        await transaction.start()
        await holder.fetch("SELECT 1 FROM subscriptions ORDER BY id LIMIT 1 FOR UPDATE")
        async with asyncio.TaskGroup() as tasks:
            backfill = tasks.create_task(
                asyncio.to_thread(
                    migrate, url, "expand_contract", only=["expand_contract.0005.backfill"]
                )
            )
            while await watcher.fetchval(without) > 1:
                assert not backfill.done()
            # Version A still writes, behind the place that the backfill has reached.
            await watcher.execute(
                "INSERT INTO subscriptions VALUES"
                " ('00000000-0000-0000-0000-000000000000', 'late@example.com', 'late', now())"
            )
            await transaction.rollback()
        assert await watcher.fetchval(without) == 0
        batches = "SELECT count(DISTINCT xmin::text) FROM subscriptions"
        assert await watcher.fetchval(batches) > 3
    finally:
        await watcher.close()
        await holder.close()
