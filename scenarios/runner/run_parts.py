"""What a run stands on before its first replica: it is started here, and ends with the run."""

import sys
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec

from orchestrator.hooks import CommandHooks
from orchestrator.journal import Journal
from orchestrator.migrations import YoyoMigrator
from orchestrator.model import JournalEvent, Release, Version
from orchestrator.placeholders import fill
from orchestrator.platforms.local import LocalPlatform
from orchestrator.pooler import PgBouncer
from orchestrator.processes import Processes
from orchestrator.recovery import FleetPlan
from orchestrator.rehearsal import CopyRehearsal
from orchestrator.release import ReleaseRun
from orchestrator.rollout import Rollout
from orchestrator.routers.settings import RunningRouter
from orchestrator.strategies import STRATEGIES
from orchestrator.supervisor import Supervisor
from scenarios.evidence.event import Event
from scenarios.evidence.progress import Progress
from scenarios.evidence.run_folder import RunFolder
from scenarios.evidence.tick import Tick
from scenarios.recording.cache_watch import CacheWatch
from scenarios.recording.ndjson_command import NdjsonCommand
from scenarios.recording.observers import Observers
from scenarios.runner import release as application
from scenarios.runner.beside_web import BesideWeb
from scenarios.runner.early import BaselineWatch, check_queries
from scenarios.runner.environment import Environment
from scenarios.runner.faults import Faults, PhaseClock
from scenarios.runner.fresh_starts import FreshStarts
from scenarios.runner.manifest import RouterFacts
from scenarios.runner.operator_commands import OperatorCommands
from scenarios.runner.operator_socket import operator_socket
from scenarios.runner.pooling import pooled, record_messages
from scenarios.runner.process_sets import BesideStarter
from scenarios.runner.replica_exits import ReplicaExits
from scenarios.runner.router import described, health_of, running_router
from scenarios.runner.step_effects import StepEffects
from scenarios.scenario.experiment import Experiment
from scenarios.scenario.placeholders import database_values, run_values
from scenarios.scenario.spec import DatabaseSpec
from scenarios.traffic.plan import Plan
from scenarios.traffic.process.driver import LoadGenerator, load_generator


@dataclass(frozen=True, slots=True, kw_only=True)
class RunParts:
    """What stands before there is a replica.

    Attributes:
        url: the URL of the application's database; empty where it has none.
        address: host and port of the router.
        router: the router.
        load: the load generator.
        journal: what the release did.
        observers: record what happens beside the traffic.
        rollout: the fleet, and the verbs that change it.
        exits: the replicas that ended by themselves.
        supervisor: replaces lost replicas and scales the fleet.
        release: the release.
        release_run: carries it out.
        faults: carries out the scenario's faults.
        beside: what runs beside the web.
        baseline: sees when the traffic fails from its start.
        fresh_starts: tries whether serving versions could still start after each migration.
        step_effects: finds the steps that change nothing; None without a database.
        subjects: how the rows of the subjects are read; None: nobody asks for them.
        cache: looks at the keys of a store; None: nobody asks for that.
        settled_when: how it is known that the application has no work left; None: it is not asked.
    """

    url: str
    address: tuple[str, int]
    router: RunningRouter
    load: LoadGenerator
    journal: Journal
    observers: Observers
    rollout: Rollout
    exits: ReplicaExits
    supervisor: Supervisor
    release: Release
    release_run: ReleaseRun
    faults: Faults
    beside: BesideWeb
    baseline: BaselineWatch
    fresh_starts: FreshStarts
    step_effects: StepEffects | None
    subjects: str | NdjsonCommand | None
    settled_when: str | NdjsonCommand | None
    cache: CacheWatch | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Services:
    """What runs beside the replicas, and where replicas find it."""

    url: str
    processes: Processes
    private: Path
    router: RunningRouter
    load: LoadGenerator
    values: Mapping[str, str]
    starter: BesideStarter
    pooler: PgBouncer | None = None
    migrate_through_pooler: bool = False

    @property
    def direct_values(self) -> dict[str, str]:
        """What fills the placeholders of commands that go directly to the database."""
        return {**self.values, **database_values(self.url)}

    @property
    def migration_values(self) -> dict[str, str]:
        """What fills the placeholders of the commands that migrate."""
        values = self.values if self.migrate_through_pooler else self.direct_values
        return {**values, "replica_dir": str(self.private)}


class Starter:
    """Starts the parts of a run.

    Attributes:
        database: the name of the run's database; None until it exists.
        router: what the manifest says of the router; None until it runs.
        beside: what runs beside the web; nothing until it is made.
    """

    def __init__(
        self,
        experiment: Experiment,
        environment: Environment,
        files: RunFolder,
        watcher: Progress,
        operator: OperatorCommands,
    ) -> None:
        """Describe what is started, and where.

        Args:
            experiment: what is to be run.
            environment: what the run shares with others.
            files: the run's folder.
            watcher: told what happens.
            operator: gives the commands of people to the rollout.
        """
        self.database: str | None = None
        self.router: RouterFacts | None = None
        self.beside = BesideWeb()
        self._experiment = experiment
        self._scenario = experiment.scenario
        self._environment = environment
        self._files = files
        self._watcher = watcher
        self._operator = operator
        self._baseline = BaselineWatch(allow_some=experiment.is_compared)
        self._fresh: FreshStarts | None = None
        self._effects: StepEffects | None = None

    async def start(self, stack: AsyncExitStack) -> RunParts:
        """Start the database, the router and the load generator; no replica and no traffic yet.

        Args:
            stack: stops each of them when it is closed.

        Raises:
            EnvironmentFailure: one of them does not start.
        """
        services = await self._start_services(stack)
        router = services.router
        observers = Observers(
            self._files.path,
            url=services.url or None,
            admin=router.admin,
            marks=(services.processes.mark, self._environment.processes.mark),
            on_waits=self._watcher.on_waits,
        )
        clock = PhaseClock()
        journal = stack.enter_context(
            Journal(self._files.events.path, listeners=[self._hear, observers.hear, clock.hear])
        )
        exits = ReplicaExits(journal)
        platform = await stack.enter_async_context(
            LocalPlatform(
                services.processes,
                log_directory=self._files.path,
                replica_directories=services.private,
                values=services.values,
                on_exit=exits.hear,
                env=services.starter.env,
            )
        )
        rollout = self._rollout(services, platform, journal)
        self.beside = beside = await services.starter.start_sets(
            stack, journal, rollout.control, services.values
        )
        await stack.enter_async_context(
            operator_socket(self._operator, services.private, self._files.control)
        )
        release = application.release(self._experiment.loaded, services.migration_values)
        self._keep(stack, services, rollout, release)
        seconds = rollout.policy.progress_deadline_seconds
        rehearsal = self._rehearsal(services, seconds)
        if rehearsal is not None:
            steps = self._scenario.release.steps
            self._effects = StepEffects(services.url, steps, journal, rehearsal)
        host, _, port = router.address.rpartition(":")
        return RunParts(
            url=services.url,
            address=(host, int(port)),
            router=router,
            load=services.load,
            journal=journal,
            observers=observers,
            rollout=rollout,
            exits=exits,
            supervisor=Supervisor(rollout, platform, router.router),
            release=release,
            release_run=self._release_run(services, rollout, release, beside, rehearsal),
            beside=beside,
            subjects=self._asking(services, "subjects"),
            settled_when=self._asking(services, "settled_when"),
            cache=await self._cache(stack, services.values),
            faults=Faults(
                self._scenario,
                clock,
                journal,
                rollout,
                services.load.pid,
                services.url,
                self._environment,
                beside,
                services.pooler,
            ),
            baseline=self._baseline,
            fresh_starts=self._fresh_starts(services, rollout, release, journal),
            step_effects=self._effects,
        )

    def _fresh_starts(
        self, services: _Services, rollout: Rollout, release: Release, journal: Journal
    ) -> FreshStarts:
        def serving() -> list[Version]:
            return [rollout.version_of(one) for one in rollout.serving()]

        self._fresh = FreshStarts(
            release,
            journal,
            platform=lambda: LocalPlatform(
                services.processes,
                log_directory=self._files.path,
                replica_directories=services.private,
                values=services.values,
            ),
            serving=serving,
            start_seconds=rollout.policy.progress_deadline_seconds,
        )
        return self._fresh

    def _asking(self, services: _Services, key: str) -> str | NdjsonCommand | None:
        """The query or the command of `[integrity]` with this key."""
        integrity = self._scenario.integrity
        value = None if integrity is None else getattr(integrity, key)
        if integrity is None or not isinstance(value, tuple):
            return value
        seconds = integrity.settle_timeout_seconds
        return services.starter.command(
            f"integrity.{key}", value, integrity.using, services.direct_values, seconds
        )

    async def _cache(self, stack: AsyncExitStack, values: Mapping[str, str]) -> CacheWatch | None:
        """What looks at the keys of a store; None: nobody asks for that."""
        spec = self._scenario.cache
        if spec is None:
            return None
        return await stack.enter_async_context(CacheWatch(fill(spec.url, values)))

    async def _start_services(self, stack: AsyncExitStack) -> _Services:
        url = await self._start_database(stack)
        # The run's own, so that none of them outlives it when it fails: the server is shared.
        processes = await stack.enter_async_context(self._environment.own_processes())
        self._watcher.on_stage("starting the router and the load generator")
        router = await stack.enter_async_context(
            running_router(
                self._experiment, processes, self._files, private=self._environment.private
            )
        )
        self.router = described(router)
        load = await stack.enter_async_context(self._load_generator(processes, router.address))
        private = await stack.enter_async_context(processes.directory("hitless-run-"))
        stack.callback(record_messages, self._files)  # once it has ended
        pooler = await stack.enter_async_context(
            pooled(self._experiment.loaded, processes, url, self._files.pooler_log)
        )
        app_url = url if pooler is None else pooler.url(url)
        values = run_values(database_url=app_url, smtp=load.smtp, address=router.address)
        starter = BesideStarter(self._experiment, processes, self._files, private)
        await starter.start_shared(stack, values)
        database = self._scenario.database
        return _Services(
            url=url,
            processes=processes,
            private=private,
            router=router,
            load=load,
            values={**values, **starter.values},
            starter=starter,
            pooler=pooler,
            migrate_through_pooler=database is not None and database.migrate_through_pooler,
        )

    async def _start_database(self, stack: AsyncExitStack) -> str:
        """The URL of the application's database; empty where it has none."""
        if self._scenario.database is None:
            return ""
        await self._start_server()
        rows = self._scenario.database.rows
        count = f" and {rows.count:,} rows" if rows is not None and rows.count else ""
        self._watcher.on_stage(f"making the database, its schema{count}")
        url = await stack.enter_async_context(self._database(self._scenario.database))
        self.database = database_values(url)["database_name"]
        await check_queries(self._experiment.loaded, url, started=False)
        return url

    async def _start_server(self) -> None:
        if not self._environment.has_server:
            self._watcher.on_stage("starting Postgres")
            await self._environment.server()

    def _database(self, spec: DatabaseSpec) -> AbstractAsyncContextManager[str]:
        """A database as it is before the release."""
        return self._environment.database(self._experiment.loaded, spec, self._files.migrator_log)

    def _load_generator(
        self, processes: Processes, address: str
    ) -> AbstractAsyncContextManager[LoadGenerator]:
        host, _, port = address.rpartition(":")
        plan = Plan.of(
            self._scenario.traffic,
            host=host,
            port=int(port),
            seed=self._experiment.seed,
            requests_path=str(self._files.requests.path),
            mails_path=str(self._files.mails.path),
        )
        return load_generator(
            processes,
            plan,
            python=sys.executable,
            folder=self._files.path,
            on_tick=self._on_tick,
        )

    def _on_tick(self, tick: Tick) -> None:
        self._baseline.hear(tick)
        self._watcher.on_tick(tick)

    def _rollout(self, services: _Services, platform: LocalPlatform, journal: Journal) -> Rollout:
        """The rollout, which `hitless ctl` and the keys of the dashboard can steer from now on."""
        rollout = Rollout(
            platform,
            services.router.router,
            journal,
            self._scenario.policy,
            hooks=CommandHooks(
                services.processes,
                log=self._files.hooks_log,
                cwd=self._experiment.loaded.path.parent,
            ),
            seed=self._experiment.seed,
        )
        self._operator.connect(rollout.control)
        return rollout

    def _keep(
        self, stack: AsyncExitStack, services: _Services, rollout: Rollout, release: Release
    ) -> None:
        """Write down what another process needs to take the fleet over, if it is to be kept."""
        admin = services.router.admin
        if not self._environment.keep or admin is None:
            return
        plan = FleetPlan(
            mark=services.processes.mark,
            admin=admin,
            directories=(str(self._environment.private), str(services.private)),
            health=health_of(self._scenario),
            policy=rollout.policy,
            strategy=self._experiment.strategy,
            release=release,
            values=services.values,
            seed=self._experiment.seed,
        )
        stack.enter_context(plan.in_force(self._files.path))

    def _release_run(
        self,
        services: _Services,
        rollout: Rollout,
        release: Release,
        beside: BesideWeb,
        rehearsal: CopyRehearsal | None,
    ) -> ReleaseRun:
        migrator = self._migrator(services.processes, services.url)
        return ReleaseRun(
            release,
            rollout,
            STRATEGIES[self._experiment.strategy],
            migrator if self._effects is None else self._effects.watched(migrator),
            rehearsal=rehearsal,
            beside=[one.set for one in beside.every],
        )

    def _migrator(self, processes: Processes, url: str) -> YoyoMigrator:
        database = self._scenario.database or DatabaseSpec()
        return YoyoMigrator(
            processes,
            url,
            log=self._files.migrator_log,
            lock_timeout=database.lock_timeout_seconds,
            deadline=database.migration_deadline_seconds,
            server_log=self._environment.server_log,
        )

    def _rehearsal(self, services: _Services, start_seconds: float) -> CopyRehearsal | None:
        """Where a schema is tried before migrations are taken back; None without a database."""
        spec = self._scenario.database
        if spec is None:
            return None
        return CopyRehearsal(
            database=lambda: self._database(spec),
            release=lambda url: application.release(
                self._experiment.loaded, {**services.migration_values, **database_values(url)}
            ),
            migrator=lambda url: self._migrator(services.processes, url),
            platform=lambda url: LocalPlatform(
                services.processes,
                log_directory=self._files.path,
                replica_directories=services.private,
                values={**services.values, **database_values(url)},
            ),
            start_seconds=start_seconds,
        )

    def _hear(self, event: JournalEvent) -> None:
        if self._fresh is not None:
            self._fresh.hear(event)
        if self._effects is not None:
            self._effects.hear(event)
        self._watcher.on_event(msgspec.convert(event, Event, from_attributes=True))
