"""The judge's samples: what replicas answered since their present share of the traffic began."""

from collections.abc import Collection, Mapping

from orchestrator.fleet import NOTHING, Fleet
from orchestrator.platform import Count, Router
from orchestrator.tasks import deadline

_ROUTER_SECONDS = 10.0


class Samples:
    """Reads the router's statistics, and remembers in the fleet where each window began."""

    def __init__(self, router: Router, fleet: Fleet) -> None:
        self._router = router
        self._fleet = fleet

    async def begin(self, chosen: Collection[str], others: Collection[str]) -> None:
        """Begin the windows of those chosen and of those that they are compared with.

        Both begin together, so that whatever else happens meanwhile happens to both. Those that
        from now on get no traffic are left out by the caller: they keep the window that they had.
        """
        counts = await self._counts()
        members = {one.replica.id: one for one in self._fleet}
        for name in {*chosen, *others}:
            members[name].before = counts.get(name, NOTHING)

    async def since(self, *groups: Collection[str]) -> list[Count]:
        """Sum up what each group answered since the windows of its members began."""
        counts = await self._counts()
        return [
            sum(
                (
                    counts.get(one.replica.id, NOTHING) - one.before
                    for one in self._fleet
                    if one.replica.id in group
                ),
                start=NOTHING,
            )
            for group in groups
        ]

    async def _counts(self) -> Mapping[str, Count]:
        async with deadline(_ROUTER_SECONDS, "the router did not tell its statistics"):
            return await self._router.counts()
