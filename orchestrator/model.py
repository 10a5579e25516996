"""What a rollout is about: versions, replicas, policy, release, and the events of its journal."""

import math
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from orchestrator.errors import OrchestratorError

Outcome = Literal["completed", "rolled_back", "aborted", "failed"]
State = Literal["started", "completed", "failed", "noted"]


class PolicyError(OrchestratorError):
    """A policy that no rollout can follow; the message says what would be right."""


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
        start_seconds: how long a replica may take until it is ready; absent: as long as the
            policy's `progress_deadline_seconds` allows.
        python: the interpreter that `{python}` stands for; absent: this one.
        warm_up: paths that a new replica must answer, each with a 2xx or 3xx, before the router
            hears of it.
    """

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] = msgspec.field(default_factory=dict)
    cwd: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    signal_group: bool = False
    start_seconds: float | None = None
    python: str | None = None
    warm_up: tuple[str, ...] = ()


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


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The knobs of a rollout; durations are seconds. Names and rounding are Kubernetes'.

    Source: kubernetes.io, "Deployments": maxSurge rounds up, maxUnavailable down, not both are 0.

    Attributes:
        replicas: how many replicas serve.
        max_surge: how many more may run meanwhile; a number or a share such as `25%`.
        max_unavailable: how many fewer may serve meanwhile; a number or a share such as `25%`.
        min_ready_seconds: how long a new replica must serve well before it counts as available.
        progress_deadline_seconds: how long new replicas may take until they are ready.
        drain_timeout: how long a replica may finish what it has in flight.
        termination_grace_seconds: how long it may take to stop before it is killed.
        canary_steps: the shares of traffic that a canary gets, in percent, in order; ends with 100.
        canary_soak_seconds: how long each of them lasts before it is judged.
        canary_minimum_requests: the least requests to the canary that a judgement rests on.
        canary_patience_seconds: how long to wait for that many, on top of the soak.
        canary_tolerance: how much higher the canary's failure rate may be, 0.01 is one percent.
        on_inconclusive: what too few requests lead to. `proceed` is the default, since a step is
            what brings the requests that the next judgement rests on, and a service without
            traffic must be deployable; `fail` rolls back.
    """

    replicas: int = 3
    max_surge: int | str = 1
    max_unavailable: int | str = 0
    min_ready_seconds: float = 0.5
    progress_deadline_seconds: float = 30.0
    drain_timeout: float = 30.0
    termination_grace_seconds: float = 10.0
    canary_steps: tuple[float, ...] = (5, 25, 50, 100)
    canary_soak_seconds: float = 1.0
    canary_minimum_requests: int = 20
    canary_patience_seconds: float = 5.0
    canary_tolerance: float = 0.01
    on_inconclusive: Literal["proceed", "fail"] = "proceed"

    def __post_init__(self) -> None:
        if self.replicas < 1:
            raise PolicyError(f"replicas is {self.replicas}; it must be at least 1")
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, float) and not (math.isfinite(value) and value >= 0):
                raise PolicyError(f"{name} is {value}; it must be a number, 0 or more")
        if self.surge + self.unavailable == 0:
            raise PolicyError(
                f"max_surge {self.max_surge} and max_unavailable {self.max_unavailable} of "
                f"{self.replicas} replicas are both 0: no replica could ever be replaced"
            )
        steps = self.canary_steps
        if not steps or steps[-1] != 100 or sorted(set(steps)) != list(steps) or steps[0] <= 0:  # noqa: PLR2004 - percent
            raise PolicyError(
                f"canary_steps are {', '.join(f'{step:g}' for step in steps) or 'empty'}; "
                "they must rise from above 0 to 100"
            )

    @property
    def surge(self) -> int:
        """`max_surge` as a number of replicas."""
        return _share("max_surge", self.max_surge, self.replicas, math.ceil)

    @property
    def unavailable(self) -> int:
        """`max_unavailable` as a number of replicas, at most all of them."""
        wanted = _share("max_unavailable", self.max_unavailable, self.replicas, math.floor)
        return min(wanted, self.replicas)


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the journal.

    Every verb writes `started` and then `completed` or `failed`, with the same `number`. `noted`
    stands alone: something that was seen rather than done, such as a replica's exit.

    Attributes:
        at_ns: when, on the machine's monotonic clock.
        verb: what: `phase`, `release`, `deploy`, `migrate`, `start`, `wait_ready`, `attach`,
            `weigh`, `switch`, `soak`, `analyse`, `drain`, `stop`, `rollback`, `replica`.
        state: how far it is.
        number: joins the start of a verb with its end.
        version: the version that it is about.
        replicas: the ids of the replicas that it is about.
        seconds: how long the verb took, at its end.
        floor_seconds: how much of that no orchestrator could have saved: see `Rollout`.
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
    """

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] = msgspec.field(default_factory=dict)
    cwd: Path | None = None


class Deploy(msgspec.Struct, frozen=True, kw_only=True, tag="deploy"):
    """A step of a release: replace what serves.

    Attributes:
        version: what serves afterwards.
    """

    version: Version


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """What a release does, in order.

    Attributes:
        name: what it is called.
        start: the version that serves before it.
        steps: its migrations and deployments.
    """

    name: str
    start: Version
    steps: tuple[Migrate | RunCommand | Deploy, ...]


class ReleaseResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a release ended.

    Attributes:
        outcome: `completed`; `rolled_back`: a deployment failed and the version before it serves
            again; `failed`: a migration failed, or the way back did; `aborted`: it was cancelled.
        reason: why, when it is not completed.
        seconds: how long it took.
        floor_seconds: how much of that no orchestrator could have saved: see `Rollout`.
        versions: the versions that served, in order, the first one before the release.
    """

    outcome: Outcome
    reason: str | None = None
    seconds: float
    floor_seconds: float
    versions: tuple[str, ...]


def _share(name: str, value: int | str, replicas: int, rounding: Callable[[float], int]) -> int:
    text = str(value)
    number = text.removesuffix("%")
    if not (number.isascii() and number.isdigit()):
        raise PolicyError(f"{name} is {value!r}; it must be a number, or a share such as '25%'")
    return rounding(int(number) * replicas / 100) if text.endswith("%") else int(number)
