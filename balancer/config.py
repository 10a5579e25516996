"""The configuration of a balancer. The command line for it is in `balancer.options`."""

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path

from balancer.addresses import Address
from balancer.errors import ConfigError
from balancer.health import HealthPolicy
from balancer.hold_queue import HoldPolicy
from balancer.outlier_detection import OutlierPolicy

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")


@dataclass(frozen=True, slots=True)
class BackendSpec:
    """A backend that is attached at the start."""

    id: str
    address: Address
    version: str = "default"
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what a client may ask for, each with the status of the answer beyond it.

    Attributes:
        header_bytes: of a request's head (431).
        header_count: fields of a request (431).
        target_bytes: of a request's target (414).
        body_bytes: of a request's body (413); 0 is no limit.
        body_rate: bytes per second at which a request's body must arrive on average, after the
            time that `Timeouts.body` allows in any case (408); 0 is no limit.
        connections: clients' connections in all (503).
        backend_requests: under way with one backend, upgraded connections apart (503); 0 is no
            limit.
        client_connections: of one client address (429); 0 is no limit.
        response_header_bytes: of a backend's response head (502).
    """

    header_bytes: int = 32 * 1024
    header_count: int = 100
    target_bytes: int = 8 * 1024
    body_bytes: int = 0
    body_rate: int = 500
    connections: int = 8000
    backend_requests: int = 1024
    client_connections: int = 0
    response_header_bytes: int = 64 * 1024


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long each phase may take, in seconds; 0 means no limit.

    Attributes:
        head: from a request's first byte, or a connection's opening, to the end of its head (408).
        body: between two reads of a request's body (408).
        keep_alive: an idle connection of a client.
        connect: one attempt to connect to a backend.
        first_byte: from the request's end to the response's head (504).
        stream: between two reads of a response, while the client is ready for them.
        total: a whole exchange (504 while nothing was relayed).
        reuse: how long an idle connection to a backend may be used again.
        tunnel: an upgraded connection with no traffic either way.
        stop: the whole graceful stop.
        stop_idle: how long an idle client connection is waited for in a graceful stop.
    """

    head: float = 10.0
    body: float = 30.0
    keep_alive: float = 75.0
    connect: float = 2.0
    first_byte: float = 60.0
    stream: float = 60.0
    total: float = 0.0
    reuse: float = 1.0
    tunnel: float = 3600.0
    stop: float = 30.0
    stop_idle: float = 1.0


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration of one balancer.

    Attributes:
        listen: where clients connect.
        admin: where the admin API is served; None for none.
        admin_token: the bearer token that it asks for; None for none.
        handover: the unix socket by which a successor takes over.
        backends: attached at the start.
        health: how backends are probed.
        outliers: when live traffic takes a backend out.
        hold: when a request waits for a backend.
        limits: what clients may ask for.
        timeouts: how long things may take.
        access_log: the file that gets one line an exchange; None for none.
        trust: the peers whose X-Forwarded-* fields are believed.
        affinity: the name of the cookie that keeps a user on one version; None for none.
        retry: whether a request goes to another backend, or is sent again, when a backend fails.
        passive_checks: whether the failures of live requests take a backend out.
        shuffle: whether each round of the round robin has an order of its own. Two balancers, one
            behind the other, else choose in step, and some pairs of backends never meet.
        retry_ratio: retries allowed for each request.
        retry_minimum: retries allowed in ten seconds in any case.
        replay_bytes: the largest request body that is kept for a retry.
        connections_given: whether the operator asked for this many connections.
        reuse_post: whether kept connections are used for requests that must not be sent twice,
            whatever is known of the backend.
        underscores: whether fields with `_` in their name pass on.
    """

    listen: tuple[Address, ...]
    admin: Address | None = None
    admin_token: str | None = None
    handover: Path | None = None
    backends: tuple[BackendSpec, ...] = ()
    health: HealthPolicy = field(default_factory=HealthPolicy)
    outliers: OutlierPolicy = field(default_factory=OutlierPolicy)
    hold: HoldPolicy = field(default_factory=HoldPolicy)
    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)
    access_log: Path | None = None
    trust: tuple[Network, ...] = ()
    affinity: str | None = None
    retry: bool = True
    passive_checks: bool = True
    shuffle: bool = False
    retry_ratio: float = 0.2
    retry_minimum: int = 3
    replay_bytes: int = 64 * 1024
    connections_given: bool = False
    reuse_post: bool = False
    underscores: bool = False


def parse_name(text: str, what: str) -> str:
    """Check the id or the version of a backend.

    Raises:
        ConfigError: it has characters that must not stand in a header or a metric.
    """
    if not _NAME.fullmatch(text):
        raise ConfigError(
            f"{text!r} is not a valid {what}: use up to 64 letters, digits and . _ : -, "
            "with a letter or a digit first"
        )
    return text
