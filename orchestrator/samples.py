"""The samples of a canary analysis: the requests since the canary got its present share."""

from collections.abc import Collection, Mapping

from orchestrator.analysis import Finding, Judgement, judge
from orchestrator.errors import RouterError
from orchestrator.fleet import NO_REQUESTS, Fleet, Member
from orchestrator.interfaces import Router
from orchestrator.policy import Criteria
from orchestrator.request_statistics import RequestCounts
from orchestrator.tasks import deadline

_ROUTER_SECONDS = 10.0


class CanarySamples:
    """Reads the router's statistics, and notes in the fleet where each sample begins."""

    def __init__(self, router: Router, fleet: Fleet) -> None:
        self._router = router
        self._fleet = fleet

    async def begin(self, chosen: Collection[str], others: Collection[str], *, alone: bool) -> None:
        """Begin the samples of a canary's step, for the canary and for the replicas beside it.

        Latencies are only compared over the same time, so that whatever else happens on the machine
        happens to both groups: both samples of latencies begin now. Failures are rare and depend
        less on the moment: the others' sample of failures begins with the canary's first share.

        Args:
            chosen: the ids of the canary.
            others: the ids of the replicas that it is compared with.
            alone: whether the canary gets all traffic; the others then keep their samples.
        """
        counts = await self._counts()
        # Looked up only now: a replica may have been replaced or removed during the await.
        canary = [one for name in chosen if (one := self._fleet.find(name)) is not None]
        compared = [one for name in others if (one := self._fleet.find(name)) is not None]
        fresh = all(member.weight == 0 for member in canary)
        for member in canary:
            member.before = member.before_step = counts.get(member.replica.id, NO_REQUESTS)
        for member in compared:
            count = counts.get(member.replica.id, NO_REQUESTS)
            if fresh:
                member.before = count
            if not alone:
                member.before_step = count

    async def since(self, *groups: Collection[str]) -> list[RequestCounts]:
        """Sum up each group's counts since the samples of its members began."""
        counts = await self._counts()
        return [
            sum(
                (
                    _since(one, counts.get(one.replica.id, NO_REQUESTS))
                    for one in self._fleet
                    if one.replica.id in group
                ),
                start=NO_REQUESTS,
            )
            for group in groups
        ]

    async def judge(
        self, canary: Collection[str], baseline: Collection[str], criteria: Criteria
    ) -> Judgement:
        """Judge the canary against its baseline, or against all other replicas if it has none."""
        others = self._others(canary, baseline)
        try:
            mine, theirs = await self.since(canary, others)
        except RouterError as error:
            return Judgement(Finding.ERROR, f"no statistics: {error}")
        together = any(one.weight > 0 for one in self._fleet if one.replica.id in others)
        past = [one.before for one in self._fleet if one.replica.id in others]
        calm = RequestCounts(sum(one.requests for one in past), sum(one.failed for one in past))
        return judge(mine, theirs, criteria, together=together, calm=calm)

    async def begin_latencies(self, canary: Collection[str], baseline: Collection[str]) -> None:
        """Restart the samples of latencies, of the canary and of the replicas beside it."""
        try:
            counts = await self._counts()
        except RouterError:
            return  # the samples go on as they are
        compared = {*canary, *self._others(canary, baseline)}
        for member in self._fleet:
            if member.replica.id in compared:
                member.before_step = counts.get(member.replica.id, NO_REQUESTS)

    def _others(self, canary: Collection[str], baseline: Collection[str]) -> Collection[str]:
        return baseline or {
            one.replica.id
            for one in self._fleet
            if one.replica.id not in canary and one.registered and not one.leaving
        }

    async def _counts(self) -> Mapping[str, RequestCounts]:
        async with deadline(_ROUTER_SECONDS, "the router did not return its statistics"):
            return await self._router.counts()


def _since(member: Member, now: RequestCounts) -> RequestCounts:
    return (now - member.before)._replace(latency=(now - member.before_step).latency)
