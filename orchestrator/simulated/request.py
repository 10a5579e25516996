"""One simulated request, and what the parts around it say to each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from balancer.backend import Backend
from balancer.proxy.error_responses import ErrorResponse
from orchestrator.simulated.replica import SimulatedReplica

FIRST_BACKOFF_NS = 25_000_000


class Origin(NamedTuple):
    """Whose request it is, unless it is the first one of a user who comes once.

    Attributes:
        user: negative for users who stay: ~0 is the first one, ~1 the second one; else 0.
        visit: how often a user who stays has come before.
        mail: the endpoint whose mail led to it, at whatever distance; 0 also if none did.
        led_by: the endpoint that led to it; -1 if none did.
        led_by_mail: the `mail` of the request that led to it.
    """

    user: int
    visit: int
    mail: int
    led_by: int
    led_by_mail: int


class Request:
    """One request under way.

    Attributes:
        number: of its user, from 1; 0 for users who stay.
        endpoint: the number of its kind.
        at_ns: when its user planned it, and the balancer got it.
        share: a random number from 0 to 1, which decides how long its work takes.
        due_ns: when its user gives up.
        user: an `Origin`; None for the first request of a user who comes once.
        backend: who has it now.
        replica: the same, as the simulated world knows it.
        connected_ns: when its connection to the replica is open.
        arrives_ns: when it reaches the replica.
        done_ns: when the replica's answer is complete.
        answered_ns: when that answer reaches the balancer.
        reused: whether it was sent on a kept connection.
        attempts: how often it was sent.
    """

    # Most requests never need what has its default here, so that making one stays cheap.
    backend: Backend | None = None
    replica: SimulatedReplica | None = None
    last: Backend | None = None
    last_error: ErrorResponse | None = None
    tried: tuple[Backend, ...] = ()
    attempts: int = 0
    turn: int = 0
    fresh: bool = False
    second: bool = False
    over: bool = False
    raced: bool = False
    reused: bool = False
    backoff_ns: int = FIRST_BACKOFF_NS
    connected_ns: int
    arrives_ns: int
    done_ns: int
    answered_ns: int

    def __init__(  # noqa: PLR0917 - made in one place, for every request
        self, number: int, endpoint: int, at_ns: int, share: float, due_ns: int, user: object
    ) -> None:
        self.number = number
        self.endpoint = endpoint
        self.at_ns = at_ns
        self.share = share
        self.due_ns = due_ns
        self.user = user


class Ended(Protocol):
    """Takes what became of each request."""

    def answered(self, request: Request, status: int, sqlstate: str | None) -> None:
        """A replica answered."""
        ...

    def refused(self, request: Request, response: ErrorResponse) -> None:
        """The balancer answered by itself."""
        ...

    def gave_up(self, request: Request) -> None:
        """Its user waited for too long."""
        ...


class AnsweredMany(NamedTuple):
    """Requests of a steady stretch that replicas answered, all with success.

    Attributes:
        backends: the ring.
        numbers: of each request, the number of its user; this and the following are arrays of
            numpy.
        places: the place of its backend in the ring.
        endpoints: the number of its kind.
        at_ns: when it was sent.
        answered_ns: when it was answered.
    """

    backends: Sequence[Backend]
    numbers: Any
    places: Any
    endpoints: Any
    at_ns: Any
    answered_ns: Any


@runtime_checkable
class EndedMany(Protocol):
    """Takes what became of many requests at once."""

    def answered_many(self, many: AnsweredMany) -> None:
        """Replicas answered, all with success."""
        ...


class Passive(Protocol):
    """What live requests tell the control plane."""

    def refused(self, backend: Backend) -> None:
        """A backend refused a connection."""
        ...

    def failed(self, backend: Backend) -> None:
        """A backend failed a request; it is counted already."""
        ...


class SteadyStretch(Protocol):
    """What keeps counts and queues of its own during a steady stretch."""

    def close(self) -> None:
        """Write all of it back."""
        ...

    def close_for(self, backend: Backend) -> None:
        """Write all of it back if it has requests of this backend."""
        ...


class LockedOut(NamedTuple):
    """A request whose replica waits for the lock of a table.

    Attributes:
        replica: the id of its replica.
        table: the table.
        holder: who holds the lock.
        at_ns: from when it waits.
        until_ns: when the lock is free.
    """

    replica: str
    table: str
    holder: str
    at_ns: int
    until_ns: int


@dataclass(frozen=True, slots=True)
class Handling:
    """How the balancer treats requests; see `[balancer]` of a scenario.

    Attributes:
        retry: whether a request is tried again when a backend refuses or loses it.
        reuse_post: whether requests that must not be sent twice go on any kept connection.
        hold_seconds: how long a request may wait while no backend is up.
    """

    retry: bool = True
    reuse_post: bool = False
    hold_seconds: float = 0.0
