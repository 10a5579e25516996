"""Starts what runs beside the web in one run: shared processes, sets of processes, services."""

import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from orchestrator.journal import Journal, SetJournal
from orchestrator.model import Version
from orchestrator.platforms.local import LocalPlatform
from orchestrator.process_sets import Intake, ProcessSet
from orchestrator.processes import Processes
from orchestrator.rollout import Rollout
from orchestrator.rollout_control import RolloutControl
from orchestrator.strategies import STRATEGIES
from orchestrator.supervisor import Supervisor
from orchestrator.tcp_ports import PortAllocator
from scenarios.evidence.jobs import KNOWN_SYSTEMS
from scenarios.evidence.run_folder import RunFolder
from scenarios.recording.job_account import JobAccount, account_socket
from scenarios.recording.ndjson_command import NdjsonCommand
from scenarios.runner import release as application
from scenarios.runner.beside_web import BesideWeb, RunningSet, WatchedJobs, recorded_jobs
from scenarios.runner.replica_exits import ReplicaExits
from scenarios.runner.services import ServiceStarter
from scenarios.runner.shared_process import HOST, SharedProcess
from scenarios.scenario.experiment import Experiment
from scenarios.scenario.process_checks import set_policy
from scenarios.scenario.process_spec import ProcessSpec

ACCOUNT = "HITLESS_JOBS"
"""The environment variable that has the path of the account of jobs."""

SOCKET = "HITLESS_JOBS_SOCKET"
"""The environment variable that has the path of the socket that takes the same lines."""


class BesideStarter:
    """Starts what runs beside the web: first what is shared, later the sets."""

    def __init__(
        self, experiment: Experiment, processes: Processes, files: RunFolder, private: Path
    ) -> None:
        """Describe it.

        Args:
            experiment: what is run.
            processes: owns the processes.
            files: the run's folder.
            private: a folder that is removed at the end.
        """
        self._experiment = experiment
        self._scenario = experiment.scenario
        self._processes = processes
        self._files = files
        self._private = private
        self.shared: dict[str, SharedProcess] = {}
        self.values: dict[str, str] = {"shared_dir": str(private / "shared")}
        self.env: dict[str, str] = {}
        self._services = ServiceStarter(experiment, processes, files, private)

    async def start_shared(self, stack: AsyncExitStack, values: Mapping[str, str]) -> None:
        """Start the balancers of services and the shared processes, in order.

        Each shared process starts once the one before is ready.

        Args:
            stack: stops them when it is closed.
            values: the placeholders of their commands.

        Raises:
            EnvironmentFailure: one of them does not become ready.
        """
        await self._services.start_routers(stack)
        self.values |= self._services.values
        (self._private / "shared").mkdir(mode=0o700)
        if self._scenario.jobs is not None:
            account, socket = self._private / "account", self._private / "account.sock"
            await stack.enter_async_context(account_socket(socket, account))
            self.env = {ACCOUNT: str(account), SOCKET: str(socket)}
        application_ = self._scenario.application
        shared = [spec for spec in application_.processes if spec.shared]
        ports = stack.enter_context(PortAllocator(HOST))
        taken = {spec.name: ports.take() for spec in shared}
        for name, port in taken.items():
            self.values |= {f"{name}_host": HOST, f"{name}_port": str(port)}
        for spec in shared:
            folder = self._private / f"process-{spec.name}"
            folder.mkdir(mode=0o700)
            one = SharedProcess(
                spec,
                self._processes,
                port=taken[spec.name],
                log=self._files.path / f"{spec.name}.log",
                folder=folder,
                values={
                    **values,
                    **self.values,
                    "python": application_.python or sys.executable,
                    "version": "",
                },
                env={**application_.env, **spec.env, **self.env},
                cwd=Path(application_.cwd or self._experiment.loaded.path.parent),
                start_seconds=self._scenario.policy.progress_deadline_seconds,
            )
            await stack.enter_async_context(one)
            self.shared[spec.name] = one

    async def start_sets(
        self,
        stack: AsyncExitStack,
        journal: Journal,
        control: RolloutControl,
        values: Mapping[str, str],
    ) -> BesideWeb:
        """Make the sets of processes and the services; none of their processes is started yet.

        Args:
            stack: ends them when it is closed.
            journal: the run's journal.
            control: the commands of people to the rollout, which are for all sets.
            values: the placeholders of their commands.
        """
        jobs = self._jobs(values)
        sets = []
        for spec in self._scenario.application.processes:
            if spec.shared:
                continue
            sets.append(await self._set(stack, spec, journal, control, values, jobs))
        services = await self._services.start(stack, journal, control, values, self.env)
        beside = BesideWeb(shared=self.shared, sets=tuple(sets), jobs=jobs, services=services)
        await stack.enter_async_context(recorded_jobs(beside, self._files))
        return beside

    async def _set(  # noqa: PLR0917 - what it is made of
        self,
        stack: AsyncExitStack,
        spec: ProcessSpec,
        journal: Journal,
        control: RolloutControl,
        values: Mapping[str, str],
        jobs: WatchedJobs | None,
    ) -> RunningSet:
        own = SetJournal(journal, spec.name, in_turn=spec.place != "with")
        exits = ReplicaExits(own)
        platform = await stack.enter_async_context(
            LocalPlatform(
                self._processes,
                log_directory=self._files.path,
                replica_directories=self._private,
                values=values,
                on_exit=exits.hear,
                env=self.env,
            )
        )
        drain = None if spec.drain_signal is None else signal.Signals[spec.drain_signal]
        intake = Intake(platform, drain, (lambda _: 0) if jobs is None else jobs.account.in_hand)
        rollout = Rollout(
            platform,
            intake,
            own,
            set_policy(spec, self._scenario.policy),
            seed=self._experiment.seed,
            prefix=f"{spec.name}-",
        )
        rollout.control = control
        versions = {
            name: set_version(self._experiment, spec, name) for name in self._scenario.versions
        }
        return RunningSet(
            set=ProcessSet(
                name=spec.name,
                place=spec.place,
                rollout=rollout,
                strategy=STRATEGIES[spec.strategy or self._experiment.strategy],
                versions=versions,
            ),
            platform=platform,
            supervisor=Supervisor(rollout, platform, intake),
            exits=exits,
            spec=spec,
            journal=own,
        )

    def command(
        self,
        key: str,
        words: Sequence[str],
        using: str | None,
        values: Mapping[str, str],
        timeout_seconds: float,
    ) -> NdjsonCommand:
        """A command of the scenario that asks a store of the application.

        Args:
            key: the key of the scenario that has it.
            words: the program and its arguments.
            using: the version whose environment it has; None: the one that is deployed last.
            values: the placeholders.
            timeout_seconds: how long it may take.
        """
        release = self._scenario.release
        last = [release.serving, *(step.deploy for step in release.steps if step.deploy)][-1]
        step = application.command(
            self._experiment.loaded,
            words,
            using or last,
            {**values, "replica_dir": str(self._private)},
        )
        return NdjsonCommand(
            key=key,
            processes=self._processes,
            command=step.command,
            env=step.env,
            cwd=step.cwd,
            log=self._files.store_log,
            timeout_seconds=timeout_seconds,
        )

    def _jobs(self, values: Mapping[str, str]) -> WatchedJobs | None:
        spec = self._scenario.jobs
        if spec is None:
            return None
        store = None
        if spec.store is not None:
            store = self.command(
                "jobs.store", spec.store, spec.using, values, spec.store_timeout_seconds
            )
        return WatchedJobs(
            spec=spec,
            account=JobAccount(Path(self.env[ACCOUNT])),
            store=store,
            system=spec.system or system_of(self._scenario.application.processes),
        )


def set_version(experiment: Experiment, spec: ProcessSpec, name: str) -> Version:
    """One version of a set of processes; its placeholders are not filled yet."""
    web = application.version(experiment.loaded, name)
    own = experiment.scenario.versions[name].commands.get(spec.name)
    return msgspec.structs.replace(
        web,
        command=own or spec.command,
        env={**web.env, **spec.env},
        stop_signal=signal.Signals[spec.stop_signal],
        signal_group=spec.stop_to == "group",
        termination_grace_seconds=spec.termination_grace_seconds,
        warm_up=(),
        readiness_path=spec.readiness_path,
        liveness_path=None,
        listens=spec.listens or spec.readiness_path is not None,
        ready_log=spec.ready_log,
        whole_family=True,
    )


def system_of(processes: Sequence[ProcessSpec]) -> str | None:
    """PURE: the queue system that a command names; None if none does."""
    for spec in processes:
        for word in spec.command:
            known = KNOWN_SYSTEMS.get(word.rpartition("/")[2])
            if known is not None:
                return known
    return None
