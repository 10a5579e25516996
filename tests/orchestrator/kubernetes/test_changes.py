"""Objects of a cluster are created, applied, patched and deleted as the API wants it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.kubernetes.client import Cluster, connected
from orchestrator.kubernetes.errors import ApiError
from tests.support.stored_objects import StoredObjects, serving

PODS = "/api/v1/namespaces/shop/pods"
WEB = f"{PODS}/web"


@pytest.fixture
def api() -> StoredObjects:
    """A cluster without objects."""
    return StoredObjects()


@pytest.fixture
async def cluster(
    api: StoredObjects, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Cluster]:
    """Its client."""
    async with serving(api, tmp_path) as config:
        monkeypatch.setenv("KUBECONFIG", str(config))
        async with connected(None) as client:
            yield client


async def test_an_object_is_created_once(api: StoredObjects, cluster: Cluster) -> None:
    """A second one of the same name is refused, and the refusal has its status."""
    made = await cluster.create(PODS, {"metadata": {"name": "web"}})
    assert made["metadata"]["uid"] == api.objects[WEB]["metadata"]["uid"]
    with pytest.raises(ApiError) as caught:
        await cluster.create(PODS, {"metadata": {"name": "web"}})
    assert caught.value.status == 409


async def test_an_object_is_applied_whether_it_exists_or_not(
    api: StoredObjects, cluster: Cluster
) -> None:
    """Afterwards its fields are as they were sent, and no others."""
    await cluster.apply(WEB, {"spec": {"a": 1}})
    await cluster.apply(WEB, {"spec": {"b": 2}})
    assert api.objects[WEB]["spec"] == {"b": 2}


async def test_a_patch_changes_only_what_it_names(api: StoredObjects, cluster: Cluster) -> None:
    """The other fields stay, and an object that does not exist is refused."""
    await cluster.apply(WEB, {"spec": {"a": 1}, "status": {"phase": "Running"}})
    await cluster.patch(WEB, {"spec": {"a": 2}})
    assert (api.objects[WEB]["spec"], api.objects[WEB]["status"]["phase"]) == ({"a": 2}, "Running")
    with pytest.raises(ApiError, match="not found"):
        await cluster.patch(f"{PODS}/other", {"spec": {}})


async def test_what_is_gone_already_may_be_deleted(api: StoredObjects, cluster: Cluster) -> None:
    """The end of a run does not fail because somebody else was faster."""
    await cluster.apply(WEB, {})
    await cluster.delete(WEB, grace_seconds=0)
    await cluster.delete(WEB)
    assert not api.objects


async def test_a_selector_limits_a_watch(api: StoredObjects, cluster: Cluster) -> None:
    """The list and the changes have only the objects with the label."""
    await api.put(WEB, {"metadata": {"labels": {"app": "web"}}})
    await api.put(f"{PODS}/job", {})
    changes = cluster.follow(PODS, lambda _: None, labelSelector="app=web")
    found = [await anext(changes), await anext(changes)]
    await api.put(f"{PODS}/job", {})
    await api.put(WEB, {"metadata": {"labels": {"app": "web"}}})
    found.append(await anext(changes))
    names = [(one.change, one.object.get("metadata", {}).get("name")) for one in found]
    assert names == [("listed", "web"), ("complete", None), ("modified", "web")]
    await changes.aclose()
