"""Runs yoyo migrations in a process of their own: `python -m orchestrator.yoyo_runner`.

A process of its own, because yoyo blocks its thread, keeps a process-wide registry of migrations,
and runs the Python of migration files. The URL comes from the environment (`DATABASE_URL`), since
command lines are public. Standard output is one JSON document a line:

- `{"event": "started", "migration": ID}`, then, after each attempt that failed because of a lock,
  `{"event": "retried", "migration": ID, "sqlstate": CODE, "message": TEXT}`, then
  `{"event": "completed", "migration": ID, "seconds": S}` with the time of the last attempt;
- with `--first NUMBER`, the last migration stops after so many statements, as one that died;
- `list` prints `{"event": "listed", "migration": ID, "path": FILE, "transactional": BOOL,
  "statements": NUMBER, "reversible": BOOL}` for each migration, in the order in which they are
  applied, and uses no database;
- or, as the last line, `{"event": "failed", "migration": ID or null, "sqlstate": CODE or null,
  "message": TEXT}`, and exit status 1.

This runner adds to yoyo: each attempt has a backend of its own (after an error inside its lock
block, a backend takes no lock any more); the whole migration is repeated when Postgres reports
55P03 or 40P01; taking back a migration that has no rollback is refused, where yoyo would only
forget the migration; and the lock row of a killed migrator is removed, as soon as it is certain
that neither its process nor its sessions exist.
"""

import argparse
import json
import logging
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import psycopg
import yoyo
from yoyo.exceptions import BadMigration, LockTimeout, MigrationConflict
from yoyo.topologicalsort import CycleError

_log = logging.getLogger("hitless.migrations")
_RETRIED = {"55P03": "lock_not_available", "40P01": "deadlock_detected"}
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0
_ADVISORY_LOCK = 0x6869746C657373  # "hitless"


class MigrationRefusal(Exception):  # noqa: N818 - an outcome, not a mistake of the runner
    """The runner ends with a failure; the message is one line."""

    def __init__(
        self, message: str, *, migration: str | None = None, sqlstate: str | None = None
    ) -> None:
        super().__init__(message)
        self.migration = migration
        self.sqlstate = sqlstate


class Runner:
    """Applies or rolls back the migrations of one directory."""

    def __init__(self, arguments: argparse.Namespace, url: str, out: TextIO) -> None:
        self._out = out
        self._directory: Path = arguments.directory
        self._through: str | None = arguments.through
        self._first: int | None = arguments.first
        self._application = arguments.application_name
        self._url = url
        self._yoyo_url = yoyo_url(url, self._application, arguments.lock_timeout)
        self._deadline = time.monotonic() + arguments.deadline

    def apply(self) -> None:
        """Apply the pending migrations up to and including `through`."""
        migrations = self._migrations()
        with self._alone():
            with yoyo.get_backend(self._yoyo_url) as backend:
                pending = list(backend.to_apply(migrations))
            order = [migration.id for migration in migrations]
            if self._through is not None:
                last = order.index(self._through)
                pending = [one for one in pending if order.index(one.id) <= last]
            last_one = pending.pop() if self._first is not None and pending else None
            for migration in pending:
                self._one(migration, "apply")
            if last_one is not None:
                last_one.steps = last_one.steps[: self._first]
                self._one(last_one, "apply", mark=False)
            if self._through is None:
                for hook in migrations.post_apply:
                    self._one(hook, "apply", mark=False)

    def list_all(self) -> None:
        """Print the migrations up to and including `through`."""
        for migration in self._migrations():
            self._say(
                event="listed",
                migration=migration.id,
                path=migration.path,
                transactional=bool(migration.use_transactions),
                statements=len(migration.steps),
                reversible=_has_rollback(migration),
            )
            if migration.id == self._through:
                return

    def roll_back(self) -> None:
        """Take back applied migrations, newest first, down to and including `through`."""
        migrations = self._migrations()
        with self._alone():
            with yoyo.get_backend(self._yoyo_url) as backend:
                applied = list(backend.to_rollback(migrations))
            if self._through is not None:
                order = [migration.id for migration in applied]
                known = [migration.id for migration in migrations]
                newer = set(known[known.index(self._through) :])
                if not newer & set(order):
                    return  # it was taken back before, and all newer ones too
                if self._through not in order:
                    raise MigrationRefusal(
                        f"{self._through} is not applied: cannot roll back to it"
                    )
                applied = applied[: order.index(self._through) + 1]
            for migration in applied:  # check all before the first is taken back
                if not _has_rollback(migration):
                    raise MigrationRefusal(
                        f"{migration.id} has no rollback: yoyo would forget it and leave the "
                        f"schema as it is",
                        migration=migration.id,
                    )
            for migration in applied:
                self._one(migration, "rollback")

    def _migrations(self) -> Any:  # noqa: ANN401 - yoyo ships no types
        if not self._directory.is_dir():
            raise MigrationRefusal(f"no directory of migrations: {self._directory}")
        read = yoyo.read_migrations(_literal(self._directory))
        if not len(read):
            raise MigrationRefusal(f"no migrations in {self._directory}")
        for migration in (*read, *read.post_apply):
            try:
                migration.load()
            except (BadMigration, KeyboardInterrupt):
                raise
            except Exception as error:  # a migration in Python runs when it is loaded
                raise MigrationRefusal(
                    f"{migration.path} cannot be loaded: {type(error).__name__}: {error}",
                    migration=migration.id,
                ) from error
        try:
            ordered = read.replace(yoyo.migrations.topological_sort(read))
        except CycleError as error:
            circle = ", ".join(sorted(migration.id for migration in error.args[1]))
            raise MigrationRefusal(
                f"migrations of {self._directory} depend on each other in a circle: {circle}"
            ) from error
        known = [migration.id for migration in ordered]
        if self._through is not None and self._through not in known:
            raise MigrationRefusal(
                f"no migration {self._through} in {self._directory}; there are {', '.join(known)}"
            )
        return ordered

    def _one(self, migration: Any, direction: str, *, mark: bool = True) -> None:  # noqa: ANN401 - as above
        self._say(event="started", migration=migration.id)
        pause = _FIRST_PAUSE_SECONDS
        while True:
            began = time.monotonic()
            try:
                with yoyo.get_backend(self._yoyo_url) as backend, backend.lock():
                    if direction == "apply":
                        backend.apply_one(migration, mark=mark)
                    else:
                        backend.rollback_one(migration)
            except (LockTimeout, BadMigration, KeyboardInterrupt):
                raise
            except psycopg.Error as error:
                self._retry_or_raise(migration, direction, error, pause)
                # With jitter, so that two sessions in a deadlock do not retry at the same moment.
                time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            except Exception as error:
                _log.exception("%s", migration.id)
                raise MigrationRefusal(
                    f"{migration.id} failed: {type(error).__name__}: {error}",
                    migration=migration.id,
                ) from error
            else:
                seconds = time.monotonic() - began
                self._say(event="completed", migration=migration.id, seconds=seconds)
                return

    def _retry_or_raise(
        self,
        migration: Any,  # noqa: ANN401 - as above
        direction: str,
        error: psycopg.Error,
        pause: float,
    ) -> None:
        sqlstate = error.sqlstate
        message = " ".join(str(error).split())
        why_not = None
        if sqlstate not in _RETRIED:
            why_not = ""
        elif time.monotonic() + pause > self._deadline:
            why_not = "; the deadline for further attempts has passed"
        elif direction == "apply" and not (
            migration.use_transactions or len(migration.steps) == 1 or _has_rollback(migration)
        ):
            why_not = (
                "; it is not transactional and has no rollback, so parts of it may still be applied"
            )
        if why_not is not None:
            raise MigrationRefusal(
                f"{migration.id} failed: {message}{why_not}",
                migration=migration.id,
                sqlstate=sqlstate,
            ) from error
        self._say(event="retried", migration=migration.id, sqlstate=sqlstate, message=message)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold an advisory lock, which ends with its session, so that no second runner starts."""
        with psycopg.connect(self._url, autocommit=True, application_name=self._application) as own:
            remaining = max(1, int((self._deadline - time.monotonic()) * 1000))
            own.execute(f"SET lock_timeout = {remaining}")
            own.execute("SELECT pg_advisory_lock(%s)", (_ADVISORY_LOCK,))
            self._break_stale_lock(own)
            yield

    def _break_stale_lock(self, own: "psycopg.Connection[Any]") -> None:
        """Remove yoyo's lock row when its writer and its writer's sessions are gone.

        The row has the process id of its writer, but not the machine. It is stale when (1) no
        process of this machine has that id, (2) no session in this database comes from another
        machine, where the process could run, and (3) no session with the migrator's name is left,
        because the backend of a killed migrator goes on with its statement. No new migrator can
        begin meanwhile, because this one holds the advisory lock. The method waits for (3); if (1)
        or (2) does not hold, it leaves the row, and yoyo then reports whose it is.
        """
        while True:
            if own.execute("SELECT to_regclass('yoyo_lock')").fetchone() == (None,):
                return
            row = own.execute("SELECT pid, ctime FROM yoyo_lock").fetchone()
            if row is None or _is_alive(row[0]):
                return
            sessions = own.execute(
                "SELECT count(*) FILTER (WHERE client_addr IS DISTINCT FROM inet_client_addr()),"
                " count(*) FILTER (WHERE application_name = %s) FROM pg_stat_activity"
                " WHERE datname = current_database() AND backend_type = 'client backend'"
                " AND pid <> pg_backend_pid()",
                (self._application,),
            ).fetchone()
            strangers, migrators = sessions or (0, 0)
            if strangers:
                return
            if not migrators:
                own.execute("DELETE FROM yoyo_lock WHERE pid = %s AND ctime = %s", row)
                return
            if time.monotonic() > self._deadline:
                raise MigrationRefusal(
                    f"the migrator with process id {row[0]} was killed, but its statement "
                    "still runs in the database"
                )
            time.sleep(_FIRST_PAUSE_SECONDS)

    def _say(self, **fields: object) -> None:
        self._out.write(json.dumps(fields) + "\n")
        self._out.flush()


def yoyo_url(url: str, application_name: str, lock_timeout: float | None) -> str:
    """Return the URL as yoyo wants it: psycopg 3's scheme, and our settings as arguments."""
    parts = urlsplit(url)
    arguments = dict(parse_qsl(parts.query)) | {"application_name": application_name}
    if lock_timeout is not None:
        setting = f"-c lock_timeout={round(lock_timeout * 1000)}ms"
        arguments["options"] = f"{arguments.get('options', '')} {setting}".strip()
    query = urlencode(arguments, quote_via=quote)
    return urlunsplit(parts._replace(scheme="postgresql+psycopg", query=query))


def _has_rollback(migration: Any) -> bool:  # noqa: ANN401 - yoyo ships no types
    if migration.is_raw_sql():
        return _rollback_file(migration).is_file()
    return any(_undoes(step) for step in migration.steps)


def _rollback_file(migration: Any) -> Path:  # noqa: ANN401 - as above
    return Path(migration.path.removesuffix(".sql") + ".rollback.sql")


def _undoes(step: Any) -> bool:  # noqa: ANN401 - yoyo ships no types
    inner = getattr(step, "step", step)  # the transaction around it
    parts = getattr(inner, "steps", None)  # a group's
    return any(map(_undoes, parts)) if parts is not None else inner._rollback is not None  # noqa: SLF001 - no other way to know


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _literal(directory: Path) -> str:
    import glob  # noqa: PLC0415 - yoyo takes a pattern where it says directory

    return glob.escape(str(directory))


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="orchestrator.yoyo_runner")
    parser.add_argument("direction", choices=("apply", "rollback", "list"))
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--through", metavar="ID")
    parser.add_argument(
        "--first",
        type=int,
        metavar="NUMBER",
        help="apply only the first statements of the last migration, and do not record it",
    )
    parser.add_argument("--application-name", default="hitless-migrator")
    parser.add_argument("--lock-timeout", type=float, metavar="SECONDS")
    parser.add_argument("--deadline", type=float, default=60.0, metavar="SECONDS")
    arguments = parser.parse_args()
    # SIGTERM must end the statement in the database as well: psycopg cancels it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # yoyo prints the rows that a migration selects; standard output is for the JSON lines.
    out, sys.stdout = sys.stdout, sys.stderr
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(name)s: %(message)s")
    last = {"event": "failed", "migration": None, "sqlstate": None}
    try:
        runner = Runner(arguments, os.environ.get("DATABASE_URL", ""), out)
        if arguments.direction == "list":
            runner.list_all()
        elif arguments.direction == "apply":
            runner.apply()
        else:
            runner.roll_back()
    except MigrationRefusal as refusal:
        last |= {
            "migration": refusal.migration,
            "sqlstate": refusal.sqlstate,
            "message": str(refusal),
        }
    except psycopg.Error as error:
        last |= {"sqlstate": error.sqlstate, "message": " ".join(str(error).split())}
    except (BadMigration, LockTimeout, MigrationConflict) as error:
        detail = " ".join(str(part) for part in error.args)
        last["message"] = f"{type(error).__name__}: {detail}"
    except KeyboardInterrupt:
        last["message"] = "interrupted by a signal"
    else:
        return 0
    out.write(json.dumps(last) + "\n")
    out.flush()
    return 1


if __name__ == "__main__":
    sys.exit(main())
