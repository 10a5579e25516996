"""The faults of a simulated run: in virtual time what real runs do to processes."""

import asyncio
from typing import Literal

import msgspec

from orchestrator.journal import Journal
from orchestrator.model import Replica
from orchestrator.rollout import Rollout
from orchestrator.simulated.exchanges import Exchanges
from orchestrator.simulated.platform import SimulatedPlatform

_SERVING_SECONDS = 0.02
_NS = 1_000_000_000
_SESSION = "hitless-fault"

PhaseName = Literal["baseline", "rollout", "settle"]


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """A fault, and when it happens.

    Attributes:
        do: `kill` (SIGKILL of a replica), `freeze` (SIGSTOP, then SIGCONT) or `block` (a session
            holds the lock of a table).
        phase: the phase in which it happens.
        after_seconds: how long after the begin of that phase.
        seconds: how long a freeze or a block lasts.
        version: of the replica; absent: any. Of several replicas, it is the one that has served
            longest.
        table: what a block locks.
    """

    do: Literal["kill", "freeze", "block"]
    phase: PhaseName = "rollout"
    after_seconds: float = 1.0
    seconds: float = 2.0
    version: str | None = None
    table: str = ""


class Faults:
    """Makes the faults of one run."""

    def __init__(
        self,
        journal: Journal,
        rollout: Rollout,
        platform: SimulatedPlatform,
        exchanges: Exchanges,
    ) -> None:
        """Take what they are made to.

        Args:
            journal: gets an entry for each.
            rollout: knows who serves.
            platform: its replicas are hurt.
            exchanges: they wait for locks.
        """
        self._journal = journal
        self._rollout = rollout
        self._platform = platform
        self._exchanges = exchanges
        self._waiting: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """Begin no more of them."""
        for task in self._waiting:
            task.cancel()

    async def make(self, fault: Fault) -> None:
        """Wait for its time, and make a fault."""
        task = asyncio.current_task()
        if task is not None:
            self._waiting.add(task)
        await asyncio.sleep(fault.after_seconds)
        victim = None if fault.do == "block" else await self._victim(fault.version)
        if task is not None:
            self._waiting.discard(task)
        await self._make(fault, victim)

    async def _make(self, fault: Fault, victim: Replica | None) -> None:
        detail = {"name": fault.do}
        if victim is None:
            async with self._journal.verb("fault", detail=detail):
                until_ns = self._platform.now_ns + round(fault.seconds * _NS)
                self._exchanges.lock(fault.table, until_ns, _SESSION)
                await asyncio.sleep(fault.seconds)
            return
        simulated = self._platform.of(victim)
        async with self._journal.verb(
            "fault", version=victim.version, replicas=[victim.id], detail=detail
        ):
            if fault.do == "kill":
                simulated.kill()
                return
            simulated.hang()
            await asyncio.sleep(fault.seconds)
            simulated.resume()

    async def _victim(self, version: str | None) -> Replica:
        while True:
            for replica in self._rollout.serving():
                if version in (None, replica.version) and self._platform.is_running(replica):
                    return replica
            await asyncio.sleep(_SERVING_SECONDS)
