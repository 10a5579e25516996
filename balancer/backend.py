"""One backend: its state, its counters, and what is known of it.

The lifecycle is a table. A step that it does not have raises, and changes nothing:

    new ──► up ⇄ down          new, up, down ──► draining ──► removed
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from balancer.addresses import host_port
from balancer.connection_reuse import ReuseRecord
from balancer.statistics import Counters


class State(StrEnum):
    """The states of a backend."""

    NEW = "new"  # attached, not yet checked often enough: takes no traffic
    UP = "up"  # its checks pass
    DOWN = "down"  # its checks fail, or a connection to it was refused
    DRAINING = "draining"  # gets no new connection; what it has may end
    REMOVED = "removed"  # forgotten


# In Python 3.11 a member of an enumeration costs several look-ups, each time that it is named.
UP: Final = State.UP
DRAINING: Final = State.DRAINING

TRANSITIONS: Final[Mapping[State, frozenset[State]]] = {
    State.NEW: frozenset({State.UP, State.DRAINING}),
    State.UP: frozenset({State.DOWN, State.DRAINING}),
    State.DOWN: frozenset({State.UP, State.DRAINING}),
    State.DRAINING: frozenset({State.REMOVED}),
    State.REMOVED: frozenset(),
}


@dataclass(slots=True, eq=False)
class Backend:
    """One replica, as the balancer sees it. Only the pool changes its state.

    Attributes:
        id: its name in the run; never reused for another address while it is known.
        host: where it listens.
        port: the same.
        version: what it runs, for statistics and affinity.
        weight: its share of new requests, relative to the others; 0 is a standby.
        state: where it is in its life.
        in_flight: exchanges that have claimed it and not ended.
        tunnels: upgraded connections, which are counted apart.
        inherited: exchanges that a predecessor of this balancer still has with it.
        ejected: whether passive health took it out of the choice for a while.
        keeps_idle: whether it drains, and its idle connections still take requests.
        credit: its place in the smooth weighted round robin.
        counters: what became of its requests.
        reuse: what is known of it about kept connections.
        served_by: the line of a response that names it.
    """

    id: str
    host: str
    port: int
    version: str
    weight: float
    state: State = State.NEW
    in_flight: int = 0
    tunnels: int = 0
    inherited: int = 0
    ejected: bool = False
    keeps_idle: bool = False
    credit: float = 0.0
    counters: Counters = field(default_factory=Counters)
    reuse: ReuseRecord = field(default_factory=ReuseRecord)
    served_by: bytes = b""

    def __post_init__(self) -> None:
        self.served_by = b"X-Served-By: " + self.id.encode("ascii") + b"\r\n"

    @property
    def address(self) -> str:
        """`host:port`, with brackets around an IPv6 host."""
        return host_port(self.host, self.port)

    @property
    def routable(self) -> bool:
        """Whether it may take new requests."""
        return self.state is UP and self.weight > 0

    @property
    def busy(self) -> bool:
        """Whether an exchange with it is under way, tunnels apart."""
        return self.in_flight > 0 or self.inherited > 0
