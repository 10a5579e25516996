"""Migrations: in order, tried again when a lock stood in the way, and never half forgotten."""

import argparse
import asyncio
import io
import itertools
import json
import os
import signal
import sys
from pathlib import Path

import asyncpg
import psycopg
import pytest

from orchestrator.command_migrations import ignored_settings, logged_refusal
from orchestrator.errors import MigrationFailed
from orchestrator.journal import Journal
from orchestrator.migrations import APPLICATION_NAME, YoyoMigrator
from orchestrator.model import JournalEvent, RunCommand
from orchestrator.postgres import EmbeddedServer
from orchestrator.processes import Processes
from orchestrator.yoyo_runner import Runner, yoyo_url

FILES = {
    "one.people.sql": "CREATE TABLE people (id int, name text);\n"
    "SELECT 'a row that a migration selects';\n"
    "INSERT INTO people VALUES (1, 'Ann');",
    "one.people.rollback.sql": "DROP TABLE people;",
    "two.status.sql": "-- depends: one.people\nALTER TABLE people ADD COLUMN status text;",
    "two.status.rollback.sql": "ALTER TABLE people DROP COLUMN status;",
    "three.backfill.py": "from yoyo import step\n__depends__ = {'two.status'}\n"
    "__transactional__ = False\n"
    "step(\"UPDATE people SET status = 'active'\", 'UPDATE people SET status = NULL')",
}

NUMBERS = itertools.count()


class CheckContext:
    """A database, a directory of migrations, and a journal that remembers."""

    def __init__(self, processes: Processes, url: str, folder: Path) -> None:
        self.processes = processes
        self.url = url
        self.log = folder / "migrator.log"
        self.directory = folder / "migrations [odd name]"
        self.directory.mkdir()
        self.events: list[JournalEvent] = []
        self.seen = asyncio.Condition()
        self.journal = Journal(listeners=[self.events.append, self._tell])
        self._waiting: list[tuple[str, str, asyncio.Event]] = []

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            (self.directory / name).write_text(text)

    def migrator(self, **options: float) -> YoyoMigrator:
        return YoyoMigrator(self.processes, self.url, log=self.log, **options)

    async def apply(self, through: str | None = None, **options: float) -> None:
        await self.migrator(**options).apply(self.directory, through, self.journal)

    async def roll_back(self, through: str | None = None) -> None:
        await self.migrator().roll_back(self.directory, through, self.journal)

    def when(self, verb: str, state: str) -> asyncio.Event:
        """Return what is set at the next such event."""
        happened = asyncio.Event()
        self._waiting.append((verb, state, happened))
        return happened

    def _tell(self, event: JournalEvent) -> None:
        for verb, state, happened in self._waiting:
            if (event.verb, event.state) == (verb, state):
                happened.set()

    def done(self) -> list[object]:
        return [e.detail["migration"] for e in self.events if e.state == "completed"]

    async def fetch(self, query: str) -> list[tuple[object, ...]]:
        connection = await asyncpg.connect(self.url)
        try:
            return [tuple(row) for row in await connection.fetch(query)]
        finally:
            await connection.close()


@pytest.fixture
async def context(processes: Processes, postgres: EmbeddedServer, tmp_path: Path) -> CheckContext:
    name = f"desk_{next(NUMBERS)}"
    return CheckContext(processes, await postgres.create_database(name), tmp_path)


async def test_apply_through_and_back(context: CheckContext) -> None:
    """Migrations run in their declared order, as far as asked, once, and back the same way."""
    context.write(FILES)
    await context.apply(through="two.status")
    assert context.done() == ["one.people", "two.status"]
    await context.apply()
    assert context.done() == ["one.people", "two.status", "three.backfill"]
    await context.apply()
    assert len(context.done()) == 3
    assert await context.fetch("SELECT * FROM people") == [(1, "Ann", "active")]
    await context.roll_back(through="two.status")
    assert context.done()[3:] == ["three.backfill", "two.status"]
    assert await context.fetch("SELECT * FROM people") == [(1, "Ann")]
    await context.roll_back()
    assert await context.fetch("SELECT to_regclass('people')") == [(None,)]


async def test_each_migration_is_in_the_journal(context: CheckContext) -> None:
    """Each migration has its start and its end, and its floor is no more than it took."""
    context.write(FILES)
    await context.apply()
    assert [(event.verb, event.state) for event in context.events] == [
        ("migrate", "started"),
        ("migrate", "completed"),
    ] * 3
    for event in context.events[1::2]:
        assert event.seconds is not None
        assert event.floor_seconds is not None
        assert 0 < event.floor_seconds <= event.seconds


async def test_a_lock_in_the_way_is_waited_for(context: CheckContext) -> None:
    """A migration that loses against a lock is tried again, and done once the lock is gone."""
    context.write(FILES)
    await context.apply(through="one.people")
    other = await asyncpg.connect(context.url)
    transaction = other.transaction()
    await transaction.start()
    await other.execute("LOCK TABLE people")
    retried = context.when("migrate", "noted")
    async with asyncio.TaskGroup() as group:
        group.create_task(context.apply(lock_timeout=0.05))
        await retried.wait()
        await transaction.commit()
    await other.close()
    notes = [event for event in context.events if event.state == "noted"]
    assert {event.detail["sqlstate"] for event in notes} == {"55P03"}
    assert await context.fetch("SELECT status FROM people") == [("active",)]


async def test_trying_again_has_an_end(context: CheckContext) -> None:
    """When the lock stays, the migration fails in bounded time, with the SQLSTATE."""
    context.write(FILES)
    await context.apply(through="one.people")
    other = await asyncpg.connect(context.url)
    async with other.transaction():
        await other.execute("LOCK TABLE people")
        with pytest.raises(
            MigrationFailed, match=r"two.status failed.*deadline .* has passed"
        ) as info:
            await context.apply(lock_timeout=0.05, deadline=0.5)
    await other.close()
    assert (info.value.migration, info.value.sqlstate) == ("two.status", "55P03")


async def test_a_migration_that_fails(context: CheckContext) -> None:
    """A failed migration is undone, those before it stay, and Postgres' reason is known."""
    context.write(FILES)
    (context.directory / "two.status.sql").write_text(
        "-- depends: one.people\nALTER TABLE people ADD COLUMN nick text;\n"
        "ALTER TABLE people ALTER COLUMN nick SET NOT NULL;"
    )
    with pytest.raises(MigrationFailed, match=r"two.status failed: .*null values") as info:
        await context.apply()
    assert (info.value.migration, info.value.sqlstate) == ("two.status", "23502")
    assert "\n" not in str(info.value)
    assert context.events[-1].state == "failed"
    assert context.events[-1].detail["sqlstate"] == "23502"
    assert await context.fetch("SELECT * FROM people") == [(1, "Ann")]


async def test_a_python_migration_that_fails(context: CheckContext) -> None:
    """An exception of a migration's own Python is one line, not a traceback."""
    context.write({"odd.py": "from yoyo import step\nstep(lambda connection: 1 / 0)"})
    with pytest.raises(MigrationFailed, match="odd failed: ZeroDivisionError"):
        await context.apply()


async def test_no_rollback_no_undoing(context: CheckContext) -> None:
    """A rollback that one migration lacks is refused before anything is undone."""
    context.write(FILES)
    (context.directory / "one.people.rollback.sql").unlink()
    await context.apply()
    with pytest.raises(MigrationFailed, match=r"one.people has no rollback"):
        await context.roll_back()
    assert await context.fetch("SELECT * FROM people") == [(1, "Ann", "active")]


@pytest.mark.parametrize(
    ("files", "through", "message"),
    [
        (FILES, "two.statsu", r"no migration two.statsu .* one.people, two.status"),
        ({}, None, "no migrations in"),
        ({"one.sql": "-- depends: zero\nSELECT 1"}, None, r"BadMigration.*dependencies"),
        ({"one.py": "syntax error"}, None, "BadMigration"),
    ],
)
async def test_what_cannot_be_run(
    context: CheckContext, files: dict[str, str], through: str | None, message: str
) -> None:
    """A directory that cannot be run is refused in one line, before anything is done."""
    context.write(files)
    with pytest.raises(MigrationFailed, match=message) as info:
        await context.apply(through)
    assert "\n" not in str(info.value)
    assert context.events == []


async def test_a_killed_migrator_can_be_followed(context: CheckContext) -> None:
    """After `kill -9` of a migrator the next one waits for what it left, and does its work."""
    context.write({"slow.sql": "SELECT pg_sleep(0.5); CREATE TABLE done (id int);"})
    started = context.when("migrate", "started")
    with pytest.raises(MigrationFailed, match="ended during slow"):
        async with asyncio.timeout(60):
            task = asyncio.ensure_future(context.apply())
            await started.wait()
            await _until_it_sleeps(context)
            (child,) = (c for c in context.processes._children.values() if c.name == "migrator")
            os.kill(child.pid, signal.SIGKILL)
            await task
    assert await context.fetch("SELECT count(*) FROM yoyo_lock") == [(1,)]
    await context.apply()
    assert await context.fetch("SELECT count(*) FROM done") == [(0,)]
    assert await context.fetch("SELECT count(*) FROM yoyo_lock") == [(0,)]


async def test_cancelling_ends_the_statement(context: CheckContext) -> None:
    """A cancelled step leaves no statement of the migrator running, and no lock."""
    context.write({"slow.sql": "SELECT pg_sleep(600);"})
    started = context.when("migrate", "started")
    task = asyncio.ensure_future(context.apply())
    await started.wait()
    await _until_it_sleeps(context)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await context.fetch("SELECT 1 FROM pg_stat_activity WHERE query ~ 'pg_sleep.600'") == [
        (1,)  # this very query
    ]
    assert await context.fetch("SELECT * FROM yoyo_lock") == []
    assert (context.events[-1].state, context.events[-1].error) == ("failed", "cancelled")


async def _until_it_sleeps(context: CheckContext) -> None:
    connection = await asyncpg.connect(context.url)
    query = "SELECT 1 FROM pg_stat_activity WHERE application_name = $1 AND wait_event = 'PgSleep'"
    while not await connection.fetch(query, APPLICATION_NAME):  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.02)
    await connection.close()


def _break(context: CheckContext, pid: int) -> list[object]:
    """Write a lock row for the process, let the runner look at it, return what is left."""
    arguments = argparse.Namespace(
        first=None,
        directory=context.directory,
        through=None,
        application_name=APPLICATION_NAME,
        lock_timeout=None,
        deadline=20.0,
    )
    with psycopg.connect(context.url, autocommit=True) as connection:
        connection.execute("DELETE FROM yoyo_lock")
        connection.execute("INSERT INTO yoyo_lock VALUES (1, now(), %s)", (pid,))
        Runner(arguments, context.url, io.StringIO())._break_stale_lock(connection)
        return [pid for (pid,) in connection.execute("SELECT pid FROM yoyo_lock").fetchall()]


async def test_only_a_dead_migrators_lock_is_broken(context: CheckContext, tmp_path: Path) -> None:
    """The lock row of a process that lives is left alone; that of a dead one is removed."""
    context.write(FILES)
    await context.apply()
    dead = await context.processes.start([sys.executable, "-c", ""], name="x", log=tmp_path / "x")
    await dead.wait()
    assert await asyncio.to_thread(_break, context, os.getpid()) == [os.getpid()]
    assert await asyncio.to_thread(_break, context, dead.pid) == []


def test_the_url_for_yoyo() -> None:
    """The URL keeps what it had, and gains the driver, the name and the lock timeout."""
    assert yoyo_url("postgres://u:p%40@h:5/d?options=-c%20a%3Db&sslmode=off", "me", 0.25) == (
        "postgresql+psycopg://u:p%40@h:5/d?options=-c%20a%3Db%20-c%20lock_timeout%3D250ms"
        "&sslmode=off&application_name=me"
    )


async def test_a_command_as_migrator(processes: Processes, tmp_path: Path) -> None:
    """Any command migrates, with the URL in its environment; its failure is the step's."""
    events: list[JournalEvent] = []
    journal = Journal(listeners=[events.append])
    log = tmp_path / "log"
    migrator = YoyoMigrator(processes, "postgresql://x", log=log)
    program = "import os; print(os.environ['DATABASE_URL'], os.environ['PGAPPNAME'], os.getcwd())"
    good = RunCommand(name="good", command=(sys.executable, "-c", program), cwd=tmp_path)
    await migrator.run(good, journal)
    assert log.read_text() == f"postgresql://x {APPLICATION_NAME} {tmp_path}\n"
    program = "import os; print(os.environ['DATABASE_URL']); raise SystemExit(3)"
    env = {"DATABASE_URL": "mysql://y"}
    bad = RunCommand(name="bad", command=(sys.executable, "-c", program), env=env)
    with pytest.raises(MigrationFailed, match=r"bad ended with status 3: .*mysql://y"):
        await migrator.run(bad, journal)
    assert [event.state for event in events] == ["started", "completed", "started", "failed"]
    assert [event.detail["migration"] for event in events[::2]] == ["good", "bad"]


async def test_a_command_that_takes_too_long(processes: Processes, tmp_path: Path) -> None:
    """A command that does not end in time is stopped, and the step fails."""
    migrator = YoyoMigrator(processes, "postgresql://x", log=tmp_path / "log", deadline=0.1)
    step = RunCommand(name="slow", command=(sys.executable, "-c", "import time; time.sleep(60)"))
    with pytest.raises(
        MigrationFailed, match=r"slow did not end in 0.1 s .*migration_deadline_seconds.*its log: "
    ):
        await migrator.run(step, Journal())


_STUBBORN = """
import os, pathlib, sys
print("PGOPTIONS", os.environ.get("PGOPTIONS"))
tries = pathlib.Path("tries")
number = int(tries.read_text()) + 1 if tries.exists() else 1
tries.write_text(str(number))
if number < 3:
    sys.exit({words!r})
"""


@pytest.mark.parametrize(
    ("words", "sqlstate"),
    [
        ("psycopg.errors.LockNotAvailable: canceling statement due to lock timeout", "55P03"),
        ("ERROR: deadlock detected", "40P01"),
        ("error: { code: '55P03' }", "55P03"),
    ],
)
async def test_a_command_that_a_lock_refuses_is_run_again(
    processes: Processes, tmp_path: Path, words: str, sqlstate: str
) -> None:
    """Like a yoyo migration, it has the lock timeout, and is repeated after 55P03 and 40P01."""
    events: list[JournalEvent] = []
    log = tmp_path / "log"
    migrator = YoyoMigrator(processes, "postgresql://x", log=log, lock_timeout=0.25)
    program = _STUBBORN.format(words=words)
    env = {"PGOPTIONS": "-c statement_timeout=9s"}
    step = RunCommand(name="it", command=(sys.executable, "-c", program), cwd=tmp_path, env=env)
    await migrator.run(step, Journal(listeners=[events.append]))
    assert "PGOPTIONS -c lock_timeout=250ms -c statement_timeout=9s" in log.read_text()
    assert [event.state for event in events] == ["started", "noted", "noted", "completed"]
    assert [event.detail.get("sqlstate") for event in events[1:3]] == [sqlstate, sqlstate]
    assert events[-1].detail["retries"] == 2


async def test_a_command_that_fails_for_another_reason_is_not_run_again(
    processes: Processes, tmp_path: Path
) -> None:
    """Only locks are a reason for another attempt."""
    migrator = YoyoMigrator(processes, "postgresql://x", log=tmp_path / "log")
    program = _STUBBORN.format(words="ERROR: 42701 column exists")
    step = RunCommand(name="it", command=(sys.executable, "-c", program), cwd=tmp_path)
    with pytest.raises(MigrationFailed, match="42701"):
        await migrator.run(step, Journal())
    assert (tmp_path / "tries").read_text() == "1"


async def test_no_further_attempt_after_the_deadline(processes: Processes, tmp_path: Path) -> None:
    """A lock that stays refused fails the step once the deadline has passed, with its SQLSTATE."""
    log = tmp_path / "log"
    migrator = YoyoMigrator(processes, "postgresql://x", log=log, deadline=2.0)
    step = RunCommand(name="it", command=(sys.executable, "-c", "raise SystemExit('55P03')"))
    with pytest.raises(MigrationFailed, match=r"deadline") as caught:
        await migrator.run(step, Journal())
    assert caught.value.sqlstate in ("55P03", None)


def test_the_servers_log_tells_what_a_command_kept_to_itself(tmp_path: Path) -> None:
    """The last error of the migrator's sessions counts, from where the attempt began."""
    log = tmp_path / "server.json"
    lines = [
        {"application_name": APPLICATION_NAME, "state_code": "42P01"},
        {"application_name": APPLICATION_NAME, "state_code": "55P03"},
        {"application_name": APPLICATION_NAME, "state_code": "00000"},
        {"application_name": "newsletter_app a-1", "state_code": "23502"},
    ]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines) + "{ half")
    assert logged_refusal(log, 0, APPLICATION_NAME) == "55P03"
    assert logged_refusal(log, log.stat().st_size, APPLICATION_NAME) is None
    assert logged_refusal(log, 0, "newsletter_app a-1") is None


@pytest.mark.parametrize(
    ("command", "env", "driver"),
    [
        (("npx", "prisma", "migrate", "deploy"), {}, "Prisma"),
        (("flyway", "migrate"), {}, "JDBC"),
        (("alembic", "upgrade", "head"), {"URL": "postgresql+asyncpg://x"}, "asyncpg"),
        (("alembic", "upgrade", "head"), {"URL": "postgresql+psycopg://x"}, None),
        (("/opt/python", "manage.py", "migrate"), {}, None),
    ],
)
def test_drivers_that_do_not_hear_of_a_lock_timeout(
    command: tuple[str, ...], env: dict[str, str], driver: str | None
) -> None:
    """A known list, by program and by the scheme of the URL."""
    found = ignored_settings(command, env)
    assert (found is None) == (driver is None)
    assert driver is None or driver in str(found)


@pytest.mark.parametrize(
    ("name", "text", "driver"),
    [
        ("up.py", "import os\nimport asyncpg\n", "asyncpg"),
        ("up.py", "from pg8000.native import Connection\n", "pg8000"),
        ("up.mjs", "import sql from 'postgres';\n", "postgres.js"),
        ("up.cjs", 'const sql = require("postgres")(url)\n', "postgres.js"),
        ("up.sh", "exec java -cp . Up jdbc:postgresql://x/y\n", "JDBC"),
        ("up.py", "import psycopg  # not asyncpg\n", None),
        ("up.mjs", "import pg from 'pg';\n", None),
        ("gone.py", None, None),
    ],
)
def test_a_script_says_which_driver_it_uses(
    tmp_path: Path, name: str, text: str | None, driver: str | None
) -> None:
    """A script's imports tell whether it will hear of a lock timeout."""
    if text is not None:
        (tmp_path / name).write_text(text)
    found = ignored_settings(["node", name, "up"], {}, tmp_path)
    assert (found is None) == (driver is None)
    assert driver is None or driver in str(found)
