"""A namespace of a run's own: made with it, removed with it, and never anybody else's."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from orchestrator.errors import EnvironmentFailure
from orchestrator.kubernetes import ownership as module
from orchestrator.kubernetes.client import Cluster, connected
from orchestrator.kubernetes.errors import ApiError, ClusterNameError
from orchestrator.kubernetes.locality import ensure_meant, is_local
from orchestrator.kubernetes.owner import Owner, this_process
from orchestrator.kubernetes.ownership import (
    MANAGED_BY,
    NAMESPACES,
    RUN,
    labels_of,
    own_namespace,
    owned_namespaces,
    remove_namespace,
)
from tests.support.stored_objects import StoredObjects, serving

SHOP = f"{NAMESPACES}/shop"


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> StoredObjects:
    """A cluster without a namespace."""
    monkeypatch.setattr(module, "_TRY_AGAIN_SECONDS", 0.0)
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


async def test_it_is_there_inside_the_block_and_gone_after_it(
    api: StoredObjects, cluster: Cluster
) -> None:
    """It has the labels of the run and says whose it is."""
    async with own_namespace(cluster, "shop", "runs/20261128 big-bang") as labels:
        assert labels == {MANAGED_BY: "hitless", RUN: "runs-20261128-big-bang"}
        assert api.objects[SHOP]["metadata"]["labels"] == labels
        (found,) = await owned_namespaces(cluster)
        assert (found.name, found.owner, found.state) == ("shop", this_process(), "alive")
    assert SHOP not in api.objects


async def test_an_error_and_a_cancellation_remove_it_too(
    api: StoredObjects, cluster: Cluster
) -> None:
    """Whoever waits for the block's end knows that nothing is left."""
    with pytest.raises(RuntimeError, match="inside"):
        async with own_namespace(cluster, "shop", "r"):
            raise RuntimeError("inside")
    assert not api.objects

    async def run() -> None:
        async with own_namespace(cluster, "shop", "r"):
            inside.set()
            await asyncio.Event().wait()

    inside = asyncio.Event()
    task = asyncio.create_task(run())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not api.objects


async def test_a_cancellation_while_it_is_made_leaves_nothing(
    api: StoredObjects, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cluster may have carried out a request whose response nobody waits for any more."""
    made, go_on = asyncio.Event(), asyncio.Event()
    create = cluster.create

    async def slowly(path: str, body: dict[str, object]) -> dict[str, object]:
        created = await create(path, body)
        made.set()
        await go_on.wait()
        return created

    monkeypatch.setattr(cluster, "create", slowly)

    async def run() -> None:
        async with own_namespace(cluster, "shop", "r"):
            pass

    task = asyncio.create_task(run())
    await made.wait()
    task.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not api.objects


@pytest.mark.parametrize(
    ("labels", "pid", "said"),
    [
        ({}, None, "exists and is none of hitless', so nothing was changed"),
        (labels_of("r1"), 2**22 + 1, "left of the run r1, which was killed; `hitless clean"),
        (labels_of("r1"), 0, "belongs to the run r1"),
    ],
)
async def test_a_namespace_that_exists_is_left_as_it_is(
    labels: dict[str, str], pid: int | None, said: str, api: StoredObjects, cluster: Cluster
) -> None:
    """Whether it is somebody else's, that of a killed run, or that of a run that goes on."""
    mine = this_process()
    owner = mine if not pid else msgspec.structs.replace(mine, pid=pid)
    notes = {} if pid is None else {"hitless/owner": msgspec.json.encode(owner).decode()}
    await api.put(SHOP, {"metadata": {"labels": labels, "annotations": notes}})
    with pytest.raises(ClusterNameError, match=said):
        async with own_namespace(cluster, "shop", "r2"):
            pass
    assert api.asked == [f"POST {NAMESPACES}"]
    assert SHOP in api.objects


async def test_only_labelled_namespaces_are_ours(api: StoredObjects, cluster: Cluster) -> None:
    """A tool that calls itself hitless, but made no run, is none of ours either."""
    await api.put(f"{NAMESPACES}/default", {})
    await api.put(f"{NAMESPACES}/chart", {"metadata": {"labels": {MANAGED_BY: "hitless"}}})
    await api.put(f"{NAMESPACES}/b", {"metadata": {"labels": labels_of("r")}})
    await api.put(f"{NAMESPACES}/a", {"metadata": {"labels": labels_of("r")}})
    found = await owned_namespaces(cluster)
    assert [(one.name, one.state) for one in found] == [("a", "elsewhere"), ("b", "elsewhere")]


async def test_the_removal_waits_until_it_is_gone(api: StoredObjects, cluster: Cluster) -> None:
    """A namespace takes as long as its pods need."""
    api.lingering = True
    uid = str((await api.put(SHOP, {}))["metadata"]["uid"])
    removing = asyncio.create_task(remove_namespace(cluster, "shop", uid))
    await api.until_asked()
    assert not removing.done()
    await api.vanish(SHOP)
    async with asyncio.timeout(30):
        await removing


async def test_a_namespace_that_got_the_name_later_is_left_alone(
    api: StoredObjects, cluster: Cluster
) -> None:
    """Its uid tells it from ours."""
    await api.put(SHOP, {})
    await remove_namespace(cluster, "shop", "another uid")
    assert SHOP in api.objects


async def test_a_busy_server_is_asked_again(api: StoredObjects, cluster: Cluster) -> None:
    """An API server that restarts just then leaves nothing behind."""
    uid = str((await api.put(SHOP, {}))["metadata"]["uid"])
    api.refused["DELETE", 503] = 2
    await remove_namespace(cluster, "shop", uid)
    assert not api.objects


async def test_what_could_not_be_removed_is_told_with_what_went_wrong_before(
    api: StoredObjects, cluster: Cluster
) -> None:
    """One line has both, and the command that removes the namespace."""
    api.refused["DELETE", 403] = 1
    with pytest.raises(EnvironmentFailure) as caught:
        async with own_namespace(cluster, "shop", "r"):
            raise ApiError("the release broke", 500)
    assert str(caught.value) == (
        "the release broke; and the namespace 'shop' is left behind (the cluster: refused (403)); "
        "`hitless clean --cluster here` removes it"
    )


@pytest.mark.parametrize(
    ("context", "server", "local"),
    [
        ("kind-dev", "https://10.0.0.1:6443", True),
        ("k3d-dev", "https://0.0.0.0:6550", True),
        ("minikube", "https://192.168.49.2:8443", True),
        ("docker-desktop", "https://kubernetes.docker.internal:6443", True),
        ("any", "https://127.0.0.1:6443", True),
        ("any", "https://[::1]:6443", True),
        ("any", "http://localhost:8001", True),
        ("prod", "https://k8s.example.com", False),
        ("prod", "https://203.0.113.7", False),
        ("prod", "https://8.8.8.8", False),
        ("kindly-named", "https://k8s.example.com", False),
        ("minikube-prod", "https://k8s.example.com", False),
    ],
)
def test_a_cluster_of_this_machine(context: str, server: str, *, local: bool) -> None:
    """Its tool's name or its address tells it; no other cluster is changed without being named."""
    assert is_local(context, server) == local


async def test_another_cluster_must_be_named(cluster: Cluster) -> None:
    """Whoever works on a cluster of others by accident changes nothing there."""
    ensure_meant(cluster, None, by="--context NAME")
    cluster.server = "https://k8s.example.com"
    ensure_meant(cluster, "here", by="--context NAME")
    with pytest.raises(
        ClusterNameError, match="'here' of the kubeconfig is no cluster of this"
    ) as no:
        ensure_meant(cluster, None, by="--context NAME")
    assert str(no.value).endswith("so it must be named: --context NAME")


def test_a_process_is_told_from_all_others() -> None:
    """A process id is used again, on this machine and on others."""
    me, change = this_process(), msgspec.structs.replace
    assert me.state == "alive"
    assert change(me, started="1").state == "gone"
    assert change(me, pid=2**22 + 1).state == "gone"
    assert change(me, boot="another").state == "gone"
    assert change(me, host="another", boot="another").state == "elsewhere"
    assert change(me, space="another").state == "elsewhere"
    assert Owner(host="another", pid=1).state == "elsewhere"
