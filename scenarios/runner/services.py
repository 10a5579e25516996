"""The services of a run: each has replicas of its own behind a balancer of its own."""

import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from orchestrator.journal import Journal, SetJournal
from orchestrator.model import Version
from orchestrator.platforms.local import LocalPlatform
from orchestrator.process_sets import ProcessSet
from orchestrator.processes import Processes
from orchestrator.rollout import Rollout
from orchestrator.rollout_control import RolloutControl
from orchestrator.routers.settings import RunningRouter
from orchestrator.strategies import STRATEGIES
from orchestrator.supervisor import Supervisor
from scenarios.evidence.run_folder import RunFolder
from scenarios.runner.replica_exits import ReplicaExits
from scenarios.runner.router import service_router
from scenarios.scenario.experiment import Experiment
from scenarios.scenario.reader import Loaded
from scenarios.scenario.service_checks import service_policy
from scenarios.scenario.service_spec import ServiceSpec
from scenarios.scenario.spec import Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningService:
    """A service of the run.

    Attributes:
        set: its replicas, and how they are deployed.
        supervisor: replaces those that end.
        exits: hears of those that end.
    """

    set: ProcessSet
    supervisor: Supervisor
    exits: ReplicaExits


class ServiceStarter:
    """Starts services: first their balancers, whose addresses others need, later the replicas.

    Attributes:
        values: the placeholders that lead to the balancers.
    """

    def __init__(
        self, experiment: Experiment, processes: Processes, files: RunFolder, private: Path
    ) -> None:
        """Describe them.

        Args:
            experiment: what is run.
            processes: owns the processes.
            files: the run's folder.
            private: a folder that is removed at the end.
        """
        self.values: dict[str, str] = {}
        self._experiment = experiment
        self._scenario = experiment.scenario
        self._processes = processes
        self._files = files
        self._private = private
        self._routers: dict[str, RunningRouter] = {}

    async def start_routers(self, stack: AsyncExitStack) -> None:
        """Start the balancer of each service.

        Args:
            stack: stops them when it is closed.

        Raises:
            EnvironmentFailure: one of them does not start.
        """
        for spec in self._scenario.services:
            router = await stack.enter_async_context(
                service_router(
                    self._scenario, spec, self._processes, self._files, private=self._private
                )
            )
            self._routers[spec.name] = router
            host, _, port = router.address.rpartition(":")
            self.values |= {f"{spec.name}_host": host, f"{spec.name}_port": port}

    async def start(
        self,
        stack: AsyncExitStack,
        journal: Journal,
        control: RolloutControl,
        values: Mapping[str, str],
        env: Mapping[str, str],
    ) -> tuple[RunningService, ...]:
        """Make the services; none of their replicas is started yet.

        Args:
            stack: ends them when it is closed.
            journal: the run's journal.
            control: the commands of people to the rollout, which are for all services.
            values: the placeholders of their commands.
            env: environment variables of all of them.
        """
        return tuple(
            [
                await self._one(stack, spec, journal, control, values, env)
                for spec in self._scenario.services
            ]
        )

    async def _one(  # noqa: PLR0917 - what it is made of
        self,
        stack: AsyncExitStack,
        spec: ServiceSpec,
        journal: Journal,
        control: RolloutControl,
        values: Mapping[str, str],
        env: Mapping[str, str],
    ) -> RunningService:
        own = SetJournal(journal, spec.name, in_turn=_in_turn(spec, self._scenario))
        exits = ReplicaExits(own)
        platform = await stack.enter_async_context(
            LocalPlatform(
                self._processes,
                log_directory=self._files.path,
                replica_directories=self._private,
                values=values,
                on_exit=exits.hear,
                env=env,
            )
        )
        router = self._routers[spec.name].router
        rollout = Rollout(
            platform,
            router,
            own,
            service_policy(spec, self._scenario.policy),
            seed=self._experiment.seed,
            prefix=f"{spec.name}-",
        )
        rollout.control = control
        return RunningService(
            set=ProcessSet(
                name=spec.name,
                place=None,
                rollout=rollout,
                strategy=STRATEGIES[spec.strategy or self._experiment.strategy],
                versions={
                    name: service_version(self._experiment.loaded, spec, name)
                    for name in spec.versions
                },
                start=spec.serving,
            ),
            supervisor=Supervisor(rollout, platform, router),
            exits=exits,
        )


def service_version(loaded: Loaded, spec: ServiceSpec, name: str) -> Version:
    """One version of a service; its placeholders are not filled yet."""
    own = spec.versions[name]
    return Version(
        name=name,
        command=own.command or spec.command or (),
        env={**spec.env, **own.env},
        cwd=Path(own.cwd or spec.cwd or loaded.scenario.application.cwd or loaded.path.parent),
        stop_signal=signal.Signals[spec.stop_signal],
        signal_group=spec.signal_group,
        termination_grace_seconds=spec.termination_grace_seconds,
        python=own.python or spec.python,
        readiness_path=spec.readiness_path,
    )


def _in_turn(spec: ServiceSpec, scenario: Scenario) -> bool:
    """Whether the release waits for this service alone wherever it deploys it.

    Of several that are deployed at the same time, one stands for the time of all.
    """
    steps = [step for step in scenario.release.steps if spec.name in step.services]
    return all(step.deploy is None and next(iter(step.services)) == spec.name for step in steps)
