"""Sets of processes beside the web, such as workers: strategies deploy them like replicas.

No router sends them requests. In its place stands an `Intake`: it says at once that a process is
up, and a drain tells a process to begin no further job and waits for the jobs in hand. A service
behind the application is such a set, too; it has a router of its own.
"""

import asyncio
import signal
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from orchestrator.interfaces import Drained
from orchestrator.model import Replica, Version
from orchestrator.release import restore, take_down
from orchestrator.request_statistics import RequestCounts
from orchestrator.rollout import Rollout
from orchestrator.routers.capabilities import Capabilities
from orchestrator.strategies import Strategy, naive
from orchestrator.tasks import now

Place = Literal["before", "with", "after"]

_NO_TRAFFIC = Capabilities(
    cuts_at_deadline=False,
    counts_in_flight=True,
    drain_waits="replica",
    own_health=False,
    atomic_switch=True,
    reasons=False,
    backend_idle_seconds=0.0,
)
_LOOK_SECONDS = 0.05  # the time between two looks at the jobs in hand


class Signals(Protocol):
    """Sends signals to replicas."""

    def send_signal(self, replica: Replica, number: signal.Signals, *, group: bool) -> None:
        """Send a signal to a replica: to it alone, or to its group."""
        ...


class Intake:
    """Stands where a router would: it has no traffic, and drains processes of their jobs."""

    def __init__(
        self,
        platform: Signals,
        drain_signal: signal.Signals | None,
        in_hand: Callable[[str], int],
    ) -> None:
        """Make it.

        Args:
            platform: sends the signals.
            drain_signal: tells a process to begin no further job; None: there is no drain.
            in_hand: says how many jobs a process has begun and not ended, by its id.
        """
        self._platform = platform
        self._drain_signal = drain_signal
        self._in_hand = in_hand
        self._replicas: dict[str, Replica] = {}

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        return _NO_TRAFFIC

    @property
    def admission_seconds(self) -> float:
        """Nothing: a process that is ready is up."""
        return 0.0

    async def register(self, replica: Replica) -> None:
        """Remember the process."""
        self._replicas[replica.id] = replica

    async def wait_up(self, ids: Collection[str]) -> None:
        """Return at once: nobody checks a process."""

    async def why_not_up(self, ids: Collection[str]) -> Mapping[str, str]:
        """Return nothing: the end of a process is noticed elsewhere."""
        del ids
        return {}

    async def weigh(self, weights: Mapping[str, float]) -> None:
        """Do nothing: processes take jobs by themselves."""

    async def switch(self, ids: Collection[str]) -> None:
        """Do nothing: the same."""

    async def drain(self, replica_id: str, timeout: float) -> Drained:  # noqa: ASYNC109 - a limit on the drain
        """Tell the process to begin no further job, and wait until it has none in hand."""
        replica = self._replicas.get(replica_id)
        if replica is None or self._drain_signal is None:
            return Drained(0, 0.0)
        began = now()
        self._platform.send_signal(replica, self._drain_signal, group=False)
        while (left := self._in_hand(replica_id)) and now() - began < timeout:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(_LOOK_SECONDS)
        return Drained(0, now() - began, left)

    async def remove(self, replica_id: str) -> None:
        """Forget the process."""
        self._replicas.pop(replica_id, None)

    async def counts(self) -> Mapping[str, RequestCounts]:
        """Count no requests, and the jobs in hand as what is in flight."""
        return {one: RequestCounts(in_flight=self._in_hand(one)) for one in self._replicas}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSet:
    """One set of processes, and how it follows the releases of the web.

    Attributes:
        name: its name.
        place: when it is deployed: before the web, with it at the same time, or after it. None: it
            is a service, which only steps of the release deploy that name it.
        rollout: its processes.
        strategy: how they are replaced.
        versions: its versions: those of a service by their own names, else by those of the web's.
        start: the version of a service before the release; None: that of the web.
    """

    name: str
    place: Place | None
    rollout: Rollout
    strategy: Strategy
    versions: Mapping[str, Version]
    start: str | None = None

    async def bring_up(self, version: str) -> None:
        """Start the processes of the first version.

        Raises:
            OrchestratorError: they do not become ready.
        """
        fresh = await self.rollout.start(self.versions[version], self.rollout.policy.replicas)
        await self.rollout.wait_ready(fresh)
        await self.rollout.switch(fresh)

    async def deploy(self, version: str) -> None:
        """Replace the processes by those of another version.

        Raises:
            OrchestratorError: it failed; some of them may have been replaced.
        """
        new = self.versions[version]
        async with self.rollout.verb("deploy", version=version, encloses=True):
            await self.strategy(self.rollout, new, self.rollout.policy)

    async def restore(self, version: str) -> None:
        """Let only this version's processes run, after a deployment that failed.

        Raises:
            OrchestratorError: they do not become ready.
        """
        rollout = self.rollout
        others = [one for one in rollout.all() if one.version != version]
        if not others and len(rollout.usable(version)) == rollout.policy.replicas:
            return
        # Two versions of a scheduler that is deployed so must never run at the same time.
        if self.strategy is naive and self.place is not None:
            await rollout.stop(others)
        await restore(rollout, self.versions[version])

    async def take_down(self) -> None:
        """Drain and stop every process, at the end of a run."""
        await take_down(self.rollout)
