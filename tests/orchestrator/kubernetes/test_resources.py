"""Objects are applied where the cluster has their kind, and only inside of a namespace."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.kubernetes.client import Cluster, connected
from orchestrator.kubernetes.manifests import ManifestError
from orchestrator.kubernetes.resources import Resources
from tests.support.stored_objects import KINDS, StoredObjects, serving

Json = dict[str, Any]


@pytest.fixture
async def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Cluster]:
    """A cluster with the usual kinds."""
    api = StoredObjects()
    api.documents |= KINDS
    async with serving(api, tmp_path) as config:
        monkeypatch.setenv("KUBECONFIG", str(config))
        async with connected(None) as client:
            yield client


def thing(version: str, kind: str) -> Json:
    """An object."""
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "web"}}


async def test_an_object_is_applied_at_its_place(cluster: Cluster) -> None:
    """That of the core, and that of an API group."""
    resources = Resources(cluster)
    await resources.apply(thing("v1", "Service"), "shop")
    await resources.apply(thing("apps/v1", "Deployment"), "shop")
    assert await cluster.get("/api/v1/namespaces/shop/services/web")
    assert await cluster.get("/apis/apps/v1/namespaces/shop/deployments/web")


@pytest.mark.parametrize(
    ("version", "kind", "said"),
    [
        ("apps/v9", "Deployment", "deployment/web: the cluster has no Deployment of apps/v9"),
        ("apps/v1", "Rollout", "rollout/web: the cluster has no Rollout of apps/v1"),
        (
            "v1",
            "Namespace",
            "namespace/web belongs to the whole cluster, and a run changes nothing",
        ),
    ],
)
async def test_what_has_no_place_in_a_namespace_is_refused(
    version: str, kind: str, said: str, cluster: Cluster
) -> None:
    """Whether the cluster does not know it, or it would change the cluster."""
    with pytest.raises(ManifestError) as caught:
        await Resources(cluster).apply(thing(version, kind), "shop")
    assert said in str(caught.value)


async def test_the_rights_that_objects_need(cluster: Cluster) -> None:
    """Each kind once."""
    objects = [thing("v1", "Service"), thing("v1", "Service"), thing("apps/v1", "Deployment")]
    assert await Resources(cluster).rights(objects) == (
        ("create", "services", "", ""),
        ("patch", "services", "", ""),
        ("create", "deployments", "apps", ""),
        ("patch", "deployments", "apps", ""),
    )
