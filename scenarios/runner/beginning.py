"""How every run begins: the first version comes up, and a few requests show that it works."""

from collections.abc import Mapping

from orchestrator.errors import EnvironmentFailure, OrchestratorError
from orchestrator.release import bring_up
from scenarios.evidence.run_folder import RunFolder
from scenarios.recording.subjects import record_subjects
from scenarios.runner.early import check_queries, failure_of
from scenarios.runner.run_parts import RunParts
from scenarios.scenario.experiment import Experiment
from scenarios.traffic.journeys.first_try import first_try
from scenarios.traffic.journeys.set_up import set_up


async def begin(experiment: Experiment, parts: RunParts, files: RunFolder) -> dict[str, str]:
    """Bring the first version up, send the set-up's requests, and try each journey once.

    What is in the database then is recorded as what was there before the traffic.

    Returns:
        What the set-up captured.

    Raises:
        ScenarioError: the first version answers something else than the scenario expects.
        EnvironmentFailure: it does not become ready or does not answer, or it answers with an error
            of its own.
        TrafficError: a request of the set-up failed.
    """
    version = parts.release.start
    try:
        await parts.beside.bring_up_services()
        await parts.beside.bring_up(version.name, before=True)
        await bring_up(parts.rollout, version)
        await parts.beside.bring_up(version.name, before=False)
        await parts.beside.check_store()
        if parts.cache is not None:
            await parts.cache.check()
    except EnvironmentFailure:
        raise
    except OrchestratorError as error:
        raise EnvironmentFailure(
            f"version {version.name} did not become ready, so there is nothing to release: "
            f"{error} (its logs: {files.path})"
        ) from error
    scenario = experiment.scenario
    captured = await set_up(
        *parts.address,
        scenario.traffic.set_up,
        seed=experiment.seed,
        timeout_seconds=scenario.traffic.timeout_seconds,
    )
    await _try(experiment, parts, files, captured)
    if parts.subjects is not None:
        await record_subjects(parts.url, parts.subjects, files.subjects_before.path)
    return captured


async def _try(
    experiment: Experiment, parts: RunParts, files: RunFolder, captured: Mapping[str, str]
) -> None:
    if experiment.is_compared:
        return  # what fails with the old version is what a control run is there to find
    if parts.url:
        await check_queries(experiment.loaded, parts.url, started=True)
    failed = await first_try(
        *parts.address, experiment.scenario.traffic, seed=experiment.seed, captured=captured
    )
    if failed is not None:
        first = next(iter(parts.rollout.serving())).id
        raise failure_of(experiment.loaded, failed, files.path, first)
