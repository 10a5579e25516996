"""PURE: what a cluster did during a release, and which pod a failed request met.

A request to a Service names no pod: kube-proxy, or whatever balances there, picks one. So a failure
is joined with a pod by time: a request that found nobody met a pod that was leaving, that had died,
or that had just become an endpoint.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from scenarios.evidence.backend import BackendChange
from scenarios.evidence.cluster import ClusterChange, DeploymentState, JobState
from scenarios.evidence.event import Event
from scenarios.evidence.outcome import Outcome
from scenarios.verdict.cluster.pods import SECOND_NS, Clock, Pod, read_pods

UNREACHED = frozenset({"connect_refused", "connect_timeout", "reset", "eof"})
"""How a client sees that it met nobody, or somebody who goes."""

GATEWAY = frozenset({502, 503, 504})
"""What an ingress answers for a pod that it cannot reach (RFC 9110, section 15.6)."""

LATE_NS = 15 * SECOND_NS
"""So long after a pod left the EndpointSlices may a node, or an ingress, still send to it."""

HEARD_NS = SECOND_NS // 2
"""So much later than its node may the run hear that a pod was deleted."""

EARLY_NS = 30 * SECOND_NS
"""So long after it became an endpoint may a pod without a readiness probe still be starting."""

NO_VERSIONS: Mapping[str, str] = {}
"""What is known of images where no run applied them."""

_FIRST_NUMBER = 1_000_000
"""Numbers of its events; the journal's own are smaller."""


class Met(NamedTuple):
    """The pod that a failed request met.

    Attributes:
        pod: which.
        how: `leaving`, `died` or `early`.
        others: the pods that it may have met as well.
    """

    pod: Pod
    how: str
    others: tuple[str, ...] = ()


class Watched(NamedTuple):
    """A state of an object since an instant."""

    at_ns: int
    name: str
    deployment: DeploymentState


class WatchedJob(NamedTuple):
    """The run of one Job.

    Attributes:
        name: its name.
        start_ns: since when it was there.
        end_ns: when it had ended; None while it runs.
        state: what is known of it.
        words: what its pod wrote last, if it ended with an error and the cluster tells that.
    """

    name: str
    start_ns: int
    end_ns: int | None
    state: JobState
    words: str | None = None


class ClusterHistory:
    """What the cluster did.

    Attributes:
        pods: the pods that serve, in the order in which they were seen.
        deployments: each state of each Deployment that is looked at, in order.
        jobs: the Jobs that began during the run.
        clock_error_seconds: how far a stamp of the cluster's clock may be wrong; None: unknown.
        gaps: why changes may be missing.
        cordoned: since when each node took no new pods.
    """

    def __init__(
        self,
        changes: Iterable[ClusterChange] = (),
        deployment: str | None = None,
        *,
        versions: Mapping[str, str] = NO_VERSIONS,
    ) -> None:
        """Put it in order.

        Args:
            changes: what was recorded.
            deployment: the Deployment that serves; None: every one.
            versions: by image, the version of the release that has it.
        """
        ordered = sorted(changes, key=lambda one: one.at_ns)
        clock = Clock(ordered)
        self.clock_error_seconds = clock.error_seconds
        self.pods = read_pods(ordered, clock, deployment)
        for pod in self.pods:
            pod.version = versions.get(pod.version, pod.version)
        self.deployments = [
            Watched(one.at_ns, one.name, one.deployment)
            for one in ordered
            if one.deployment is not None and deployment in (None, one.name)
        ]
        self.jobs = _with_words(_jobs(ordered), ordered)
        self.gaps = tuple(
            dict.fromkeys(f"{one.name}: {one.error}" for one in ordered if one.change == "gap")
        )
        self.cordoned = _cordoned(ordered)
        self._unhealthy: dict[str, str] = {}
        for one in ordered:
            if one.event is not None and one.event.reason == "Unhealthy":
                kind, _, name = one.event.about.partition("/")
                if kind == "pod" and "eadiness" in one.event.message:
                    self._unhealthy[name] = one.event.message
        self._by_name = {pod.name: pod for pod in self.pods}

    def __bool__(self) -> bool:
        return bool(self.pods or self.deployments)

    @property
    def events(self) -> list[Event]:
        """The same as a journal tells it: the lives of the pods, and Jobs as migrations."""
        numbers = itertools.count(_FIRST_NUMBER)
        found = [event for pod in self.pods for event in pod.events(numbers)]
        for job in self.jobs:
            number = next(numbers)
            detail = {"migration": f"job/{job.name}"}
            found.append(
                Event(
                    at_ns=job.start_ns,
                    verb="migrate",
                    state="started",
                    number=number,
                    detail=detail,
                )
            )
            if job.end_ns is not None:
                failed = job.state.outcome == "Failed"
                found.append(
                    Event(
                        at_ns=job.end_ns,
                        verb="migrate",
                        state="failed" if failed else "completed",
                        number=number,
                        detail=detail,
                        error=why_failed(job) if failed else None,
                    )
                )
        return found

    def events_beside(self, journal: Iterable[Event]) -> list[Event]:
        """The events without those of which the journal tells itself: its replicas, and Jobs."""
        jobs: set[object] = set()
        replicas: set[str] = set()
        for one in journal:
            if one.verb == "migrate":
                jobs.add(one.detail.get("migration"))
            elif one.verb == "start":
                replicas.update(one.replicas)
        return [
            one
            for one in self.events
            if not replicas.intersection(one.replicas)
            and (one.verb != "migrate" or one.detail.get("migration") not in jobs)
        ]

    @property
    def backend_changes(self) -> list[BackendChange]:
        """When pods were taken out for their readiness probes."""
        return [one for pod in self.pods for one in pod.backend_changes(self._unhealthy)]

    def pod(self, replica: str | None) -> Pod | None:
        """The pod that is this replica."""
        return None if replica is None else self._by_name.get(replica)

    def beside(self, replica: str | None) -> list[str]:
        """What else was done to a pod: the drain of its node, before it was deleted."""
        pod = self.pod(replica)
        if pod is None or pod.node is None or pod.deleted_ns is None:
            return []
        cordoned_ns = self.cordoned.get(pod.node)
        if cordoned_ns is None or cordoned_ns > pod.deleted_ns:
            return []
        return [f"node drained: {pod.node}"]

    def met(self, outcome: Outcome) -> Met | None:
        """The pod that a failed request met; None where the evidence does not tell."""
        if not is_unreached(outcome):
            return None
        sent_ns = outcome.planned_ns if outcome.sent_ns is None else outcome.sent_ns
        leaving = [one for one in self.pods if _leaves(one, sent_ns, outcome.done_ns)]
        died = [one for one in self.pods if _is_dead(one, sent_ns, outcome.done_ns)]
        early = [one for one in self.pods if _is_early(one, sent_ns)]
        if died:
            last = max(died, key=lambda one: one.ended_ns or 0)
            return Met(last, "died", _names(leaving))
        if early and (not leaving or any(not one.probed for one in early)):
            first = max(early, key=lambda one: (not one.probed, one.serving_ns or 0))
            return Met(first, "early", _names(leaving))
        if _is_race(outcome):
            leaving = [one for one in leaving if sent_ns < (one.asked_ns or 0)]
        if leaving:
            near = min(leaving, key=lambda one: abs((one.asked_ns or 0) - sent_ns))
            return Met(near, "leaving", _names(one for one in leaving if one is not near))
        return None

    def nobody(self, start_ns: int, end_ns: int) -> bool:
        """Whether no pod was an endpoint at some instant of that time."""
        if not self.pods:
            return False
        instants = [start_ns, end_ns, *self._changes_within(start_ns, end_ns)]
        return any(not any(pod.serves(at) for pod in self.pods) for at in instants)

    def deployment_at(self, at_ns: int) -> Watched | None:
        """The Deployment as it was at an instant, as far as is known."""
        before = [one for one in self.deployments if one.at_ns <= at_ns]
        return before[-1] if before else None

    def _changes_within(self, start_ns: int, end_ns: int) -> Iterable[int]:
        for pod in self.pods:
            for at_ns in (pod.left_ns, pod.ended_ns):
                if at_ns is not None and start_ns <= at_ns <= end_ns:
                    yield at_ns


def is_unreached(outcome: Outcome) -> bool:
    """Whether a request failed as one does that meets nobody, or somebody who goes."""
    return not outcome.ok and (outcome.error in UNREACHED or outcome.status in GATEWAY)


def why_failed(job: WatchedJob) -> str:
    """Why a Job failed, in the words of its pod, else of the cluster."""
    told = (job.state.reason, job.words or job.state.message)
    return ": ".join(one for one in told if one) or "it failed"


def _leaves(pod: Pod, sent_ns: int, done_ns: int) -> bool:
    """Whether a request met the pod after its stop signal, or was in flight when it came."""
    asked_ns = pod.asked_ns
    if asked_ns is None or pod.serving_ns is None or asked_ns > done_ns + HEARD_NS:
        return False
    gone_ns = pod.ended_ns if pod.left_ns is None else pod.left_ns
    return gone_ns is None or sent_ns <= max(gone_ns, asked_ns) + LATE_NS


def _is_race(outcome: Outcome) -> bool:
    """Whether a kept connection was closed before anything was said to the request on it.

    If it was sent after SIGTERM, the pod had just closed it: no preStop delay prevents that.
    """
    lost = outcome.error in ("reset", "eof") and outcome.first_byte_ns is None
    return lost and outcome.connection == "reused"


def _is_dead(pod: Pod, sent_ns: int, done_ns: int) -> bool:
    """Whether the pod had ended by itself, and was still sent to or had the request in flight."""
    if pod.died is None or pod.ended_ns is None or pod.serving_ns is None:
        return False
    left_ns = max(pod.left_ns or pod.ended_ns, pod.ended_ns)
    return pod.ended_ns - SECOND_NS <= done_ns and sent_ns <= left_ns + 2 * SECOND_NS


def _is_early(pod: Pod, sent_ns: int) -> bool:
    """Whether the pod had just become an endpoint."""
    if pod.serving_ns is None or pod.there:
        return False
    if pod.deleted_ns is not None and pod.deleted_ns <= sent_ns:
        return False
    since = sent_ns - pod.serving_ns
    return -SECOND_NS // 2 <= since <= EARLY_NS


def _names(pods: Iterable[Pod]) -> tuple[str, ...]:
    return tuple(pod.name for pod in pods)


def _with_words(
    jobs: Sequence[WatchedJob], changes: Sequence[ClusterChange]
) -> tuple[WatchedJob, ...]:
    """The jobs with what their pods wrote last; of two of the same name, each with its own."""
    words: dict[int, str] = {}
    for change in changes:
        for container in change.pod.containers[:1] if change.pod is not None else ():
            if container.exit_code and container.message:
                of = [
                    place
                    for place, job in enumerate(jobs)
                    if change.pod is not None
                    and change.pod.owner == f"job/{job.name}"
                    and job.start_ns <= change.at_ns
                ]
                words |= dict.fromkeys(of[-1:], container.message)
    return tuple(job._replace(words=words.get(place)) for place, job in enumerate(jobs))


def _jobs(changes: Sequence[ClusterChange]) -> tuple[WatchedJob, ...]:
    """The jobs that were under way; once one is deleted, the next of its name is another one."""
    found: list[WatchedJob] = []
    places: dict[str, int] = {}
    over: set[str] = set()
    for change in changes:
        state = change.job
        if state is None or (state.owner or "").startswith("cronjob/"):
            continue
        if change.change == "listed" and state.outcome is not None and change.name not in places:
            over.add(change.name)  # it had ended before anybody looked
        if change.name not in over:
            place = places.setdefault(change.name, len(found))
            if place == len(found):
                found.append(WatchedJob(change.name, change.at_ns, None, state))
            known = found[place]
            ended = state.outcome is not None and known.end_ns is None
            end_ns = change.at_ns if ended else known.end_ns
            found[place] = WatchedJob(change.name, known.start_ns, end_ns, state)
        if change.change == "deleted":
            places.pop(change.name, None)
            over.discard(change.name)
    return tuple(found)


def _cordoned(changes: Sequence[ClusterChange]) -> dict[str, int]:
    found: dict[str, int] = {}
    for change in changes:
        if change.node is not None and change.node.cordoned and change.change != "listed":
            found.setdefault(change.name, change.at_ns)
    return found
