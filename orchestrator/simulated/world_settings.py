"""What a simulated world is like: how long things take, and what breaks.

The table `[simulation]` of a scenario file holds most of these structs.
"""

import math
from collections.abc import Collection, Mapping
from typing import Annotated, Literal

import msgspec

from orchestrator.simulated.chance import Distribution
from orchestrator.values import Count, NotNegative, PolicyError, Positive, Rate, check_numbers

OnStop = Literal["finish", "cut", "ignore"]


class Spread(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long something takes: a distribution, in one of three forms.

    Attributes:
        median: seconds; half of the draws are below.
        spread: the 84th percentile over the median (a log-normal distribution); 1 is no variation.
        samples: measured values in seconds, instead of a median.
    """

    median: NotNegative | None = None
    spread: Annotated[float, msgspec.Meta(ge=1)] = 1.0
    samples: tuple[NotNegative, ...] = ()

    def __post_init__(self) -> None:
        check_numbers(self)
        if (self.median is None) == (not self.samples):
            raise PolicyError("needs either median or samples", "median")
        if not math.isfinite(self.spread):
            raise PolicyError(f"spread is {self.spread}; it must be a number, 1 or more", "spread")

    def distribution(self) -> Distribution:
        """The same, to draw from."""
        if self.samples:
            return Distribution.measured(self.samples)
        median = self.median or 0.0
        if self.spread == 1.0 or not median:
            return Distribution.constant(median)
        return Distribution.lognormal(median, self.spread)


Time = NotNegative | Spread
"""A number of seconds, or a distribution."""


def distribution(time: Time) -> Distribution:
    """What a time is drawn from."""
    return time.distribution() if isinstance(time, Spread) else Distribution.constant(time)


class ReplicaModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the replicas of a version behave.

    Attributes:
        start_seconds: from the start of the process until it listens.
        ready_seconds: from then until its health check says that it is ready.
        service_seconds: how long one request takes, once a worker has it.
        workers: how many requests a replica works on at the same time; the others wait in order.
        warm_up_seconds: for how long after it is ready a replica is slower.
        warm_up_factor: how many times as long a request takes at the beginning of that time; the
            factor falls to 1 evenly.
        on_stop: what a replica does with its stop signal. `finish`: it closes its port, answers
            what it has, and ends; `cut`: it ends at once, with all its connections; `ignore`: it
            serves on until it is killed.
        stop_listening_seconds: how long after its stop signal a replica closes its port.
        stop_seconds: how long a replica takes to end once it has answered everything.
        keep_alive_seconds: for how long a replica keeps an idle connection open.
        crash_rate: how many times an hour a serving replica ends by itself.
        fail_rate: the share of its requests that a replica answers with the status 500.
    """

    start_seconds: Time = 1.0
    ready_seconds: Time = 0.0
    service_seconds: Time = 0.005
    workers: Count = 8
    warm_up_seconds: NotNegative = 0.0
    warm_up_factor: Annotated[float, msgspec.Meta(ge=1)] = 1.0
    on_stop: OnStop = "finish"
    stop_listening_seconds: NotNegative = 0.0
    stop_seconds: Time = 0.05
    keep_alive_seconds: Positive = 75.0
    crash_rate: NotNegative = 0.0
    fail_rate: Rate = 0.0

    def __post_init__(self) -> None:
        check_numbers(self)


class Network(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The network between the balancer and the replicas.

    Attributes:
        delay_seconds: how long a packet takes, in one direction.
        loss: the share of requests of which a packet is lost; it is sent again after
            `retransmit_seconds`.
        retransmit_seconds: TCP's first retransmission timeout (RFC 6298: one second).
    """

    delay_seconds: NotNegative = 0.0002
    loss: Rate = 0.0
    retransmit_seconds: NotNegative = 1.0

    def __post_init__(self) -> None:
        check_numbers(self)


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of request.

    Attributes:
        name: such as `POST /subscriptions`; the method decides whether it may be sent twice.
        weight: how often users begin with it, relative to the others; 0: nobody does.
        service_factor: how long it takes, relative to its version's `service_seconds`.
        lock: the table whose lock it needs; it waits while a migration holds that lock.
        follows: the numbers of the endpoints of which each success leads to this request; empty:
            users begin with it.
        pause_seconds: the mean of the pause before it, which is exponentially distributed.
        mailed: whether not the success itself leads to it, but the mail that a version sends then.
        refused: whether it is refused on purpose, before it reaches the schema; nothing breaks it.
    """

    name: str
    weight: NotNegative = 1.0
    service_factor: NotNegative = 1.0
    lock: str | None = None
    follows: tuple[int, ...] = ()
    pause_seconds: NotNegative = 0.0
    mailed: bool = False
    refused: bool = False

    @property
    def method(self) -> str:
        """The HTTP method."""
        return self.name.partition(" ")[0]


class Staying(msgspec.Struct, frozen=True, kw_only=True):
    """Users who stay for the whole run and come back on a schedule, whatever became of a request.

    Attributes:
        endpoint: the number of the endpoint that they begin each visit with.
        users: how many there are.
        every_seconds: the time between two visits of one user.
    """

    endpoint: int
    users: Count
    every_seconds: Positive


Names = str | tuple[str, ...]
"""One name, or several."""


class Breaks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a version cannot do on a schema.

    Attributes:
        version: the version.
        endpoint: the kind of request that fails; absent: all of them.
        since: the migration after which it fails; of several, any one. Absent: from the beginning.
        until: the migration after which it works again; of several, any one. Absent: never.
        on: the migrations of the one schema on which it fails, in order. Absent: `since` and
            `until` say on which.
        status: the status of the answer.
        sqlstate: what Postgres calls it.
        ready: whether the version's readiness check still succeeds.
    """

    version: str
    endpoint: str | None = None
    since: Names | None = None
    until: Names | None = None
    on: tuple[str, ...] | None = None
    status: Annotated[int, msgspec.Meta(ge=400, le=599)] = 500
    sqlstate: str | None = None
    ready: bool = True

    def holds(self, version: str, applied: Collection[str]) -> bool:
        """Whether it fails for this version once these migrations are applied."""
        return (
            self.version == version
            and (self.on is None or self.on == tuple(applied))
            and (self.since is None or _any_of(self.since, applied))
            and (self.until is None or not _any_of(self.until, applied))
        )


def _any_of(names: Names, applied: Collection[str]) -> bool:
    several = (names,) if isinstance(names, str) else names
    return any(name in applied for name in several)


class MigrationModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one migration does.

    Attributes:
        name: its name, such as `0003.backfill`.
        lead_seconds: how long its tool needs before it begins.
        seconds: how long it takes.
        locks: the table whose lock it holds meanwhile; requests that need it wait.
        fails: the SQLSTATE with which it is refused; absent: it succeeds.
    """

    name: str
    lead_seconds: NotNegative = 0.0
    seconds: NotNegative = 0.1
    locks: str | None = None
    fails: str | None = None


class World(msgspec.Struct, frozen=True, kw_only=True):
    """The simulated world.

    Attributes:
        replica: how replicas behave, unless their version says otherwise.
        versions: the versions whose replicas behave differently.
        network: the network between balancer and replicas.
        endpoints: what users ask for.
        staying: users who stay for the whole run.
        mails: by version, the endpoints whose success makes it send the user a mail.
        mail_seconds: how long a mail takes.
        breaks: which version cannot do what on which schema.
        migrations: what the migrations of the release do; one that is not named takes 0.1 s and
            holds no lock.
        health_path: the path of the balancer's health checks.
        schema_paths: the paths that a version answers with an error while it is not ready for the
            schema; absent: every path that is probed.
    """

    replica: ReplicaModel = ReplicaModel()
    versions: Mapping[str, ReplicaModel] = msgspec.field(default_factory=dict)
    network: Network = Network()
    endpoints: Annotated[tuple[Endpoint, ...], msgspec.Meta(min_length=1)] = (
        Endpoint(name="GET /"),
    )
    staying: tuple[Staying, ...] = ()
    mails: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    mail_seconds: Time = 0.05
    breaks: tuple[Breaks, ...] = ()
    migrations: tuple[MigrationModel, ...] = ()
    health_path: str = "/"
    schema_paths: tuple[str, ...] | None = None

    def model_of(self, version: str) -> ReplicaModel:
        """How the replicas of a version behave."""
        return self.versions.get(version, self.replica)

    def checks_schema(self, path: str) -> bool:
        """Whether the answer to this path depends on the schema."""
        return self.schema_paths is None or path in self.schema_paths

    @property
    def has_journeys(self) -> bool:
        """Whether some requests lead to others."""
        return any(one.follows for one in self.endpoints)
