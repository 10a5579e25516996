"""What one balancer is told. How an operator says it is in `balancer.options`."""

import ipaddress
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from balancer.errors import ConfigError
from balancer.health import HealthPolicy
from balancer.hold_queue import HoldPolicy
from balancer.outlier_detection import OutlierPolicy

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen or connect: a TCP host and port, or the path of a unix socket."""

    host: str = ""
    port: int = 0
    path: Path | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.path is not None or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class BackendSpec:
    """A backend that is attached at the start."""

    id: str
    address: Address
    version: str = "default"
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a client may ask for; each has the status that going over it earns.

    Attributes:
        header_bytes: of a request's head (431).
        header_count: fields of a request (431).
        target_bytes: of a request's target (414).
        body_bytes: of a request's body (413); 0 is no limit.
        connections: clients' connections in all (503).
        client_connections: of one client address (429); 0 is no limit.
        response_header_bytes: of a backend's response head (502).
    """

    header_bytes: int = 32 * 1024
    header_count: int = 100
    target_bytes: int = 8 * 1024
    body_bytes: int = 0
    connections: int = 8000
    client_connections: int = 0
    response_header_bytes: int = 64 * 1024


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long each phase may take, in seconds; 0 is no limit.

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
    """Everything that one balancer is told.

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
        retry_ratio: retries allowed for each request.
        retry_minimum: retries allowed in ten seconds in any case.
        replay_bytes: the largest request body that is kept for a retry.
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
    retry_ratio: float = 0.2
    retry_minimum: int = 3
    replay_bytes: int = 64 * 1024
    connections_given: bool = False


def parse_address(text: str, *, unix: bool = False, any_port: bool = False) -> Address:
    """Read `host:port`, `[v6]:port` or, where `unix` allows it, `unix:/path`.

    Raises:
        ConfigError: it is neither.
    """
    if unix and text.startswith("unix:"):
        path = Path(text.removeprefix("unix:"))
        if not path.is_absolute():
            raise ConfigError(f"{text!r}: the path of a unix socket must be absolute")
        # sun_path holds 108 bytes with its NUL, see unix(7).
        if len(os.fsencode(path)) > 107:  # noqa: PLR2004
            raise ConfigError(f"{text!r}: a unix socket's path has at most 107 bytes")
        return Address(path=path)
    wanted = "HOST:PORT or unix:/PATH" if unix else "HOST:PORT"
    host, colon, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not host or not port.isascii() or not port.isdigit():
        raise ConfigError(f"{text!r} is no address; write {wanted}")
    if not (0 if any_port else 1) <= int(port) <= 65535:  # noqa: PLR2004 - RFC 9293 ports
        raise ConfigError(f"{text!r}: a port is a number from 1 to 65535")
    if not re.fullmatch(r"[A-Za-z0-9.:_-]+", host):
        raise ConfigError(f"{text!r} is no address; write {wanted}")
    return Address(host, int(port))


def parse_name(text: str, what: str) -> str:
    """Check the id or the version of a backend.

    Raises:
        ConfigError: it has characters that do not belong into a header or a metric.
    """
    if not _NAME.fullmatch(text):
        raise ConfigError(
            f"{text!r} is no {what}: letters, digits and . _ : - are, up to 64, the first of them "
            "a letter or a digit"
        )
    return text
