"""Applies versions for strategies of ours: a Deployment's template becomes pods, one by one."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.errors import PlatformError
from orchestrator.kubernetes.client import Cluster, Json
from orchestrator.kubernetes.errors import ApiError
from orchestrator.kubernetes.manifests import ManifestError, name_of, served
from orchestrator.kubernetes.pod_manifest import (
    TemplateError,
    port_of,
    selecting_served,
    selects,
)
from orchestrator.model import Version
from scenarios.runner.cluster.deploying import Deployer, ServingObjects
from scenarios.scenario.reader import Loaded

_RIGHTS = (
    *((verb, "pods", "", "") for verb in ("create", "patch", "delete")),
    ("get", "pods", "", "proxy"),
)


class PodDeployer(Deployer):
    """Applies all of a version but the Deployment that serves, whose template it gives.

    Each Service that selects those pods is changed so that it selects only pods with the label of
    those that serve.
    """

    def __init__(
        self, loaded: Loaded, cluster: Cluster, namespace: str, log: Path, scratch: Path
    ) -> None:
        super().__init__(loaded, cluster, namespace, log, scratch)
        self.needed = _RIGHTS
        self._deployments: dict[str, Json] = {}
        self._last = ""
        self._applying = asyncio.Lock()

    async def apply_services(self, version: str) -> None:
        """Apply the Services of a version."""
        await self._apply(version, only_services=True)

    async def apply(self, version: str, *, dry: bool = False) -> None:
        """Apply all of a version but the Deployment that serves.

        Args:
            version: the version.
            dry: only let the cluster check it, the Deployment included.

        Raises:
            ManifestError: a manifest cannot be used.
            EnvironmentFailure: the cluster does not answer.
            ApiError: it is busy.
        """
        if dry:
            await super().apply(version, dry=True)
            return
        await self._apply(version)
        self._last = version

    async def _apply(self, version: str, *, only_services: bool = False) -> None:
        objects = await self._objects(version)
        _, deployment = _served(objects, self._spec.service)
        template = deployment["spec"]["template"]
        if not only_services:  # before, some values are not known yet
            self._deployments[version] = self._ours(deployment, version)
        for one in objects:
            if one is deployment or (only_services and one["kind"] != "Service"):
                continue
            found = self._ours(one, version)
            if one["kind"] == "Service" and selects(one, template):
                found = selecting_served(found)
            await self.resources.apply(found, self.namespace)

    async def served(self) -> ServingObjects:
        """The Service, and the Deployment whose template the newest pods have."""
        return ServingObjects(await self.service(), self._deployments[self._last])

    async def template_of(self, version: Version, replica_id: str) -> Mapping[str, Any]:
        """The pod template of a version, all of whose other objects are applied by then.

        Raises:
            PlatformError: the cluster refuses one of them.
        """
        async with self._applying:  # several replicas start at the same time
            if version.name != self._last:
                try:
                    await self.apply(version.name)
                except (ManifestError, ApiError) as error:
                    raise PlatformError(f"{replica_id}: {error}") from error
        template: Mapping[str, Any] = self._deployments[version.name]["spec"]["template"]
        return template

    async def deployment(self, version: str) -> Json:
        """The Deployment of a version, whose template its pods have.

        Raises:
            ManifestError: there is none, or its template does not say where the pods listen.
        """
        _, found = _served(await self._objects(version), self._spec.service)
        try:
            port_of(found["spec"]["template"])
        except TemplateError as error:
            raise ManifestError(f"{name_of(found)}: {error}") from error
        return self._ours(found, version)


def _served(objects: list[Json], service: str | None) -> tuple[Json, Json]:
    """The Service and the Deployment that serve; both are members of the objects."""
    return served(
        [one for one in objects if one["kind"] == "Service"],
        [one for one in objects if one["kind"] == "Deployment"],
        service,
    )
