"""Watches a namespace of a cluster while a run goes on, and records what it tells."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import EnvironmentFailure
from orchestrator.kubernetes.client import Cluster, connected, lacking
from orchestrator.kubernetes.errors import FORBIDDEN, NOT_FOUND, ApiError, ClusterNameError
from orchestrator.kubernetes.target import ClusterTarget
from scenarios.errors import UsageError, near
from scenarios.evidence.cluster import (
    ClusterChange,
    ClusterClock,
    DeploymentState,
    JobState,
    PodState,
)
from scenarios.evidence.manifest import ClusterSettings
from scenarios.evidence.recorder import Recorder
from scenarios.evidence.run_folder import RunFolder
from scenarios.recording.cluster.reach import mismatch, reached
from scenarios.recording.cluster.reduced import Unchanged, change_of

MOST_LOGS = 100
"""So many logs of pods are followed."""

PATIENCE_SECONDS = 1200.0
"""So long a rollout may take after its command; the cluster itself gives up after ten minutes
(`progressDeadlineSeconds`)."""

_LOG_AGAIN_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class _Kind:
    """What is watched: the name of the kind, its group, its resource, and what is lost without."""

    name: str
    group: str
    resource: str
    unseen: str = ""


_NEEDED = (_Kind("Pod", "", "pods"), _Kind("Deployment", "apps", "deployments"))
_OPTIONAL = (
    _Kind(
        "EndpointSlice",
        "discovery.k8s.io",
        "endpointslices",
        "when a pod was an endpoint follows from its readiness",
    ),
    _Kind("Event", "", "events", "why a readiness probe failed is not known"),
    _Kind("Job", "batch", "jobs", "migrations that run as Jobs are not seen"),
    _Kind("Node", "", "nodes", "whether a node was drained is not known"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterView:
    """A namespace that can be watched; `looked_at` makes it.

    Attributes:
        cluster: the API.
        target: what is meant.
        settings: the same for the manifest.
        paths: by kind, the path of its list.
        replicas: how many pods the Deployment should have; 1 where none is named.
        logs: whether logs of pods may be read.
    """

    cluster: Cluster
    target: ClusterTarget
    settings: ClusterSettings
    paths: Mapping[str, str]
    replicas: int
    logs: bool


@asynccontextmanager
async def looked_at(target: ClusterTarget, host: str, port: int) -> AsyncIterator[ClusterView]:
    """See, before anything is deployed, that the namespace can be watched.

    Args:
        target: which one.
        host: the host of the URL that users request.
        port: its port.

    Raises:
        UsageError: there is no kubeconfig, or not this context; the namespace or the Deployment
            does not exist, or the URL leads to other pods.
        EnvironmentFailure: the cluster does not answer, or rights are missing.
    """
    try:
        async with connected(target.context) as cluster:
            yield await _view(cluster, target, host, port)
    except ApiError as error:
        raise EnvironmentFailure(str(error)) from error
    except ClusterNameError as error:
        raise UsageError(f"--cluster {target}: {error}") from error


async def _view(cluster: Cluster, target: ClusterTarget, host: str, port: int) -> ClusterView:
    version = str((await cluster.get("/version")).get("gitVersion", "?"))
    namespace = target.namespace
    try:
        await cluster.get(f"/api/v1/namespaces/{namespace}")
    except ApiError as error:
        if error.status == NOT_FOUND:
            raise UsageError(f"--cluster {target}: there is no namespace {namespace!r}") from error
        if error.status != FORBIDDEN:
            raise
    wanted = [(verb, one.resource, one.group, "") for one in _NEEDED for verb in ("list", "watch")]
    missing = await lacking(cluster, namespace, wanted)
    if missing:
        raise EnvironmentFailure(
            f"--cluster {target}: no rights to {', '.join(missing)} in the namespace "
            f"{namespace!r}; docs/kubernetes.md has the Role that suffices"
        )
    base = f"namespaces/{namespace}"
    paths = {"Pod": f"/api/v1/{base}/pods", "Deployment": f"/apis/apps/v1/{base}/deployments"}
    unseen = []
    for kind in _OPTIONAL:
        path = await _path(cluster, kind, base)
        scope = "" if kind.name == "Node" else namespace
        rights = [(verb, kind.resource, kind.group, "") for verb in ("list", "watch")]
        if path is None or await lacking(cluster, scope, rights):
            reason = "the cluster does not have them" if path is None else "no rights to watch them"
            unseen.append(f"{kind.resource} were not watched ({reason}), so {kind.unseen}")
        else:
            paths[kind.name] = path
    logs = not await lacking(cluster, namespace, [("get", "pods", "", "log")])
    if not logs:
        unseen.append("the logs of pods were not read (no rights to get pods/log)")
    replicas, note = await _checked(cluster, target, paths["Deployment"], host, port)
    settings = ClusterSettings(
        server=cluster.server,
        version=version,
        namespace=namespace,
        deployment=target.deployment,
        unseen=(*unseen, *([note] if note else [])),
    )
    return ClusterView(
        cluster=cluster,
        target=target,
        settings=settings,
        paths=paths,
        replicas=replicas,
        logs=logs,
    )


async def _path(cluster: Cluster, kind: _Kind, base: str) -> str | None:
    if kind.name == "Node":
        return "/api/v1/nodes"
    if not kind.group:
        return f"/api/v1/{base}/{kind.resource}"
    versions = await cluster.versions_of(kind.group)
    found = next((one for one in ("v1", "v1beta1") if one in versions), None)
    return None if found is None else f"/apis/{kind.group}/{found}/{base}/{kind.resource}"


async def _checked(
    cluster: Cluster, target: ClusterTarget, path: str, host: str, port: int
) -> tuple[int, str | None]:
    """How many pods there should be, and what could not be found out about the URL."""
    listed = (await cluster.get(path)).get("items", ())
    deployments: dict[str, Any] = {one["metadata"]["name"]: one for one in listed}
    name = target.deployment
    if name is not None and name not in deployments:
        known = near(name, sorted(deployments)) if deployments else "it has no Deployment"
        raise UsageError(
            f"--cluster {target}: the namespace {target.namespace!r} has no deployment/{name}; "
            f"{known}"
        )
    if not deployments:
        raise UsageError(
            f"--cluster {target}: the namespace {target.namespace!r} has no Deployment"
        )
    chosen = [deployments[name]] if name is not None else list(deployments.values())
    replicas = sum(one["spec"].get("replicas", 1) for one in chosen)
    try:
        services = await cluster.get(f"/api/v1/namespaces/{target.namespace}/services")
    except ApiError as error:
        if error.status != FORBIDDEN:
            raise
        return replicas, "no rights to list services, so nobody checked where --url leads to"
    found = reached(services.get("items", ()), target.namespace, host, port)
    if found is None:
        return replicas, (
            "no Service of the namespace has the address of --url, so nobody checked that it leads "
            "to these pods"
        )
    reasons = [mismatch(found, one["metadata"]["name"], _labels(one)) for one in chosen]
    if all(reasons):
        raise UsageError(f"--url http://{host}:{port} reaches other pods: {reasons[0]}")
    return replicas, None


def _labels(deployment: Mapping[str, Any]) -> dict[str, str]:
    return dict(deployment["spec"]["template"]["metadata"].get("labels") or {})


class ClusterWatch:
    """What is seen of a namespace, from the begin of `watching` on."""

    def __init__(self, view: ClusterView, folder: Path) -> None:
        """Say what is watched, and where the evidence goes."""
        self._view = view
        self._files = RunFolder(folder)
        self._folder = folder
        self._deployments: dict[str, DeploymentState] = {}
        self._pods: dict[str, PodState] = {}
        self._failed_jobs: dict[str, str] = {}
        self._old_jobs: set[str] = set()
        self._generation_before: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._followed: set[tuple[str, int]] = set()
        self._unchanged = Unchanged()
        self._logs: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Record for the length of the block.

        Raises:
            EnvironmentFailure: the cluster refused a watch.
        """
        with self._files.cluster_changes.recorder() as recorder:
            await self._measure_clock(recorder)
            async with asyncio.TaskGroup() as group:
                listed = [asyncio.Event() for _ in self._view.paths]
                tasks = [
                    group.create_task(
                        self._follow(kind, path, recorder, first, group), name=f"watch of {kind}s"
                    )
                    for (kind, path), first in zip(self._view.paths.items(), listed, strict=True)
                ]
                for first in listed:
                    await first.wait()
                try:
                    yield
                    with contextlib.suppress(EnvironmentFailure):  # it was measured before
                        await self._measure_clock(recorder)
                finally:
                    for task in (*tasks, *self._logs):
                        task.cancel()

    async def completed(self) -> str | None:
        """Wait until the rollout has ended; None if it is complete, else why it is not.

        It is complete when each Deployment has only available pods of its present template, and no
        pod of it that is being deleted runs any more.

        Raises:
            EnvironmentFailure: the cluster does not answer.
        """
        wanted = await self._generations()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    self._changed.clear()
                    failure = self._failure(wanted)
                    if failure is not None or self._complete(wanted):
                        return failure
                    await self._changed.wait()
        except TimeoutError:
            return f"the rollout was not complete {PATIENCE_SECONDS:.0f} s after its command"

    async def _generations(self) -> dict[str, int]:
        try:
            listed = await self._view.cluster.get(self._view.paths["Deployment"])
        except ApiError as error:
            raise EnvironmentFailure(str(error)) from error
        chosen = self._view.target.deployment
        found = {
            str(one["metadata"]["name"]): int(one["metadata"].get("generation", 0))
            for one in listed.get("items", ())
        }
        # One that the command left alone, and that may never be complete, is none of it.
        return {
            name: generation
            for name, generation in found.items()
            if (name == chosen)
            or (chosen is None and generation != self._generation_before.get(name))
        }

    def _failure(self, wanted: Mapping[str, int]) -> str | None:
        for name, reason in self._failed_jobs.items():
            return f"job/{name} failed: {reason}"
        for name, generation in wanted.items():
            state = self._deployments.get(name)
            if state is not None and state.observed >= generation and state.stalled:
                return f"deployment/{name} makes no progress: {state.stalled}"
        return None

    def _complete(self, wanted: Mapping[str, int]) -> bool:
        for name, generation in wanted.items():
            state = self._deployments.get(name)
            if state is None or state.generation < generation or not state.complete:
                return False
        owners = {f"deployment/{name}" for name in wanted}
        # A kubelet may take a minute to remove a pod of which nothing runs any more.
        return not any(
            pod.deleted_wall_ns is not None and pod.runs and pod.owner in owners
            for pod in self._pods.values()
        )

    async def _measure_clock(self, recorder: Recorder[ClusterChange]) -> None:
        try:
            clock = await self._view.cluster.measure_clock()
        except ApiError as error:
            raise EnvironmentFailure(str(error)) from error
        if clock is not None:
            told = ClusterClock(low_ns=clock.low_ns, high_ns=clock.high_ns)
            recorder.write(ClusterChange(at_ns=time.monotonic_ns(), change="clock", clock=told))

    async def _follow(
        self,
        kind: str,
        path: str,
        recorder: Recorder[ClusterChange],
        first: asyncio.Event,
        group: asyncio.TaskGroup,
    ) -> None:
        def gap(reason: str) -> None:
            now_ns = time.monotonic_ns()
            recorder.write(ClusterChange(at_ns=now_ns, change="gap", name=kind, error=reason))

        seen: set[str] = set()
        try:
            async for observed in self._view.cluster.follow(path, gap):
                if observed.change == "complete":
                    for name in self._unchanged.names(kind) - seen:
                        gone = ClusterChange(at_ns=observed.at_ns, change="deleted", name=name)
                        self._write(kind, self._as_it_was(kind, gone), recorder)
                    seen = set()
                    first.set()
                    continue
                change = change_of(kind, observed)
                if change is None:
                    continue
                if observed.change == "listed":
                    seen.add(change.name)
                self._write(kind, change, recorder)
                self._take(change, initial=not first.is_set(), group=group)
        except ApiError as error:
            raise EnvironmentFailure(str(error)) from error

    def _as_it_was(self, kind: str, gone: ClusterChange) -> ClusterChange:
        if kind == "Pod" and gone.name in self._pods:
            return ClusterChange(
                at_ns=gone.at_ns,
                change="deleted",
                name=gone.name,
                pod=self._pods.pop(gone.name),
            )
        return gone

    def _write(self, kind: str, change: ClusterChange, recorder: Recorder[ClusterChange]) -> None:
        if self._unchanged.new(kind, change):
            recorder.write(change)

    def _take(self, change: ClusterChange, *, initial: bool, group: asyncio.TaskGroup) -> None:
        """Keep what the end of the rollout depends on, and follow the logs of new containers."""
        gone = change.change == "deleted"
        if change.deployment is not None:
            self._deployments[change.name] = change.deployment
            if initial:
                self._generation_before[change.name] = change.deployment.generation
            if gone:
                self._deployments.pop(change.name, None)
        elif change.pod is not None:
            self._pods[change.name] = change.pod
            if gone:
                self._pods.pop(change.name, None)
            else:
                self._follow_logs(change.name, change.pod, group, from_now=initial)
        elif change.job is not None:
            self._take_job(change.name, change.job, initial=initial, gone=gone)
        self._changed.set()

    def _take_job(self, name: str, job: JobState, *, initial: bool, gone: bool) -> None:
        if (job.owner or "").startswith("cronjob/"):
            return  # it runs whenever its time has come, and is none of the release
        if initial:
            self._old_jobs.add(name)
        elif gone:
            self._old_jobs.discard(name)  # the next one of its name is another Job
        elif job.outcome == "Failed" and name not in self._old_jobs:
            told = (job.reason, job.message)
            self._failed_jobs[name] = ": ".join(one for one in told if one)

    def _follow_logs(
        self, name: str, pod: PodState, group: asyncio.TaskGroup, *, from_now: bool
    ) -> None:
        if not self._view.logs or len(self._followed) >= MOST_LOGS:
            return
        chosen = self._view.target.deployment
        mine = chosen is None or pod.owner == f"deployment/{chosen}"
        if not mine and not (pod.owner or "").startswith("job/"):
            return
        for number, container in enumerate(pod.containers):
            key = f"{name}/{container.name}", container.restarts
            if container.state == "waiting" or key in self._followed:
                continue
            self._followed.add(key)
            suffix = "" if number == 0 else f".{container.name}"
            target = self._folder / f"{name}{suffix}.log"
            following = self._log(name, container.name, target, from_now=from_now)
            self._logs.append(group.create_task(following, name=f"log of {name}"))

    async def _log(self, pod: str, container: str, target: Path, *, from_now: bool) -> None:
        namespace = self._view.target.namespace
        with target.open("ab", buffering=0) as file:
            while True:
                try:
                    async for chunk in self._view.cluster.log(
                        namespace, pod, container, from_now=from_now
                    ):
                        file.write(chunk)
                except ApiError:
                    pass  # the container is gone, or not there yet: the watch of its pod tells
                except EnvironmentFailure:
                    from_now = True
                    await asyncio.sleep(_LOG_AGAIN_SECONDS)
                    continue
                return
