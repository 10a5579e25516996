"""Which locks each change of the schema holds, for how long, at three sizes of the tables."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from orchestrator.database import connected
from orchestrator.migrations import APPLICATION_NAME as MIGRATOR
from orchestrator.tasks import first_error
from scenarios.check.lock_result import HeldLock, mode_in_words, strength
from scenarios.check.trial_plan import Advance, LockTrial
from scenarios.evidence.locks import LockWait
from scenarios.evidence.run_folder import RecordFile
from scenarios.recording.lock_watch import BUSY_SECONDS, LockWatch
from scenarios.runner.checking.check_context import CheckContext, carry_out
from scenarios.runner.checking.statement_recorder import RecordedStatement, recorded
from scenarios.runner.checking.trials import Trial, TriedReplica, trial_at
from scenarios.scenario.reader import Loaded

_WORDS = 100


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
    waits = context.folder / f"waits-{next(context.numbers)}.ndjson"
    async with (
        connected(url) as connection,
        recorded(connection) as recording,
        _traffic(place, tried),
        _watched(url, waits),
    ):
        await carry_out(context, url, [advance])
    strongest = _strongest(advance.change, recording.statements, rows)
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
    change: str, statements: Iterable[RecordedStatement], rows: int
) -> Mapping[str, HeldLock]:
    """The strongest lock on each table, with the statement that took it first.

    A transaction keeps its locks, so the first statement of those that had it held it for longest.
    """
    found: dict[str, HeldLock] = {}
    for statement in statements:
        for table, name in statement.locks:
            mode = mode_in_words(name)
            known = found.get(table)
            if not strength(mode):
                continue
            rewrites = statement.rewritten == table or (known is not None and known.rewrites)
            if known is not None and strength(known.mode) >= strength(mode):
                found[table] = msgspec.structs.replace(known, rewrites=rewrites)
                continue
            found[table] = HeldLock(
                change=change,
                table=table,
                mode=mode,
                statement=" ".join(statement.query.split())[:_WORDS],
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
