"""PURE: what a verdict uses of the objects of the Kubernetes API."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from orchestrator.kubernetes.client import Observed
from orchestrator.kubernetes.cluster_clock import wall_ns
from scenarios.evidence.cluster import (
    ClusterChange,
    ContainerState,
    DeploymentState,
    JobState,
    NodeState,
    PodState,
    ReportedEvent,
    SliceState,
)

Json = Mapping[str, Any]
_SLEEP = re.compile(r"(?:^|[\s/;&])sleep\s+(\d+(?:\.\d+)?)(s|m)?\s*(?:$|[;&])")
_HASH = "pod-template-hash"
_MOST_WORDS = 300


def change_of(kind: str, observed: Observed) -> ClusterChange | None:
    """One change of one object; None for what no verdict uses.

    Args:
        kind: such as `Pod`.
        observed: the object.
    """
    read = _READERS.get(kind)
    if read is None or (kind == "Event" and observed.change == "deleted"):
        return None
    return ClusterChange(
        at_ns=observed.at_ns,
        change=observed.change,
        name=str(observed.object["metadata"]["name"]),
        **read(observed.object),
    )


def pod(found: Json) -> PodState:
    """A pod."""
    meta, spec, status = found["metadata"], found.get("spec", {}), found.get("status", {})
    specified = spec.get("containers", ())
    statuses = {
        one["name"]: one
        for key in ("containerStatuses", "initContainerStatuses")
        for one in status.get(key, ())
    }
    hooks = [hook for one in specified if (hook := one.get("lifecycle", {}).get("preStop"))]
    waits = [pre_stop_seconds(hook) for hook in hooks]
    known = [seconds for seconds in waits if seconds is not None]
    return PodState(
        uid=meta.get("uid", ""),
        owner=owner(meta),
        node=spec.get("nodeName"),
        phase=status.get("phase", "Pending"),
        reason=status.get("reason"),
        message=_short(status.get("message")),
        ready=_condition(status, "Ready") == "True",
        deleted_wall_ns=wall_ns(meta.get("deletionTimestamp")),
        grace_seconds=_number(
            meta.get("deletionGracePeriodSeconds", spec.get("terminationGracePeriodSeconds"))
        ),
        pre_stop_seconds=max(known, default=0.0) if len(known) == len(waits) else None,
        pre_stop=bool(hooks),
        probed=any("readinessProbe" in one for one in specified),
        containers=tuple(container(one, statuses.get(one["name"], {})) for one in specified),
        init=tuple(
            container(one, statuses.get(one["name"], {})) for one in spec.get("initContainers", ())
        ),
        unschedulable=next(
            (
                _short(one.get("message"))
                for one in status.get("conditions") or ()
                if one.get("type") == "PodScheduled" and one.get("reason") == "Unschedulable"
            ),
            None,
        ),
    )


def owner(meta: Json) -> str | None:
    """What a pod belongs to; a ReplicaSet is named by its Deployment, whose name begins its own."""
    for one in meta.get("ownerReferences", ()):
        if not one.get("controller"):
            continue
        template = meta.get("labels", {}).get(_HASH)
        if one["kind"] == "ReplicaSet" and template and one["name"].endswith(f"-{template}"):
            return f"deployment/{one['name'].removesuffix(f'-{template}')}"
        return f"{one['kind'].lower()}/{one['name']}"
    return None


def pre_stop_seconds(hook: Json) -> float | None:
    """How long a preStop hook waits; None if it says something else than a wait."""
    if "sleep" in hook:
        return _number(hook["sleep"].get("seconds"))
    if "exec" in hook:
        match = _SLEEP.search(" ".join(map(str, hook["exec"].get("command", ()))))
        if match is not None:
            return float(match[1]) * (60 if match[2] == "m" else 1)
    return None


def container(specified: Json, status: Json) -> ContainerState:
    """A container of a pod.

    Args:
        specified: what the pod wants.
        status: what became of it; empty if nobody has told yet.
    """
    states: Json = status.get("state", {})
    state = next(iter(states), "waiting")
    inner: Json = states.get(state) or {}
    last: Json = status.get("lastState", {}).get("terminated", {})
    return ContainerState(
        name=specified["name"],
        image=specified.get("image", ""),
        state=state,
        reason=inner.get("reason"),
        message=(_last_words if state == "terminated" else _short)(inner.get("message")),
        started_wall_ns=wall_ns(inner.get("startedAt")),
        finished_wall_ns=wall_ns(inner.get("finishedAt")),
        exit_code=inner.get("exitCode"),
        restarts=status.get("restartCount", 0),
        last_reason=last.get("reason"),
        last_exit_code=last.get("exitCode"),
    )


def endpoint_slice(found: Json) -> SliceState:
    """An EndpointSlice, of version v1 or v1beta1."""
    pods: dict[str, bool] = {}
    for one in found.get("endpoints") or ():
        target = one.get("targetRef") or {}
        if target.get("kind") == "Pod":
            ready = (one.get("conditions") or {}).get("ready")
            pods[target["name"]] = ready is not False  # absent means ready
    labels = found["metadata"].get("labels", {})
    return SliceState(service=labels.get("kubernetes.io/service-name", ""), pods=pods)


def deployment(found: Json) -> DeploymentState:
    """A Deployment."""
    spec, status = found.get("spec", {}), found.get("status", {})
    strategy = spec.get("strategy", {})
    rolling = strategy.get("rollingUpdate") or {}
    stalled = None
    for one in status.get("conditions", ()):
        if one.get("type") == "Progressing" and one.get("status") == "False":
            stalled = f"{one.get('reason')}: {one.get('message')}"
    return DeploymentState(
        replicas=spec.get("replicas", 1),
        updated=status.get("updatedReplicas", 0),
        ready=status.get("readyReplicas", 0),
        available=status.get("availableReplicas", 0),
        existing=status.get("replicas", 0),
        generation=found["metadata"].get("generation", 0),
        observed=status.get("observedGeneration", 0),
        strategy=strategy.get("type", "RollingUpdate"),
        max_unavailable=_text(rolling.get("maxUnavailable")),
        max_surge=_text(rolling.get("maxSurge")),
        stalled=_short(stalled),
    )


def job(found: Json) -> JobState:
    """A Job."""
    status = found.get("status", {})
    outcome: Json = next(
        (
            one
            for one in status.get("conditions", ())
            if one.get("type") in ("Complete", "Failed") and one.get("status") == "True"
        ),
        {},
    )
    return JobState(
        owner=owner(found["metadata"]),
        active=status.get("active", 0),
        succeeded=status.get("succeeded", 0),
        failed=status.get("failed", 0),
        outcome=outcome.get("type"),
        reason=outcome.get("reason"),
        message=_short(outcome.get("message")),
    )


def node(found: Json) -> NodeState:
    """A node."""
    return NodeState(
        cordoned=found.get("spec", {}).get("unschedulable", False),
        ready=_condition(found.get("status", {}), "Ready") == "True",
    )


def event(found: Json) -> ReportedEvent:
    """An Event."""
    about = found.get("involvedObject", {})
    stamps = (found.get(key) for key in ("lastTimestamp", "eventTime", "firstTimestamp"))
    return ReportedEvent(
        about=f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}",
        reason=found.get("reason") or "",
        message=_short(found.get("message")) or "",
        type=found.get("type") or "Normal",
        count=found.get("count") or 1,
        last_wall_ns=wall_ns(next((one for one in stamps if one), None)),
    )


class Unchanged:
    """Tells which changes say something new, since most watched changes are of other fields."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], object] = {}

    def new(self, kind: str, change: ClusterChange) -> bool:
        """Whether the object is not as it was, as far as a verdict uses it."""
        key = kind, change.name
        parts = (change.pod, change.slice, change.deployment, change.job, change.node, change.event)
        if change.change == "deleted":
            self._last.pop(key, None)
            return True
        if self._last.get(key) == parts:
            return False
        self._last[key] = parts
        return True

    def names(self, kind: str) -> set[str]:
        """The objects of a kind that are there, as far as is known."""
        return {name for of, name in self._last if of == kind}


_READERS: Mapping[str, Callable[[Json], dict[str, Any]]] = {
    "Pod": lambda found: {"pod": pod(found)},
    "EndpointSlice": lambda found: {"slice": endpoint_slice(found)},
    "Deployment": lambda found: {"deployment": deployment(found)},
    "Job": lambda found: {"job": job(found)},
    "Node": lambda found: {"node": node(found)},
    "Event": lambda found: {"event": event(found)},
}


def _condition(status: Json, name: str) -> str | None:
    conditions: Iterable[Json] = status.get("conditions") or ()
    return next((one.get("status") for one in conditions if one.get("type") == name), None)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _last_words(text: str | None) -> str | None:
    """The end of what a container wrote, which says why it ended."""
    return None if text is None else " ".join(text.split())[-_MOST_WORDS:]


def _short(text: str | None) -> str | None:
    return None if text is None else " ".join(text.split())[:_MOST_WORDS]
