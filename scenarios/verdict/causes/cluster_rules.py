"""Rules of the ladder about pods: what a failed request met on a cluster."""

from scenarios.evidence.cluster import DeploymentState
from scenarios.verdict.causes.failure import Failure, Finding
from scenarios.verdict.causes.surroundings import SLACK_NS
from scenarios.verdict.cluster.cluster_history import ClusterHistory
from scenarios.verdict.cluster.pods import EVICTED, OUT_OF_MEMORY, Pod

UNDRAINED = "lifecycle:undrained"
KILLED = "lifecycle:killed"
OOM_KILLED = "lifecycle:oom_killed"
WAS_EVICTED = "lifecycle:evicted"
DIED = "lifecycle:died"
EARLY = "lifecycle:ready_too_early"


def no_endpoint(failure: Failure) -> Finding | None:
    """The Service had no endpoint."""
    cluster = failure.around.cluster
    if not cluster or failure.proxy is not None or not failure.refused:
        return None
    title = f"no pod was an endpoint: {why_nobody(cluster, failure.span[1])}"
    return Finding("no_backend", title, "likely", "no_backend")


def met_pod(failure: Failure) -> Finding | None:
    """The request met a pod that was leaving, had ended, or could not serve yet."""
    met = failure.met
    if met is None:
        return None
    if met.how == "died":
        return _died(met.pod)
    if met.how == "early":
        probe = "its readiness probe succeeded" if met.pod.probed else "it has no readiness probe"
        title = f"the pod was an endpoint before it could serve: {probe}"
        return Finding(EARLY, title, "likely", "lifecycle")
    ended_ns = met.pod.ended_ns
    if met.pod.killed and ended_ns is not None and abs(ended_ns - failure.at_ns) <= SLACK_NS:
        grace = f" of {met.pod.grace_seconds:g} s" if met.pod.grace_seconds is not None else ""
        title = f"the pod was killed at the end of its grace period{grace}"
        return Finding(KILLED, title, "likely", "lifecycle")
    title = "the pod had got SIGTERM, and the Service still sent requests to it"
    return Finding(UNDRAINED, title, "likely", "lifecycle")


def why_nobody(cluster: ClusterHistory, end_ns: int) -> str:
    """Why a Service had no endpoint at that time."""
    gone = [pod for pod in cluster.pods if _by(pod.deleted_ns, end_ns)]
    dead = [pod for pod in cluster.pods if pod.died and _by(pod.ended_ns, end_ns)]
    watched = cluster.deployment_at(end_ns)
    if dead and not gone:
        last = max(dead, key=lambda pod: pod.ended_ns or 0)
        return f"{last.name} had ended by itself ({last.died})"
    if gone and watched is not None:
        return _deleted(f"deployment/{watched.name}", watched.deployment)
    if any(not ready for pod in cluster.pods for _, ready in pod.readiness):
        return "the readiness probes of its pods failed"
    return "none was ready"


def _deleted(name: str, state: DeploymentState) -> str:
    """Why a Deployment deleted pods although nobody else was ready."""
    if state.strategy == "Recreate":
        return f"the strategy of {name} is Recreate, which ends all pods before it starts new ones"
    if state.replicas == 0:
        return f"{name} was scaled to 0 replicas"
    how = f" (maxUnavailable {state.max_unavailable})" if state.max_unavailable else ""
    if state.replicas == 1:
        return f"{name} has one replica, which was deleted before another one was ready{how}"
    return f"{name} deleted pods before others were ready{how}"


def _by(event_ns: int | None, now_ns: int) -> bool:
    return event_ns is not None and event_ns <= now_ns


def _died(pod: Pod) -> Finding:
    why = pod.died or ""
    if OUT_OF_MEMORY in why:
        title = f"the pod's container was killed since it exceeded its memory limit ({why})"
        return Finding(OOM_KILLED, title, "likely", "lifecycle")
    if why.startswith(EVICTED):
        return Finding(WAS_EVICTED, f"the pod was evicted ({why})", "likely", "lifecycle")
    return Finding(DIED, f"the pod's container ended by itself ({why})", "likely", "lifecycle")
