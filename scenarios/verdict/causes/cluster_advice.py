"""PURE: what in a manifest would have kept a cluster from losing requests."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from scenarios.verdict.causes.attribution import Attributed
from scenarios.verdict.causes.cluster_rules import (
    DIED,
    EARLY,
    KILLED,
    OOM_KILLED,
    UNDRAINED,
)
from scenarios.verdict.causes.undrained import LateRequest, late
from scenarios.verdict.cluster.cluster_history import ClusterHistory, why_failed
from scenarios.verdict.cluster.pods import Pod
from scenarios.verdict.model import Advice, Cause, CauseEvidence

PRE_STOP = "lifecycle.preStop"
GRACE = "terminationGracePeriodSeconds"
PROBE = "readinessProbe"
MEMORY = "resources.limits.memory"
STRATEGY = "strategy"
SERVER = "server"
SYNC_SECONDS = 1.0
"""kube-proxy applies changes at most once in so long (`--iptables-min-sync-period`)."""

_IMAGE = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})


def advise_cluster(failed: Sequence[Attributed], cluster: ClusterHistory) -> tuple[Advice, ...]:
    """One line for each owner of pods and each cause that a manifest can prevent.

    Args:
        failed: the failed requests with their causes.
        cluster: what the cluster did.
    """
    if not cluster:
        return ()
    groups: dict[tuple[str, str], list[Attributed]] = defaultdict(list)
    for one in failed:
        pod = cluster.pod(one.failure.replica)
        owner = "" if pod is None else pod.owner or f"pod/{pod.pod}"
        groups[one.finding.cause, owner].append(one)
    found: list[Advice] = []
    for (cause, owner), group in groups.items():
        pods = [pod for one in group if (pod := cluster.pod(one.failure.replica)) is not None]
        found += _advise(cause, owner, group, pods, cluster)
    return tuple(found)


def _advise(
    cause: str,
    owner: str,
    group: Sequence[Attributed],
    pods: Sequence[Pod],
    cluster: ClusterHistory,
) -> Iterator[Advice]:
    covers = len(group)
    count = f"{covers:,} failed request{'' if covers == 1 else 's'}"
    if cause == UNDRAINED and pods:
        yield from _pre_stop(owner, group, pods[0])
    elif cause == EARLY and pods:
        probed = pods[0].probed
        yield Advice(
            setting=PROBE,
            covers=covers,
            cause=cause,
            sentence=(
                f"{owner}: let the readiness probe ask the server that answers the requests, at a "
                f"path that works only when it can serve: {count} met a pod before that"
                if probed
                else f"{owner}: give its pods a readinessProbe (httpGet) that succeeds only when "
                f"the server can serve: without one, a pod gets requests as soon as its container "
                f"runs, and {count} met such a pod"
            ),
        )
    elif cause == KILLED and pods:
        grace = pods[0].grace_seconds or 0.0
        yield Advice(
            setting=GRACE,
            covers=covers,
            cause=cause,
            sentence=(
                f"{owner}: {GRACE} of {grace:g} s was too short for {count}: raise it above the "
                "preStop delay and the longest request together, or let the server end on SIGTERM"
            ),
        )
    elif cause == OOM_KILLED and pods:
        yield Advice(
            setting=MEMORY,
            covers=covers,
            cause=cause,
            sentence=(
                f"{owner}: the container {pods[0].version} needs more memory than its "
                f"{MEMORY} allows; {count} met pods that were killed for it"
            ),
        )
    elif cause == DIED and pods:
        yield Advice(
            setting=SERVER,
            covers=covers,
            cause=cause,
            sentence=f"{owner}: see the end of the log of {pods[0].pod}: {count} met it after "
            f"its container had ended ({pods[0].died})",
        )
    elif cause == "no_backend":
        yield from _more_replicas(group, count, cluster)


def _pre_stop(owner: str, group: Sequence[Attributed], pod: Pod) -> Iterator[Advice]:
    # What came on a new connection shortly before SIGTERM would have gone to another pod, too.
    met = [
        (found, found.lag_seconds < 0 and one.failure.outcome.connection == "reused")
        for one in group
        if (found := late(one.failure)) is not None
    ]
    sent = [found for found, kept in met if not kept]
    flying = len(met) - len(sent)
    if sent and (pod.pre_stop_seconds is not None):
        yield _wait(owner, sent, pod)
    elif sent:
        yield Advice(
            setting=PRE_STOP,
            covers=len(sent),
            sentence=(
                f"{owner}: its preStop hook must last until no node sends requests to the pod any "
                f"more; how long it lasted is unknown, since it is no plain sleep"
            ),
        )
    if flying:
        noun = "request" if flying == 1 else "requests"
        yield Advice(
            setting=SERVER,
            covers=flying,
            sentence=(
                f"{owner}: let the server finish the requests in flight when it gets SIGTERM: "
                f"{flying:,} failed {noun} {'was' if flying == 1 else 'were'} in flight on kept "
                "connections then, which no preStop delay prevents"
            ),
        )


def _wait(owner: str, sent: Sequence[LateRequest], pod: Pod) -> Advice:
    current = pod.pre_stop_seconds or 0.0
    last = max(0.0, *(one.lag_seconds for one in sent))
    left = max(one.router_done_seconds for one in sent)
    sufficed = math.floor(current + max(last, left)) + 1
    advised = math.ceil(current + max(last, left) + SYNC_SECONDS)
    advised = max(advised, sufficed)
    count = f"{len(sent):,} failed request{'' if len(sent) == 1 else 's'}"
    now = f"it is {current:g} s now" if pod.pre_stop else "there is none now"
    grace = pod.grace_seconds
    room = (
        f"; raise {GRACE} (now {grace:g} s), too, since the delay is a part of it"
        if grace is not None and advised >= grace
        else ""
    )
    return Advice(
        setting=PRE_STOP,
        value=float(advised),
        covers=len(sent),
        sentence=(
            f"{owner}: a preStop delay of {sufficed} s would have covered {count} ({now}): the "
            f"last was sent {last:.2f} s after SIGTERM, and the EndpointSlices had dropped the pod "
            f"{left:.2f} s after it. Set {advised} s, since kube-proxy may take {SYNC_SECONDS:g} s "
            f'longer: lifecycle: {{preStop: {{exec: {{command: [sleep, "{advised}"]}}}}}}{room}'
        ),
    )


def _more_replicas(
    group: Sequence[Attributed], count: str, cluster: ClusterHistory
) -> Iterator[Advice]:
    watched = cluster.deployment_at(group[-1].failure.at_ns)
    if watched is None:
        return
    name, state = f"deployment/{watched.name}", watched.deployment
    if state.strategy == "Recreate":
        words = f"{name}: use the strategy RollingUpdate with maxUnavailable 0 in place of Recreate"
    elif state.replicas <= 1:
        words = (
            f"{name}: run two replicas or more, with maxUnavailable 0 and a PodDisruptionBudget: "
            "one pod for the whole service leaves nobody whenever that pod goes"
        )
    else:
        words = (
            f"{name}: set maxUnavailable to 0 (now {state.max_unavailable or '25%'}), so that a "
            "pod is deleted only when another one is ready"
        )
    yield Advice(
        setting=STRATEGY,
        covers=len(group),
        cause="no_backend",
        sentence=f"{words}; {count} met no endpoint",
    )


def cluster_causes(cluster: ClusterHistory, origin_ns: int) -> tuple[Cause, ...]:
    """Why the release as a whole did not succeed; none of these counts any request.

    Args:
        cluster: what the cluster did.
        origin_ns: the instant 0.0.
    """
    found: list[Cause] = []
    stuck: dict[tuple[str, str], list[Pod]] = defaultdict(list)
    for pod in cluster.pods:
        if pod.stuck is not None and pod.ready_ns is None:
            stuck[pod.version, pod.stuck.partition(":")[0]].append(pod)
    for (version, reason), pods in stuck.items():
        first = min(pods, key=lambda pod: pod.stuck_ns or 0)
        kind = "lifecycle:image" if reason in _IMAGE else "lifecycle:failed_to_start"
        noun = "pod" if len(pods) == 1 else "pods"
        found.append(
            _cause(
                kind,
                f"{len(pods)} {noun} of {version} did not start: {first.stuck}",
                [pod.stuck_ns for pod in pods if pod.stuck_ns is not None],
                origin_ns,
                replicas=[pod.name for pod in pods],
                versions=[version],
            )
        )
    for job in cluster.jobs:
        if job.end_ns is not None and job.state.outcome == "Failed":
            title = f"job/{job.name} failed: {why_failed(job)}"
            found.append(_cause("job:failed", title, [job.end_ns], origin_ns))
    return tuple(found)


def _cause(
    cause: str,
    title: str,
    times: Sequence[int],
    origin_ns: int,
    *,
    replicas: Iterable[str] = (),
    versions: Iterable[str] = (),
) -> Cause:
    nothing: Mapping[str, int] = {}
    return Cause(
        cause=cause,
        title=title,
        confidence="certain",
        kind="lifecycle",
        count=0,
        evidence=CauseEvidence(
            requests=(),
            first=(min(times) - origin_ns) / 1e9,
            last=(max(times) - origin_ns) / 1e9,
            replicas=dict.fromkeys(replicas, 0),
            versions=dict.fromkeys(versions, 0),
            endpoints=nothing,
            connections=nothing,
            steps=nothing,
            schemas=nothing,
            examples=(),
        ),
    )
