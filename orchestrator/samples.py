"""The judge's samples: what replicas answered since their present share of the traffic began."""

from collections.abc import Collection, Mapping

from orchestrator.analysis import Finding, Judgement, judge
from orchestrator.errors import RouterError
from orchestrator.fleet import NOTHING, Fleet, Member
from orchestrator.platform import Count, Router
from orchestrator.policy import Criteria
from orchestrator.tasks import deadline

_ROUTER_SECONDS = 10.0


class Samples:
    """Reads the router's statistics, and remembers in the fleet where each window began."""

    def __init__(self, router: Router, fleet: Fleet) -> None:
        self._router = router
        self._fleet = fleet

    async def begin(self, chosen: Collection[str], others: Collection[str], *, alone: bool) -> None:
        """Begin the windows of a step for those chosen and those that they are compared with.

        Latencies are compared over the same time only, so both windows of them begin together:
        whatever else happens meanwhile then happens to both. Failures depend less on the moment and
        are rare, so the others' window of them begins with the first share of those chosen.

        Args:
            chosen: the canary.
            others: what it is compared with.
            alone: whether those chosen get all traffic: the others then keep what they had.
        """
        counts = await self._counts()
        # Looked up only now: while the router answered, one may have been replaced, or have gone.
        canary = [one for name in chosen if (one := self._fleet.find(name)) is not None]
        compared = [one for name in others if (one := self._fleet.find(name)) is not None]
        fresh = all(member.weight == 0 for member in canary)
        for member in canary:
            member.before = member.before_step = counts.get(member.replica.id, NOTHING)
        for member in compared:
            count = counts.get(member.replica.id, NOTHING)
            if fresh:
                member.before = count
            if not alone:
                member.before_step = count

    async def since(self, *groups: Collection[str]) -> list[Count]:
        """Sum up what each group answered since the windows of its members began."""
        counts = await self._counts()
        return [
            sum(
                (
                    _since(one, counts.get(one.replica.id, NOTHING))
                    for one in self._fleet
                    if one.replica.id in group
                ),
                start=NOTHING,
            )
            for group in groups
        ]

    async def judge(
        self, canary: Collection[str], beside: Collection[str], criteria: Criteria
    ) -> Judgement:
        """Judge the canary by its samples, against those beside it or else against all others."""
        others = self._others(canary, beside)
        try:
            mine, theirs = await self.since(canary, others)
        except RouterError as error:
            return Judgement(Finding.ERROR, f"no statistics: {error}")
        together = any(one.weight > 0 for one in self._fleet if one.replica.id in others)
        return judge(mine, theirs, criteria, together=together)

    async def begin_latencies(self, canary: Collection[str], beside: Collection[str]) -> None:
        """Begin the windows of latencies anew, of the canary and of those it is compared with."""
        try:
            counts = await self._counts()
        except RouterError:
            return  # then they go on as they are
        compared = {*canary, *self._others(canary, beside)}
        for member in self._fleet:
            if member.replica.id in compared:
                member.before_step = counts.get(member.replica.id, NOTHING)

    def _others(self, canary: Collection[str], beside: Collection[str]) -> Collection[str]:
        return beside or {
            one.replica.id
            for one in self._fleet
            if one.replica.id not in canary and one.registered and not one.leaving
        }

    async def _counts(self) -> Mapping[str, Count]:
        async with deadline(_ROUTER_SECONDS, "the router did not tell its statistics"):
            return await self._router.counts()


def _since(member: Member, now: Count) -> Count:
    return (now - member.before)._replace(latency=(now - member.before_step).latency)
