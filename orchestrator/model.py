"""What a rollout is about: versions, replicas, release, and the events of its journal."""

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

Outcome = Literal["completed", "rolled_back", "aborted", "failed"]
State = Literal["started", "completed", "failed", "noted"]


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One version of an application, and how to run it.

    The command and the environment's values may hold placeholders: `{host}`, `{port}`,
    `{version}`, `{replica_id}`, `{replica_dir}` (a folder of its own), `{python}`, and whatever
    the platform is given, such as `{database_url}`. Two braces stand for one.

    Attributes:
        name: what it is called, such as `b`; part of its replicas' ids.
        command: the program and its arguments.
        env: variables on top of the orchestrator's own.
        cwd: its working directory.
        stop_signal: what asks a replica to stop, such as `SIGTERM`.
        signal_group: whether that goes to the replica's whole process group.
        termination_grace_seconds: how long a replica may take to stop before it is killed.
        start_seconds: how long a replica may take until it is ready; absent: as long as the
            policy's `progress_deadline_seconds` allows.
        python: the interpreter that `{python}` stands for; absent: this one.
        warm_up: paths that a new replica must answer, each with a 2xx or 3xx, before the router
            hears of it.
        readiness_path: what a replica itself must answer with a 2xx before the router is told of
            it, and before the version may come back to a schema that has changed; absent: nothing.
        liveness_path: what it must go on answering, or be replaced; absent: nothing.
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


class Replica(msgspec.Struct, frozen=True, kw_only=True):
    """One running copy of a version.

    Attributes:
        id: its name, unique in the run, such as `b-7`.
        version: the name of its version.
        host: where it listens.
        port: the same.
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
        """Where it listens, as `host:port`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the journal.

    Every verb writes `started` and then `completed` or `failed`, with the same `number`. `noted`
    stands alone: something that was seen rather than done, such as a replica's exit.

    Attributes:
        at_ns: when, on the machine's monotonic clock.
        verb: what: `phase`, `release`, `deploy`, `migrate`, `start`, `wait_ready`, `attach`,
            `weigh`, `switch`, `soak`, `pause`, `preview`, `analyse`, `drain`, `stop`, `rollback`,
            `undo`, `rehearse`, `hook`, `heal`, `scale`, `replica`, `step`.
        state: how far it is.
        number: joins the start of a verb with its end.
        version: the version that it is about.
        replicas: the ids of the replicas that it is about.
        seconds: how long the verb took, at its end.
        floor_seconds: how much of that no orchestrator could have saved: see `Verbs`.
        error: why it failed.
        detail: what else is known.
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
        directory: where they are.
        through: the last one to apply; absent: all of them.
    """

    directory: Path
    through: str | None = None


class RunCommand(msgspec.Struct, frozen=True, kw_only=True, tag="run_command"):
    """A step of a release: a migration by any command.

    Attributes:
        name: what the journal calls it.
        command: the program and its arguments, ready to be run.
        env: variables on top of the orchestrator's own.
        cwd: its working directory.
        down: whether it takes migrations back.
    """

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] = msgspec.field(default_factory=dict)
    cwd: Path | None = None
    down: bool = False


class Deploy(msgspec.Struct, frozen=True, kw_only=True, tag="deploy"):
    """A step of a release: replace what serves.

    Attributes:
        version: what serves afterwards.
    """

    version: Version


class Undo(msgspec.Struct, frozen=True, kw_only=True, tag="undo"):
    """A step of a release: deploy the version that served before the present one.

    It is refused when that version does not work with the schema as it is by then.
    """


class MigrateDown(msgspec.Struct, frozen=True, kw_only=True, tag="migrate_down"):
    """A step of a release: take migrations back, newest first.

    It is refused unless every version that lives works with the schema that it leads to.

    Attributes:
        what: which migrations, down to and with `through`; or the command that takes them back.
    """

    what: Migrate | RunCommand


Step = Migrate | RunCommand | MigrateDown | Deploy | Undo


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """What a release does, in order.

    Attributes:
        name: what it is called.
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
            again; `failed`: a migration failed, or the way back did or was refused; `aborted`:
            it was cancelled, or somebody asked for its end and the version before serves again.
        reason: why, when it is not completed.
        seconds: how long it took.
        floor_seconds: how much of that no orchestrator could have saved: see `Verbs`.
        versions: the versions that served, in order, the first one before the release.
    """

    outcome: Outcome
    reason: str | None = None
    seconds: float
    floor_seconds: float
    versions: tuple[str, ...]
