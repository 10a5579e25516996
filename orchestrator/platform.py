"""The ports of a rollout: what it needs of a platform, a router, a migrator and a database."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from orchestrator.journal import Journal
from orchestrator.model import Replica, RunCommand, Version


class Ended(NamedTuple):
    """How a replica ended.

    Attributes:
        reason: for people, such as `exited with status 1`.
        log: the last lines of its log.
        killed: whether it had to be killed.
        seconds: how long it took from being asked, 0 when nobody asked.
    """

    reason: str
    log: tuple[str, ...] = ()
    killed: bool = False
    seconds: float = 0.0


class Drained(NamedTuple):
    """How a drain ended.

    Attributes:
        cut: exchanges that were still under way when its time was up.
        seconds: how long it took.
    """

    cut: int
    seconds: float


class Latency(NamedTuple):
    """How long complete responses took, as cumulative counts by bucket.

    Attributes:
        bounds: the buckets' upper bounds, in seconds; a last bucket has none.
        counts: how many fell into each bucket, one more than there are bounds.
        seconds: all of them, summed.
    """

    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = (0,)
    seconds: float = 0.0


class Count(NamedTuple):
    """Cumulative counts of requests.

    Attributes:
        requests: how many have ended.
        failed: how many of them were answered 5xx, or not completely.
        latency: how long those took that were answered completely.
        in_flight: how many are under way now.
    """

    requests: int = 0
    failed: int = 0
    latency: Latency = Latency()
    in_flight: int = 0

    def __sub__(self, before: "Count") -> "Count":
        """What was counted since `before`."""
        earlier = (
            before.latency
            if before.latency.bounds
            else Latency(counts=(0,) * len(self.latency.counts))
        )
        counts = zip(self.latency.counts, earlier.counts, strict=True)
        return Count(
            self.requests - before.requests,
            self.failed - before.failed,
            Latency(
                self.latency.bounds,
                tuple(now - then for now, then in counts),
                self.latency.seconds - earlier.seconds,
            ),
            self.in_flight,
        )

    def __add__(self, other: "Count") -> "Count":  # type: ignore[override]
        """Both together."""
        if not other.latency.bounds or not self.latency.bounds:
            latency = max(self.latency, other.latency, key=lambda one: len(one.bounds))
        else:
            counts = zip(self.latency.counts, other.latency.counts, strict=True)
            latency = Latency(
                self.latency.bounds,
                tuple(here + there for here, there in counts),
                self.latency.seconds + other.latency.seconds,
            )
        return Count(
            self.requests + other.requests,
            self.failed + other.failed,
            latency,
            self.in_flight + other.in_flight,
        )


class Answer(NamedTuple):
    """What a replica answered when it was asked directly.

    Attributes:
        status: of its response; None when there was none.
        text: the beginning of the body, or why there was no response.
    """

    status: int | None
    text: str

    @property
    def good(self) -> bool:
        """Whether it is a 2xx."""
        return self.status is not None and 200 <= self.status < 300  # noqa: PLR2004 - RFC 9110

    def to(self, path: str) -> str:
        """What it did when it was asked for a path, in words."""
        said = f": {self.text}" if self.text else ""
        if self.status is None:
            return f"did not answer GET {path}{said}"
        return f"answered GET {path} with {self.status}{said}"


class Platform(Protocol):
    """Where replicas run. Each method raises `PlatformError` when the platform fails."""

    async def start(self, version: Version, replica_id: str) -> Replica:
        """Start a replica; it need not be ready, nor listen yet."""
        ...

    def is_running(self, replica: Replica) -> bool:
        """Whether the replica has not ended yet."""
        ...

    async def wait_listening(self, replica: Replica) -> None:
        """Wait until the replica accepts connections, and has answered its warm-up."""
        ...

    def why_not_listening(self, replica: Replica) -> str:
        """What `wait_listening` still waits for."""
        ...

    async def ask(self, replica: Replica, path: str, timeout: float) -> Answer:  # noqa: ASYNC109 - a request's
        """Send the replica one GET, past the router."""
        ...

    async def wait_ended(self, replica: Replica) -> Ended:
        """Wait until the replica has ended, for whatever reason; any number may wait."""
        ...

    async def stop(self, replica: Replica, grace: float) -> Ended:
        """Ask the replica to stop, kill it after `grace` seconds; fine if it has ended."""
        ...


class Router(Protocol):
    """Who sends requests to replicas. Each method raises `RouterError` when the router refuses.

    Attributes:
        admission_seconds: the least time from a healthy replica's registration until it is up.
    """

    @property
    def admission_seconds(self) -> float:
        """The least time from a healthy replica's registration until it is up."""
        ...

    async def register(self, replica: Replica) -> None:
        """Begin to check the replica; it gets no traffic yet."""
        ...

    async def wait_up(self, ids: Collection[str]) -> None:
        """Wait until the router's own checks say that all of them are up."""
        ...

    async def why_not_up(self, ids: Collection[str]) -> Mapping[str, str]:
        """Return those of them that are not up, each with what the router knows of it."""
        ...

    async def weigh(self, weights: Mapping[str, float]) -> None:
        """Give these replicas these weights in one assignment; the others keep theirs."""
        ...

    async def switch(self, ids: Collection[str]) -> None:
        """Give weight 1 to these replicas and 0 to all others in one assignment.

        Raises:
            RouterError: one of them is not up; nothing was changed.
        """
        ...

    async def drain(self, replica_id: str, timeout: float) -> Drained:  # noqa: ASYNC109 - the router's
        """Send the replica nothing new, and wait until what it has in flight has ended.

        A replica that the router does not know, or not any more, has nothing in flight.
        """
        ...

    async def remove(self, replica_id: str) -> None:
        """Forget the replica; fine if it is unknown."""
        ...

    async def counts(self) -> Mapping[str, Count]:
        """Return the cumulative counts of each replica."""
        ...


class Hooks(Protocol):
    """Who runs hooks. The method raises `RolloutFailed` when a hook does not end well."""

    async def run(
        self,
        name: str,
        command: Sequence[str],
        state: Mapping[str, str],
        timeout: float,  # noqa: ASYNC109 - the hook's own
    ) -> None:
        """Run one to its end, with the state in its environment."""
        ...


class Migrator(Protocol):
    """Who changes the schema. Methods raise `MigrationFailed`."""

    async def apply(self, directory: Path, through: str | None, journal: Journal) -> None:
        """Apply what is not applied yet, up to and with `through`; one `migrate` entry each."""
        ...

    async def roll_back(self, directory: Path, through: str | None, journal: Journal) -> None:
        """Undo what is applied, newest first, down to and with `through`."""
        ...

    async def run(self, step: RunCommand, journal: Journal) -> None:
        """Run a command that migrates; one `migrate` entry."""
        ...


class Rehearsal(Protocol):
    """Where versions are tried on a schema that is still to come, away from the application's data.

    The method raises `OrchestratorError` when it cannot be tried.
    """

    async def after(self, steps: int, versions: Collection[str]) -> Mapping[str, str]:
        """Try these versions on the schema as the release's first so many steps leave it.

        Returns why, for each that does not work with it.
        """
        ...


class Database(Protocol):
    """Where databases come from. Methods raise `EnvironmentFailure`."""

    def url(self, name: str) -> str:
        """Return a database's URL."""
        ...

    async def create_database(self, name: str, *, template: str | None = None) -> str:
        """Create a database, empty or as a copy of a template, and return its URL."""
        ...

    async def drop_database(self, name: str) -> None:
        """Drop a database; fine if it is not there."""
        ...

    async def template(self, key: str, build: Callable[[str], Awaitable[None]]) -> str:
        """Return the name of the template for the key, building it the first time."""
        ...
