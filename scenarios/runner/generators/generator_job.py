"""PURE: the Job of one generator, and what became of its pod.

Each generator is a Job of its own, since Kubernetes 1.20 has no indexed Jobs yet; so the same
manifest serves every version. A pod that is lost is not replaced: a part of the traffic is missing.
"""

from collections.abc import Mapping
from typing import Any

from scenarios.evidence.cluster import ContainerState, PodState
from scenarios.traffic.remote.messages import PORT, TOKEN_VARIABLE

NUMBER = "hitless/generator"
"""The label with the number of a generator."""

CONTAINER = "generator"
"""The name of a generator's container."""

_COMPONENT = {"app.kubernetes.io/name": "hitless", "app.kubernetes.io/component": "load-generator"}
_NOBODY = 65532
_KILLED = 137
_CANNOT_START = frozenset(
    {
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "RegistryUnavailable",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "CrashLoopBackOff",
    }
)
"""Reasons of a container that waits, which only another image or another manifest ends."""

Json = dict[str, Any]


def job_name(number: int) -> str:
    """The name of a generator's Job."""
    return f"generator-{number}"


def job(number: int, *, image: str, labels: Mapping[str, str], token_sha256: str) -> Json:
    """The Job of one generator.

    It has the least rights that a pod can have (the profile `restricted` of the Pod Security
    Standards), and asks for half a core. Where there are several nodes, the generators spread over
    them.

    Args:
        number: which one, from 1 on.
        image: an image with hitless.
        labels: the labels of everything that the run makes.
        token_sha256: the SHA-256 of the token that every request to it has.
    """
    marked = {**labels, **_COMPONENT, NUMBER: str(number)}
    container = {
        "name": CONTAINER,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-P", "-m", "scenarios.traffic.remote"],
        "args": ["--folder", "/tmp/evidence"],  # noqa: S108 - a volume of the pod's own
        "env": [
            {"name": TOKEN_VARIABLE, "value": token_sha256},
            {"name": "PYTHONDONTWRITEBYTECODE", "value": "1"},
        ],
        "ports": [{"containerPort": PORT}],
        "resources": {"requests": {"cpu": "500m", "memory": "192Mi"}},
        "volumeMounts": [{"name": "evidence", "mountPath": "/tmp"}],  # noqa: S108 - likewise
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 5,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _NOBODY,
            "runAsGroup": _NOBODY,
            "fsGroup": _NOBODY,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": _COMPONENT},
            }
        ],
        "containers": [container],
        "volumes": [{"name": "evidence", "emptyDir": {}}],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": job_name(number), "labels": marked},
        "spec": {
            "backoffLimit": 0,
            "template": {"metadata": {"labels": marked}, "spec": pod},
        },
    }


def start_problem(pod: PodState) -> str | None:
    """Why a generator's pod will not start; None if it may."""
    for one in pod.containers:
        if one.state == "waiting" and one.reason in _CANNOT_START:
            return ": ".join(filter(None, (one.reason, one.message)))
    return loss(pod)


def loss(pod: PodState, *, gone: bool = False) -> str | None:
    """What happened to a generator's pod that serves no longer; None if it does.

    Args:
        pod: its pod.
        gone: whether the cluster has removed it.

    Returns:
        a sentence without its subject, such as `was evicted: The node was low on memory.`
    """
    told = "" if not pod.message else f": {pod.message}"
    if pod.reason == "Evicted":
        return f"was evicted{told}"
    ended = next((one for one in pod.containers if one.state == "terminated"), None)
    if ended is not None:
        return _ended(ended)
    if pod.phase == "Failed":
        return f"failed: {pod.reason or 'no reason was told'}{told}"
    if gone or pod.deleted_wall_ns is not None:
        return "was evicted or deleted, as by a drain of its node"
    return None


def _ended(container: ContainerState) -> str:
    if container.reason == "OOMKilled":
        return "was killed, since it used more memory than its limit (OOMKilled)"
    if container.exit_code == _KILLED:
        return "was killed (SIGKILL)"
    why = f" ({container.reason})" if container.reason not in (None, "Error", "Completed") else ""
    words = f": {container.message}" if container.message else ""
    return f"ended with status {container.exit_code}{why}{words}"
