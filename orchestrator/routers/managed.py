"""What the adapters of other people's routers share: a table of backends, and how it changes.

An adapter says how a table is brought into force (`apply`), what the router knows of its backends
(`look`) and how a drain ends (`wait_drained`). The table itself, the order of its changes and the
counts are the same for all of them.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar

import msgspec

from orchestrator.errors import RouterError
from orchestrator.interfaces import Drained
from orchestrator.model import Replica
from orchestrator.request_statistics import RequestCounts
from orchestrator.routers.capabilities import Capabilities
from orchestrator.routers.log_reader import LogReader
from orchestrator.routers.settings import BackendChange, BackendState, RouterSettings

POLL_SECONDS = 0.05
"""How often a router that tells nobody is asked."""


class Backend(msgspec.Struct, frozen=True, kw_only=True):
    """A replica as it stands in the table.

    Attributes:
        replica: it.
        weight: its share, relative to the others'; 0 is a standby.
        draining: whether it is to get nothing new.
    """

    replica: Replica
    weight: float = 0.0
    draining: bool = False

    @property
    def active(self) -> bool:
        """Whether it is to get requests."""
        return self.weight > 0 and not self.draining


Table = Mapping[str, Backend]


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What the router itself says of a backend.

    Attributes:
        why_not: why it is not up; None when it is.
        checked: whether the router has checked it at all.
        in_flight: what it has under way, where the router counts.
    """

    why_not: str | None
    checked: bool = True
    in_flight: int = 0


class ManagedRouter(ABC):
    """A Router that is told a whole table; a subclass for each kind."""

    capabilities: ClassVar[Capabilities]

    def __init__(self, settings: RouterSettings, log: LogReader) -> None:
        """Describe a router that runs.

        Args:
            settings: what it was started with.
            log: its log.
        """
        self._health = settings.health
        self._log = log
        self._on_change = settings.on_change
        self._table: dict[str, Backend] = {}
        self._states: dict[str, str] = {}
        self._changing = asyncio.Lock()

    # What differs

    @abstractmethod
    async def apply(self, before: Table, after: Table) -> None:
        """Bring a table into force; when this returns, the router acts by it.

        Raises:
            RouterError: the router refuses it.
        """

    @abstractmethod
    async def look(self) -> Mapping[str, Seen]:
        """What the router says of its backends, by replica.

        Raises:
            RouterError: it does not answer.
        """

    @abstractmethod
    async def wait_drained(self, backend: Backend, seconds: float) -> Drained:
        """Wait until what a draining backend has in flight has ended, or its time is up."""

    def called(self, replica: Replica) -> str:
        """What the router's log calls a replica."""
        return replica.address

    # The port

    @property
    def admission_seconds(self) -> float:
        """The least time until a healthy replica is up: its first good check may be enough."""
        return 0.0

    async def register(self, replica: Replica) -> None:
        """Begin to check the replica; it gets no traffic yet."""
        async with self._changing:
            if replica.id in self._table:
                return
            self._log.names.add(self.called(replica), time.time_ns(), replica.id, replica.version)
            await self._change({**self._table, replica.id: Backend(replica=replica)})
            self._tell(replica.id, "attached", "pending")

    async def wait_up(self, ids: Collection[str]) -> None:
        """Wait until the router's own checks say that all of them are up."""
        while await self.why_not_up(ids):  # noqa: ASYNC110 - the router tells nobody
            await asyncio.sleep(POLL_SECONDS)

    async def why_not_up(self, ids: Collection[str]) -> Mapping[str, str]:
        """Return those of them that are not up, each with what the router knows of it."""
        if not ids:
            return {}
        seen = await self.look()
        why = {}
        for name in ids:
            if name not in self._table:
                why[name] = "the router does not know it"
            elif name not in seen:
                why[name] = "the router does not list it"
            elif (reason := seen[name].why_not) is not None:
                why[name] = reason
        return why

    async def weigh(self, weights: Mapping[str, float]) -> None:
        """Give these replicas these weights; the others keep theirs."""
        async with self._changing:
            unknown = [name for name in weights if name not in self._table]
            if unknown:
                raise RouterError(f"set weights: unknown: {', '.join(unknown)}")
            await self._change(
                {
                    name: msgspec.structs.replace(one, weight=weights.get(name, one.weight))
                    for name, one in self._table.items()
                }
            )

    async def switch(self, ids: Collection[str]) -> None:
        """Give weight 1 to these replicas and 0 to all others."""
        async with self._changing:
            if why := await self.why_not_up(ids):
                said = ", ".join(f"{name} ({reason})" for name, reason in sorted(why.items()))
                raise RouterError(f"switch: not up: {said}")
            await self._change(
                {
                    name: msgspec.structs.replace(one, weight=1.0 if name in ids else 0.0)
                    for name, one in self._table.items()
                }
            )

    async def drain(self, replica_id: str, timeout: float) -> Drained:  # noqa: ASYNC109 - the router's
        """Send the replica nothing new, and wait as far as the router can tell."""
        began = time.monotonic()
        async with self._changing:
            backend = self._table.get(replica_id)
            if backend is None:
                return Drained(0, 0.0)
            if not backend.draining:
                backend = msgspec.structs.replace(backend, draining=True)
                await self._change({**self._table, replica_id: backend})
                self._tell(replica_id, "draining", "draining")
        left = max(timeout - (time.monotonic() - began), 0.0)
        drained = await self.wait_drained(backend, left)
        return drained._replace(seconds=time.monotonic() - began)

    async def remove(self, replica_id: str) -> None:
        """Forget the replica; fine if it is unknown."""
        async with self._changing:
            if replica_id not in self._table:
                return
            await self._change({k: v for k, v in self._table.items() if k != replica_id})
            self._tell(replica_id, "removed", "removed")

    async def counts(self) -> Mapping[str, RequestCounts]:
        """Return the cumulative counts of each replica, from the router's own log."""
        in_flight = dict.fromkeys(self._table, 0)
        if self.capabilities.counts_in_flight:
            in_flight |= {name: one.in_flight for name, one in (await self.look()).items()}
        return self._log.counts(in_flight)

    # What the harness looks at

    async def backends(self) -> list[BackendState]:
        """What it makes of its backends now; changes are told by the way."""
        seen = await self.look()
        found = []
        for name, one in tuple(self._table.items()):
            known = seen.get(name, Seen(why_not="the router does not list it", checked=False))
            state = "up" if known.why_not is None else "down" if known.checked else "pending"
            if not one.draining:
                if state in ("up", "down") and self._states.get(name) != state:
                    self._tell(name, state, state, reason=known.why_not)
                    self._states[name] = state
            else:
                state = "draining"
            found.append(
                BackendState(
                    id=name,
                    version=one.replica.version,
                    state=state,
                    weight=0.0 if one.draining else one.weight,
                    in_flight=known.in_flight,
                )
            )
        return found

    async def _change(self, after: dict[str, Backend]) -> None:
        before = self._table
        await self.apply(before, after)
        self._table = after
        for name, one in after.items():
            if name in before and before[name].weight != one.weight:
                self._tell(name, "weight", self._states.get(name, ""))

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Record that the router takes a new configuration while the block runs."""
        self._on_change(BackendChange(at_ns=time.monotonic_ns(), change="reload"))
        try:
            yield
        finally:
            self._on_change(BackendChange(at_ns=time.monotonic_ns(), change="reloaded"))

    def _tell(self, name: str, change: str, state: str, *, reason: str | None = None) -> None:
        one = self._table.get(name)
        self._on_change(
            BackendChange(
                at_ns=time.monotonic_ns(),
                change=change,
                id=name,
                state=state,
                version=one.replica.version if one else "",
                weight=one.weight if one else 0.0,
                reason=reason,
            )
        )


def integers(weights: Mapping[str, float], most: int) -> dict[str, int]:
    """PURE: the weights as whole numbers, the largest of them `most`; none above 0 becomes 0."""
    largest = max(weights.values(), default=0.0)
    if largest <= 0:
        return dict.fromkeys(weights, 0)
    return {
        name: 0 if weight <= 0 else max(1, round(weight / largest * most))
        for name, weight in weights.items()
    }
