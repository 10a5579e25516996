"""A run on a cluster with a strategy of ours: each replica is a pod that we make and stop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec

from orchestrator.errors import EnvironmentFailure, MigrationFailed, OrchestratorError
from orchestrator.hooks import CommandHooks
from orchestrator.journal import Journal
from orchestrator.kubernetes.client import Cluster
from orchestrator.kubernetes.manifests import ManifestError
from orchestrator.kubernetes.namespace_view import NamespaceView
from orchestrator.kubernetes.pod_manifest import grace_seconds, has_readiness_probe
from orchestrator.kubernetes.target import ClusterTarget
from orchestrator.model import Deploy, Release, RunCommand, Step, Version
from orchestrator.platforms.kubernetes import KubernetesPlatform
from orchestrator.processes import Processes
from orchestrator.release import ReleaseRun, bring_up, take_down
from orchestrator.rollout import Rollout
from orchestrator.routers.kubernetes_service import ServiceRouter
from orchestrator.strategies import STRATEGIES
from orchestrator.supervisor import Supervisor
from orchestrator.tasks import first_error
from scenarios.evidence.progress import Progress
from scenarios.recording.cluster.view import ClusterView, view_of
from scenarios.recording.cluster.watching import ClusterWatch
from scenarios.runner.cluster.cluster_run import ClusterParts, ClusterRun, phase
from scenarios.runner.cluster.deploying import Deployer
from scenarios.runner.cluster.migrating import migrate
from scenarios.runner.cluster.pod_deploying import PodDeployer
from scenarios.runner.cluster.service_address import Address
from scenarios.runner.environment import Environment
from scenarios.runner.manifest import RouterFacts
from scenarios.runner.operator_commands import OperatorCommands
from scenarios.runner.operator_socket import operator_socket
from scenarios.runner.release import version as version_of
from scenarios.runner.replica_exits import ReplicaExits
from scenarios.runner.router import show_replicas
from scenarios.scenario.experiment import Experiment
from scenarios.scenario.reader import Loaded

_ADDRESS_SHARE = 0.9
"""The part of the time to become ready within which a node must have taken a pod."""


class JobMigrator:
    """Carries out the steps of a release that migrate, as Jobs."""

    def __init__(self, loaded: Loaded, deployer: Deployer, watch: ClusterWatch) -> None:
        """Make it.

        Args:
            loaded: the scenario.
            deployer: has the values of placeholders.
            watch: sees the Jobs.
        """
        self._loaded = loaded
        self._deployer = deployer
        self._watch = watch

    async def run(self, step: RunCommand, journal: Journal) -> None:
        """Carry out a step, whose name is its number."""
        try:
            await migrate(self._loaded, int(step.name), self._deployer, self._watch, journal)
        except ManifestError as error:
            raise MigrationFailed(str(error)) from error

    async def apply(self, directory: Path, through: str | None, journal: Journal) -> None:
        """Nothing: each step is a command inside of an image."""
        raise NotImplementedError((directory, through, journal))

    async def roll_back(self, directory: Path, through: str | None, journal: Journal) -> None:
        """Nothing: no step takes migrations back on a cluster."""
        raise NotImplementedError((directory, through, journal))


class PodsRun(ClusterRun):
    """A run under way; `run_on_cluster` makes it."""

    _deployer: PodDeployer
    _platform: KubernetesPlatform
    _router: ServiceRouter
    _rollout: Rollout
    _exits: ReplicaExits
    _released: Release

    _release_run: ReleaseRun

    def __init__(
        self,
        experiment: Experiment,
        environment: Environment,
        folder: Path,
        watcher: Progress,
        operator: OperatorCommands,
    ) -> None:
        super().__init__(experiment, environment, folder, watcher)
        self._operator = operator
        self._probed = True
        self._facts: RouterFacts | None = None
        self._begun = asyncio.Event()

    # What differs from a run whose rollout the cluster's own controllers carry out

    def _deployer_of(self, cluster: Cluster, namespace: str, scratch: Path) -> Deployer:
        log = self._files.command_log
        self._deployer = PodDeployer(self._experiment.loaded, cluster, namespace, log, scratch)
        return self._deployer

    async def _bring_up(self, cluster: Cluster, deployer: Deployer, address: Address) -> None:
        """Apply the version before the release; its pods come with the rollout."""
        del cluster, address
        versions = {}
        for name in deployer.versions:
            versions[name] = await self._version(name)
            await deployer.apply(name, dry=True)  # a mistake is told before there is traffic
        await deployer.apply(self._scenario.release.serving)
        self._released = released(self._experiment.loaded, versions)

    async def _version(self, name: str) -> Version:
        """A version, whose pods stop as their template says."""
        deployment = await self._deployer.deployment(name)
        self._images.note(deployment, name)
        template = deployment["spec"]["template"]
        self._probed = self._probed and has_readiness_probe(template)
        return msgspec.structs.replace(
            version_of(self._experiment.loaded, name),
            termination_grace_seconds=grace_seconds(template),
            liveness_path=None,  # the kubelet asks what the template says
        )

    async def _look(self, cluster: Cluster, deployer: Deployer, address: Address) -> ClusterView:
        target = ClusterTarget(
            context=cluster.context, namespace=deployer.namespace, deployment=None
        )
        replicas = self._scenario.policy.replicas
        return await view_of(cluster, target, *address, replicas=replicas)

    @asynccontextmanager
    async def _replicas(self, parts: ClusterParts, processes: Processes) -> AsyncIterator[None]:
        policy = self._scenario.policy
        self._exits = ReplicaExits(parts.journal)
        service = str((await parts.deployer.service())["metadata"]["name"])
        async with AsyncExitStack() as stack:
            view = await stack.enter_async_context(
                NamespaceView(parts.cluster, parts.deployer.namespace)
            )
            self._router = ServiceRouter(view, service, probed=self._probed)
            self._facts = RouterFacts(f"service/{service}", self._router.capabilities.lacking())
            self._platform = await stack.enter_async_context(
                KubernetesPlatform(
                    view,
                    self._deployer.template_of,
                    log_directory=self._files.path,
                    labels=parts.deployer.labels,
                    on_exit=self._exits.hear,
                    address_seconds=_ADDRESS_SHARE * policy.progress_deadline_seconds,
                )
            )
            parts.watch.logs_elsewhere = self._platform.has_log
            self._rollout = Rollout(
                self._platform,
                self._router,
                parts.journal,
                policy,
                hooks=CommandHooks(
                    processes,
                    log=self._files.hooks_log,
                    cwd=self._experiment.loaded.path.parent,
                ),
                seed=self._experiment.seed,
            )
            self._operator.connect(self._rollout.control)
            private = await stack.enter_async_context(processes.directory("hitless-run-"))
            await stack.enter_async_context(
                operator_socket(self._operator, private, self._files.control)
            )
            yield

    async def _first_version(self, parts: ClusterParts) -> None:
        serving = self._released.start
        try:
            await bring_up(self._rollout, serving)
        except EnvironmentFailure:
            raise
        except OrchestratorError as error:
            raise EnvironmentFailure(
                f"version {serving.name} did not become ready, so there is nothing to release: "
                f"{error}"
            ) from error
        await self._check_address(parts.cluster, parts.deployer, parts.address)

    async def _begin(self, parts: ClusterParts) -> dict[str, str]:
        captured = await super()._begin(parts)
        self._begun.set()
        return captured

    async def _under_traffic(self, parts: ClusterParts) -> None:
        async with asyncio.TaskGroup() as group:
            besides = [
                group.create_task(show_replicas(self._router, self._watcher.on_replicas)),
                group.create_task(self._supervise()),
            ]
            await super()._under_traffic(parts)
            for task in besides:
                task.cancel()
        async with phase(parts.journal, "teardown"):
            await take_down(self._rollout)

    async def _supervise(self) -> None:
        """Replace pods that end by themselves, as far as the policy asks for it."""
        await self._begun.wait()
        if self._scenario.policy.healing.enabled:
            supervisor = Supervisor(self._rollout, self._platform, self._router)
            self._exits.tell(supervisor.exited)
            with first_error():
                await supervisor.run()

    async def _release(self, parts: ClusterParts) -> None:
        migrator = JobMigrator(self._experiment.loaded, parts.deployer, parts.watch)
        strategy = STRATEGIES[self._experiment.strategy]
        self._release_run = ReleaseRun(self._released, self._rollout, strategy, migrator)
        self._result = await self._release_run.run()

    async def _linger(self, seconds: float) -> None:
        """Carry out the commands that people give after the release."""
        while True:
            try:
                async with asyncio.timeout(seconds):
                    command = await self._rollout.control.next_command()
            except TimeoutError:
                return
            if command == "finish":
                return
            again = self._release_run.undo if command == "undo" else self._release_run.retry
            self._result = await again()

    def _router_facts(self) -> RouterFacts | None:
        return self._facts


def released(loaded: Loaded, versions: dict[str, Version]) -> Release:
    """PURE: the scenario's release; a step that migrates is a command named by its number.

    Args:
        loaded: the scenario.
        versions: its versions, by name.
    """
    release = loaded.scenario.release
    steps: list[Step] = [
        RunCommand(name=str(number), command=())
        if step.deploy is None
        else Deploy(version=versions[step.deploy])
        for number, step in enumerate(release.steps)
    ]
    return Release(name=loaded.scenario.name, start=versions[release.serving], steps=tuple(steps))
