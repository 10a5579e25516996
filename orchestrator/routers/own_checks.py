"""Health checks that an adapter makes by itself, where its router has none for a standby."""

import asyncio
import time
from collections.abc import Iterable, Mapping

from orchestrator.http_probe import probe
from orchestrator.model import Replica
from orchestrator.routers.managed import Seen
from orchestrator.routers.settings import HealthCheck


class OwnChecks:
    """Checks replicas whenever it is asked for what it knows, no oftener than the settings say."""

    def __init__(self, health: HealthCheck, router: str) -> None:
        """Describe the checks.

        Args:
            health: how often, and what counts.
            router: in whose place they are made.
        """
        self._health = health
        self._router = router
        self._checks: dict[str, _Check] = {}

    @property
    def admission_seconds(self) -> float:
        """The least time from the first check until a healthy replica is up."""
        return (self._health.rise - 1) * self._health.fast_interval

    async def look(self, replicas: Iterable[Replica]) -> Mapping[str, Seen]:
        """Check those whose time has come, and tell what is known of all."""
        present = {one.id: one for one in replicas}
        self._checks = {name: self._checks.get(name, _Check()) for name in present}
        checks = self._checks
        await asyncio.gather(*(self._check(checks[name], one) for name, one in present.items()))
        return {name: self._seen(check) for name, check in checks.items()}

    async def _check(self, check: "_Check", replica: Replica) -> None:
        now, health = time.monotonic(), self._health
        if now < check.next_at:
            return
        settled = check.good >= health.rise and not check.bad
        check.next_at = now + (health.interval if settled else health.fast_interval)
        answer = await probe(replica.host, replica.port, health.path, health.timeout)
        check.said = answer.to(health.path)
        if answer.good:
            check.good += 1
            check.bad = 0
        else:
            check.bad += 1
            if check.bad >= health.fall or check.good < health.rise:
                check.good = 0

    def _seen(self, check: "_Check") -> Seen:
        if check.good >= self._health.rise:
            return Seen(why_not=None)
        why = f"asked in the place of {self._router}, it {check.said}"
        return Seen(why_not=why, checked=bool(check.bad))


class _Check:
    __slots__ = ("bad", "good", "next_at", "said")

    def __init__(self) -> None:
        self.good = 0
        self.bad = 0
        self.next_at = 0.0
        self.said = "has not answered yet"
