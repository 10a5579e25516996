"""What a simulated world is like: how long things take, and what breaks.

The table `[simulation]` of a scenario file is read directly into these structs.
"""

import math
from collections.abc import Mapping
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


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One kind of request.

    Attributes:
        name: such as `POST /subscriptions`; the method decides whether it may be sent twice.
        weight: how often users send it, relative to the others.
        service_factor: how long it takes, relative to its version's `service_seconds`.
        lock: the table whose lock it needs; it waits while a migration holds that lock.
    """

    name: str
    weight: Positive = 1.0
    service_factor: NotNegative = 1.0
    lock: str | None = None

    @property
    def method(self) -> str:
        """The HTTP method."""
        return self.name.partition(" ")[0]


class Breaks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a version cannot do on a schema.

    Attributes:
        version: the version.
        endpoint: the kind of request that fails; absent: all of them.
        since: the first migration after which it fails; absent: from the beginning.
        until: the first migration after which it works again; absent: never.
        status: the status of the answer.
        sqlstate: what Postgres calls it.
        ready: whether the version's readiness check still succeeds.
    """

    version: str
    endpoint: str | None = None
    since: str | None = None
    until: str | None = None
    status: Annotated[int, msgspec.Meta(ge=400, le=599)] = 500
    sqlstate: str | None = None
    ready: bool = True


class MigrationModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one migration does.

    Attributes:
        name: its name, such as `0003.backfill`.
        seconds: how long it takes.
        locks: the table whose lock it holds meanwhile; requests that need it wait.
        fails: the SQLSTATE with which it is refused; absent: it succeeds.
    """

    name: str
    seconds: NotNegative = 0.1
    locks: str | None = None
    fails: str | None = None


class World(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The simulated world.

    Attributes:
        replica: how replicas behave, unless their version says otherwise.
        versions: the versions whose replicas behave differently.
        network: the network between balancer and replicas.
        endpoints: what users ask for.
        breaks: which version cannot do what on which schema.
        migrations: what the migrations of the release do; one that is not named takes 0.1 s and
            holds no lock.
    """

    replica: ReplicaModel = ReplicaModel()
    versions: Mapping[str, ReplicaModel] = msgspec.field(default_factory=dict)
    network: Network = Network()
    endpoints: Annotated[tuple[Endpoint, ...], msgspec.Meta(min_length=1)] = (
        Endpoint(name="GET /"),
    )
    breaks: tuple[Breaks, ...] = ()
    migrations: tuple[MigrationModel, ...] = ()

    def model_of(self, version: str) -> ReplicaModel:
        """How the replicas of a version behave."""
        return self.versions.get(version, self.replica)
