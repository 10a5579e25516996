"""What is recorded of a namespace, and when a rollout has ended."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import EnvironmentFailure
from orchestrator.kubernetes import client
from orchestrator.kubernetes.target import target_of
from scenarios.errors import UsageError
from scenarios.evidence.cluster import ClusterChange
from scenarios.evidence.run_folder import RunFolder
from scenarios.recording.cluster.view import ClusterView, looked_at
from scenarios.recording.cluster.watching import ClusterWatch
from tests.support import cluster as k8s
from tests.support.kubernetes_api import KubernetesApi, serving

Json = dict[str, Any]
WEB = "shop:deployment/web"
DONE = {"updatedReplicas": 3, "replicas": 3, "availableReplicas": 3}


def deployment(generation: int, **status: Any) -> Json:
    """deployment/web with a template, and what its controller says."""
    found = k8s.deployment(**{"observedGeneration": generation, **status})
    found["metadata"]["generation"] = generation
    found["spec"]["template"] = {"metadata": {"labels": {"app": "web"}}}
    return found


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[KubernetesApi]:
    """A namespace with a complete deployment/web of one pod."""
    monkeypatch.setattr(client, "_PERIODS", 1)
    monkeypatch.setattr(client, "_AGAIN_SECONDS", 0.01)
    found = KubernetesApi()
    await found.put("Deployment", deployment(1, **DONE))
    await found.put("Pod", k8s.pod("web-1"))
    async with serving(found, tmp_path) as config:
        monkeypatch.setenv("KUBECONFIG", str(config))
        yield found


@asynccontextmanager
async def watched(folder: Path, target: str = WEB) -> AsyncIterator[ClusterWatch]:
    """The watch of the namespace."""
    async with looked_at(target_of(target), "127.0.0.1", 1) as view:
        watch = ClusterWatch(view, folder)
        async with watch.watching():
            yield watch


async def view_of(target: str, host: str = "127.0.0.1", port: int = 1) -> ClusterView:
    async with looked_at(target_of(target), host, port) as view:
        return view


def recorded(folder: Path, wanted: Callable[[ClusterChange], bool]) -> list[ClusterChange]:
    return [one for one in RunFolder(folder).cluster_changes.read() if wanted(one)]


async def test_a_rollout_has_ended_when_its_last_old_pod_is_gone(
    api: KubernetesApi, tmp_path: Path
) -> None:
    """Not before the controller has seen the template, and not while a pod is being deleted."""
    async with watched(tmp_path) as watch:
        await api.put("Deployment", deployment(2, observedGeneration=1, **DONE))
        ended = asyncio.create_task(watch.completed())
        await api.put("Pod", k8s.pod("web-1", deleted=3))
        await api.put("Deployment", deployment(2, **DONE))
        done, _ = await asyncio.wait([ended], timeout=0.3)
        assert not done, "a pod is still being deleted"
        await api.put("Pod", k8s.pod("web-1", deleted=3), "DELETED")
        assert await asyncio.wait_for(ended, 10) is None
    pods = recorded(tmp_path, lambda one: one.pod is not None)
    assert [one.change for one in pods] == ["listed", "modified", "deleted"]
    assert (tmp_path / "web-1.log").read_text() == "a line of web-1\n"
    assert recorded(tmp_path, lambda one: one.change == "clock")


async def test_a_rollout_that_stalls_and_a_job_that_fails(
    api: KubernetesApi, tmp_path: Path
) -> None:
    """Both end the wait with the words of the cluster; what failed before does not."""
    condition = {"type": "Progressing", "status": "False", "reason": "Late", "message": "no"}
    failed = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}
    old = {"metadata": {"name": "old"}, "status": {"conditions": [failed]}}
    await api.put("Job", old)
    async with watched(tmp_path) as watch:
        await api.put("Deployment", deployment(2, conditions=[condition]))
        told = await asyncio.wait_for(watch.completed(), 10)
        assert told == "deployment/web makes no progress: Late: no"
        await api.put("Job", {**old, "metadata": {"name": "migrate"}}, "ADDED")
        await api.put("Deployment", deployment(3, observedGeneration=2))
        told = await asyncio.wait_for(watch.completed(), 10)
        assert told == "job/migrate failed: BackoffLimitExceeded"


async def test_which_jobs_are_of_the_release(api: KubernetesApi, tmp_path: Path) -> None:
    """What a CronJob made is none of it; a Job that replaces one of the same name is."""
    failed = {"conditions": [{"type": "Failed", "status": "True", "reason": "Late"}]}
    made = {
        "name": "report",
        "ownerReferences": [{"kind": "CronJob", "name": "report", "controller": True}],
    }
    await api.put("Job", {"metadata": {"name": "migrate"}, "status": failed})
    async with watched(tmp_path) as watch:
        await api.put("Job", {"metadata": made, "status": failed}, "ADDED")
        await api.put("Deployment", deployment(2, **DONE))
        assert await asyncio.wait_for(watch.completed(), 10) is None
        await api.put("Deployment", deployment(3, observedGeneration=2))
        await api.put("Job", {"metadata": {"name": "migrate"}, "status": failed}, "DELETED")
        await api.put("Job", {"metadata": {"name": "migrate"}, "status": failed}, "ADDED")
        told = await asyncio.wait_for(watch.completed(), 10)
        assert told == "job/migrate failed: Late"


@pytest.mark.parametrize(
    ("conditions", "message", "said"),
    [
        ([{"type": "Complete", "status": "True"}], None, None),
        (
            [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}],
            "column is missing",
            "BackoffLimitExceeded: column is missing",
        ),
        ([], "Back-off pulling", "ImagePullBackOff: Back-off pulling"),
    ],
)
async def test_the_end_of_a_job_is_waited_for(
    conditions: list[Json],
    message: str | None,
    said: str | None,
    api: KubernetesApi,
    tmp_path: Path,
) -> None:
    """With the last words of its pod; an image that cannot be had is an end, too."""
    kind = "terminated" if conditions else "waiting"
    reason = "Error" if conditions else "ImagePullBackOff"
    state = {kind: {"reason": reason, "message": message}}
    job_pod = k8s.pod("migrate-x", state=state)
    owner = {"kind": "Job", "name": "migrate", "controller": True}
    job_pod["metadata"]["ownerReferences"] = [owner]
    async with watched(tmp_path) as watch:
        ended = asyncio.create_task(watch.job_ended("migrate"))
        await api.put("Job", {"metadata": {"name": "migrate"}, "status": {"active": 1}}, "ADDED")
        done, _ = await asyncio.wait([ended], timeout=0.1)
        assert not done
        if message is not None:
            await api.put("Pod", job_pod, "ADDED")
        status = {"conditions": conditions}
        await api.put("Job", {"metadata": {"name": "migrate"}, "status": status})
        assert await asyncio.wait_for(ended, 10) == said


async def test_what_was_applied_beside_the_service_is_waited_for(
    api: KubernetesApi, tmp_path: Path
) -> None:
    """A worker of the same release is a part of it; for a command that deploys it is not."""
    worker = deployment(1, **DONE)
    worker["metadata"]["name"] = "worker"
    await api.put("Deployment", worker)
    async with watched(tmp_path) as watch:
        await api.put("Deployment", deployment(2, **DONE))
        changed = deployment(2, observedGeneration=1)
        changed["metadata"]["name"] = "worker"
        await api.put("Deployment", changed)
        assert await asyncio.wait_for(watch.completed(), 10) is None
        ended = asyncio.create_task(watch.completed(beside=True))
        done, _ = await asyncio.wait([ended], timeout=0.2)
        assert not done
        changed = deployment(2, **DONE)
        changed["metadata"]["name"] = "worker"
        await api.put("Deployment", changed)
        assert await asyncio.wait_for(ended, 10) is None


async def test_a_deployment_that_the_command_left_alone_does_not_count(
    api: KubernetesApi, tmp_path: Path
) -> None:
    """Where no Deployment is named, one that has been broken for long does not hold the run up."""
    broken = deployment(5, replicas=1)
    broken["metadata"]["name"] = "broken"
    await api.put("Deployment", broken)
    async with watched(tmp_path, "shop") as watch:
        await api.put("Deployment", deployment(2, **DONE))
        assert await asyncio.wait_for(watch.completed(), 10) is None


async def test_what_vanished_while_the_server_forgot_is_recorded_as_deleted(
    api: KubernetesApi, tmp_path: Path
) -> None:
    """After a gap, the new list tells what is gone; the gap is recorded."""
    async with watched(tmp_path):
        await api.forget("Pod", "web-1")
        await api.put("Pod", k8s.pod("web-2"), "ADDED")
        for _ in range(1000):
            await asyncio.sleep(0.01)
            if (tmp_path / "web-2.log").exists():
                break
    pods = recorded(tmp_path, lambda one: one.pod is not None)
    assert ("web-1", "deleted") in [(one.name, one.change) for one in pods]
    assert recorded(tmp_path, lambda one: one.change == "gap")


async def test_rights_that_are_missing(api: KubernetesApi) -> None:
    """Two are needed; without the others the verdict says what was not seen."""
    api.denied = {"watch events", "list nodes", "get pods"}
    view = await view_of(WEB)
    assert set(view.paths) == {"Pod", "Deployment", "EndpointSlice", "Job"}
    assert not view.logs
    unseen = " ".join(view.settings.unseen)
    assert "events were not watched (no rights to watch them)" in unseen
    assert "the logs of pods were not read" in unseen
    assert view.settings.version == "v1.20.2"
    api.denied = {"watch pods"}
    with pytest.raises(EnvironmentFailure, match="no rights to watch pods in the namespace 'shop'"):
        await view_of(WEB)


async def test_names_that_do_not_exist(api: KubernetesApi) -> None:
    """The message says what there is."""
    with pytest.raises(UsageError, match="there is no namespace 'other'"):
        await view_of("other")
    with pytest.raises(UsageError, match=r"no deployment/wev; did you mean 'web'\?"):
        await view_of("shop:deployment/wev")
    with pytest.raises(UsageError, match="the kubeconfig has no context 'away'; it has: here"):
        await view_of("away/shop")
    spec = {"selector": {"app": "other"}, "ports": [{"port": 80, "nodePort": 30080}]}
    await api.put("Service", {"metadata": {"name": "other"}, "spec": spec})
    with pytest.raises(UsageError, match="service/other has this address and selects app=other"):
        await view_of(WEB, "10.77.0.11", 30080)
