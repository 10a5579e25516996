"""What is recorded of the objects of the Kubernetes API."""

from typing import Any

import pytest

from orchestrator.kubernetes.client import Observed
from scenarios.evidence.cluster import ClusterChange
from scenarios.recording.cluster import reduced
from scenarios.recording.cluster.reduced import Unchanged, change_of
from tests.support import cluster as k8s

Json = dict[str, Any]


@pytest.mark.parametrize(
    ("hook", "seconds"),
    [
        ({"sleep": {"seconds": 5}}, 5.0),
        ({"exec": {"command": ["sleep", "2"]}}, 2.0),
        ({"exec": {"command": ["/bin/sleep", "1.5s"]}}, 1.5),
        ({"exec": {"command": ["sh", "-c", "sleep 10"]}}, 10.0),
        ({"exec": {"command": ["sh", "-c", "sleep 1m; nginx -s quit"]}}, 60.0),
        ({"exec": {"command": ["/drain.sh"]}}, None),
        ({"exec": {"command": ["sh", "-c", "asleep 3x"]}}, None),
        ({"httpGet": {"path": "/drain", "port": 80}}, None),
    ],
)
def test_how_long_a_pre_stop_hook_waits(hook: Json, seconds: float | None) -> None:
    """A plain sleep is known in seconds, in each of its forms; anything else is not guessed."""
    assert reduced.pre_stop_seconds(hook) == seconds


def test_a_pod_that_is_deleted() -> None:
    """Its owner is the Deployment; its deletion, its grace period and its hook are there."""
    hook = {"exec": {"command": ["sleep", "3"]}}
    state = reduced.pod(k8s.pod("web-1", deleted=10, grace=20, pre_stop=hook))
    assert state.owner == "deployment/web"
    assert state.deleted_wall_ns == (k8s.WALL + 30) * 10**9
    assert (state.grace_seconds, state.pre_stop, state.pre_stop_seconds) == (20, True, 3.0)
    assert (state.ready, state.probed, state.node) == (True, True, "node-1")
    assert state.containers[0].image == "registry.test/web:a"


def test_several_hooks_wait_as_long_as_the_longest_and_one_unknown_makes_all_unknown() -> None:
    """SIGTERM goes to each container after its own hook; the pod is known by the last one."""
    found = k8s.pod("web-1", pre_stop={"sleep": {"seconds": 2}})
    second = {"name": "proxy", "lifecycle": {"preStop": {"sleep": {"seconds": 7}}}}
    found["spec"]["containers"].append(second)
    assert reduced.pod(found).pre_stop_seconds == 7
    second["lifecycle"]["preStop"] = {"exec": {"command": ["/drain"]}}
    assert reduced.pod(found).pre_stop_seconds is None


def test_owners() -> None:
    """A ReplicaSet is named by its Deployment; Jobs and StatefulSets by themselves."""
    job = {"ownerReferences": [{"kind": "Job", "name": "migrate", "controller": True}]}
    assert reduced.owner(job) == "job/migrate"
    assert reduced.owner({"ownerReferences": [{"kind": "Job", "name": "x"}]}) is None
    bare = {"ownerReferences": [{"kind": "ReplicaSet", "name": "web-5d4f", "controller": True}]}
    assert reduced.owner(bare) == "replicaset/web-5d4f"


def test_endpoints_of_both_versions() -> None:
    """v1beta1 and v1 differ in nothing that is used; a missing condition means ready."""
    found = k8s.endpoints({"web-1": True, "web-2": False})
    found["endpoints"].append({"targetRef": {"kind": "Pod", "name": "web-3"}, "conditions": {}})
    found["endpoints"].append({"addresses": ["10.0.0.1"]})
    state = reduced.endpoint_slice(found)
    assert state.service == "web"
    assert state.pods == {"web-1": True, "web-2": False, "web-3": True}
    assert reduced.endpoint_slice({"metadata": {}, "endpoints": None}).pods == {}


def test_a_rollout_that_is_complete() -> None:
    """Only when the controller has seen the template, and every pod has it and is available."""
    done = {"updatedReplicas": 3, "replicas": 3, "availableReplicas": 3}
    assert reduced.deployment(k8s.deployment(**done)).complete
    for part in (
        {"observedGeneration": 1},
        {"updatedReplicas": 2},
        {"replicas": 4},
        {"availableReplicas": 2},
    ):
        assert not reduced.deployment(k8s.deployment(**{**done, **part})).complete


def test_a_rollout_that_makes_no_progress() -> None:
    """The controller's own reason is kept."""
    condition = {
        "type": "Progressing",
        "status": "False",
        "reason": "ProgressDeadlineExceeded",
        "message": "timed out",
    }
    state = reduced.deployment(k8s.deployment(conditions=[condition]))
    assert state.stalled == "ProgressDeadlineExceeded: timed out"


def test_only_what_is_new_is_recorded() -> None:
    """A change of a field that no verdict uses is left out; a deletion is always new."""
    unchanged = Unchanged()

    def told(change: str, **how: Any) -> bool:
        found = change_of("Pod", Observed(1, change, k8s.pod("web-1", **how)))
        assert isinstance(found, ClusterChange)
        return unchanged.new("Pod", found)

    assert told("added")
    assert not told("modified")
    assert told("modified", ready=False)
    assert unchanged.names("Pod") == {"web-1"}
    assert told("deleted", ready=False)
    assert unchanged.names("Pod") == set()
    assert told("added", ready=False)


def test_events_of_unknown_kinds_and_ends_of_events_are_left_out() -> None:
    """An Event that expires says nothing."""
    meta = {"metadata": {"name": "e"}}
    assert change_of("Event", Observed(1, "deleted", meta)) is None
    assert change_of("Secret", Observed(1, "added", meta)) is None


@pytest.mark.parametrize("kind", ["Pod", "EndpointSlice", "Deployment", "Job", "Node", "Event"])
def test_an_object_without_a_status_can_be_read(kind: str) -> None:
    """The API tells of an object before its controller has said anything of it."""
    bare = {"metadata": {"name": "x"}, "spec": {}}
    assert change_of(kind, Observed(1, "added", bare)) is not None
