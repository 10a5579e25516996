"""Everything that runs beside the web in one run, while it runs: services, sets, and their jobs."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from orchestrator.journal import Journal
from orchestrator.platforms.local import LocalPlatform
from orchestrator.process_sets import ProcessSet
from orchestrator.supervisor import Supervisor
from scenarios.evidence.jobs import JobSettings
from scenarios.evidence.run_folder import RunFolder
from scenarios.recording.job_account import JobAccount
from scenarios.recording.job_errors import read_job_errors
from scenarios.recording.job_store import stored_jobs, wait_for_jobs
from scenarios.recording.ndjson_command import NdjsonCommand
from scenarios.runner.replica_exits import ReplicaExits
from scenarios.runner.services import RunningService
from scenarios.runner.shared_process import SharedProcess
from scenarios.scenario.process_spec import JobsSpec, ProcessSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningSet:
    """A set of processes of the run.

    Attributes:
        set: the processes, and how they are deployed.
        platform: runs them.
        supervisor: replaces those that end.
        exits: hears of those that end.
        spec: what the scenario says of them.
        journal: gets their events.
    """

    set: ProcessSet
    platform: LocalPlatform
    supervisor: Supervisor
    exits: ReplicaExits
    spec: ProcessSpec
    journal: Journal


@dataclass(slots=True)
class WatchedJobs:
    """The jobs of one run.

    Attributes:
        spec: what the scenario says of them.
        account: what the application tells of them.
        store: says what the queue has; None: nobody can be asked.
        system: the queue system, if it is known.
        settled: whether the queue was empty in the end; None: the run did not come to that.
    """

    spec: JobsSpec
    account: JobAccount
    store: NdjsonCommand | None
    system: str | None
    settled: bool | None = None

    def settings(self) -> JobSettings:
        """What the manifest says of them."""
        return JobSettings(
            system=self.system,
            stored=self.store is not None,
            settled=self.settled,
            may=self.spec.may,
            unreadable=self.account.unreadable,
            first_unreadable=self.account.first_unreadable,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BesideWeb:
    """Everything that runs beside the web.

    Attributes:
        shared: the shared processes, by name.
        sets: the sets of processes, in the order of the scenario.
        jobs: the jobs; None: the scenario does not ask for them.
        services: the services, in the order of the scenario.
    """

    shared: Mapping[str, SharedProcess] = field(default_factory=dict)
    sets: tuple[RunningSet, ...] = ()
    jobs: WatchedJobs | None = None
    services: tuple[RunningService, ...] = ()

    def named(self, name: str) -> RunningSet:
        """The set with this name."""
        return next(one for one in self.sets if one.set.name == name)

    def running(self) -> set[str]:
        """The ids of all processes of sets that run."""
        return {
            replica.id
            for one in self.sets
            for replica in one.set.rollout.all()
            if one.platform.is_running(replica)
        }

    @property
    def every(self) -> tuple[RunningService | RunningSet, ...]:
        """The services and the sets, in the order in which they start."""
        return *self.services, *self.sets

    def service(self, name: str) -> RunningService:
        """The service with this name."""
        return next(one for one in self.services if one.set.name == name)

    async def bring_up_services(self) -> None:
        """Start the services that others call, in their order.

        Raises:
            OrchestratorError: one of them does not become ready.
        """
        for one in self.services:
            if one.set.start is not None:
                await one.set.bring_up(one.set.start)

    async def bring_up(self, version: str, *, before: bool) -> None:
        """Start the sets of the first version: those before the web, or the others.

        Raises:
            OrchestratorError: one of them does not become ready.
        """
        for one in self.sets:
            if (one.set.place == "before") == before:
                await one.set.bring_up(version)

    async def take_down(self) -> None:
        """Stop all sets and services, at the end of the run, in the reverse order."""
        for one in reversed(self.every):
            await one.set.take_down()

    async def check_store(self) -> None:
        """See that the store command prints what it should, before anything depends on it.

        Raises:
            EnvironmentFailure: it does not.
        """
        if self.jobs is not None and self.jobs.store is not None:
            await stored_jobs(self.jobs.store)

    async def settle(self, files: RunFolder) -> None:
        """Wait until no job is left to do, and record what the queue has then.

        Raises:
            EnvironmentFailure: the queue cannot be asked.
        """
        jobs = self.jobs
        if jobs is None:
            return
        stored, jobs.settled = await wait_for_jobs(
            jobs.account, jobs.store, self.running, jobs.spec.settle_timeout_seconds
        )
        with files.stored_jobs.recorder() as recorder:
            for one in stored:
                recorder.write(one)

    async def supervise(self) -> None:
        """Replace processes that end, as far as the policy asks for it, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for one in self.every:
                if one.set.rollout.policy.healing.enabled:
                    one.exits.tell(one.supervisor.exited)
                    group.create_task(one.supervisor.run(), name=f"healing of {one.set.name}")


@asynccontextmanager
async def recorded_jobs(beside: BesideWeb, files: RunFolder) -> AsyncIterator[None]:
    """Record the account of jobs when the block ends, however it ends."""
    try:
        yield
    finally:
        jobs = beside.jobs
        if jobs is not None:
            jobs.account.record(files.jobs.path)
            logs = files.process_logs([one.set.name for one in beside.sets])
            with files.job_errors.recorder() as recorder:
                for error in read_job_errors(logs, jobs.account.events):
                    recorder.write(error)
