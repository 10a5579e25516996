"""One simulated run, from the experiment to its folder of evidence."""

import asyncio
import gc
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.errors import EnvironmentFailure, OrchestratorError
from orchestrator.model import ReleaseResult
from orchestrator.rollout import Rollout
from orchestrator.simulated.world import EndlessRunError, SimulatedWorld, simulate
from orchestrator.virtual_time import DeadlockError
from scenarios.errors import ScenarioError
from scenarios.evidence.manifest import PREDICTED
from scenarios.evidence.progress import Progress
from scenarios.evidence.run_folder import RunFolder
from scenarios.runner.manifest import RouterFacts, manifest_of
from scenarios.scenario.experiment import Experiment
from scenarios.simulation.model import Model, model_of
from scenarios.simulation.recording import Recording

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
"""The wall clock of every simulated run: its evidence must not depend on when it was made."""


class _StoppedError(Exception):
    """Somebody asked the run to stop."""


class SimulatedExperiment:
    """An experiment that is simulated in this thread; another thread can stop it."""

    def __init__(self, experiment: Experiment, folder: Path, watcher: Progress) -> None:
        """Prepare it; nothing happens yet.

        Args:
            experiment: what is to be simulated.
            folder: for its evidence.
            watcher: told what happens.

        Raises:
            ScenarioError: it cannot be simulated.
        """
        self._experiment = experiment
        self._files = RunFolder(folder)
        self._watcher = watcher
        self._model: Model = model_of(experiment)
        self._stop = threading.Event()

    def stop(self) -> None:
        """Let it end as soon as possible; its evidence says that it was interrupted."""
        self._stop.set()

    def run(self) -> None:
        """Carry it out, up to the manifest.

        Raises:
            ScenarioError: it never ends, or its first version does not come up.
            EvidenceError: a file cannot be written.
        """
        slow_ns = round(self._experiment.scenario.objectives.latency_seconds * 1e9)
        result: ReleaseResult | None = None
        with (
            _without_collection(),
            Recording(self._model, self._files, self._watcher, slow_ns) as recording,
            suppress(_StoppedError),
        ):
            result = self._simulate(recording)
        self._write_manifest(result)

    def _simulate(self, recording: Recording) -> ReleaseResult:
        def on_phase(name: str, world: SimulatedWorld, _rollout: Rollout) -> None:
            if name == "setup":
                clock = world.events.clock
                recording.watch(lambda: clock.ns)
                world.balancer.on_change = recording.changed
                world.balancer.exchanges.on_locked_out = recording.locked_out
                if world.journeys is not None:
                    world.journeys.on_mail = recording.mailed
            recording.phase(name, world.events.clock.ns)

        def on_tick(world: SimulatedWorld) -> None:
            if self._stop.is_set():
                raise _StoppedError
            world.collect()
            recording.tick(world.planned, world.balancer.exchanges.in_flight)

        try:
            return simulate(
                self._model.run,
                recording,
                listeners=[recording.event],
                on_phase=on_phase,
                on_tick=on_tick,
            )
        except (EndlessRunError, DeadlockError) as error:
            raise ScenarioError(f"{self._experiment.loaded.path}: {error}") from error
        except EnvironmentFailure:
            raise
        except OrchestratorError as error:
            raise ScenarioError(
                f"{self._experiment.loaded.path}: the simulated version "
                f"{self._model.run.release.start.name} did not become ready, so there is nothing "
                f"to release: {error}"
            ) from error

    def _write_manifest(self, result: ReleaseResult | None) -> None:
        manifest = manifest_of(
            self._experiment,
            result,
            database=None,
            router=RouterFacts("hitless, simulated", ()),
            started_at=_BEGINNING,
            platform=PREDICTED,
            environment={},
            interrupted=result is None,
            digests=self._files.digests(),
        )
        self._files.write_manifest(manifest)


async def run_simulated(experiment: Experiment, folder: Path, watcher: Progress) -> None:
    """Simulate an experiment; its evidence, the manifest included, is then in the folder.

    Raises:
        ScenarioError: it cannot be simulated, or never ends.
        EvidenceError: a file cannot be written.
    """
    simulated = SimulatedExperiment(experiment, folder, watcher)
    # In a thread of its own: a loop in virtual time cannot run inside of another loop.
    work = asyncio.ensure_future(asyncio.to_thread(simulated.run))
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        simulated.stop()
        await work
        raise


class _without_collection:  # noqa: N801 - it is used like a function
    """Without Python's search for circles: a long run makes few, and has much to look at."""

    def __enter__(self) -> None:
        self._was = gc.isenabled()
        gc.disable()

    def __exit__(self, *_: object) -> None:
        if self._was:
            gc.enable()
