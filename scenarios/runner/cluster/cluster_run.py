"""A run on a Kubernetes cluster, whose own controllers carry the rollout out.

Its course and its evidence are those of any run (`scenarios.runner.run`). Instead of a journal of
our own about replicas there is what the cluster tells (`scenarios.recording.cluster`).
"""

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from orchestrator.errors import (
    EnvironmentFailure,
    MigrationFailed,
    OrchestratorError,
    RolloutFailed,
)
from orchestrator.journal import Journal
from orchestrator.kubernetes.client import Cluster, connected
from orchestrator.kubernetes.errors import ClusterNameError
from orchestrator.kubernetes.locality import ensure_meant
from orchestrator.kubernetes.manifests import ManifestError
from orchestrator.kubernetes.ownership import own_namespace
from orchestrator.kubernetes.target import ClusterTarget
from orchestrator.model import JournalEvent, Outcome, ReleaseResult
from orchestrator.processes import Processes
from orchestrator.tasks import first_error, now
from scenarios.errors import ScenarioError, UsageError
from scenarios.evidence.event import Event
from scenarios.evidence.progress import Progress
from scenarios.evidence.run_folder import RunFolder
from scenarios.evidence.tick import Tick
from scenarios.recording.cluster.view import ClusterView, view_of
from scenarios.recording.cluster.watching import ClusterWatch
from scenarios.recording.observers import Observers
from scenarios.recording.subjects import record_subjects, wait_settled
from scenarios.runner.cluster.bringing_up import until_up
from scenarios.runner.cluster.cluster_manifest import Images, cluster_manifest
from scenarios.runner.cluster.deploying import Deployer
from scenarios.runner.cluster.migrating import migrate
from scenarios.runner.cluster.service_address import (
    Address,
    address_in,
    address_of,
    check_reach,
    own_address,
    until_answered,
)
from scenarios.runner.early import BaselineWatch, check_queries, failure_of, hopeless
from scenarios.runner.environment import Environment
from scenarios.runner.manifest import RouterFacts
from scenarios.scenario.experiment import Experiment
from scenarios.scenario.placeholders import database_values, run_values
from scenarios.scenario.spec import ReleaseStep
from scenarios.traffic.errors import TrafficError
from scenarios.traffic.journeys.first_try import first_try
from scenarios.traffic.journeys.set_up import set_up
from scenarios.traffic.plan import Plan, host_and_port
from scenarios.traffic.process.driver import LoadGenerator, load_generator

_UNREAD = "the answers of single pods were not compared (integrity.reads)"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterParts:
    """What stands before there is traffic.

    Attributes:
        cluster: the cluster.
        url: the URL of the application's database; empty where it has none.
        address: where users reach the Service.
        deployer: applies versions.
        load: the load generator.
        journal: what the release did.
        watch: records what the cluster tells.
    """

    cluster: Cluster
    url: str
    address: Address
    deployer: Deployer
    load: LoadGenerator
    journal: Journal
    watch: ClusterWatch


class ClusterRun:
    """A run under way; `run_on_cluster` makes it."""

    def __init__(
        self, experiment: Experiment, environment: Environment, folder: Path, watcher: Progress
    ) -> None:
        self._experiment = experiment
        self._scenario = experiment.scenario
        self._environment = environment
        self._files = RunFolder(folder)
        self._watcher = watcher
        self._baseline = BaselineWatch(allow_some=False)
        self._started_at = datetime.now(UTC)
        self._database: str | None = None
        self._view: ClusterView | None = None
        self._images = Images()
        self._unseen: list[str] = []
        self._result: ReleaseResult | None = None
        self._listener: Observers | None = None

    async def go(self, *, only_begin: bool) -> None:
        """Carry the run out. However it ends, what was recorded by then is on disk.

        Args:
            only_begin: end before the traffic.

        Raises:
            ScenarioError: a manifest cannot be used, or the version before the release answers
                something else than the scenario expects.
            UsageError: what was named cannot be used.
            EnvironmentFailure: it could not begin, or something that it stands on broke.
        """
        try:
            async with AsyncExitStack() as stack:
                stack.enter_context(first_error())
                await self._inside(stack, only_begin=only_begin)
        except (asyncio.CancelledError, OSError):
            with suppress(OSError):  # such as a closed pipe that the progress was printed to
                self._write_manifest(interrupted=True)
            raise
        except ManifestError as error:
            raise ScenarioError(f"{self._experiment.loaded.at('platform')}{error}") from error
        except ClusterNameError as error:
            raise UsageError(str(error)) from error
        except (OrchestratorError, TrafficError) as error:
            raise EnvironmentFailure(str(error)) from error
        self._write_manifest(interrupted=False)

    async def _inside(self, stack: AsyncExitStack, *, only_begin: bool) -> None:
        database = self._scenario.database
        log = None if database is None or database.log is None else Path(database.log)
        await stack.enter_async_context(self._environment.postgres_log(self._files.path, log))
        self._watcher.on_stage("looking at the cluster and the manifests")
        cluster = await stack.enter_async_context(connected(self._experiment.context))
        ensure_meant(cluster, self._experiment.context, by="--context NAME")
        namespace = self._scenario.platform.namespace or f"hitless-{secrets.token_hex(4)}"
        scratch = self._environment.private / f"{namespace}.yaml"
        deployer = self._deployer_of(cluster, namespace, scratch)
        await deployer.check()
        url = await self._start_database(stack)
        deployer.values |= database_values(url)
        processes = await stack.enter_async_context(self._environment.own_processes())
        self._watcher.on_stage(f"making the namespace {namespace}")
        deployer.labels = await stack.enter_async_context(
            own_namespace(cluster, namespace, self._files.path.name)
        )
        address = await self._first_address(cluster, deployer)
        load = await stack.enter_async_context(
            self._load_generator(processes, cluster, deployer, address)
        )
        smtp, users = load.smtp, host_and_port(*address)
        deployer.values |= run_values(database_url=url, smtp=smtp, address=users)
        await self._bring_up(cluster, deployer, address)
        journal = stack.enter_context(Journal(self._files.events.path, listeners=[self._hear]))
        self._view = await self._look(cluster, deployer, address)
        parts = ClusterParts(
            cluster=cluster,
            url=url,
            address=address,
            deployer=deployer,
            load=load,
            journal=journal,
            watch=ClusterWatch(self._view, self._files.path),
        )
        async with self._replicas(parts, processes):
            if only_begin:
                await self._first_version(parts)
                await self._begin(parts)
                return
            await self._observed(parts, processes)
        self._watcher.on_stage(f"removing the namespace {namespace}")

    async def _start_database(self, stack: AsyncExitStack) -> str:
        """The URL of the application's database; empty where it has none."""
        spec = self._scenario.database
        if spec is None:
            return ""
        self._watcher.on_stage("making the database and its schema")
        url = await stack.enter_async_context(
            self._environment.database(self._experiment.loaded, spec, self._files.migrator_log)
        )
        self._database = database_values(url)["database_name"]
        await check_queries(self._experiment.loaded, url, started=False)
        return url

    async def _first_address(self, cluster: Cluster, deployer: Deployer) -> Address:
        """Where users will reach the Service; a Service of manifests is made for that."""
        serving, spec = self._scenario.release.serving, self._scenario.platform
        self._watcher.on_stage(f"deploying version {serving}")
        if spec.url is not None:
            return address_in(spec.url)
        await deployer.apply_services(serving)
        return await address_of(cluster, await deployer.service())

    @asynccontextmanager
    async def _load_generator(
        self, processes: Processes, cluster: Cluster, deployer: Deployer, address: Address
    ) -> AsyncIterator[LoadGenerator]:
        host, port = address
        plan = Plan.of(
            self._scenario.traffic,
            host=host,
            port=port,
            seed=self._experiment.seed,
            requests_path=str(self._files.requests.path),
            mails_path=str(self._files.mails.path),
        )
        if deployer.needs("smtp_url"):
            api = urlsplit(cluster.server).hostname or ""
            mine = self._scenario.platform.address or own_address(api)
            plan = msgspec.structs.replace(plan, mail_host=mine)
        async with load_generator(
            processes,
            plan,
            python=sys.executable,
            folder=self._files.path,
            on_tick=self._on_tick,
        ) as load:
            yield load

    async def _bring_up(self, cluster: Cluster, deployer: Deployer, address: Address) -> None:
        """Deploy the version before the release, and wait until it serves."""
        serving, spec = self._scenario.release.serving, self._scenario.platform
        if spec.url is not None or spec.applies(serving) is None:
            await deployer.apply(serving)
        served = await deployer.served()
        try:
            await until_up(cluster, deployer.namespace)
        except EnvironmentFailure as error:
            raise EnvironmentFailure(
                f"version {serving} did not become available, so there is nothing to release: "
                f"{error}"
            ) from error
        await self._check_address(cluster, deployer, address)
        self._images.note(served.deployment, serving)
        for version in deployer.versions[1:]:
            await deployer.apply(version, dry=True)  # a mistake is told before there is traffic

    async def _check_address(self, cluster: Cluster, deployer: Deployer, address: Address) -> None:
        """See that the address of the users leads to the Service, and that somebody answers."""
        name = str((await deployer.service())["metadata"]["name"])
        unknown = await check_reach(cluster, deployer.namespace, name, address)
        self._unseen += [unknown] if unknown else []
        await until_answered(address)

    # What is different with strategies of ours

    def _deployer_of(self, cluster: Cluster, namespace: str, scratch: Path) -> Deployer:
        """What applies versions."""
        log = self._files.command_log
        return Deployer(self._experiment.loaded, cluster, namespace, log, scratch)

    @asynccontextmanager
    async def _replicas(self, parts: ClusterParts, processes: Processes) -> AsyncIterator[None]:
        """What makes replicas during the block: the cluster's own controllers, so nothing here."""
        del parts, processes
        yield

    async def _linger(self, seconds: float) -> None:
        """Let the traffic go on after the release."""
        await asyncio.sleep(seconds)

    async def _first_version(self, parts: ClusterParts) -> None:
        """Let the version before the release serve; here it does so already."""

    def _router_facts(self) -> RouterFacts | None:
        """What is known of the router of a strategy of ours; None: there is no such strategy."""
        return None

    async def _look(self, cluster: Cluster, deployer: Deployer, address: Address) -> ClusterView:
        """What is watched from now on."""
        name = str((await deployer.served()).deployment["metadata"]["name"])
        target = ClusterTarget(
            context=cluster.context, namespace=deployer.namespace, deployment=name
        )
        return await view_of(cluster, target, *address)

    async def _observed(self, parts: ClusterParts, processes: Processes) -> None:
        observers = Observers(
            self._files.path,
            url=parts.url or None,
            admin=None,
            marks=(processes.mark, self._environment.processes.mark),
            on_waits=self._watcher.on_waits,
        )
        self._listener = observers
        async with observers.watching(parts.journal), parts.watch.watching():
            await self._under_traffic(parts)
        integrity = self._scenario.integrity
        if integrity is not None and isinstance(integrity.subjects, str):
            await record_subjects(parts.url, integrity.subjects, self._files.subjects_after.path)
            self._unseen += [_UNREAD] if integrity.reads else []

    async def _under_traffic(self, parts: ClusterParts) -> None:
        """Send traffic, release, and let the traffic end."""
        journal, phases = parts.journal, self._scenario.phases
        async with asyncio.TaskGroup() as group:
            group.create_task(parts.load.listen(), name="ticks of the load generator")
            async with phase(journal, "setup"):
                await self._first_version(parts)
                captured = await self._begin(parts)
            await parts.load.start(captured)
            async with phase(journal, "baseline"):
                with suppress(TimeoutError):
                    async with asyncio.timeout(phases.baseline_seconds):
                        await self._baseline.hopeless.wait()
                if self._baseline.hopeless.is_set():
                    raise hopeless(self._experiment.loaded, self._files.path)
            async with phase(journal, "rollout"):
                await self._release(parts)
                await parts.load.released()
            async with phase(journal, "settle"):
                await self._linger(phases.settle_seconds)
                await self._settle(parts)

    async def _begin(self, parts: ClusterParts) -> dict[str, str]:
        """Send the set-up's requests, try each journey once, and record what is stored then."""
        traffic, loaded = self._scenario.traffic, self._experiment.loaded
        captured = await set_up(
            *parts.address,
            traffic.set_up,
            seed=self._experiment.seed,
            timeout_seconds=traffic.timeout_seconds,
        )
        if parts.url:
            await check_queries(loaded, parts.url, started=True)
        failed = await first_try(
            *parts.address, traffic, seed=self._experiment.seed, captured=captured
        )
        if failed is not None:
            raise failure_of(loaded, failed, self._files.path, "")
        integrity = self._scenario.integrity
        if integrity is not None and isinstance(integrity.subjects, str):
            path = self._files.subjects_before.path
            await record_subjects(parts.url, integrity.subjects, path)
        return captured

    async def _release(self, parts: ClusterParts) -> None:
        """Carry the release out, up to the first step that fails.

        A cluster takes nothing back by itself, so a rollout that fails stays as it is.
        """
        began, serving = now(), self._scenario.release.serving
        outcome: Outcome = "completed"
        reason: str | None = None
        async with parts.journal.verb(
            "release", version=serving, detail={"name": self._scenario.name}, encloses=True
        ) as entry:
            for number, step in enumerate(self._scenario.release.steps):
                reason = await self._step(parts, number, step)
                if reason is not None:
                    outcome = "failed"
                    break
            entry.detail |= {"outcome": outcome, "reason": reason}
        self._result = ReleaseResult(
            outcome=outcome,
            reason=reason,
            seconds=now() - began,
            floor_seconds=0.0,
            versions=parts.deployer.versions,
        )

    async def _step(self, parts: ClusterParts, number: int, step: ReleaseStep) -> str | None:
        """Carry out one step; None if it succeeded, else why not."""
        try:
            if step.deploy is None:
                loaded = self._experiment.loaded
                await migrate(loaded, number, parts.deployer, parts.watch, parts.journal)
            else:
                async with parts.journal.verb("deploy", version=step.deploy, encloses=True):
                    await self._deploy(parts, step.deploy)
        except MigrationFailed as error:
            return f"migration: {error}"
        except (ManifestError, RolloutFailed) as error:
            return str(error) if step.deploy is None else f"deploy {step.deploy}: {error}"
        return None

    async def _deploy(self, parts: ClusterParts, version: str) -> None:
        await parts.deployer.apply(version)
        self._images.note((await parts.deployer.served()).deployment, version)
        failed = await parts.watch.completed(beside=True)
        if failed is not None:
            raise RolloutFailed(failed)

    async def _settle(self, parts: ClusterParts) -> None:
        """End the traffic: first the arrivals, then what the application owes, then the rest."""
        await parts.load.stop()
        integrity = self._scenario.integrity
        if integrity is not None and isinstance(integrity.settled_when, str):
            seconds = integrity.settle_timeout_seconds
            if not await wait_settled(parts.url, integrity.settled_when, seconds):
                waited = f"not settled after {seconds:g} s"
                parts.journal.note("phase", error=waited, detail={"name": "settle"})
        await parts.load.finish()

    def _hear(self, event: JournalEvent) -> None:
        if self._listener is not None:
            self._listener.hear(event)
        self._watcher.on_event(msgspec.convert(event, Event, from_attributes=True))

    def _on_tick(self, tick: Tick) -> None:
        self._baseline.hear(tick)
        self._watcher.on_tick(tick)

    def _write_manifest(self, *, interrupted: bool) -> None:
        self._files.write_manifest(
            cluster_manifest(
                self._experiment,
                self._result,
                database=self._database,
                started_at=self._started_at,
                interrupted=interrupted,
                digests=self._files.digests(),
                view=self._view,
                images=self._images,
                router=self._router_facts(),
                unseen=self._unseen,
            )
        )


@asynccontextmanager
async def phase(journal: Journal, name: str) -> AsyncIterator[None]:
    """A phase of a run, in its journal."""
    async with journal.verb("phase", detail={"name": name}, encloses=True):
        yield
