"""The watch of the locks, on a real Postgres."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from scenarios.evidence.locks import DatabaseSession, LockWait
from scenarios.evidence.run_folder import RunFolder
from scenarios.recording.lock_watch import LockWatch, Seen, Waits, chain_of

BLOCKED = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = ANY($1::int[])"
TABLE = "watched"


class Notes:
    """What the watch told, and a way to wait for it."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[tuple[str, str | None, Mapping[str, object]]] = asyncio.Queue()

    def __call__(self, verb: str, error: str | None, detail: Mapping[str, object]) -> None:
        self.told.put_nowait((verb, error, detail))


@asynccontextmanager
async def session(url: str, name: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url, server_settings={"application_name": name})
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def watched(url: str, path: Path, notes: Notes) -> AsyncIterator[LockWatch]:
    async with session(url, "set-up") as one:
        await one.execute("DROP TABLE IF EXISTS watched; CREATE TABLE watched (n int, v int)")
        await one.execute("INSERT INTO watched SELECT g, g FROM generate_series(1, 10) g")
    watch = LockWatch(url, path, notes)
    watch.busy = True
    async with asyncio.TaskGroup() as group:
        task = group.create_task(watch.run())
        async with asyncio.timeout(30):
            while not watch.looked:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.005)
        yield watch
        task.cancel()
    async with session(url, "tear-down") as one:
        await one.execute("DROP TABLE watched")


async def until_blocked(connection: Any, pids: list[int]) -> None:
    async with asyncio.timeout(30):
        while await connection.fetchval(BLOCKED, pids) < len(pids):  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.005)


async def test_it_walks_to_the_root_of_a_queue(postgres_url: str, tmp_path: Path) -> None:
    """Requests behind a queued migration are blamed on the idle transaction at its root."""
    path = tmp_path / "locks.ndjson"
    async with (
        session(postgres_url, "report-job") as report,
        session(postgres_url, "hitless-migrator") as migrator,
        session(postgres_url, "app a-1") as app,
        session(postgres_url, "looker") as looker,
        watched(postgres_url, path, Notes()),
    ):
        reading = report.transaction()
        await reading.start()
        await report.fetchval("SELECT count(*) FROM watched")
        began = time.monotonic_ns()
        altering = asyncio.ensure_future(migrator.execute("ALTER TABLE watched ADD COLUMN s text"))
        await until_blocked(looker, [migrator.get_server_pid()])
        inserting = asyncio.ensure_future(app.execute("INSERT INTO watched VALUES (11, 11)"))
        await until_blocked(looker, [migrator.get_server_pid(), app.get_server_pid()])
        await asyncio.sleep(0.2)  # how long the wait lasts that is measured here
        await reading.rollback()
        await asyncio.gather(altering, inserting)
        ended = time.monotonic_ns()
    waits = {
        wait.waiter.application: wait
        for wait in RunFolder(tmp_path).lock_waits.read()
        if wait.seconds > 0.1
    }
    assert set(waits) == {"hitless-migrator", "app a-1"}
    queued = waits["app a-1"]
    assert [one.application for one in queued.chain] == ["hitless-migrator", "report-job"]
    assert queued.root is not None
    assert queued.root.state == "idle in transaction"
    assert queued.relation == TABLE
    assert queued.mode == "RowExclusiveLock"
    assert began <= queued.at_ns <= queued.end_ns <= queued.gone_ns <= ended + 10**9
    assert waits["hitless-migrator"].mode == "AccessExclusiveLock"
    assert [one.application for one in waits["hitless-migrator"].chain] == ["report-job"]


async def test_it_sees_who_holds_a_row(postgres_url: str, tmp_path: Path) -> None:
    """A wait for another transaction's row names that transaction, and the row's table."""
    path = tmp_path / "locks.ndjson"
    update = "UPDATE watched SET v = 0 WHERE n = 1"
    async with (
        session(postgres_url, "holder") as holder,
        session(postgres_url, "app a-1") as app,
        session(postgres_url, "looker") as looker,
        watched(postgres_url, path, Notes()),
    ):
        holding = holder.transaction()
        await holding.start()
        await holder.execute(update)
        updating = asyncio.ensure_future(app.execute(update))
        await until_blocked(looker, [app.get_server_pid()])
        await asyncio.sleep(0.1)  # how long the wait lasts that is measured here
        await holding.rollback()
        await updating
    (wait,) = [one for one in RunFolder(tmp_path).lock_waits.read() if one.seconds > 0.05]
    assert (wait.kind, wait.relation) == ("transactionid", TABLE)
    assert [one.application for one in wait.chain] == ["holder"]


async def test_it_notices_a_rewritten_table_and_an_invalid_index(
    postgres_url: str, tmp_path: Path
) -> None:
    """A table that a migration wrote anew is noted, and an index that its build left invalid."""
    notes = Notes()
    async with (
        session(postgres_url, "migrator") as migrator,
        watched(postgres_url, tmp_path / "locks.ndjson", notes) as watch,
    ):
        async with asyncio.timeout(30):
            await migrator.execute("ALTER TABLE watched ALTER COLUMN v TYPE bigint")
            while (told := await notes.told.get())[0] != "table":
                pass
            assert told[2]["table"] == TABLE
            await migrator.execute("INSERT INTO watched VALUES (1, 1)")
            with pytest.raises(asyncpg.UniqueViolationError):
                await migrator.execute("CREATE UNIQUE INDEX CONCURRENTLY twice ON watched (n)")
            watch.busy = False
            while (told := await notes.told.get())[0] != "index":
                pass
            assert told[2]["index"] == "twice"


async def test_it_notes_when_the_database_is_away(tmp_path: Path) -> None:
    """A database that does not answer is noted once, with the reason."""
    notes = Notes()
    watch = LockWatch("postgresql://u:p@127.0.0.1:1/x", tmp_path / "locks.ndjson", notes)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(watch.run())
        async with asyncio.timeout(30):
            verb, error, _ = await notes.told.get()
        task.cancel()
    assert verb == "database"
    assert error
    assert notes.told.empty()


def seen(pid: int, *blockers: int, since: int = 0) -> Seen:
    return Seen(pid, "relation", "ShareRowExclusiveLock", "t", since, blockers)


def test_a_circle_ends_where_it_closes() -> None:
    """A deadlock that Postgres has not resolved yet does not loop for ever."""
    waiting = {1: seen(1, 2), 2: seen(2, 3), 3: seen(3, 1)}
    assert chain_of(1, waiting) == (2, 3, 1)


def test_in_a_deadlock_the_oldest_transaction_is_the_root() -> None:
    """Of two that wait for each other, the one that has held its locks longer is blamed."""
    found: list[LockWait] = []
    waits = Waits(found.append)
    sessions = {
        2: DatabaseSession(pid=2, application="migrator", transaction_seconds=3.0),
        3: DatabaseSession(pid=3, application="app", transaction_seconds=1.0),
    }
    waits.look(100, [seen(1, 2), seen(2, 3), seen(3, 2)], sessions)
    waits.close(200)
    roots = {one.waiter.pid: one.root.pid for one in found if one.root}
    assert roots == {1: 2, 3: 2, 2: 3}


def test_a_wait_that_begins_anew_between_two_looks_is_another_one() -> None:
    """Two short waits of one session behind the same root are two."""
    found: list[LockWait] = []
    waits = Waits(found.append)
    waits.look(100, [seen(1, 2, since=90)], {})
    waits.look(110, [seen(1, 2, since=90)], {})
    waits.look(120, [seen(1, 2, since=115)], {})
    waits.look(130, [], {})
    assert [(one.at_ns, one.end_ns, one.gone_ns) for one in found] == [
        (90, 110, 115),
        (115, 120, 130),
    ]
    assert not waits.any_open


def wants(pid: int, mode: str, *blockers: int) -> Seen:
    return Seen(pid, "relation", mode, "profiles", 0, blockers)


READER, ALTER, DUMP = 1, 2, 3
QUEUE = {
    READER: wants(READER, "AccessShareLock", ALTER, DUMP),
    ALTER: wants(ALTER, "AccessExclusiveLock", DUMP),
}
HELD = {(DUMP, "profiles"): frozenset({"AccessShareLock"})}


def test_a_queue_is_recorded_as_a_chain_with_the_lock_of_each() -> None:
    """A reader waits behind a queued ALTER, which waits behind a dump: the dump is the head."""
    found: list[LockWait] = []
    waits = Waits(found.append)
    waits.look(100, QUEUE.values(), {}, HELD)
    waits.close(200)
    reader = next(one for one in found if one.waiter.pid == READER)
    assert [(one.pid, one.mode) for one in reader.chain] == [
        (ALTER, "AccessExclusiveLock"),
        (DUMP, "AccessShareLock"),
    ]


def test_a_session_with_a_mode_that_does_not_conflict_is_never_waited_for() -> None:
    """Two readers are not in each other's way, even if the server's list names one of them."""
    alone = {READER: wants(READER, "AccessShareLock", DUMP)}
    assert chain_of(READER, alone, HELD) == ()
    strict = {(DUMP, "profiles"): frozenset({"AccessShareLock", "AccessExclusiveLock"})}
    assert chain_of(READER, alone, strict) == (DUMP,)


def test_a_session_whose_locks_were_not_seen_may_still_be_waited_for() -> None:
    """The server says who blocks; a look that missed the lock itself does not deny that."""
    alone = {READER: wants(READER, "AccessShareLock", DUMP)}
    assert chain_of(READER, alone, {}) == (DUMP,)
