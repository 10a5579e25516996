"""What the migration tool of a step does when three of it start at once, and when it is killed.

Each trial has copies of the database as it is before the step. Two single runs come first: what
both lead to is what the step does. Then three processes start at the same instant, as three
replicas that migrate at boot do. At last one is killed while it waits for a lock. Only then the
lock is released, so that what the dead process had asked for goes on, as it does in Postgres. One
more run meets a reader: a run that waits for its lock all the time makes all requests wait.
"""

import asyncio
import hashlib
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from time import monotonic
from typing import Any

from orchestrator.database import connected, run_sql
from orchestrator.database_state import HISTORY
from orchestrator.errors import EnvironmentFailure, ProcessError
from orchestrator.migrations import APPLICATION_NAME
from orchestrator.model import RunCommand
from orchestrator.processes import ChildProcess
from orchestrator.yoyo_runner import yoyo_url
from scenarios.check.observed import MigratorResult, SchemaKey
from scenarios.check.trial_plan import MigratorTrial, schema_after
from scenarios.runner import release as application
from scenarios.runner.checking.check_context import CheckContext, values_of
from scenarios.scenario.placeholders import database_values
from scenarios.scenario.spec import ReleaseStep

AT_ONCE = 3
_END_SECONDS = 60.0
_POLL_SECONDS = 0.005
_READ_SECONDS = 2.0
_MOST_WORDS = 200
_TABLES = """
SELECT c.oid::regclass::text AS name,
    array_agg(quote_ident(a.attname) ORDER BY a.attnum) FILTER (
        WHERE a.atttypid NOT IN ('timestamp'::regtype, 'timestamptz'::regtype, 'uuid'::regtype)
    ) AS columns
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^(pg_|information_schema)'
GROUP BY c.oid ORDER BY 1"""

_SCHEMA = """
SELECT format('column %s.%s %s%s', a.attrelid::regclass, a.attname,
    format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN ' not null' ELSE '' END)
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
    AND n.nspname !~ '^(pg_|information_schema)'
UNION ALL
SELECT format('%s index %s', CASE WHEN i.indisvalid THEN 'valid' ELSE 'invalid' END,
    pg_get_indexdef(i.indexrelid))
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname !~ '^(pg_|information_schema)'
UNION ALL
SELECT format('constraint %s on %s: %s', conname, conrelid::regclass, pg_get_constraintdef(c.oid))
FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace
WHERE conrelid <> 0 AND n.nspname !~ '^(pg_|information_schema)'"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a database holds, as far as two runs of the same migration can agree on it.

    Attributes:
        schema: its columns, indexes and constraints, each as a line.
        rows: how many rows each table has.
        contents: a digest of the rows of each table, without times and UUIDs.
    """

    schema: frozenset[str]
    rows: Mapping[str, int]
    contents: Mapping[str, str]

    def differences(self, other: "Snapshot", *, but: frozenset[str]) -> tuple[str, ...]:
        """In what another database differs from this one.

        Args:
            other: the other one.
            but: tables whose contents are not compared.
        """
        found = [f"missing: {line}" for line in sorted(self.schema - other.schema)]
        found += [f"in addition: {line}" for line in sorted(other.schema - self.schema)]
        for table, rows in self.rows.items():
            now = other.rows.get(table)
            if now is None:
                continue  # its columns are missing already
            if now != rows:
                found.append(f"{table} has {now:,} rows, not {rows:,}")
            elif table not in but and self.contents[table] != other.contents[table]:
                found.append(f"{table} has other values")
        return tuple(found)


async def try_migrator(context: CheckContext, trial: MigratorTrial) -> MigratorResult:
    """Try the tool of one step.

    Raises:
        EnvironmentFailure: the trial itself failed.
    """
    return await _Tries(context, trial).all()


class _Tries:
    def __init__(self, context: CheckContext, trial: MigratorTrial) -> None:
        self._context = context
        self._trial = trial
        self._schema: SchemaKey = schema_after(trial.before).key
        self._logs = count(1)

    async def all(self) -> MigratorResult:
        async with self._context.database(self._schema) as url:
            before = await snapshot(url)
            (alone,) = await self._run(url, 1)
            single = await snapshot(url)
        async with self._context.database(self._schema) as url:
            await self._run(url, 1)
            again = await snapshot(url)
        random = frozenset(
            table
            for table, content in single.contents.items()
            if again.contents.get(table) != content or HISTORY.search(table)
        )
        async with self._context.database(self._schema) as url:
            ended = await self._run(url, AT_ONCE)
            at_once = single.differences(await snapshot(url), but=random)
        async with self._context.database(self._schema) as url:
            killed = await self._kill(url)
            left = before.differences(await snapshot(url), but=random) if killed else ()
            (repeated,) = await self._run(url, 1)
            after_kill = single.differences(await snapshot(url), but=random)
        async with self._context.database(self._schema) as url:
            queued, share = await self._queue(url)
            under_lock = single.differences(await snapshot(url), but=random)
        return MigratorResult(
            step=self._trial.step,
            tool=self._command("").name,
            exit_alone=alone.exit,
            said_alone=alone.said if alone.exit else None,
            changed_something=self._step.may_change_nothing
            or bool(before.differences(single, but=frozenset())),
            exits_at_once=tuple(one.exit for one in ended),
            differences_at_once=at_once,
            killed=killed,
            left_by_killed=left,
            exit_after_kill=repeated.exit,
            said_after_kill=repeated.said if repeated.exit else None,
            differences_after_kill=after_kill,
            queued_share=share,
            exit_after_queue=queued.exit,
            differences_after_queue=under_lock,
        )

    async def _run(self, url: str, processes: int) -> list["_Ended"]:
        """Start so many of it at the same instant, and wait until each has ended."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._one(url)) for _ in range(processes)]
        return [task.result() for task in tasks]

    async def _one(self, url: str) -> "_Ended":
        child = await self._start(url)
        try:
            async with asyncio.timeout(_END_SECONDS):
                code = await child.wait()
        except TimeoutError:
            child.kill()
            await child.wait()
            return _Ended(None, f"it did not end in {_END_SECONDS:g} s")
        lines = child.last_lines(1).strip()
        return _Ended(code, lines[:_MOST_WORDS])

    async def _start(self, url: str) -> ChildProcess:
        command = self._command(url)
        log = (
            self._context.folder / f"migrator-{self._trial.step}-{next(self._logs)}-{id(self)}.log"
        )
        env = {"DATABASE_URL": url, "PGAPPNAME": APPLICATION_NAME, **command.env}
        try:
            return await self._context.environment.processes.start(
                command.command, name="migrator", log=log, env=env, cwd=command.cwd
            )
        except ProcessError as error:
            raise EnvironmentFailure(str(error)) from error

    @property
    def _step(self) -> ReleaseStep:
        return self._context.loaded.scenario.release.steps[self._trial.step - 1]

    def _command(self, url: str) -> RunCommand:
        """What somebody runs for this step: the scenario's command, or yoyo's own."""
        context, number, spec = self._context, self._trial.step - 1, self._step
        if isinstance(spec.migrate, str):
            directory = context.release.directories[self._trial.changes[0]]
            words = [sys.executable, "-P", "-m", "yoyo", "apply", "--batch", "--no-config-file"]
            if spec.through is not None:
                words += ["--revision", spec.through]
            words += ["--database", yoyo_url(url, APPLICATION_NAME, None) if url else ""]
            return RunCommand(name=f"yoyo apply {directory.name}", command=(*words, str(directory)))
        step = application.release(context.loaded, values_of(context, url)).steps[number]
        if not isinstance(step, RunCommand):
            raise TypeError(f"step {number + 1} migrates nothing")
        return step

    async def _kill(self, url: str) -> bool:
        """Kill it while it waits for a lock, then let the lock go; whether it came to that."""
        name = database_values(url)["database_name"]
        # Our embedded server notices a dead client at once; Postgres by default does not.
        await run_sql(url, [f'ALTER DATABASE "{name}" SET client_connection_check_interval = 0'])
        async with _everything_locked(url) as watcher:
            child = await self._start(url)
            while child.returncode is None and not await _waits(watcher):  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(_POLL_SECONDS)
            killed = child.returncode is None
            child.kill()
            await child.wait()
        await _wait_alone(url)
        return killed

    async def _queue(self, url: str) -> tuple["_Ended", float | None]:
        """Run it while a reader holds its tables: for which part of the time it waits for them."""
        looks = waits = 0
        async with _everything_locked(url, "ACCESS SHARE") as watcher:
            task = asyncio.create_task(self._one(url))
            begun: float | None = None
            while not task.done() and (begun is None or monotonic() - begun < _READ_SECONDS):
                waiting = await _waits(watcher)
                begun = monotonic() if waiting and begun is None else begun
                looks += begun is not None
                waits += waiting
                await asyncio.sleep(_POLL_SECONDS)
        return await task, waits / looks if looks else None


@dataclass(frozen=True, slots=True)
class _Ended:
    exit: int | None
    said: str


async def snapshot(url: str) -> Snapshot:
    """What the database holds.

    Raises:
        EnvironmentFailure: it does not answer.
    """
    async with connected(url) as connection:
        schema = frozenset(row[0] for row in await connection.fetch(_SCHEMA))
        rows: dict[str, int] = {}
        contents: dict[str, str] = {}
        for table in await connection.fetch(_TABLES):
            columns = ", ".join(table["columns"] or ["1"])
            # The names come from the catalog, quoted by Postgres itself.
            found = await connection.fetch(
                f"SELECT (ROW({columns}))::text FROM {table['name']} ORDER BY 1"  # noqa: S608
            )
            rows[table["name"]] = len(found)
            digest = hashlib.sha256("\n".join(row[0] for row in found).encode())
            contents[table["name"]] = digest.hexdigest()
    return Snapshot(schema, rows, contents)


@asynccontextmanager
async def _everything_locked(
    url: str, mode: str = "ACCESS EXCLUSIVE"
) -> AsyncIterator[Any]:  # asyncpg ships no types
    """Hold a lock on each table that is none of the tool's own; yields another connection."""
    async with connected(url) as holder, connected(url) as watcher, holder.transaction():
        for table in await holder.fetch(_TABLES):
            if not HISTORY.search(table["name"]):
                await holder.execute(f"LOCK TABLE {table['name']} IN {mode} MODE")
        yield watcher


async def _waits(watcher: Any) -> bool:  # noqa: ANN401 - asyncpg ships no types
    """Whether a session of this database waits for a lock."""
    return bool(
        await watcher.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event_type = 'Lock'"
        )
    )


async def _wait_alone(url: str) -> None:
    """Wait until what a killed process had asked for has ended, too."""
    async with connected(url) as connection, asyncio.timeout(_END_SECONDS):
        while await connection.fetchval(  # noqa: ASYNC110 - there is no event to wait for
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ):
            await asyncio.sleep(_POLL_SECONDS)
