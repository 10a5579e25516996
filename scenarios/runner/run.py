"""The course of a run: set-up, traffic, the release, and the end of both; then its manifest."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.errors import EnvironmentFailure, OrchestratorError
from orchestrator.journal import Journal
from orchestrator.model import ReleaseResult
from orchestrator.release import ReleaseRun, take_down
from orchestrator.rollout_control import RolloutControl
from orchestrator.tasks import first_error
from scenarios.evidence.progress import Progress
from scenarios.evidence.run_folder import RunFolder
from scenarios.probe.profile import Profile
from scenarios.recording.reads import record_reads
from scenarios.recording.subjects import record_subjects, wait_settled
from scenarios.runner.beginning import begin
from scenarios.runner.early import hopeless
from scenarios.runner.environment import Environment
from scenarios.runner.keep_alive import check_keep_alive
from scenarios.runner.manifest import manifest_of
from scenarios.runner.operator_commands import OperatorCommands
from scenarios.runner.probe import probe_marked
from scenarios.runner.router import show_replicas
from scenarios.runner.run_parts import RunParts, Starter
from scenarios.scenario.experiment import Experiment
from scenarios.scenario.spec import IntegritySpec
from scenarios.traffic.errors import TrafficError


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
        self._starter = Starter(experiment, environment, self._files, watcher, operator)
        self._result: ReleaseResult | None = None
        self._profiles: Mapping[str, Profile] = {}
        self._started_at = datetime.now(UTC)

    async def go(self) -> None:
        """Carry the run out. However it ends, what was recorded by then is on disk.

        Raises:
            EnvironmentFailure: it could not begin, or something that it stands on broke.
        """
        try:
            async with AsyncExitStack() as stack:
                stack.enter_context(first_error())
                await stack.enter_async_context(
                    self._environment.postgres_log(self.folder, self._server_log())
                )
                loaded, tell = self._experiment.loaded, self._watcher.on_probe
                self._profiles = await probe_marked(loaded, self._environment, self._files, tell)
                await self._carry_out(await self._starter.start(stack))
        except asyncio.CancelledError:
            self._write_manifest(interrupted=True)
            raise
        except OSError:  # such as a closed pipe that the progress was printed to
            with suppress(OSError):
                self._write_manifest(interrupted=True)
            raise
        except (OrchestratorError, TrafficError) as error:
            raise EnvironmentFailure(str(error)) from error
        self._write_manifest(interrupted=False)

    def _server_log(self) -> Path | None:
        """Where the user's own server writes its log, if the scenario says it."""
        database = self._scenario.database
        return None if database is None or database.log is None else Path(database.log)

    async def _carry_out(self, parts: RunParts) -> None:
        integrity = self._scenario.integrity
        async with parts.observers.watching(parts.journal):
            await self._under_traffic(parts)
        if integrity is not None:
            await self._record_after(integrity, parts)
        if parts.step_effects is not None:
            await parts.step_effects.look_again()
        async with _phase(parts.journal, "teardown"):
            await take_down(parts.rollout)
            await parts.beside.take_down()

    async def _under_traffic(self, parts: RunParts) -> None:
        """Bring the first version up, send traffic, release, and let the traffic end."""
        journal, rollout = parts.journal, parts.rollout
        async with asyncio.TaskGroup() as group:
            group.create_task(parts.load.listen(), name="ticks of the load generator")
            showing = group.create_task(
                show_replicas(parts.router, self._watcher.on_replicas),
                name="replicas for the progress",
            )
            fault_task = group.create_task(parts.faults.run(), name="faults")
            async with _phase(journal, "setup"):
                captured = await begin(self._experiment, parts, self._files)
            checking = group.create_task(
                check_keep_alive(self._scenario, self._profiles, rollout.serving, journal),
                name="keep-alive",
            )
            looking = group.create_task(self._look_at_cache(parts), name="keys of the cache")
            await parts.load.start(captured)
            supervising = group.create_task(_supervise(parts), name="healing and scaling")
            besides = group.create_task(parts.beside.supervise(), name="healing beside the web")
            fresh = group.create_task(self._start_fresh(parts), name="fresh replicas")
            async with _phase(journal, "baseline"):
                await self._baseline(parts)
            async with _phase(journal, "rollout"):
                self._result = await parts.release_run.run()
                await parts.load.released()
            async with _phase(journal, "settle"):
                await self._run_commands_until_finished(parts.release_run, rollout.control)
                parts.faults.close()
                await fault_task
                parts.fresh_starts.close()
                await fresh
                await self._settle(parts)
            showing.cancel()
            looking.cancel()
            supervising.cancel()
            besides.cancel()
            checking.cancel()

    async def _look_at_cache(self, parts: RunParts) -> None:
        """Record in which form a store holds values, if the scenario asks for that."""
        if parts.cache is not None:
            with self._files.cache_forms.recorder() as recorder:
                await parts.cache.watch(recorder)

    async def _start_fresh(self, parts: RunParts) -> None:
        """Try fresh replicas after each migration, if the scenario does not forbid it."""
        if self._scenario.objectives.fresh_start:
            with first_error():
                await parts.fresh_starts.run()

    async def _baseline(self, parts: RunParts) -> None:
        """Let the traffic go on before the release, unless it fails from the start.

        Raises:
            EnvironmentFailure: it does.
        """
        try:
            async with asyncio.timeout(self._scenario.phases.baseline_seconds):
                await parts.baseline.hopeless.wait()
        except TimeoutError:
            return
        raise hopeless(self._experiment.loaded, self.folder)

    async def _run_commands_until_finished(
        self, releasing: ReleaseRun, control: RolloutControl
    ) -> None:
        """Let the traffic go on for a while, and carry out the commands that come meanwhile."""
        seconds = None if self._experiment.hold else self._scenario.phases.settle_seconds
        while True:
            try:
                async with asyncio.timeout(seconds):
                    command = await control.next_command()
            except TimeoutError:
                return
            if command == "finish":
                return
            again = releasing.undo if command == "undo" else releasing.retry
            self._result = await again()

    async def _settle(self, parts: RunParts) -> None:
        """End the traffic: first the arrivals, then what the application owes, then the rest."""
        await parts.load.stop()
        integrity = self._scenario.integrity
        if integrity is not None and parts.settled_when is not None:
            settled = await wait_settled(
                parts.url, parts.settled_when, integrity.settle_timeout_seconds
            )
            if not settled:
                waited = f"not settled after {integrity.settle_timeout_seconds:g} s"
                parts.journal.note("phase", error=waited, detail={"name": "settle"})
        await parts.beside.settle(self._files)
        await parts.load.finish()

    async def _record_after(self, integrity: IntegritySpec, parts: RunParts) -> None:
        if parts.subjects is not None:
            await record_subjects(parts.url, parts.subjects, self._files.subjects_after.path)
        await record_reads(parts.rollout.serving(), integrity.reads, self.folder)

    def _write_manifest(self, *, interrupted: bool) -> None:
        manifest = manifest_of(
            self._experiment,
            self._result,
            database=self._starter.database,
            router=self._starter.router,
            started_at=self._started_at,
            interrupted=interrupted,
            digests=self._files.digests(),
            jobs=None
            if self._starter.beside.jobs is None
            else self._starter.beside.jobs.settings(),
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
        operator: gives it the commands of people; absent: nobody can give any.

    Raises:
        EnvironmentFailure: it could not begin, or something that it stands on broke.
    """
    await Run(experiment, environment, folder, watcher, operator or OperatorCommands()).go()


async def _supervise(parts: RunParts) -> None:
    """Replace replicas that die, and scale, as far as the policy asks for it."""
    if parts.rollout.policy.healing.enabled:
        parts.exits.tell(parts.supervisor.exited)
        with first_error():
            await parts.supervisor.run()


@asynccontextmanager
async def _phase(journal: Journal, name: str) -> AsyncIterator[None]:
    async with journal.verb("phase", detail={"name": name}, encloses=True):
        yield
