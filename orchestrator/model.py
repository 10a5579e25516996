"""The data of a rollout: versions, replicas, releases, and the events of its journal."""

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from balancer.addresses import host_port

Outcome = Literal["completed", "rolled_back", "aborted", "failed"]
State = Literal["started", "completed", "failed", "noted"]


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One version of an application, and how to run it.

    The command and the values of the environment can have placeholders: `{host}`, `{port}`,
    `{version}`, `{replica_id}`, `{replica_dir}` (a private folder of the replica), `{python}`, and
    those that the platform is given, such as `{database_url}`. Two braces stand for one.

    Attributes:
        name: such as `b`; the ids of its replicas begin with it.
        command: the program and its arguments.
        env: environment variables, in addition to the orchestrator's own.
        cwd: its working directory.
        stop_signal: the signal that asks a replica to stop, such as `SIGTERM`.
        signal_group: whether the replica's whole process group gets the stop signal.
        termination_grace_seconds: how long a replica may take to stop; then it is killed.
        start_seconds: how long a replica may take until it is ready; absent: as long as the
            policy's `progress_deadline_seconds` allows.
        python: the interpreter that `{python}` stands for; absent: this one.
        warm_up: paths that a new replica must answer, each with a 2xx or 3xx, before it is
            registered with the router.
        readiness_path: a path that a replica must answer with a 2xx before it is registered with
            the router, and before a rollback to this version on a changed schema; absent: no check.
        liveness_path: a path that a replica must always answer with a 2xx, or it is replaced;
            absent: no check.
        listens: whether a replica listens on `{port}`. One that does not, such as a worker, is
            ready once it runs, and its log says `ready_log`.
        ready_log: a regular expression that a line of its log must match before it is ready;
            absent: no check.
        whole_family: whether all processes that a replica has started end with it, also those in
            process groups of their own; otherwise only those of its own group do.
    """

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] = msgspec.field(default_factory=dict)
    cwd: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    signal_group: bool = False
    termination_grace_seconds: float = 10.0
    start_seconds: float | None = None
    python: str | None = None
    warm_up: tuple[str, ...] = ()
    readiness_path: str | None = None
    liveness_path: str | None = None
    listens: bool = True
    ready_log: str | None = None
    whole_family: bool = False


class Replica(msgspec.Struct, frozen=True, kw_only=True):
    """One running instance of a version.

    Attributes:
        id: its name, unique in the run, such as `b-7`.
        version: the name of its version.
        host: the host that it listens on.
        port: the port that it listens on.
        pid: its process id; 0 where the platform has none.
        started_ns: when it was started, on the machine's monotonic clock.
    """

    id: str
    version: str
    host: str
    port: int
    pid: int = 0
    started_ns: int = 0

    @property
    def address(self) -> str:
        """The address that it listens on, as `host:port`."""
        return host_port(self.host, self.port)


class JournalEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the journal.

    Every verb writes `started` and later `completed` or `failed`, with the same `number`. `noted`
    stands alone: it was observed, not done, such as the exit of a replica.

    Attributes:
        at_ns: when, on the machine's monotonic clock.
        verb: what: one of `orchestrator.verbs.VERBS`. It is text here, so that a journal of a later
            release with further verbs can still be read.
        state: whether the verb has started, completed or failed, or was only noted.
        number: the same in the first and the last event of a verb.
        version: the version that it is about.
        replicas: the ids of the replicas that it is about.
        seconds: how long the verb took; only in its last event.
        floor_seconds: how much of that no orchestrator could have saved: see `VerbRunner`.
        error: why it failed.
        detail: further facts.
    """

    at_ns: int
    verb: str
    state: State
    number: int
    version: str | None = None
    replicas: tuple[str, ...] = ()
    seconds: float | None = None
    floor_seconds: float | None = None
    error: str | None = None
    detail: Mapping[str, object] = msgspec.field(default_factory=dict)


class Migrate(msgspec.Struct, frozen=True, kw_only=True, tag="migrate"):
    """A step of a release: apply migrations.

    Attributes:
        directory: the folder of the migrations.
        through: the last migration to apply; absent: all of them.
    """

    directory: Path
    through: str | None = None


class RunCommand(msgspec.Struct, frozen=True, kw_only=True, tag="run_command"):
    """A step of a release: a migration by any command.

    Attributes:
        name: its name in the journal.
        command: the program and its arguments, with all placeholders filled in.
        env: environment variables, in addition to the orchestrator's own.
        cwd: its working directory.
        down: whether it takes migrations back.
    """

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] = msgspec.field(default_factory=dict)
    cwd: Path | None = None
    down: bool = False


class Deploy(msgspec.Struct, frozen=True, kw_only=True, tag="deploy"):
    """A step of a release: replace the serving version.

    Attributes:
        version: the version that serves afterwards.
        services: services that are deployed at the same time, with their new versions.
    """

    version: Version
    services: Mapping[str, str] = msgspec.field(default_factory=dict)


class DeployServices(msgspec.Struct, frozen=True, kw_only=True, tag="deploy_services"):
    """A step of a release: deploy services behind the application, all of them at the same time.

    Attributes:
        services: their new versions, by the names of the services; at least one.
    """

    services: Mapping[str, str]


class Undo(msgspec.Struct, frozen=True, kw_only=True, tag="undo"):
    """A step of a release: deploy the version that served before the present one.

    It is refused when that version does not work with the schema of that moment.
    """


class MigrateDown(msgspec.Struct, frozen=True, kw_only=True, tag="migrate_down"):
    """A step of a release: take migrations back, newest first.

    It is refused unless every running version works with the schema that it leads to.

    Attributes:
        what: the migrations, down to and including `through`; or the command that takes them back.
    """

    what: Migrate | RunCommand


Step = Migrate | RunCommand | MigrateDown | Deploy | DeployServices | Undo


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """A release: its steps, in order.

    Attributes:
        name: the name of the release.
        start: the version that serves before it.
        steps: its migrations and deployments.
    """

    name: str
    start: Version
    steps: tuple[Step, ...]


class ReleaseResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a release ended.

    Attributes:
        outcome: `completed`; `rolled_back`: a deployment failed and the version before it serves
            again; `failed`: a migration failed, or a rollback failed or was refused; `aborted`:
            the release was cancelled, or somebody aborted it and the version before serves again.
        reason: why it did not complete; None when it did.
        seconds: how long it took.
        floor_seconds: how much of that no orchestrator could have saved: see `VerbRunner`.
        versions: the versions that served, in order, the first one before the release.
    """

    outcome: Outcome
    reason: str | None = None
    seconds: float
    floor_seconds: float
    versions: tuple[str, ...]
