"""Sees, before anything is deployed, that a namespace of a cluster can be watched."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import EnvironmentFailure
from orchestrator.kubernetes.client import Cluster, connected, lacking
from orchestrator.kubernetes.errors import FORBIDDEN, NOT_FOUND, ApiError, ClusterNameError
from orchestrator.kubernetes.target import ClusterTarget
from scenarios.errors import UsageError, near
from scenarios.evidence.manifest import ClusterSettings
from scenarios.recording.cluster.reach import mismatch, reached


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
            yield await view_of(cluster, target, host, port)
    except ApiError as error:
        raise EnvironmentFailure(str(error)) from error
    except ClusterNameError as error:
        raise UsageError(f"--cluster {target}: {error}") from error


async def view_of(
    cluster: Cluster,
    target: ClusterTarget,
    host: str,
    port: int,
    *,
    replicas: int | None = None,
) -> ClusterView:
    """A view of a namespace of a cluster to which there is a connection already.

    Its arguments and errors are those of `looked_at`; an `ApiError` is a question that was refused.

    Args:
        cluster: the cluster.
        target: which namespace.
        host: the host of the URL that users request.
        port: its port.
        replicas: how many pods there are to be, where no Deployment makes them.
    """
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
    note: str | None = None
    if replicas is None:
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
