"""The interfaces of a rollout: what it needs of a platform, a router, hooks and a migrator."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from orchestrator.journal import Journal
from orchestrator.model import Replica, RunCommand, Version
from orchestrator.request_statistics import RequestCounts
from orchestrator.routers.capabilities import Capabilities


class ReplicaExit(NamedTuple):
    """How a replica ended.

    Attributes:
        reason: how, for people, such as `exited with status 1`.
        log: the last lines of its log.
        killed: whether it outlasted its grace period and was killed.
        seconds: the time from the stop signal to its end; 0 when nobody stopped it.
        exit_status: its exit status; the negative signal number when a signal ended it; None where
            the platform does not tell.
        stop_asked_ns: when it got its stop signal, on the machine's monotonic clock; this and the
            following are None when nobody stopped it, or where the platform does not tell.
        stopped_listening_ns: when its port was closed.
        ended_ns: when its first process had ended.
        children_ended_ns: when the last of its other processes had ended.
        left_behind: how many of its other processes outlived the first one, and were killed.
    """

    reason: str
    log: tuple[str, ...] = ()
    killed: bool = False
    seconds: float = 0.0
    exit_status: int | None = None
    stop_asked_ns: int | None = None
    stopped_listening_ns: int | None = None
    ended_ns: int | None = None
    children_ended_ns: int | None = None
    left_behind: int = 0


class Drained(NamedTuple):
    """How a drain ended.

    Attributes:
        cut: requests that were still in flight at the deadline and were cut off.
        seconds: how long the drain took.
        left: requests that were still in flight at the deadline and that the router leaves alone;
            None when the router cannot tell how many there are.
    """

    cut: int
    seconds: float
    left: int | None = 0


class ProbeResult(NamedTuple):
    """What a replica answered when it was probed directly.

    Attributes:
        status: the response's status; None when there was no response.
        text: the beginning of the body, or why there was no response.
    """

    status: int | None
    text: str

    @property
    def good(self) -> bool:
        """Whether the status is a 2xx."""
        return self.status is not None and 200 <= self.status < 300  # noqa: PLR2004 - RFC 9110

    def to(self, path: str) -> str:
        """Describe the result of probing a path, for people."""
        said = f": {self.text}" if self.text else ""
        if self.status is None:
            return f"did not answer GET {path}{said}"
        return f"answered GET {path} with {self.status}{said}"


class Platform(Protocol):
    """Runs replicas. Each method raises `PlatformError` when the platform fails."""

    async def start(self, version: Version, replica_id: str) -> Replica:
        """Start a replica; it need not be ready, nor listen yet."""
        ...

    def is_running(self, replica: Replica) -> bool:
        """Whether the replica still runs."""
        ...

    async def wait_listening(self, replica: Replica) -> None:
        """Wait until the replica accepts connections, and has answered its warm-up."""
        ...

    def why_not_listening(self, replica: Replica) -> str:
        """What `wait_listening` still waits for."""
        ...

    async def probe(self, replica: Replica, path: str, timeout: float) -> ProbeResult:  # noqa: ASYNC109 - a limit on the request
        """Send the replica one GET directly, past the router."""
        ...

    async def wait_ended(self, replica: Replica) -> ReplicaExit:
        """Wait until the replica has ended, for whatever reason; several callers may wait."""
        ...

    async def stop(self, replica: Replica, grace: float) -> ReplicaExit:
        """Ask the replica to stop, and kill it after `grace` seconds; fine if it has ended."""
        ...


@runtime_checkable
class KnowsWhoAnswers(Protocol):
    """A platform that knows without a probe that a replica would answer it with a 2xx."""

    def would_answer(self, replica: Replica, path: str) -> bool:
        """Whether a probe of this path would succeed now; False also if only a probe can tell."""
        ...

    def all_run(self, ids: Iterable[str]) -> bool:
        """Whether none of these replicas has ended."""
        ...


class Router(Protocol):
    """Sends requests to replicas. Each method raises `RouterError` when the router refuses.

    Attributes:
        capabilities: what it can do; nobody may rely on anything else.
        admission_seconds: the least time from a healthy replica's registration until it is up.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        ...

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

    async def drain(self, replica_id: str, timeout: float) -> Drained:  # noqa: ASYNC109 - a limit on the drain
        """Send the replica nothing new, and wait until what it has in flight has ended.

        A replica that the router does not know, or not any more, has nothing in flight.
        """
        ...

    async def remove(self, replica_id: str) -> None:
        """Forget the replica; fine if it is unknown."""
        ...

    async def counts(self) -> Mapping[str, RequestCounts]:
        """Return the cumulative counts of each replica."""
        ...


@runtime_checkable
class KeepsIdleConnections(Protocol):
    """A router that can drain a replica and still use the idle connections that it has to it."""

    async def drain_keeping_idle(self, replica_id: str, timeout: float) -> Drained:  # noqa: ASYNC109 - a limit on the drain
        """Open no new connection to the replica, but go on sending requests on idle ones.

        Returns when the last connection to the replica has closed, or after the timeout, which
        ends the drain as it ends `drain`. It is fine if the replica is unknown.
        """
        ...


class Hooks(Protocol):
    """Runs hooks. The method raises `RolloutFailed` when a hook fails."""

    async def run(
        self,
        name: str,
        command: Sequence[str],
        state: Mapping[str, str],
        timeout: float,  # noqa: ASYNC109 - a limit on the hook
    ) -> None:
        """Run a hook to its end, with the rollout's state as environment variables."""
        ...


class Migrator(Protocol):
    """Changes the schema. Each method raises `MigrationFailed` when it cannot."""

    async def apply(self, directory: Path, through: str | None, journal: Journal) -> None:
        """Apply the pending migrations up to and including `through`; one `migrate` entry each."""
        ...

    async def roll_back(self, directory: Path, through: str | None, journal: Journal) -> None:
        """Take back applied migrations, newest first, down to and including `through`."""
        ...

    async def run(self, step: RunCommand, journal: Journal) -> None:
        """Run a command that migrates; it has one `migrate` entry."""
        ...


class Rehearsal(Protocol):
    """Tries versions on a schema that is still to come, on a copy of the database.

    The method raises `OrchestratorError` when the rehearsal itself fails.
    """

    async def after(self, steps: int, versions: Collection[str]) -> Mapping[str, str]:
        """Try these versions on the schema that the release's first `steps` steps lead to.

        Returns the reason for each version that does not work with it.
        """
        ...
