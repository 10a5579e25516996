"""What a run reports to its display while it goes on."""

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

import msgspec

from scenarios.evidence.event import Event
from scenarios.evidence.leaving import LeavingSettings, RequestHandling
from scenarios.evidence.locks import LockWait
from scenarios.evidence.tick import Tick


class PlannedStep(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a release.

    Attributes:
        verb: the verb of the journal that it begins with, such as `migrate` or `deploy`.
        text: the step in few words, such as `migrate expand` or `deploy b`.
    """

    verb: str
    text: str


class RunHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about a run before it begins.

    Attributes:
        scenario: the name of the scenario.
        strategy: the deployment strategy.
        seed: the seed of all random numbers.
        replicas: how many replicas each version should have.
        rate: the arrivals per second.
        users: how many users stay for the whole run.
        steps: the release's steps in order.
        persona: the platform whose defaults start and stop replicas; absent if there is none.
        termination: how replicas are started and stopped; absent if the run does not decide it.
        handling: how our own balancer handles requests; absent with another router.
        predicted: whether the run takes place in virtual time.
    """

    scenario: str
    strategy: str
    seed: int
    replicas: int
    rate: float
    users: int = 0
    steps: tuple[PlannedStep, ...] = ()
    persona: str | None = None
    termination: LeavingSettings | None = None
    handling: RequestHandling | None = None
    predicted: bool = False


class ReplicaView(msgspec.Struct, frozen=True, kw_only=True):
    """One replica as it is now.

    Attributes:
        id: its id.
        version: its version.
        state: as the router sees it: `new`, `up`, `down`, `draining`, `removed`.
        weight: its weight; 0 takes no new traffic.
        in_flight: how many requests are in flight on it.
    """

    id: str
    version: str
    state: str
    weight: float
    in_flight: int


class Progress(Protocol):
    """Something that shows a run while it happens; a context manager."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def on_probe(self, version: str, line: str) -> None:
        """One line of the probe of a version's server, before the run."""

    def on_stage(self, text: str) -> None:
        """What is done now, such as `starting Postgres`: nothing else is told meanwhile."""

    def on_wait(self) -> None:
        """Time has passed: called a few times a second, also while nothing else happens."""

    def on_tick(self, tick: Tick) -> None:
        """The load generator's account of the last fraction of a second."""

    def on_event(self, event: Event) -> None:
        """One line of the journal."""

    def on_replicas(self, replicas: Sequence[ReplicaView]) -> None:
        """All replicas as they are now."""

    def on_waits(self, waits: Sequence[LockWait]) -> None:
        """All sessions of the database that wait for a lock now."""


class Silence:
    """A display that shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def on_probe(self, version: str, line: str) -> None:
        """Say nothing."""

    def on_stage(self, text: str) -> None:
        """Say nothing."""

    def on_wait(self) -> None:
        """Say nothing."""

    def on_event(self, event: Event) -> None:
        """Say nothing."""

    def on_tick(self, tick: Tick) -> None:
        """Say nothing."""

    def on_replicas(self, replicas: Sequence[ReplicaView]) -> None:
        """Say nothing."""

    def on_waits(self, waits: Sequence[LockWait]) -> None:
        """Say nothing."""
