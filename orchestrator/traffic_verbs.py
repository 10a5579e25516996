"""The verbs that move traffic: each is one assignment of weights, journalled with its shares."""

import asyncio
from collections.abc import Mapping, Sequence

from orchestrator.errors import RolloutFailed
from orchestrator.fleet import Member, Replicas
from orchestrator.interfaces import Hooks, Router
from orchestrator.journal import Journal
from orchestrator.model import Replica
from orchestrator.policy import Policy
from orchestrator.samples import CanarySamples
from orchestrator.tasks import deadline
from orchestrator.traffic_split import all_alike, weights
from orchestrator.verb_runner import VerbRunner
from orchestrator.verbs import Verb

_ROUTER_SECONDS = 10.0  # a router that needs longer for a change is broken


class TrafficVerbs(VerbRunner):
    """Gives replicas their shares of the traffic, and removes replicas from the router.

    Attributes:
        canary_shares: the shares of the traffic, in percent, that the canary of the present
            deployment has had so far.
    """

    def __init__(
        self, router: Router, journal: Journal, policy: Policy, hooks: Hooks | None
    ) -> None:
        super().__init__(journal, policy, hooks)
        self._router = router
        self._samples = CanarySamples(router, self.fleet)
        # An assignment of weights names only registered replicas, so none is removed meanwhile.
        self._listing = asyncio.Lock()
        self.canary_shares: list[float] = []

    def serving(self) -> Replicas:
        """Return the replicas that get traffic, oldest first."""
        return self.fleet.serving()

    async def attach(self, replicas: Sequence[Replica]) -> None:
        """Give each replica a full share of the traffic."""
        if replicas:
            await self._weigh("attach", replicas, {one.id: 1.0 for one in replicas})

    async def weigh(
        self, replicas: Sequence[Replica], percent: float, baseline: Sequence[Replica] = ()
    ) -> None:
        """Give the canary a percentage of the traffic, and the rest to the serving replicas.

        A router that has no weights gives it its share of the replicas.

        Args:
            replicas: the canary.
            percent: its share.
            baseline: replicas that get as much as the canary, at most 50 % each.
        """
        chosen = {one.replica.id for one in self._present(replicas)}
        baseline_ids = {one.replica.id for one in self.fleet.present(baseline)}
        others = [one.id for one in self.serving() if one.id not in chosen | baseline_ids]
        shares = weights(percent, chosen, others, baseline_ids)
        detail: dict[str, object] = {"percent": percent}
        if not self._router.capabilities.weights:
            shares = all_alike(shares)
            detail["share_of"] = "replicas"
        alone = not any(shares[name] for name in (*others, *baseline_ids))
        await self._samples.begin(chosen, baseline_ids or others, alone=alone)
        self.canary_shares.append(percent)
        await self._weigh("weigh", replicas, shares, detail=detail)

    async def restore_weight(self, replica: Replica) -> None:
        """Give a replacement the weight that its predecessor had; the others keep theirs."""
        async with self.verb("attach", [replica]) as entry:
            async with (
                deadline(_ROUTER_SECONDS, "the router did not take the weight"),
                self._listing,
            ):
                # Read only now: the weight may have changed during the wait for the lock.
                member = self._present([replica])[0]
                await self._router.weigh(self._routed({member.replica.id: member.weight}))
            entry.detail["shares"] = self.fleet.shares()

    async def switch(self, replicas: Sequence[Replica]) -> None:
        """Give all traffic to these replicas and none to the others, in one assignment."""
        async with self.verb("switch", replicas) as entry:
            ids = [one.replica.id for one in self._present(replicas)]
            async with deadline(_ROUTER_SECONDS, "the router did not switch"), self._listing:
                await self._router.switch(ids)
                for member in self.fleet:
                    member.weight = 1.0 if member.replica.id in ids else 0.0
            entry.detail["shares"] = self.fleet.shares()

    async def deregister(self, member: Member) -> None:
        """Deregister a replica from the router; it stays in the fleet."""
        async with self._listing:
            # Marked first, so that a concurrent drain does not ask for a replica that is gone.
            member.registered = False
            await self._router.remove(member.replica.id)

    async def _weigh(
        self,
        verb: Verb,
        replicas: Sequence[Replica],
        weights: dict[str, float],
        detail: dict[str, object] | None = None,
    ) -> None:
        async with self.verb(verb, replicas, detail=detail) as entry:
            async with (
                deadline(_ROUTER_SECONDS, "the router did not take the weights"),
                self._listing,
            ):
                await self._router.weigh(self._routed(weights))
                for name, weight in weights.items():
                    if (member := self.fleet.find(name)) is not None and not member.leaving:
                        member.weight = weight
            entry.detail["shares"] = self.fleet.shares()

    def _routed(self, weights: Mapping[str, float]) -> dict[str, float]:
        """Translate weights to the ids that the router knows.

        The weight of a replaced replica goes to its successor. A lost replica without a successor
        is left out; its successor gets the weight later.
        """
        found = {name: self.fleet.find(name) for name in weights}
        return {
            member.replica.id: weights[name]
            for name, member in found.items()
            if member is not None and member.registered and not member.leaving
        }

    def _present(self, replicas: Sequence[Replica]) -> list[Member]:
        members = self.fleet.present(replicas)
        if len(members) < len(replicas):
            gone = [one.id for one in replicas if self.fleet.find(one.id) is None]
            raise RolloutFailed(f"{', '.join(gone)} is no longer in the fleet")
        return members
