"""A check: the trials of a release, in parallel, on one Postgres server."""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from orchestrator.database_server import ExternalServer
from orchestrator.errors import EnvironmentFailure, MigrationFailed, OrchestratorError
from orchestrator.postgres import EmbeddedServer
from orchestrator.tasks import first_error
from scenarios.check.lint import LintFinding
from scenarios.check.lock_result import HeldLock
from scenarios.check.migration_findings import FileLine, MigrationSource
from scenarios.check.observed import ChangeResult, Observed, SchemaKey
from scenarios.check.trial_plan import (
    Advances,
    EffectsTrial,
    FreshTrial,
    LockTrial,
    MigratorTrial,
    PlannedTrial,
    WantedTrials,
    schema_after,
)
from scenarios.errors import ScenarioError
from scenarios.evidence.run_folder import RunFolder
from scenarios.runner.checking.change_trials import try_effects
from scenarios.runner.checking.check_context import CheckContext, carry_out
from scenarios.runner.checking.journey_player import JourneyPlayer
from scenarios.runner.checking.lock_trials import try_locks
from scenarios.runner.checking.migrator_trials import try_migrator
from scenarios.runner.checking.planned_release import PlannedRelease, planned_release
from scenarios.runner.checking.replica_client import Mailboxes
from scenarios.runner.checking.result_cache import ResultCache
from scenarios.runner.checking.sources import migration_sources, step_lines
from scenarios.runner.checking.squawk import lint
from scenarios.runner.checking.version_trials import try_fresh, try_living
from scenarios.runner.environment import Environment
from scenarios.runner.pooling import pooled
from scenarios.runner.programs import check_programs
from scenarios.scenario.paths import migrations_directory
from scenarios.scenario.reader import Loaded
from scenarios.traffic.errors import PlanError, TrafficError
from scenarios.traffic.journeys.mailbox import mailbox

MOST_ROWS = 200
"""How many of the scenario's rows a check makes, unless it is told otherwise."""

_SYNTAX_ERROR = "42601"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a check found.

    Attributes:
        release: the release.
        observed: what its trials saw.
        trials: how many trials there are.
        cached: how many of their results came from the cache.
        lint: what the linter says of the migrations.
        sources: where the changes of the schema come from, in the order of the release.
        steps: where each step of the release is written, by its number.
    """

    release: PlannedRelease
    observed: Observed
    trials: int
    cached: int
    lint: tuple[LintFinding, ...] = ()
    sources: tuple[MigrationSource, ...] = ()
    steps: Mapping[int, FileLine] = field(default_factory=dict)


def _migration_files(loaded: Loaded, release: PlannedRelease) -> list[Path]:
    """All files of the directories of migrations, rollbacks included."""
    directories = set(release.directories.values())
    database = loaded.scenario.database
    if database is not None and isinstance(database.migrate, str):
        directories.add(migrations_directory(database.migrate))
    return sorted(path for folder in directories for path in folder.iterdir() if path.is_file())


class _SchemaUnreachableError(Exception):
    """A migration before this schema failed."""


def with_fewer_rows(loaded: Loaded, rows: int | None) -> Loaded:
    """The scenario with the number of rows of a check.

    Args:
        loaded: the scenario.
        rows: how many; None: as many as the scenario says, but not more than `MOST_ROWS`.
    """
    database = loaded.scenario.database
    if rows is not None or database is None or database.rows is None:
        return loaded
    replace = msgspec.structs.replace
    fewer = replace(database.rows, count=min(database.rows.count, MOST_ROWS))
    scenario = replace(loaded.scenario, database=replace(database, rows=fewer))
    return Loaded(scenario, loaded.path, loaded.locations)


async def check_release(
    loaded: Loaded,
    place: Environment,
    *,
    wanted: WantedTrials,
    cache: Path | None,
    tell: Callable[[str], None],
) -> Checked:
    """Try all versions of a release on all schemas that they can meet.

    Args:
        loaded: the scenario.
        place: where the processes run.
        wanted: which trials are made.
        cache: the folder of earlier results; None: there is none.
        tell: told what happens.

    Raises:
        ScenarioError: a migration cannot be read, or a journey cannot be played.
        EnvironmentFailure: the check itself failed.
    """
    check_programs(loaded)
    log = place.private / "migrations.log"
    release = await planned_release(loaded, place.processes, log)
    trials = wanted.of(release.plan)
    results = None
    if cache is not None:
        results = ResultCache(cache, loaded, _migration_files(loaded, release))
    known = {trial: found for trial in trials if results and (found := results.read(trial))}
    missing = [trial for trial in trials if trial not in known]
    tell(f"{len(trials)} trials, {len(known)} of them known from an earlier check")
    if missing:
        tried = await _tried(loaded, place, release, missing, tell)
        for trial, found in tried.items():
            if results is not None:
                results.write(trial, found)
        known |= tried
    linted: tuple[LintFinding, ...] = ()
    if wanted.lint:
        linted = await lint(place.processes, release.files, place.private)
    observed = Observed()
    for trial in trials:
        observed = observed.joined(known[trial])
    return Checked(
        release=release,
        observed=observed,
        trials=len(trials),
        cached=len(trials) - len(missing),
        lint=linted,
        sources=migration_sources(loaded, release),
        steps=step_lines(loaded),
    )


async def _tried(
    loaded: Loaded,
    place: Environment,
    release: PlannedRelease,
    trials: Sequence[PlannedTrial],
    tell: Callable[[str], None],
) -> dict[PlannedTrial, Observed]:
    """Carry out trials; their errors become those of a check."""
    scenario = loaded.scenario
    beside = [one.name for one in scenario.application.processes]
    beside += [one.name for one in scenario.services]
    if beside:
        names = ", ".join(beside)
        tell(f"a check starts only the web, and not what runs beside it: {names}")
    try:
        with first_error():
            return await try_trials(loaded, place, release, trials, tell)
    except PlanError as error:
        raise ScenarioError(f"{loaded.path}: {error}") from error
    except EnvironmentFailure:
        raise
    except (OrchestratorError, TrafficError) as error:
        raise EnvironmentFailure(str(error)) from error


async def try_trials(
    loaded: Loaded,
    place: Environment,
    release: PlannedRelease,
    trials: Sequence[PlannedTrial],
    tell: Callable[[str], None],
) -> dict[PlannedTrial, Observed]:
    """Carry out trials, as many at the same time as there are cores.

    Args:
        loaded: the scenario.
        place: where the processes run.
        release: the scenario's release.
        trials: which.
        tell: told what happens.

    Raises:
        OrchestratorError: a trial itself failed.
        TrafficError: a journey cannot be played.
    """
    async with AsyncExitStack() as stack:
        mails = Mailboxes()
        host, port = await stack.enter_async_context(mailbox(mails.deliver))
        player = await stack.enter_async_context(JourneyPlayer(loaded.scenario.traffic, mails))
        database = loaded.scenario.database
        server = None if database is None else await place.server()
        folder = await stack.enter_async_context(place.processes.directory("hitless-check-"))
        pooler = None
        if server is not None:
            log = RunFolder(place.private).pooler_log
            pooler = await stack.enter_async_context(
                pooled(loaded, place.processes, server.url("any"), log)
            )
        templates = _Templates(loaded, place, server, trials)
        context = CheckContext(
            loaded=loaded,
            release=release,
            environment=place,
            server=server,
            player=player,
            mails=mails,
            smtp=f"{host}:{port}",
            folder=folder,
            template=templates.wait,
            pooler=pooler,
            tell=tell,
        )
        cores = asyncio.Semaphore(max(1, os.cpu_count() or 1))
        async with asyncio.TaskGroup() as group:
            building = group.create_task(templates.build(context), name="templates")
            tasks = {
                trial: group.create_task(_one(context, trial, cores, templates, tell))
                for trial in trials
            }
        await building
        return {trial: task.result() for trial, task in tasks.items()}


async def _one(
    context: CheckContext,
    trial: PlannedTrial,
    cores: asyncio.Semaphore,
    templates: "_Templates",
    tell: Callable[[str], None],
) -> Observed:
    schema = schema_after(trial.before).key
    failed = await templates.failure_before(schema)
    if failed is not None:
        return Observed(changes=(failed,))
    async with cores:
        if isinstance(trial, LockTrial):
            tell(f"locks of the migrations at {', '.join(f'{one:,}' for one in trial.sizes)} rows")
            return Observed(locks=await _locks(context, trial))
        if isinstance(trial, EffectsTrial):
            return Observed(effects=await try_effects(context, trial, tell))
        if isinstance(trial, MigratorTrial):
            migrator = await try_migrator(context, trial)
            tell(f"step {trial.step}: {migrator.tool}: {'ok' if migrator.ok else 'not ok'}")
            return Observed(migrators=(migrator,))
        if isinstance(trial, FreshTrial):
            observed = await try_fresh(context, trial)
        else:
            observed = await try_living(context, trial)
    results = [one.ok for one in observed.cells] + [one.ok for one in observed.crossings]
    where = f"after {schema[-1]}" if schema else "on the base schema"
    tell(f"{trial.version} {where}: {sum(results)} of {len(results)} ok")
    return observed


async def _locks(context: CheckContext, trial: LockTrial) -> tuple[HeldLock, ...]:
    try:
        return await try_locks(context, trial)
    except MigrationFailed:
        return ()  # what fails is seen by the other trials


class _Templates:
    """Databases with each schema that a trial starts on, each made from the one before."""

    def __init__(
        self,
        loaded: Loaded,
        place: Environment,
        server: EmbeddedServer | ExternalServer | None,
        trials: Sequence[PlannedTrial],
    ) -> None:
        self._loaded = loaded
        self._place = place
        self._server = server
        self._names: dict[SchemaKey, asyncio.Future[str]] = {}
        self._failed: ChangeResult | None = None
        self._starts = tuple(sorted({trial.before for trial in trials}, key=len))
        loop = asyncio.get_running_loop()
        for start in self._starts:
            self._names[schema_after(start).key] = loop.create_future()

    async def wait(self, schema: SchemaKey) -> str:
        """Wait for the template of a schema."""
        return await self._names[schema]

    async def failure_before(self, schema: SchemaKey) -> ChangeResult | None:
        """The migration that failed before the schema could be reached; None if none did."""
        if self._server is None:
            return None
        await asyncio.wait([self._names[schema]])
        if self._names[schema].exception() is not None:
            return self._failed
        return None

    async def build(self, context: CheckContext) -> None:
        """Build all of them, in order."""
        database = self._loaded.scenario.database
        if self._server is None or database is None:
            return
        log = self._place.private / "migrations.log"
        try:
            name = await self._place.template(self._loaded, database, log)
        except MigrationFailed as failure:
            raise EnvironmentFailure(f"the base schema cannot be made: {failure}") from failure
        done: Advances = ()
        for start in self._starts:
            key = schema_after(start).key
            if self._failed is not None:
                self._names[key].set_exception(_SchemaUnreachableError())
                continue
            ahead = start[len(done) :]
            if ahead:
                try:
                    name = await self._next(context, name, done, ahead)
                except MigrationFailed as failure:
                    self._failed = _failed(context.release, done, ahead, failure)
                    self._names[key].set_exception(_SchemaUnreachableError())
                    continue
            done = start
            self._names[key].set_result(name)

    async def _next(self, context: CheckContext, base: str, done: Advances, ahead: Advances) -> str:
        if self._server is None:
            raise RuntimeError("there is no server")

        async def work(url: str) -> None:
            await carry_out(context, url, ahead)

        return await self._server.template(f"{base} {done} {ahead}", work, base=base)


def _failed(
    release: PlannedRelease, done: Advances, ahead: Advances, failure: MigrationFailed
) -> ChangeResult:
    """What is known of a migration that failed where nobody used the database.

    Raises:
        ScenarioError: it is no SQL.
    """
    names = [one.change for one in ahead]
    made = names.index(failure.migration) if failure.migration in names else 0
    if failure.sqlstate == _SYNTAX_ERROR:
        file = release.files.get(names[made])
        raise ScenarioError(f"{file}: {failure}") from failure
    before = schema_after((*done, *ahead[:made])).key
    return ChangeResult(
        schema=before,
        change=names[made],
        taken_back=ahead[made].taken_back,
        failed=str(failure),
        sqlstate=failure.sqlstate,
    )
