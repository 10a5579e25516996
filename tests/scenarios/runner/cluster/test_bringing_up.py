"""A version that will not come up is told early, in the words of the cluster."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import EnvironmentFailure
from orchestrator.kubernetes.client import Cluster, connected
from scenarios.runner.cluster.bringing_up import until_up
from tests.support.kubernetes_api import NAMESPACE, KubernetesApi, serving

Json = dict[str, Any]
DONE = {"observedGeneration": 1, "updatedReplicas": 1, "replicas": 1, "availableReplicas": 1}


def deployment(**status: object) -> Json:
    """A Deployment of one pod."""
    return {
        "metadata": {"name": "web", "generation": 1},
        "spec": {"replicas": 1},
        "status": status,
    }


def pod(state: Json, restarts: int = 0, **last: object) -> Json:
    """A pod whose container is in a state."""
    status = {"name": "web", "state": state, "restartCount": restarts, "lastState": last}
    return {
        "metadata": {"name": "web-1", "uid": "u"},
        "spec": {"containers": [{"name": "web", "image": "shop:a"}]},
        "status": {"phase": "Pending", "containerStatuses": [status]},
    }


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[KubernetesApi]:
    """A namespace with a Deployment that has no pod yet."""
    found = KubernetesApi()
    await found.put("Deployment", deployment())
    async with serving(found, tmp_path) as config:
        monkeypatch.setenv("KUBECONFIG", str(config))
        yield found


@pytest.fixture
async def cluster(api: KubernetesApi) -> AsyncIterator[Cluster]:
    """Its client."""
    del api
    async with connected(None) as client:
        yield client


async def test_it_is_up_when_each_deployment_is_complete(
    api: KubernetesApi, cluster: Cluster
) -> None:
    """Not before."""
    waiting = asyncio.create_task(until_up(cluster, NAMESPACE))
    await api.put("Pod", pod({"waiting": {"reason": "ErrImagePull"}}))  # may pass
    await api.put("Pod", pod({"running": {}}, 2, terminated={"exitCode": 1}))  # likewise
    done, _ = await asyncio.wait([waiting], timeout=0.3)
    assert not done
    await api.put("Deployment", deployment(**DONE))
    async with asyncio.timeout(30):
        await waiting


@pytest.mark.parametrize(
    ("kind", "thing", "said"),
    [
        (
            "Pod",
            pod({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling"}}),
            "pod/web-1, image shop:a: ImagePullBackOff: Back-off pulling",
        ),
        (
            "Pod",
            pod({"waiting": {"reason": "CrashLoopBackOff"}}, 3, terminated={"exitCode": 2}),
            "ended 3 times, at last with status 2; the last lines of its log: a line of web-1",
        ),
        (
            "Deployment",
            deployment(
                observedGeneration=1,
                conditions=[
                    {
                        "type": "Progressing",
                        "status": "False",
                        "reason": "ProgressDeadlineExceeded",
                        "message": "no progress",
                    }
                ],
            ),
            "deployment/web makes no progress: ProgressDeadlineExceeded: no progress",
        ),
    ],
)
async def test_what_will_not_come_up_is_not_waited_for(
    kind: str, thing: Json, said: str, api: KubernetesApi, cluster: Cluster
) -> None:
    """The message has the pod, the image or the log."""
    await api.put(kind, thing)
    with pytest.raises(EnvironmentFailure) as caught:
        async with asyncio.timeout(30):
            await until_up(cluster, NAMESPACE)
    assert said in str(caught.value)
