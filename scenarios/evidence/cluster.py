"""What a cluster told of a release, as recorded in `cluster.ndjson`.

Each line is one change that the API server told by a watch, cut down to what a verdict uses.
`at_ns` is when it was received, on the machine's monotonic clock: the change itself came a little
earlier. Stamps that the cluster made are nanoseconds since 1970 on its own clock, in whole seconds;
the lines with `clock` say how that clock relates to the machine's.
"""

from collections.abc import Mapping

import msgspec


class ContainerState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One container of a pod.

    Attributes:
        name: its name.
        image: its image, as the pod wants it.
        state: `waiting`, `running` or `terminated`.
        reason: why it waits or has ended, such as `ImagePullBackOff` or `OOMKilled`.
        message: the same in the words of the cluster.
        started_wall_ns: when it started, on the cluster's clock.
        finished_wall_ns: when it ended, on the cluster's clock.
        exit_code: its exit status; 128 and the number of the signal if a signal ended it.
        restarts: how often it was started again.
        last_reason: why it had ended before it was started again.
        last_exit_code: its exit status then.
    """

    name: str
    image: str = ""
    state: str = "waiting"
    reason: str | None = None
    message: str | None = None
    started_wall_ns: int | None = None
    finished_wall_ns: int | None = None
    exit_code: int | None = None
    restarts: int = 0
    last_reason: str | None = None
    last_exit_code: int | None = None


class PodState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One pod.

    Attributes:
        uid: tells it from a later pod of the same name.
        owner: what it belongs to, such as `deployment/web` or `job/migrate`.
        node: where it runs.
        phase: `Pending`, `Running`, `Succeeded` or `Failed`.
        reason: why it failed as a whole, such as `Evicted`.
        message: the same in the words of the cluster.
        ready: its condition `Ready`.
        deleted_wall_ns: its `deletionTimestamp`, which is the end of its grace period.
        grace_seconds: how long it has between its deletion and its kill.
        pre_stop_seconds: how long the preStop hooks of its containers wait; absent where a hook
            says something else than a wait.
        pre_stop: whether any container has a preStop hook.
        probed: whether a container has a readiness probe.
        containers: its containers, in the order of its specification.
        init: its init containers, likewise.
        unschedulable: why no node takes it.
    """

    uid: str
    owner: str | None = None
    node: str | None = None
    phase: str = "Pending"
    reason: str | None = None
    message: str | None = None
    ready: bool = False
    deleted_wall_ns: int | None = None
    grace_seconds: float | None = None
    pre_stop_seconds: float | None = None
    pre_stop: bool = False
    probed: bool = False
    containers: tuple[ContainerState, ...] = ()
    init: tuple[ContainerState, ...] = ()
    unschedulable: str | None = None

    @property
    def runs(self) -> bool:
        """Whether a container of it runs."""
        return any(one.state == "running" for one in self.containers)


class SliceState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One EndpointSlice.

    Attributes:
        service: the Service that it belongs to.
        pods: by pod, whether it is ready to get requests.
    """

    service: str
    pods: Mapping[str, bool] = msgspec.field(default_factory=dict)


class DeploymentState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One Deployment.

    Attributes:
        replicas: how many pods it should have.
        updated: how many have the present template.
        ready: how many are ready.
        available: how many are ready for as long as `minReadySeconds` asks.
        existing: how many there are.
        generation: the number of its specification.
        observed: the number of the specification that its controller has seen.
        strategy: `RollingUpdate` or `Recreate`.
        max_unavailable: as it was given, such as `25%`.
        max_surge: likewise.
        stalled: why its controller says that the rollout makes no progress; absent if it does.
    """

    replicas: int = 1
    updated: int = 0
    ready: int = 0
    available: int = 0
    existing: int = 0
    generation: int = 0
    observed: int = 0
    strategy: str = "RollingUpdate"
    max_unavailable: str | None = None
    max_surge: str | None = None
    stalled: str | None = None

    @property
    def complete(self) -> bool:
        """Whether every pod has the present template and is available, and no other pod is left."""
        return (
            self.observed >= self.generation
            and self.updated == self.existing == self.replicas
            and self.available >= self.replicas
        )


class JobState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One Job.

    Attributes:
        owner: what made it, such as `cronjob/report`; absent for one that a release made.
        active: how many of its pods run.
        succeeded: how many have succeeded.
        failed: how many have failed.
        outcome: `Complete` or `Failed`; absent while it runs.
        reason: why it failed, such as `BackoffLimitExceeded`.
        message: the same in the words of the cluster.
    """

    owner: str | None = None
    active: int = 0
    succeeded: int = 0
    failed: int = 0
    outcome: str | None = None
    reason: str | None = None
    message: str | None = None


class NodeState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One node.

    Attributes:
        cordoned: whether it takes no new pods, as while it is drained.
        ready: its condition `Ready`.
    """

    cordoned: bool = False
    ready: bool = True


class ReportedEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One Event: what a component of the cluster reported.

    Attributes:
        about: the object, such as `pod/web-5d4f-x2x`.
        reason: such as `Killing`, `Unhealthy`, `FailedScheduling`.
        message: in the words of the cluster.
        type: `Normal` or `Warning`.
        count: how often it was reported.
        last_wall_ns: when it was reported last, on the cluster's clock.
    """

    about: str
    reason: str
    message: str = ""
    type: str = "Normal"
    count: int = 1
    last_wall_ns: int | None = None


class ClusterClock(msgspec.Struct, frozen=True, kw_only=True):
    """How the clock of the API server relates to this machine's monotonic clock.

    Attributes:
        low_ns: what to add to nanoseconds since 1970, at least.
        high_ns: the same, at most.
    """

    low_ns: int
    high_ns: int


class ClusterChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line: one object as it is from then on, or a note.

    Attributes:
        at_ns: when it was received, on the machine's monotonic clock.
        change: `listed` (it was there), `added`, `modified` or `deleted`; `gap`: changes of this
            kind may be missing, since the server ended the watch; `clock`.
        name: the name of the object; of a gap, the kind.
        pod: of a pod.
        slice: of an EndpointSlice.
        deployment: of a Deployment.
        job: of a Job.
        node: of a node.
        event: of an Event.
        clock: of a measurement of the clock.
        error: of a gap: why.
    """

    at_ns: int
    change: str
    name: str = ""
    pod: PodState | None = None
    slice: SliceState | None = None
    deployment: DeploymentState | None = None
    job: JobState | None = None
    node: NodeState | None = None
    event: ReportedEvent | None = None
    clock: ClusterClock | None = None
    error: str | None = None
