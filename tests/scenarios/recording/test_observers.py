"""What looks on during a run: everything that the run has, and closely while a migration runs."""

import asyncio
from pathlib import Path

import asyncpg

from orchestrator.journal import Journal
from orchestrator.model import JournalEvent
from scenarios.evidence.run_folder import RunFolder
from scenarios.recording.observers import Observers
from scenarios.recording.subjects import record_subjects, wait_settled


def observers(folder: Path, url: str | None) -> Observers:
    return Observers(folder, url=url, admin=None, marks=(), on_waits=lambda _: None)


async def test_it_looks_closely_while_a_migration_or_a_fault_runs(
    postgres_url: str, tmp_path: Path
) -> None:
    """From the first that begins to the last that ends; other verbs change nothing."""
    looking = observers(tmp_path, postgres_url)
    busy: list[tuple[str, bool]] = []

    def note(event: JournalEvent) -> None:
        looking.hear(event)
        watch = looking._watch
        assert watch is not None
        busy.append((f"{event.verb} {event.state}", watch.busy))

    with Journal(listeners=[note]) as journal:
        async with looking.watching(Journal()):
            await asyncio.sleep(0)
            async with journal.verb("deploy"):
                async with journal.verb("migrate"), journal.verb("fault"):
                    journal.note("migrate", detail={"sqlstate": "55P03"})
                async with journal.verb("start"):
                    pass
    assert busy == [
        ("deploy started", False),
        ("migrate started", True),
        ("fault started", True),
        ("migrate noted", True),
        ("fault completed", True),
        ("migrate completed", False),
        ("start started", False),
        ("start completed", False),
        ("deploy completed", False),
    ]


async def test_what_a_run_has_is_recorded(postgres_url: str, tmp_path: Path) -> None:
    """The machine and the logs always; locks where there is a database; what is seen is noted."""
    run, seen = RunFolder(tmp_path), []
    with Journal(listeners=[seen.append]) as journal:
        looking = observers(tmp_path, postgres_url)
        async with looking.watching(journal), asyncio.timeout(30):
            watch = looking._watch
            assert watch is not None
            while not watch.looked:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
            connection = await asyncpg.connect(postgres_url)
            try:
                await connection.execute("CREATE TABLE IF NOT EXISTS rewritten (n int)")
                await connection.execute("INSERT INTO rewritten VALUES (1)")
                while not any(event.verb == "table" for event in seen):
                    watch.busy = True
                    await connection.execute("ALTER TABLE rewritten ALTER n TYPE bigint")
                    await asyncio.sleep(0.1)
                    await connection.execute("ALTER TABLE rewritten ALTER n TYPE int")
                    await asyncio.sleep(0.1)
                await connection.execute("DROP TABLE rewritten")
            finally:
                await connection.close()
            while not run.machine_samples.path.exists():  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
    assert run.lock_waits.path.exists()
    assert run.logged_errors.path.exists()
    (first, *_) = [event for event in seen if event.verb == "table"]
    assert first.detail["table"] == "rewritten"


async def test_without_a_database_nobody_looks_for_locks(tmp_path: Path) -> None:
    """Where there is nothing to look at, nothing pretends that somebody looked."""
    async with observers(tmp_path, None).watching(Journal()):
        await asyncio.sleep(0)
    assert not RunFolder(tmp_path).lock_waits.path.exists()


async def test_work_that_is_left_is_waited_for(postgres_url: str, tmp_path: Path) -> None:
    """It is settled as soon as the query says so, which may come later; states may be absent."""
    connection = await asyncpg.connect(postgres_url)
    try:
        await connection.execute("CREATE TABLE owed (name text)")
        await connection.execute("INSERT INTO owed VALUES ('mail')")
        query = "SELECT NOT EXISTS (SELECT FROM owed)"
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(wait_settled(postgres_url, query, 30.0))
            await asyncio.sleep(0.2)
            assert not waiting.done()
            subjects = RunFolder(tmp_path).subjects_after
            await record_subjects(
                postgres_url, "SELECT name AS subject, NULL AS state FROM owed", subjects.path
            )
            await connection.execute("DELETE FROM owed")
        assert waiting.result() is True
    finally:
        await connection.execute("DROP TABLE IF EXISTS owed")
        await connection.close()
    assert [(one.subject, one.state) for one in subjects.read()] == [("mail", None)]
