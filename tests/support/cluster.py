"""A Deployment's rollout as the Kubernetes API tells it, to be broken one piece at a time."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from orchestrator.kubernetes.client import Observed
from scenarios.evidence.cluster import ClusterChange, ClusterClock
from scenarios.recording.cluster.reduced import change_of
from tests.support import evidence as make

Json = dict[str, Any]
WALL = 1_800_000_000
"""The cluster's clock at the begin of a run, in seconds since 1970."""


def stamp(seconds: float) -> str:
    """A time of the API, at so many seconds of the run."""
    return datetime.fromtimestamp(int(WALL + seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def pod(
    name: str,
    *,
    ready: bool = True,
    image: str = "registry.test/web:a",
    state: Json | None = None,
    deleted: float | None = None,
    grace: int = 30,
    pre_stop: Json | None = None,
    probed: bool = True,
    restarts: int = 0,
    last: Json | None = None,
    phase: str = "Running",
    **status: Any,
) -> Json:
    """A pod of deployment/web."""
    container: Json = {"name": "web", "image": image}
    if probed:
        container["readinessProbe"] = {"httpGet": {"path": "/ready", "port": 8080}}
    if pre_stop is not None:
        container["lifecycle"] = {"preStop": pre_stop}
    meta: Json = {
        "name": name,
        "uid": f"uid-{name}",
        "labels": {"app": "web", "pod-template-hash": "5d4f"},
        "ownerReferences": [{"kind": "ReplicaSet", "name": "web-5d4f", "controller": True}],
    }
    if deleted is not None:
        meta |= {"deletionTimestamp": stamp(deleted + grace), "deletionGracePeriodSeconds": grace}
    return {
        "metadata": meta,
        "spec": {
            "nodeName": "node-1",
            "containers": [container],
            "terminationGracePeriodSeconds": grace,
        },
        "status": {
            "phase": phase,
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            "containerStatuses": [
                {
                    "name": "web",
                    "state": state or {"running": {"startedAt": stamp(0)}},
                    "restartCount": restarts,
                    "lastState": {} if last is None else {"terminated": last},
                }
            ],
            **status,
        },
    }


def ended(code: int, seconds: float, reason: str = "Completed") -> Json:
    """The state of a container that has ended."""
    return {"terminated": {"exitCode": code, "reason": reason, "finishedAt": stamp(seconds)}}


def endpoints(pods: Mapping[str, bool]) -> Json:
    """The EndpointSlice of service/web."""
    return {
        "metadata": {"name": "web-x7", "labels": {"kubernetes.io/service-name": "web"}},
        "endpoints": [
            {"targetRef": {"kind": "Pod", "name": name}, "conditions": {"ready": ready}}
            for name, ready in pods.items()
        ],
    }


def deployment(wanted: int = 3, *, strategy: Json | None = None, **status: Any) -> Json:
    """deployment/web."""
    return {
        "metadata": {"name": "web", "generation": 2},
        "spec": {
            "replicas": wanted,
            "strategy": strategy or {"type": "RollingUpdate", "rollingUpdate": {}},
        },
        "status": {"observedGeneration": 2, **status},
    }


def changes(told: Iterable[tuple[float, str, str, Json]]) -> list[ClusterChange]:
    """The evidence of what a watch told: when, the kind, the change and the object."""
    clock = ClusterClock(
        low_ns=make.at(0) - WALL * make.SECOND, high_ns=make.at(0.02) - WALL * make.SECOND
    )
    found = [ClusterChange(at_ns=make.at(-1), change="clock", clock=clock)]
    for when, kind, change, thing in told:
        one = change_of(kind, Observed(make.at(when), change, thing))
        assert one is not None
        found.append(one)
    return found


def rollout(
    *,
    old: Sequence[str] = ("web-1", "web-2", "web-3"),
    new: str = "web-4",
    deleted: float = 3.0,
    left: float = 3.1,
    gone: float = 4.0,
    **of_pods: Any,
) -> list[tuple[float, str, str, Json]]:
    """One step of a rollout: a new pod becomes an endpoint, and the first old one leaves."""
    first = old[0]
    others = dict.fromkeys(old[1:], True)
    b = {**of_pods, "image": "registry.test/web:b"}
    return [
        *((-0.9, "Pod", "listed", pod(name, **of_pods)) for name in old),
        (-0.9, "EndpointSlice", "listed", endpoints(dict.fromkeys(old, True))),
        (-0.9, "Deployment", "listed", deployment()),
        (2.0, "Pod", "added", pod(new, ready=False, state={"waiting": {}}, **b)),
        (2.5, "Pod", "modified", pod(new, ready=False, **b)),
        (2.9, "Pod", "modified", pod(new, **b)),
        (2.95, "EndpointSlice", "modified", endpoints({first: True, **others, new: True})),
        (deleted, "Pod", "modified", pod(first, deleted=deleted, **of_pods)),
        (left, "EndpointSlice", "modified", endpoints({**others, new: True})),
        (
            gone,
            "Pod",
            "modified",
            pod(first, ready=False, deleted=deleted, state=ended(0, gone), **of_pods),
        ),
        (
            gone + 0.5,
            "Pod",
            "deleted",
            pod(first, ready=False, deleted=deleted, state=ended(0, gone), **of_pods),
        ),
    ]
