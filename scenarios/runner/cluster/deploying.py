"""Applies the versions of a scenario in the namespace of a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from orchestrator.errors import EnvironmentFailure
from orchestrator.kubernetes.client import Cluster, Json, lacking
from orchestrator.kubernetes.manifests import (
    ManifestError,
    chosen_service,
    filled,
    objects_in,
    owned,
    read_manifests,
    served,
    uses,
)
from orchestrator.kubernetes.ownership import RIGHTS
from orchestrator.kubernetes.resources import Resources
from orchestrator.placeholders import fill
from scenarios.runner.deploy_command import printed_by, run_command
from scenarios.scenario.platform_checks import IN_MANIFESTS, filled_path
from scenarios.scenario.reader import Loaded

_IN_NAMESPACE = (
    *((verb, "pods", "", "") for verb in ("list", "watch")),
    *((verb, "deployments", "apps", "") for verb in ("list", "watch")),
    ("list", "services", "", ""),
)
_FOR_JOBS = tuple((verb, "jobs", "batch", "") for verb in ("create", "patch", "list", "watch"))


class ServingObjects(NamedTuple):
    """What serves the users.

    Attributes:
        service: the Service.
        deployment: the Deployment that it leads to.
    """

    service: Json
    deployment: Json


class Deployer:
    """Applies versions.

    Attributes:
        values: what fills the placeholders; what is not known yet is missing.
        namespace: the namespace; it need not exist yet.
        labels: the labels of everything that is made.
        needed: further rights that are needed in the namespace.
    """

    needed: Sequence[tuple[str, str, str, str]] = ()

    def __init__(
        self, loaded: Loaded, cluster: Cluster, namespace: str, log: Path, scratch: Path
    ) -> None:
        """Say what is applied, and where.

        Args:
            loaded: the scenario.
            cluster: the cluster.
            namespace: the namespace of the run.
            log: what the output of commands is appended to.
            scratch: a file that holds what a command prints.
        """
        self.namespace = namespace
        self.labels: Mapping[str, str] = {}
        self.values = {"namespace": namespace, "context": cluster.context}
        self.resources = Resources(cluster)
        self._loaded = loaded
        self._spec = loaded.scenario.platform
        self._cluster = cluster
        self._log = log
        self._scratch = scratch

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions of the release, in the order in which they come first."""
        release = self._loaded.scenario.release
        deployed = (step.deploy for step in release.steps if step.deploy is not None)
        return tuple(dict.fromkeys([release.serving, *deployed]))

    async def check(self) -> None:
        """See, before anything is made, that the manifests and the rights suffice.

        Raises:
            ManifestError: a manifest cannot be used.
            EnvironmentFailure: a right is missing, or the cluster does not answer.
            ApiError: a question was refused.
        """
        wanted = dict.fromkeys((*_IN_NAMESPACE, *self.needed))
        if any(step.migrate is not None for step in self._loaded.scenario.release.steps):
            wanted |= dict.fromkeys(_FOR_JOBS)
        for version in self.versions:
            path = self._spec.manifests_of(version)
            if not isinstance(path, str):
                continue  # what a command makes is seen when it is run
            objects = self._without_namespace(read_manifests(Path(filled_path(path, version))))
            served(
                [one for one in objects if one["kind"] == "Service"],
                [one for one in objects if one["kind"] == "Deployment"],
                self._spec.service,
            )
            blank = dict.fromkeys(IN_MANIFESTS, "") | {"namespace": self.namespace}
            for one in objects:
                owned(filled(one, blank, IN_MANIFESTS), self.namespace, {})
            wanted |= dict.fromkeys(await self.resources.rights(objects))
        missing = await lacking(self._cluster, "", RIGHTS)
        missing += await lacking(self._cluster, self.namespace, tuple(wanted))
        if missing:
            raise EnvironmentFailure(
                f"no rights to {', '.join(missing)} in the cluster of the context "
                f"{self._cluster.context!r}; docs/kubernetes.md has the ClusterRole that suffices"
            )

    def needs(self, placeholder: str) -> bool:
        """Whether a manifest or a command of any version has this placeholder."""
        for version in self.versions:
            source = self._spec.applies(version) or self._spec.manifests_of(version) or ()
            if isinstance(source, str):
                if uses(read_manifests(Path(filled_path(source, version))), placeholder):
                    return True
            elif any(f"{{{placeholder}}}" in word for word in source):
                return True
        return False

    async def apply_services(self, version: str) -> None:
        """Apply the Services of a version, whose address its other objects may need.

        A command applies everything at once.

        Raises:
            ManifestError: a manifest cannot be used, or a command failed.
            EnvironmentFailure: the cluster does not answer.
            ApiError: it is busy.
        """
        if self._spec.applies(version) is not None:
            await self.apply(version)
            return
        for one in await self._objects(version):
            if one["kind"] == "Service":
                await self.resources.apply(self._ours(one, version), self.namespace)

    async def apply(self, version: str, *, dry: bool = False) -> None:
        """Apply all of a version.

        Args:
            version: the version.
            dry: only let the cluster check it; what a command applies cannot be checked.

        Raises:
            ManifestError: a manifest cannot be used, or a command failed.
            EnvironmentFailure: the cluster does not answer.
            ApiError: it is busy.
        """
        command = self._spec.applies(version)
        if command is None:
            for one in await self._objects(version):
                await self.resources.apply(self._ours(one, version), self.namespace, dry=dry)
        elif not dry:
            failed = await run_command(self._words(command, version), self._log, self._folder)
            if failed is not None:
                raise ManifestError(failed)

    async def service(self) -> Json:
        """The Service that users will request; its Deployment may not be there yet.

        Raises:
            ManifestError: there is none, or several.
            ApiError: a question was refused.
            EnvironmentFailure: the cluster does not answer.
        """
        path = f"/api/v1/namespaces/{self.namespace}/services"
        listed = await self._cluster.get(path)
        return chosen_service(listed.get("items", ()), self._spec.service)

    async def served(self) -> ServingObjects:
        """The Service and the Deployment that serve the users now.

        Raises:
            ManifestError: the Service leads to no Deployment.
            ApiError: a question was refused.
            EnvironmentFailure: the cluster does not answer.
        """
        base = f"namespaces/{self.namespace}"
        services = await self._cluster.get(f"/api/v1/{base}/services")
        deployments = await self._cluster.get(f"/apis/apps/v1/{base}/deployments")
        every = services.get("items", ()), deployments.get("items", ())
        return ServingObjects(*served(*every, self._spec.service))

    @property
    def _folder(self) -> Path:
        return self._loaded.path.parent

    async def _objects(self, version: str) -> list[Json]:
        """The objects of a version, with placeholders."""
        source = self._spec.manifests_of(version)
        if isinstance(source, str):
            return self._without_namespace(read_manifests(Path(filled_path(source, version))))
        words = self._words(source or (), version)
        failed = await printed_by(words, self._scratch, self._log, self._folder)
        if failed is not None:
            raise ManifestError(failed)
        objects = objects_in(self._scratch.read_text(errors="replace"), words[0])
        if not objects:
            raise ManifestError(f"{words[0]} printed no manifest")
        return self._without_namespace(objects)

    def _without_namespace(self, objects: Sequence[Json]) -> list[Json]:
        """The objects without the namespace itself, which the run makes."""
        names = ("{namespace}", self.namespace)
        return [
            one
            for one in objects
            if one["kind"] != "Namespace" or one["metadata"]["name"] not in names
        ]

    def _ours(self, found: Json, version: str) -> Json:
        values = {**self.values, "version": version}
        return owned(filled(found, values, IN_MANIFESTS), self.namespace, self.labels)

    def _words(self, command: Sequence[str], version: str) -> list[str]:
        values = {**self.values, "version": version}
        return [fill(word, values) for word in command]
