"""The structs of a scenario file for what runs beside the web: processes and their jobs."""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from orchestrator.policy import Command, Count, HttpPath, NotNegative, Positive, Quantity
from scenarios.evidence.jobs import JobCause

StopSignal = Literal["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2"]

DrainSignal = Literal["SIGTSTP", "SIGUSR1", "SIGUSR2", "SIGHUP", "SIGINT", "SIGWINCH"]

Program = Annotated[str, msgspec.Meta(extra={"path": "program"})]
"""A program: the name of one on `PATH`, or, with a slash in it, its path."""

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_-]*$")]


class ProcessSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A set of processes that runs beside the web, such as workers, a scheduler or a cache.

    The strategies deploy such a set as they deploy replicas, but no router sends it requests.
    Its processes have the ids `NAME-VERSION-1`, `NAME-VERSION-2`, … All processes that a process
    has started end with it, as in a container, also those in process groups of their own.

    Attributes:
        name: the name of the set, such as `worker`. No version may have the same name.
        command: the program and its arguments, with the placeholders of `application.command`.
        env: environment variables, in addition to those of the application and of the version.
        shared: whether all versions share the set, such as a broker or a cache. It is one process.
            It starts before everything else, and no release replaces it. Others find it by the
            placeholders `{NAME_host}` and `{NAME_port}`.
        replicas: how many processes of a version serve.
        place: when the set is deployed: `before` the web, `with` it (at the same time), or `after`
            it.
        strategy: how the set is deployed. Default: the strategy of the run. `naive` stops the old
            processes before it starts the new ones (`Recreate` in Kubernetes), so that two
            schedulers never run at the same time.
        max_surge: how many additional processes may run during a rolling update. Default: as in
            `policy`.
        max_unavailable: how many fewer processes may serve meanwhile. Default: as in `policy`.
        min_ready_seconds: how long a new process must run well before it counts as available.
            Default: as in `policy`.
        ready_log: a regular expression. A new process is ready once a line of its log matches.
        listens: whether the process listens on `{port}`. A new process is then ready once it
            accepts connections. Without this, `ready_log` and `readiness_path`, it is ready as
            soon as it runs.
        readiness_path: a path on `{port}`. A new process is ready once it answers 2xx.
        stop_signal: the signal that tells a process to stop.
        stop_to: who gets that signal. `parent`: only the process that was started, as with Docker
            and Kubernetes. `group`: each process of its process group, as with systemd's default
            (`KillMode=control-group`), or with Ctrl-C.
        termination_grace_seconds: how long a process may take to stop before it is killed.
        drain_signal: the signal that tells a process to begin no further job, such as `SIGTSTP`
            for Sidekiq. Before the stop, hitless sends it and waits until the process has no
            job in hand; that needs `[jobs]`. Default: no drain; the stop signal comes at once.
        drain_timeout_seconds: how long that may take.
    """

    name: Name
    command: Command
    env: Mapping[str, str] = msgspec.field(default_factory=dict)
    shared: bool = False
    replicas: Count = 1
    place: Literal["before", "with", "after"] = "with"
    strategy: Literal["naive", "rolling", "blue-green", "canary"] | None = None
    max_surge: Quantity | None = None
    max_unavailable: Quantity | None = None
    min_ready_seconds: NotNegative | None = None
    ready_log: str | None = None
    listens: bool = False
    readiness_path: HttpPath | None = None
    stop_signal: StopSignal = "SIGTERM"
    stop_to: Literal["parent", "group"] = "parent"
    termination_grace_seconds: Positive = 10.0
    drain_signal: DrainSignal | None = None
    drain_timeout_seconds: Positive = 30.0


class CacheSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A store whose values the versions share, such as a cache of sessions.

    The run looks at its keys four times a second, and records in which form their values are
    written; it never records a value. The verdict says which keys changed their form in the
    release.

    Attributes:
        url: where it is: `redis://`, `rediss://` (TLS) or `unix://`. It may contain placeholders,
            such as `redis://{redis_host}:{redis_port}/0`. It needs
            `pip install 'hitless[redis]'`. Only reading commands are sent; the user of the URL
            needs no other rights.
    """

    url: str


class JobsSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The jobs of the application. With this table, the run looks at what became of each job.

    The application tells of its jobs: it appends a line to the file in `HITLESS_JOBS`, or sends
    the line to the socket in `HITLESS_JOBS_SOCKET`. `docs/jobs.md` has the helper for that.

    Attributes:
        store: a command that prints what the queue still has, one JSON object a line, such as
            `{"job": "17", "state": "waiting"}`. Without it, a job that nobody began cannot be told
            from a lost one.
        using: the version whose directory, interpreter and environment that command uses. Default:
            the version that is deployed last.
        system: the queue system, whose own words the advice uses, such as `celery`. Default: the
            one that a command of the scenario names.
        settle_timeout_seconds: how long the run waits after the traffic until the queue is empty.
        store_timeout_seconds: how long the store command may take.
        may: the causes that are accepted, such as `job:cut` where each job can be repeated.
    """

    store: Command | None = None
    using: str | None = None
    system: str | None = None
    settle_timeout_seconds: NotNegative = 30.0
    store_timeout_seconds: Positive = 10.0
    may: tuple[JobCause, ...] = ()
