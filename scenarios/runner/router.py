"""The router of a run: its settings from the scenario, its start, and its records."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import msgspec

from orchestrator.errors import EnvironmentFailure, RouterError
from orchestrator.processes import Processes
from orchestrator.routers import registry
from orchestrator.routers import settings as routers
from orchestrator.routers.marked import RouterConfigError
from orchestrator.routers.registry import check_router, start_router
from orchestrator.routers.settings import BackendState, HealthCheck, RouterSettings, RunningRouter
from scenarios.errors import UsageError
from scenarios.evidence.backend import BackendChange
from scenarios.evidence.progress import ReplicaView
from scenarios.evidence.run_folder import RunFolder
from scenarios.runner.manifest import RouterFacts
from scenarios.scenario.experiment import Experiment
from scenarios.scenario.service_spec import ServiceSpec
from scenarios.scenario.spec import Scenario

_LOOK_SECONDS = 0.5


def health_of(scenario: Scenario) -> HealthCheck:
    """The router's health checks of replicas."""
    return HealthCheck(
        path=scenario.application.health_path,
        interval=scenario.balancer.health_interval_seconds,
        fast_interval=scenario.balancer.health_fast_interval_seconds,
        timeout=scenario.balancer.health_timeout_seconds,
        rise=scenario.balancer.rise,
        fall=scenario.balancer.fall,
    )


def why_incapable(experiment: Experiment) -> str | None:
    """What an experiment asks of its router that the router cannot do; None when it can do all."""
    nowhere = Path()
    settings = _settings(experiment, nowhere, RunFolder(nowhere), logs=nowhere)
    return registry.why_incapable(experiment.scenario.router.kind, settings)


async def need_router(experiment: Experiment, *, keep: bool) -> None:
    """Check that the router of an experiment can be used, before anything is started.

    Args:
        experiment: what is to be run.
        keep: whether the fleet outlives this process.

    Raises:
        UsageError: its program is missing, or it refuses its configuration.
    """
    kind = experiment.scenario.router.kind
    if keep and kind != "hitless":
        raise UsageError(f"--keep works only with router hitless, not with {kind}")
    with tempfile.TemporaryDirectory(prefix="hitless-check-") as name:
        try:
            folder = Path(name)
            settings = _settings(experiment, folder, RunFolder(folder), logs=folder)
            await check_router(kind, settings)
        except RouterConfigError as error:
            raise UsageError(str(error)) from error


@asynccontextmanager
async def running_router(
    experiment: Experiment, processes: Processes, files: RunFolder, *, private: Path
) -> AsyncIterator[RunningRouter]:
    """Run the router of an experiment while the block runs.

    When the block is left, the folder has the router's exchanges. It also has the changes of the
    router's backends, except for our own balancer, whose admin API reports them.

    Raises:
        EnvironmentFailure: it does not start.
    """
    kind = experiment.scenario.router.kind
    if kind == "hitless":
        settings = _settings(experiment, private, files, logs=files.path)
        async with start_router(kind, processes, settings) as running:
            yield running
        return
    files.router.mkdir()
    with files.backend_changes.recorder() as recorder:

        def record(change: routers.BackendChange) -> None:
            recorder.write(msgspec.convert(change, BackendChange, from_attributes=True))

        settings = _settings(experiment, private, files, logs=files.router, on_change=record)
        async with start_router(kind, processes, settings) as running:
            yield running


@asynccontextmanager
async def service_router(
    scenario: Scenario, spec: ServiceSpec, processes: Processes, files: RunFolder, *, private: Path
) -> AsyncIterator[RunningRouter]:
    """Run the balancer of a service while the block runs; it is our own, with any other router.

    When the block is left, the folder has its exchanges.

    Raises:
        EnvironmentFailure: it does not start.
    """
    balancer, logs = scenario.balancer, files.service_logs(spec.name)
    logs.mkdir()
    settings = RouterSettings(
        health=replace(health_of(scenario), path=spec.health_path),
        directory=private,
        logs=logs,
        access_log=files.service_exchanges(spec.name).path,
        hold_seconds=balancer.hold_seconds,
        reuse_post=balancer.reuse_post,
        retry=balancer.retry,
        passive_checks=balancer.passive_checks,
        active_checks=balancer.active_checks,
        idle_timeout=balancer.idle_timeout_seconds,
        # In step with the balancer before it, it would never let some pairs of versions meet.
        shuffle=True,
    )
    async with start_router("hitless", processes, settings) as running:
        yield running


def described(running: RunningRouter) -> RouterFacts:
    """The router as the manifest describes it."""
    return RouterFacts(running.version, running.router.capabilities.lacking())


class ShowsBackends(Protocol):
    """A router that says what it makes of its backends."""

    async def backends(self) -> Sequence[BackendState]:
        """What it makes of them now.

        Raises:
            RouterError: it does not answer.
        """
        ...


async def show_replicas(
    running: ShowsBackends, tell: Callable[[Sequence[ReplicaView]], None]
) -> None:
    """Report the replicas as the router sees them, twice a second, until cancelled.

    Raises:
        EnvironmentFailure: it does not answer.
    """
    while True:
        try:
            backends = await running.backends()
        except RouterError as error:
            raise EnvironmentFailure(f"the router: {error}") from error
        tell([msgspec.convert(one, ReplicaView, from_attributes=True) for one in backends])
        await asyncio.sleep(_LOOK_SECONDS)


def _settings(
    experiment: Experiment,
    directory: Path,
    files: RunFolder,
    *,
    logs: Path,
    on_change: Callable[[routers.BackendChange], None] = lambda _change: None,
) -> RouterSettings:
    scenario = experiment.scenario
    said = scenario.router
    return RouterSettings(
        health=health_of(scenario),
        directory=directory,
        logs=logs,
        access_log=files.exchanges.path,
        binary=None if said.binary is None else Path(said.binary),
        config=None if said.config is None else Path(said.config),
        hold_seconds=scenario.balancer.hold_seconds,
        affinity_cookie=scenario.balancer.affinity_cookie,
        reuse_post=scenario.balancer.reuse_post,
        retry=scenario.balancer.retry,
        passive_checks=scenario.balancer.passive_checks,
        active_checks=scenario.balancer.active_checks,
        idle_timeout=scenario.balancer.idle_timeout_seconds,
        on_change=on_change,
    )
