"""The ports of a rollout: what it needs of a platform, a router, a migrator and a database."""

from collections.abc import Awaitable, Callable, Collection, Mapping
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


class Count(NamedTuple):
    """Cumulative counts of requests.

    Attributes:
        requests: how many have ended.
        failed: how many of them were answered 5xx, or not completely.
    """

    requests: int = 0
    failed: int = 0


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
        """Send the replica nothing new, and wait until what it has in flight has ended."""
        ...

    async def remove(self, replica_id: str) -> None:
        """Forget the replica; fine if it is unknown."""
        ...

    async def counts(self) -> Mapping[str, Count]:
        """Return the cumulative counts of each version."""
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
