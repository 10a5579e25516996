"""Where the objects of a manifest are in the API, and how they are applied."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from orchestrator.kubernetes.client import Cluster
from orchestrator.kubernetes.errors import INTERNAL, NOT_FOUND, ApiError
from orchestrator.kubernetes.manifests import Json, ManifestError, name_of, with_protocols

_WRITTEN = ("create", "patch")


class Resource(NamedTuple):
    """A kind of object in the API.

    Attributes:
        group: its API group; empty for the core.
        version: the version of the group.
        name: its plural name, such as `deployments`.
        namespaced: whether its objects belong to a namespace.
    """

    group: str
    version: str
    name: str
    namespaced: bool

    def path(self, namespace: str, name: str) -> str:
        """The path of an object in a namespace."""
        base = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        return f"{base}/namespaces/{namespace}/{self.name}/{name}"


class Resources:
    """The kinds that a cluster has, asked for when they are needed."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._known: dict[str, Mapping[str, Resource]] = {}

    async def of(self, found: Json) -> Resource:
        """The kind of an object, which must belong to a namespace.

        Raises:
            ManifestError: the cluster does not have the kind, or it belongs to no namespace.
            ApiError: the question was refused.
            EnvironmentFailure: the server does not answer.
        """
        version, kind = found["apiVersion"], found["kind"]
        if version not in self._known:
            self._known[version] = await self._listed(version)
        resource = self._known[version].get(kind)
        if resource is None:
            raise ManifestError(f"{name_of(found)}: the cluster has no {kind} of {version}")
        if not resource.namespaced:
            raise ManifestError(
                f"{name_of(found)} belongs to the whole cluster, and a run changes nothing outside "
                "of its own namespace; make it beforehand"
            )
        return resource

    async def apply(self, found: Json, namespace: str, *, dry: bool = False) -> Json:
        """Apply an object in a namespace; returns it as it then is.

        Args:
            found: the object.
            namespace: the namespace.
            dry: whether the cluster only checks it.

        Raises:
            ManifestError: the cluster refuses it.
            ApiError: the cluster is busy.
            EnvironmentFailure: the server does not answer.
        """
        resource = await self.of(found)
        path = resource.path(namespace, found["metadata"]["name"])
        try:
            return await self._cluster.apply(path, with_protocols(found), dry=dry)
        except ApiError as error:
            if error.passes and error.status != INTERNAL:  # 500 is also said of a manifest
                raise
            raise ManifestError(f"{name_of(found)}: {error}") from error

    async def rights(self, objects: Iterable[Json]) -> tuple[tuple[str, str, str, str], ...]:
        """What one must be allowed to do to apply objects; for `client.lacking`."""
        kinds = dict.fromkeys([await self.of(one) for one in objects])
        return tuple((verb, one.name, one.group, "") for one in kinds for verb in _WRITTEN)

    async def _listed(self, version: str) -> Mapping[str, Resource]:
        group, _, number = version.rpartition("/")
        try:
            found = await self._cluster.get(f"/apis/{version}" if group else f"/api/{version}")
        except ApiError as error:
            if error.status == NOT_FOUND:
                return {}
            raise
        return {
            one["kind"]: Resource(group, number, one["name"], bool(one["namespaced"]))
            for one in found.get("resources", ())
            if "/" not in one["name"]
        }
