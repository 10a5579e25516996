"""PURE: the life of each pod, from what the cluster's API told of it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from scenarios.evidence.backend import BackendChange
from scenarios.evidence.cluster import ClusterChange, ContainerState, PodState
from scenarios.evidence.event import Event, State
from scenarios.evidence.leaving import Departure

SECOND_NS = 1_000_000_000
_SIGNALLED = 128
_KILLED = 137
_GRACE_SLACK_SECONDS = 1.5
"""Stamps of the cluster are whole seconds, and a kubelet acts when it hears of a deletion."""

OUT_OF_MEMORY = "OOMKilled"
EVICTED = "Evicted"
STUCK = frozenset(
    {
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImageNeverPull",
        "ErrImagePull",
        "ImageInspectError",
        "ImagePullBackOff",
        "InvalidImageName",
        "RunContainerError",
    }
)
"""Why a container waits that will not start without help:
https://kubernetes.io/docs/concepts/containers/images/#imagepullbackoff
"""


class Clock:
    """Maps the cluster's stamps onto the machine's monotonic clock."""

    def __init__(self, changes: Iterable[ClusterChange]) -> None:
        """Take the last measurement, which every earlier one has narrowed."""
        self._clock = None
        for change in changes:
            self._clock = change.clock or self._clock

    @property
    def error_seconds(self) -> float | None:
        """How far a mapped stamp may be wrong, besides that it is a whole second; None: unknown."""
        if self._clock is None:
            return None
        return (self._clock.high_ns - self._clock.low_ns) / 2e9

    def at(self, wall_ns: int | None, not_before: int, not_after: int) -> int:
        """When the cluster stamped that, within what is known otherwise.

        Args:
            wall_ns: the stamp, in whole seconds; None: there is none.
            not_before: it happened after that.
            not_after: it had happened by then, when it was told.
        """
        if wall_ns is None or self._clock is None:
            return not_after
        middle = (self._clock.low_ns + self._clock.high_ns) // 2
        return max(not_before, min(wall_ns + SECOND_NS // 2 + middle, not_after))


@dataclass(slots=True)
class Pod:
    """One pod of the Service, or one start of it: a pod whose container restarted has several.

    Attributes:
        name: the name of the replica: that of the pod, and of a restart its number.
        pod: the name of the pod.
        owner: what it belongs to, such as `deployment/web`.
        version: the image of its first container, without the registry.
        probed: whether it has a readiness probe.
        pre_stop: whether it has a preStop hook.
        pre_stop_seconds: how long that waits; 0 without one, None if nobody can tell.
        grace_seconds: how long it has to stop.
        node: where it ran.
        deleted_ns: when it was told to go.
        left_ns: when it had left the EndpointSlices, or was ready no more where there are none.
        ended_ns: when its containers had ended.
        exit_code: with which status the first of its containers ended.
        killed: whether that was by the kill at the end of its grace period.
        died: why it ended without having been told to.
        stuck: why it could not start, and in whose words.
        started_ns: since when a container of it ran.
        ready_ns: since when it was ready.
        serving_ns: since when it was an endpoint.
        there: whether it was ready before anybody looked.
        stuck_ns: since when it could not start.
        readiness: when its readiness changed while it was to serve.
    """

    name: str
    pod: str
    there: bool = False
    owner: str | None = None
    version: str = ""
    probed: bool = False
    pre_stop: bool = False
    pre_stop_seconds: float | None = 0.0
    grace_seconds: float | None = None
    node: str | None = None
    started_ns: int | None = None
    ready_ns: int | None = None
    serving_ns: int | None = None
    deleted_ns: int | None = None
    left_ns: int | None = None
    ended_ns: int | None = None
    exit_code: int | None = None
    killed: bool = False
    died: str | None = None
    stuck: str | None = None
    stuck_ns: int | None = None
    readiness: list[tuple[int, bool]] = field(default_factory=list)

    @property
    def asked_ns(self) -> int | None:
        """When its containers got SIGTERM: after its deletion and the wait of its preStop hook."""
        if self.deleted_ns is None:
            return None
        waited = self.deleted_ns + round((self.pre_stop_seconds or 0.0) * SECOND_NS)
        # A hook that ends early is not known; a container that has ended has got its signal.
        return waited if self.ended_ns is None else min(waited, self.ended_ns)

    def serves(self, at_ns: int) -> bool:
        """Whether it was an endpoint at that time."""
        if self.serving_ns is None or at_ns < self.serving_ns:
            return False
        return all(gone is None or at_ns < gone for gone in (self.left_ns, self.ended_ns))

    def events(self, numbers: Iterator[int]) -> Iterator[Event]:
        """Its life as the journal of a run tells one."""
        one = (self.name,)

        def event(at_ns: int, verb: str, state: State, number: int, **more: object) -> Event:
            return Event(
                at_ns=at_ns,
                verb=verb,
                state=state,
                number=number,
                version=self.version or None,
                replicas=one,
                **more,  # type: ignore[arg-type]
            )

        if self.started_ns is not None:
            yield event(self.started_ns, "start", "completed", next(numbers))
        if self.stuck is not None and self.stuck_ns is not None:
            yield event(self.stuck_ns, "wait_ready", "failed", next(numbers), error=self.stuck)
        if self.ready_ns is not None:
            yield event(self.ready_ns, "wait_ready", "completed", next(numbers))
        if self.serving_ns is not None:
            number = next(numbers)
            yield event(self.serving_ns, "attach", "started", number)
            yield event(self.serving_ns, "attach", "completed", number)
        if self.deleted_ns is not None:
            number = next(numbers)
            yield event(self.deleted_ns, "stop", "started", number)
            ended = self.ended_ns is not None
            yield event(
                self.ended_ns if self.ended_ns is not None else self.deleted_ns,
                "stop",
                "completed" if ended else "noted",
                number,
                detail={"departures": {self.name: _plain(self._departure())}},
            )
        elif self.died is not None and self.ended_ns is not None:
            yield event(self.ended_ns, "replica", "noted", next(numbers), error=self.died)

    def backend_changes(self, why: Mapping[str, str]) -> Iterator[BackendChange]:
        """When it was taken out for its readiness probe, and came back.

        Args:
            why: by pod, what the kubelet reported of its probe.
        """
        said = why.get(self.pod)
        for at_ns, ready in self.readiness:
            yield BackendChange(
                at_ns=at_ns,
                change="up" if ready else "down",
                id=self.name,
                version=self.version,
                reason=None if ready else f"it was not ready{f': {said}' if said else ''}",
                check="passed" if ready else _check(said),
            )

    def _departure(self) -> Departure:
        return Departure(
            began_ns=self.deleted_ns,
            router_told_ns=self.left_ns,
            stop_asked_ns=self.asked_ns,
            ended_ns=self.ended_ns,
            exit_status=_status(self.exit_code),
            killed=self.killed,
        )


def _plain(departure: Departure) -> dict[str, object]:
    return {key: getattr(departure, key) for key in departure.__struct_fields__}


def _status(exit_code: int | None) -> int | None:
    if exit_code is None or exit_code <= _SIGNALLED:
        return exit_code
    return _SIGNALLED - exit_code


def _check(said: str | None) -> str:
    """How a readiness probe failed, by the kubelet's words."""
    words = (said or "").lower()
    if "timeout" in words or "deadline exceeded" in words:
        return "timed_out"
    return "refused" if "connection refused" in words else "failed"


class PodReader:
    """Reads the changes of one pod, in order of time."""

    def __init__(self, name: str, clock: Clock) -> None:
        self._clock = clock
        self._name = name
        self._restarts: int | None = None
        self.lives = [Pod(name=name, pod=name)]

    @property
    def now(self) -> Pod:
        """The present start of it."""
        return self.lives[-1]

    def read(self, change: ClusterChange) -> None:
        """Take in a change."""
        state = change.pod
        if state is None:
            return
        at_ns = change.at_ns
        self._describe(state)
        self._restarted(state, at_ns)
        life = self.now
        if life.started_ns is None and any(one.state == "running" for one in state.containers):
            life.started_ns = at_ns
        self._stuck(state, at_ns)
        if state.deleted_wall_ns is not None and life.deleted_ns is None:
            life.deleted_ns = at_ns
        self._ready(state, at_ns, listed=change.change == "listed")
        if change.change == "deleted" or _over(state):
            self._ended(state, at_ns)

    def listed_as_endpoint(self, at_ns: int, *, ready: bool) -> None:
        """Take in whether the EndpointSlices have it."""
        life = self.now
        if ready:
            if life.serving_ns is None:
                life.serving_ns = at_ns
            if life.deleted_ns is None:
                life.left_ns = None
        elif life.serving_ns is not None and life.left_ns is None:
            life.left_ns = at_ns

    def _describe(self, state: PodState) -> None:
        life = self.now
        life.owner = state.owner
        life.node = state.node or life.node
        life.probed, life.pre_stop = state.probed, state.pre_stop
        life.pre_stop_seconds = state.pre_stop_seconds
        if life.deleted_ns is None:  # the kubelet sets it to 0 when the containers have ended
            life.grace_seconds = state.grace_seconds
        if state.containers:
            life.version = state.containers[0].image.rpartition("/")[2]

    def _restarted(self, state: PodState, at_ns: int) -> None:
        restarts = sum(one.restarts for one in state.containers)
        if self._restarts is None:
            self._restarts = restarts  # those before the run are none of it
        if restarts > self._restarts:
            again = next(one for one in state.containers if one.restarts)
            before = self.now
            if before.died is None and before.deleted_ns is None:
                before.ended_ns = before.ended_ns or at_ns
                before.died = _reason(again.last_reason, again.last_exit_code)
            if before.started_ns is not None or before.died is not None:
                self.lives.append(Pod(name=f"{self._name} (restart {restarts})", pod=self._name))
                self._describe(state)
            self._restarts = restarts

    def _stuck(self, state: PodState, at_ns: int) -> None:
        life = self.now
        if state.unschedulable is not None and life.stuck is None:
            life.stuck, life.stuck_ns = f"Unschedulable: {state.unschedulable}", at_ns
        for one in (*state.init, *state.containers):
            first = life.stuck is None or life.stuck.startswith("Unschedulable")
            if one.state == "waiting" and one.reason in STUCK and first:
                life.stuck = f"{one.reason}: {one.message}" if one.message else one.reason
                life.stuck_ns = at_ns

    def _ready(self, state: PodState, at_ns: int, *, listed: bool) -> None:
        life = self.now
        if state.ready and life.ready_ns is None:
            life.ready_ns = at_ns
            life.there = listed
        was = life.readiness[-1][1] if life.readiness else life.ready_ns is not None
        if life.ready_ns is not None and life.deleted_ns is None and state.ready != was:
            life.readiness.append((at_ns, state.ready))

    def _ended(self, state: PodState, at_ns: int) -> None:
        life = self.now
        if life.ended_ns is not None:
            return
        stamps = [one.finished_wall_ns for one in state.containers if one.finished_wall_ns]
        first = next(iter(state.containers), ContainerState(name=""))
        not_before = life.deleted_ns or life.started_ns or at_ns
        life.ended_ns = self._clock.at(max(stamps, default=None), not_before, at_ns)
        life.exit_code = first.exit_code
        out = first.reason == OUT_OF_MEMORY
        if life.deleted_ns is not None and first.exit_code == _KILLED and not out:
            took = (life.ended_ns - life.deleted_ns) / SECOND_NS
            life.killed = took >= (life.grace_seconds or 0.0) - _GRACE_SLACK_SECONDS
        if life.deleted_ns is None or out:
            said = f"{state.reason}: {state.message}" if state.reason == EVICTED else None
            life.died = said or _reason(first.reason, first.exit_code)


def _over(state: PodState) -> bool:
    if state.phase in ("Failed", "Succeeded"):
        return True  # an evicted pod may not say what became of its containers
    if state.deleted_wall_ns is not None and not state.runs:
        return True  # a kubelet may forget how a container ended
    return bool(state.containers) and all(one.state == "terminated" for one in state.containers)


def _reason(reason: str | None, exit_code: int | None) -> str:
    known = [] if exit_code is None else [f"exit status {exit_code}"]
    return ", ".join([reason or "it ended", *known])


def read_pods(
    changes: Sequence[ClusterChange], clock: Clock, deployment: str | None
) -> tuple[Pod, ...]:
    """The pods that serve, in the order in which they were seen.

    Args:
        changes: all changes, in order of time.
        clock: maps the cluster's stamps.
        deployment: only pods of this Deployment; None: of each, but not those of Jobs.
    """
    readers: dict[str, PodReader] = {}
    members: dict[str, dict[str, bool]] = {}
    everywhere: set[str] = set()
    sliced = any(one.slice is not None for one in changes)
    for change in changes:
        if change.pod is not None:
            # A StatefulSet makes pods of the same name again; their uids differ.
            key = f"{change.name}\n{change.pod.uid}"
            reader = readers.setdefault(key, PodReader(change.name, clock))
            reader.read(change)
            there = change.name in everywhere if sliced else change.pod.ready
            if change.pod.deleted_wall_ns is None or not sliced:
                ready = there and change.pod.deleted_wall_ns is None
                reader.listed_as_endpoint(change.at_ns, ready=ready)
        elif change.slice is not None:
            before = members.get(change.name, {})
            now = {} if change.change == "deleted" else dict(change.slice.pods)
            members[change.name] = now
            everywhere = {pod for pods in members.values() for pod, ready in pods.items() if ready}
            for pod in {*before, *now}:
                for reader in readers.values():
                    if reader.now.pod == pod:
                        reader.listed_as_endpoint(change.at_ns, ready=pod in everywhere)
    wanted = None if deployment is None else f"deployment/{deployment}"
    return tuple(
        life
        for reader in readers.values()
        for life in reader.lives
        if (life.owner == wanted if wanted else not (life.owner or "").startswith("job/"))
    )
