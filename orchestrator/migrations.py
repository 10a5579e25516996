"""Schema migrations: yoyo, or any command."""

import asyncio
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import msgspec

from orchestrator.command_migrations import RETRIED, logged_refusal, pg_options, refusal_in
from orchestrator.errors import MigrationFailed, ProcessError
from orchestrator.journal import Journal, JournalEntry
from orchestrator.model import RunCommand
from orchestrator.processes import ChildProcess, Processes

APPLICATION_NAME = "hitless-migrator"
"""The name of a migrator's sessions in `pg_stat_activity` and in the server's log."""

_STOP_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0


class _Line(msgspec.Struct, frozen=True):
    """One line of the runner's output: see `orchestrator.yoyo_runner`."""

    event: Literal["started", "retried", "completed", "failed"]
    migration: str | None = None
    sqlstate: str | None = None
    message: str | None = None
    seconds: float = 0.0


class ListedMigration(msgspec.Struct, frozen=True):
    """A yoyo migration of a directory.

    Attributes:
        migration: its id.
        path: its file.
        transactional: whether it runs in one transaction.
        statements: how many statements it has.
        reversible: whether it has a rollback.
    """

    migration: str
    path: str
    transactional: bool
    statements: int
    reversible: bool


async def list_migrations(
    processes: Processes, directory: Path, through: str | None, *, log: Path
) -> tuple[ListedMigration, ...]:
    """The migrations of a directory up to and including `through`, in the order of yoyo.

    Raises:
        MigrationFailed: one cannot be read, they depend on each other in a circle, or there is no
            migration `through`.
    """
    command = [sys.executable, "-P", "-m", "orchestrator.yoyo_runner", "list"]
    command += ["--directory", str(directory)]
    if through is not None:
        command += ["--through", through]
    found = []
    async with _running(processes, command, log=log, env={}) as child:
        while raw := await child.stdout.readline():
            if b'"event": "listed"' in raw:
                found.append(msgspec.json.decode(raw, type=ListedMigration))
                continue
            failed = msgspec.json.decode(raw, type=_Line)
            raise MigrationFailed(
                failed.message or "the migrator gave no reason", migration=failed.migration
            )
        if await child.wait():
            raise MigrationFailed(f"{directory} cannot be read: {_last_words(child)}")
    return tuple(found)


class YoyoMigrator:
    """Migrates one database, in processes of their own: with yoyo, or with any command.

    A migration that fails because of a lock (SQLSTATE 55P03, 40P01) is repeated as a whole, until
    the deadline. The floor of its journal entry is the time of the attempt that succeeded.
    """

    def __init__(
        self,
        processes: Processes,
        url: str,
        *,
        log: Path,
        lock_timeout: float | None = None,
        deadline: float = 60.0,
        server_log: Path | None = None,
    ) -> None:
        """Make the migrator; nothing is connected yet.

        Args:
            processes: owns its processes.
            url: the database, as `postgresql://...`.
            log: the file that its output is appended to.
            lock_timeout: how many seconds a statement waits for a lock, unless the migration itself
                sets it; absent: without a limit, as is Postgres' default.
            deadline: for how many seconds a step of a release may repeat its attempts; a command
                must end by then.
            server_log: the server's log in the format `jsonlog`, where it can be read.
        """
        self._processes = processes
        self._url = url
        self._log = log
        self._deadline = deadline
        self._lock_timeout = lock_timeout
        self._server_log = server_log
        self._options = ["--deadline", f"{deadline:g}", "--application-name", APPLICATION_NAME]
        if lock_timeout is not None:
            self._options += ["--lock-timeout", f"{lock_timeout:g}"]

    async def apply(
        self, directory: Path, through: str | None, journal: Journal, *, first: int | None = None
    ) -> None:
        """Apply the pending migrations up to and including `through`.

        Args:
            directory: where they are.
            through: the last one; None: all.
            journal: what happens.
            first: so many statements of the last one take effect, and it is not recorded, as if
                it had died there; None: all of it.

        Raises:
            MigrationFailed: a migration failed; those before it stay applied.
        """
        await self._run("apply", directory, through, journal, first)

    async def roll_back(self, directory: Path, through: str | None, journal: Journal) -> None:
        """Take back applied migrations, newest first, down to and including `through`.

        Raises:
            MigrationFailed: a migration has no rollback (then nothing was done), or a rollback
                failed.
        """
        await self._run("rollback", directory, through, journal)

    async def run(self, step: RunCommand, journal: Journal) -> None:
        """Run any command that migrates; exit status 0 means success.

        Its environment has the database's URL as `DATABASE_URL`, unless the step sets that itself,
        a name for its sessions as `PGAPPNAME`, and the lock timeout in `PGOPTIONS` (libpq). If it
        fails because of a lock (SQLSTATE 55P03, 40P01, as its output or the server's log has it),
        it is run again, until the deadline.

        Raises:
            MigrationFailed: it cannot be started, fails, or takes longer than the deadline.
        """
        env = {"DATABASE_URL": self._url, "PGAPPNAME": APPLICATION_NAME, **step.env}
        options = pg_options(env.get("PGOPTIONS", os.environ.get("PGOPTIONS")), self._lock_timeout)
        if options is not None:
            env["PGOPTIONS"] = options
        detail = {"migration": step.name, "direction": "rollback" if step.down else "apply"}
        end = time.monotonic() + self._deadline
        async with journal.verb("migrate", detail=detail) as entry:
            pause, retries = _FIRST_PAUSE_SECONDS, 0
            while True:
                began = time.monotonic()
                refused = await self._attempt(step, env, end, entry, pause)
                if refused is None:
                    entry.floor_seconds = time.monotonic() - began
                    entry.detail["retries"] = retries
                    return
                retries += 1
                journal.note(
                    "migrate",
                    error=f"{RETRIED[refused]} (SQLSTATE {refused}); it is run again",
                    detail={"migration": step.name, "sqlstate": refused, "retry": retries},
                )
                # With jitter, so that two sessions in a deadlock do not meet again.
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _attempt(
        self,
        step: RunCommand,
        env: Mapping[str, str],
        end: float,
        entry: JournalEntry,
        pause: float,
    ) -> str | None:
        """Run the command once; the SQLSTATE if a lock was refused and there is time for another.

        Raises:
            MigrationFailed: it failed for another reason, or there is no more time.
        """
        said, logged = _size(self._log), _size(self._server_log)
        async with _running(
            self._processes, step.command, log=self._log, env=env, cwd=step.cwd, dialogue=False
        ) as child:
            try:
                async with asyncio.timeout(end - time.monotonic()):
                    status = await child.wait()
            except TimeoutError:
                raise MigrationFailed(
                    f"{step.name} did not end in {self._deadline:g} s (the scenario's key "
                    f"database.migration_deadline_seconds); its last output: {_last_words(child)}; "
                    f"its log: {self._log}",
                    migration=step.name,
                ) from None
        if not status:
            return None
        refused = refusal_in(_text_from(self._log, said))
        if refused is None and self._server_log is not None:
            refused = logged_refusal(self._server_log, logged, APPLICATION_NAME)
        if refused is not None and time.monotonic() + pause < end:
            return refused
        late = "" if refused is None else "; the deadline for further attempts has passed"
        entry.detail["sqlstate"] = refused
        raise MigrationFailed(
            f"{step.name} ended with status {status}: {_last_words(child)}{late}",
            migration=step.name,
            sqlstate=refused,
        )

    async def _run(
        self,
        direction: str,
        directory: Path,
        through: str | None,
        journal: Journal,
        first: int | None = None,
    ) -> None:
        command = [sys.executable, "-P", "-m", "orchestrator.yoyo_runner", direction]
        command += ["--directory", str(directory), *self._options]
        if through is not None:
            command += ["--through", through]
        if first is not None:
            command += ["--first", str(first)]
        async with _running(
            self._processes, command, log=self._log, env={"DATABASE_URL": self._url}
        ) as child:
            while (line := await _next(child)) is not None:
                detail = {"migration": line.migration, "direction": direction}
                async with journal.verb("migrate", detail=detail) as entry:
                    try:
                        await _one(child, line, entry, journal)
                    except MigrationFailed as failure:
                        entry.detail["sqlstate"] = failure.sqlstate
                        raise
            if await child.wait():
                raise MigrationFailed(
                    f"the migrator ended with status {child.returncode}: {_last_words(child)}"
                )


@asynccontextmanager
async def _running(
    processes: Processes,
    command: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str],
    cwd: Path | None = None,
    dialogue: bool = True,
) -> AsyncIterator[ChildProcess]:
    """Start the migrator; at the end of the block it is stopped if it still runs."""
    try:
        child = await processes.start(
            command, name="migrator", log=log, env=env, cwd=cwd, dialogue=dialogue
        )
    except ProcessError as error:
        raise MigrationFailed(str(error)) from error
    try:
        yield child
    finally:
        await child.stop(_STOP_SECONDS)


async def _next(child: ChildProcess) -> _Line | None:
    """Read the runner's next line; None at the end of its output.

    Raises:
        MigrationFailed: the line reports a failure, or it cannot be read.
    """
    raw = await child.stdout.readline()
    if not raw:
        return None
    try:
        line = msgspec.json.decode(raw, type=_Line)
    except msgspec.DecodeError as error:
        raise MigrationFailed(f"the migrator printed an unreadable line: {error}") from error
    if line.event == "failed":
        raise MigrationFailed(
            line.message or "the migrator gave no reason",
            migration=line.migration,
            sqlstate=line.sqlstate,
        )
    return line


async def _one(child: ChildProcess, started: _Line, entry: JournalEntry, journal: Journal) -> None:
    """Follow one migration to its end."""
    retries = 0
    while (line := await _next(child)) is not None:
        if line.event == "completed":
            entry.floor_seconds = line.seconds
            entry.detail["retries"] = retries
            return
        retries += 1
        journal.note(
            "migrate",
            error=line.message,
            detail={"migration": started.migration, "sqlstate": line.sqlstate, "retry": retries},
        )
    raise MigrationFailed(
        f"the migrator ended during {started.migration}: {_last_words(child)}",
        migration=started.migration,
    )


def _last_words(child: ChildProcess) -> str:
    return " | ".join(child.last_lines(3).splitlines()) or "(no output)"


def _size(path: Path | None) -> int:
    return path.stat().st_size if path is not None and path.is_file() else 0


def _text_from(log: Path, offset: int) -> str:
    with log.open("rb") as file:
        file.seek(offset)
        return file.read().decode(errors="replace")
