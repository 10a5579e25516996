"""The only wiring: a scenario, a strategy and an environment become a run's folder."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from orchestrator.control_socket import serve_control_socket
from orchestrator.errors import EnvironmentFailure, OrchestratorError
from orchestrator.hooks import CommandHooks
from orchestrator.interfaces import ReplicaExit
from orchestrator.journal import Journal
from orchestrator.migrations import YoyoMigrator
from orchestrator.model import JournalEvent, Release, ReleaseResult, Replica, Version
from orchestrator.platforms.local import LocalPlatform, OnExit
from orchestrator.policy import Policy
from orchestrator.processes import Processes
from orchestrator.recovery import FleetPlan
from orchestrator.rehearsal import CopyRehearsal
from orchestrator.release import ReleaseRun, bring_up, take_down
from orchestrator.rollout import Rollout
from orchestrator.rollout_control import RolloutControl
from orchestrator.routers.settings import RunningRouter
from orchestrator.strategies import STRATEGIES
from orchestrator.supervisor import Supervisor
from orchestrator.tasks import first_error
from scenarios.evidence.control_file import ControlFile
from scenarios.evidence.event import Event
from scenarios.evidence.progress import Progress
from scenarios.evidence.run_folder import RunFolder
from scenarios.recording.observers import Observers
from scenarios.recording.reads import record_reads
from scenarios.recording.subjects import record_subjects, wait_settled
from scenarios.runner import release as application
from scenarios.runner.environment import Environment
from scenarios.runner.faults import Faults, PhaseClock
from scenarios.runner.manifest import RouterFacts, manifest_of
from scenarios.runner.operator_commands import OperatorCommands
from scenarios.runner.probe import probe_marked
from scenarios.runner.router import described, health_of, running_router, show_replicas
from scenarios.scenario.experiment import Experiment
from scenarios.scenario.placeholders import database_values, run_values
from scenarios.scenario.spec import DatabaseSpec, IntegritySpec
from scenarios.traffic.errors import TrafficError
from scenarios.traffic.journeys.set_up import set_up
from scenarios.traffic.plan import Plan
from scenarios.traffic.process.driver import LoadGenerator, load_generator


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What stands before there is traffic; all of it ends with the run."""

    url: str
    processes: Processes
    private: Path
    values: Mapping[str, str]
    address: tuple[str, int]
    router: RunningRouter
    load: LoadGenerator
    journal: Journal
    clock: PhaseClock
    rollout: Rollout
    supervisor: Supervisor
    release: Release


class Run:
    """A run under way; `run` makes it.

    Attributes:
        folder: where its evidence goes.
    """

    def __init__(
        self,
        experiment: Experiment,
        environment: Environment,
        folder: Path,
        watcher: Progress,
        operator: OperatorCommands,
    ) -> None:
        self.folder = folder
        self._files = RunFolder(folder)
        self._experiment = experiment
        self._scenario = experiment.scenario
        self._environment = environment
        self._watcher = watcher
        self._operator = operator
        self._result: ReleaseResult | None = None
        self._on_exit: OnExit = lambda _replica, _ended: None
        self._database: str | None = None
        self._router: RouterFacts | None = None
        self._started_at = datetime.now(UTC)

    async def go(self) -> None:
        """Do all of it; what was recorded by then is on disk however it ends.

        Raises:
            EnvironmentFailure: it could not begin, or something that it stands on broke.
        """
        try:
            async with AsyncExitStack() as stack:
                stack.enter_context(first_error())
                await stack.enter_async_context(self._environment.postgres_log(self.folder))
                await probe_marked(self._experiment.loaded, self._environment, self.folder)
                await self._carry_out(stack)
        except asyncio.CancelledError:
            self._write_manifest(interrupted=True)
            raise
        except (OrchestratorError, TrafficError) as error:
            raise EnvironmentFailure(str(error)) from error
        self._write_manifest(interrupted=False)

    async def _carry_out(self, stack: AsyncExitStack) -> None:
        parts, observers = await self._start_parts(stack)
        integrity, rollout = self._scenario.integrity, parts.rollout
        async with observers.watching(parts.journal):
            await self._under_traffic(parts)
        if integrity is not None:
            await self._record_after(integrity, parts.url, rollout.serving())
        async with _phase(parts.journal, "teardown"):
            await take_down(rollout)

    async def _start_parts(self, stack: AsyncExitStack) -> "tuple[_Parts, Observers]":
        """Start the database, the router and the load generator; no replica and no traffic yet."""
        url = await self._enter_database(stack)
        # The run's own, so that none of them outlives it when it fails: the server is shared.
        processes = await stack.enter_async_context(self._environment.own_processes())
        router = await stack.enter_async_context(
            running_router(
                self._experiment, processes, self._files, private=self._environment.private
            )
        )
        self._router = described(router)
        host, _, port = router.address.rpartition(":")
        address = (host, int(port))
        load = await self._enter_load_generator(stack, processes, address)
        observers = Observers(
            self.folder,
            url=url or None,
            admin=router.admin,
            marks=(processes.mark, self._environment.processes.mark),
            on_waits=self._watcher.on_waits,
        )
        clock = PhaseClock()
        journal = stack.enter_context(
            Journal(self._files.events.path, listeners=[self._hear, observers.hear, clock.hear])
        )
        private = await stack.enter_async_context(processes.directory("hitless-run-"))
        values = run_values(database_url=url, smtp=load.smtp, address=router.address)
        platform = await stack.enter_async_context(
            LocalPlatform(
                processes,
                log_directory=self.folder,
                replica_directories=private,
                values=values,
                on_exit=lambda replica, ended: self._exited(journal, replica, ended),
            )
        )
        rollout = self._rollout(platform, router, journal, processes)
        await stack.enter_async_context(self._control_socket(private))
        release = application.release(
            self._experiment.loaded, {**values, "replica_dir": str(private)}
        )
        parts = _Parts(
            url=url,
            processes=processes,
            private=private,
            values=values,
            address=address,
            router=router,
            load=load,
            journal=journal,
            clock=clock,
            rollout=rollout,
            supervisor=Supervisor(rollout, platform, router.router),
            release=release,
        )
        self._keep(stack, parts)
        return parts, observers

    async def _enter_load_generator(
        self, stack: AsyncExitStack, processes: Processes, address: tuple[str, int]
    ) -> LoadGenerator:
        host, port = address
        return await stack.enter_async_context(
            load_generator(
                processes,
                Plan.of(
                    self._scenario.traffic,
                    host=host,
                    port=port,
                    seed=self._experiment.seed,
                    requests_path=str(self._files.requests.path),
                    mails_path=str(self._files.mails.path),
                ),
                python=sys.executable,
                folder=self.folder,
                on_tick=self._watcher.on_tick,
            )
        )

    def _rollout(
        self,
        platform: LocalPlatform,
        router: RunningRouter,
        journal: Journal,
        processes: Processes,
    ) -> Rollout:
        """The rollout, which `hitless ctl` and the keys of the dashboard can steer from now on."""
        rollout = Rollout(
            platform,
            router.router,
            journal,
            self._scenario.policy,
            hooks=CommandHooks(
                processes,
                log=self._files.hooks_log,
                cwd=self._experiment.loaded.path.parent,
            ),
            seed=self._experiment.seed,
        )
        self._operator.connect(rollout.control)
        return rollout

    def _keep(self, stack: AsyncExitStack, parts: "_Parts") -> None:
        """Write down what another process needs to take the fleet over, if it is to be kept."""
        admin = parts.router.admin
        if not self._environment.keep or admin is None:
            return
        plan = FleetPlan(
            mark=parts.processes.mark,
            admin=admin,
            directories=(str(self._environment.private), str(parts.private)),
            health=health_of(self._scenario),
            policy=parts.rollout.policy,
            strategy=self._experiment.strategy,
            release=parts.release,
            values=parts.values,
            seed=self._experiment.seed,
        )
        stack.enter_context(plan.in_force(self.folder))

    async def _under_traffic(self, parts: "_Parts") -> None:
        """Bring the first version up, send traffic, release, and let the traffic end."""
        scenario, journal, rollout = self._scenario, parts.journal, parts.rollout
        async with asyncio.TaskGroup() as group:
            group.create_task(parts.load.listen(), name="ticks of the load generator")
            showing = group.create_task(
                show_replicas(parts.router, self._watcher.on_replicas),
                name="replicas for the progress",
            )
            faults = self._faults(parts)
            fault_task = group.create_task(faults.run(), name="faults")
            async with _phase(journal, "setup"):
                await self._bring_up(rollout, parts.release.start)
            await self._start_traffic(parts)
            supervising = group.create_task(
                self._supervise(parts.supervisor, rollout), name="healing and scaling"
            )
            async with _phase(journal, "baseline"):
                await asyncio.sleep(scenario.phases.baseline_seconds)
            release_run = self._release_run(parts)
            async with _phase(journal, "rollout"):
                self._result = await release_run.run()
            async with _phase(journal, "settle"):
                await self._run_commands_until_finished(release_run, rollout.control)
                faults.close()
                await fault_task
                await self._settle(parts.load, parts.url, scenario.integrity, journal)
            showing.cancel()
            supervising.cancel()

    def _faults(self, parts: "_Parts") -> Faults:
        return Faults(
            self._scenario,
            parts.clock,
            parts.journal,
            parts.rollout,
            parts.load.pid,
            parts.url,
            self._environment,
        )

    async def _start_traffic(self, parts: "_Parts") -> None:
        """Record what is in the database, send the set-up's requests, and let users arrive."""
        scenario = self._scenario
        if scenario.integrity is not None:
            before = self._files.subjects_before.path
            await record_subjects(parts.url, scenario.integrity.subjects, before)
        captured = await set_up(
            *parts.address,
            scenario.traffic.set_up,
            seed=self._experiment.seed,
            timeout_seconds=scenario.traffic.timeout_seconds,
        )
        await parts.load.start(captured)

    def _release_run(self, parts: "_Parts") -> ReleaseRun:
        return ReleaseRun(
            parts.release,
            parts.rollout,
            STRATEGIES[self._experiment.strategy],
            self._migrator(parts.processes, parts.url),
            rehearsal=self._rehearsal(
                parts.processes, parts.private, parts.values, parts.rollout.policy
            ),
        )

    async def _enter_database(self, stack: AsyncExitStack) -> str:
        """The URL of the application's database; nothing where it has none."""
        if self._scenario.database is None:
            return ""
        url = await stack.enter_async_context(
            self._environment.database(
                self._experiment.loaded, self._scenario.database, self._files.migrator_log
            )
        )
        self._database = database_values(url)["database_name"]
        return url

    @asynccontextmanager
    async def _control_socket(self, private: Path) -> AsyncIterator[None]:
        """Serve the socket of `hitless ctl`, and write its path to the run's folder."""
        socket = private / "control.sock"
        file = self._files.control
        async with serve_control_socket(socket, self._operator.execute):
            file.write_bytes(msgspec.json.encode(ControlFile(socket=str(socket), pid=os.getpid())))
            try:
                yield
            finally:
                file.unlink(missing_ok=True)

    async def _run_commands_until_finished(
        self, releasing: ReleaseRun, control: RolloutControl
    ) -> None:
        """Let the traffic go on for a while, and do what is asked for meanwhile."""
        hold = self._experiment.hold
        while True:
            try:
                seconds = None if hold else self._scenario.phases.settle_seconds
                async with asyncio.timeout(seconds):
                    command = await control.next_command()
            except TimeoutError:
                return
            if command == "finish":
                return
            again = releasing.undo if command == "undo" else releasing.retry
            self._result = await again()

    async def _bring_up(self, rollout: Rollout, version: Version) -> None:
        try:
            await bring_up(rollout, version)
        except OrchestratorError as error:
            raise EnvironmentFailure(
                f"version {version.name} does not come up, so there is nothing to release: {error} "
                f"(its logs: {self.folder})"
            ) from error

    async def _supervise(self, supervisor: Supervisor, rollout: Rollout) -> None:
        """Replace replicas that die, and scale, as far as the policy asks for it."""
        if rollout.policy.healing.enabled:
            self._on_exit = supervisor.exited
            with first_error():
                await supervisor.run()

    def _exited(self, journal: Journal, replica: Replica, ended: ReplicaExit) -> None:
        _note_exit(journal, replica, ended)
        self._on_exit(replica, ended)

    async def _record_after(
        self, integrity: IntegritySpec, url: str, serving: Sequence[Replica]
    ) -> None:
        await record_subjects(url, integrity.subjects, self._files.subjects_after.path)
        await record_reads(serving, integrity.reads, self.folder)

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

    def _rehearsal(
        self,
        processes: Processes,
        private: Path,
        values: Mapping[str, str],
        policy: Policy,
    ) -> CopyRehearsal | None:
        """Where a schema is tried before migrations are taken back; None without a database."""
        loaded, database = self._experiment.loaded, self._scenario.database
        if database is None:
            return None

        def of(url: str) -> dict[str, str]:
            return {**values, **database_values(url)}

        return CopyRehearsal(
            database=lambda: self._environment.database(loaded, database, self._files.migrator_log),
            release=lambda url: application.release(
                loaded, {**of(url), "replica_dir": str(private)}
            ),
            migrator=lambda url: self._migrator(processes, url),
            platform=lambda url: LocalPlatform(
                processes, log_directory=self.folder, replica_directories=private, values=of(url)
            ),
            start_seconds=policy.progress_deadline_seconds,
        )

    async def _settle(
        self, load: LoadGenerator, url: str, integrity: IntegritySpec | None, journal: Journal
    ) -> None:
        """End the traffic: first the arrivals, then what the application owes, then the rest."""
        await load.stop()
        if integrity is not None and integrity.settled_when is not None:
            settled = await wait_settled(
                url, integrity.settled_when, integrity.settle_timeout_seconds
            )
            if not settled:
                waited = f"not settled after {integrity.settle_timeout_seconds:g} s"
                journal.note("phase", error=waited, detail={"name": "settle"})
        await load.finish()

    def _hear(self, event: JournalEvent) -> None:
        self._watcher.on_event(msgspec.convert(event, Event, from_attributes=True))

    def _write_manifest(self, *, interrupted: bool) -> None:
        manifest = manifest_of(
            self._experiment,
            self._result,
            database=self._database,
            router=self._router,
            started_at=self._started_at,
            interrupted=interrupted,
            digests=self._files.digests(),
        )
        self._files.write_manifest(manifest)


async def run(
    experiment: Experiment,
    environment: Environment,
    folder: Path,
    watcher: Progress,
    operator: OperatorCommands | None = None,
) -> None:
    """Run an experiment; its evidence, the manifest included, is then in the folder.

    Args:
        experiment: what.
        environment: where.
        folder: for its evidence.
        watcher: told what happens.
        operator: what people say to it, if they can.

    Raises:
        EnvironmentFailure: it could not begin, or something that it stands on broke.
    """
    await Run(experiment, environment, folder, watcher, operator or OperatorCommands()).go()


@asynccontextmanager
async def _phase(journal: Journal, name: str) -> AsyncIterator[None]:
    async with journal.verb("phase", detail={"name": name}, encloses=True):
        yield


def _note_exit(journal: Journal, replica: Replica, ended: ReplicaExit) -> None:
    journal.note(
        "replica",
        version=replica.version,
        replicas=[replica.id],
        error=ended.reason,
        detail={"log": list(ended.log)},
    )
