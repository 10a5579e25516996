"""Carries out a `LeavingPlan`: tells the router and stops the replica, in the plan's order."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from orchestrator.clock import monotonic_ns
from orchestrator.errors import RouterError
from orchestrator.fleet import Member
from orchestrator.interfaces import Drained, KeepsIdleConnections, Platform, ReplicaExit, Router
from orchestrator.tasks import each_to_its_end, first_error
from orchestrator.termination import LeavingPlan

_STATISTICS_SECONDS = 0.1  # the time between two looks at the router's statistics
_NOTICE_SECONDS = 0.05  # the time between two looks at what the router's checks say


class Leaving:
    """Drains and stops single replicas, and records in their `Departure` what happened."""

    def __init__(
        self,
        platform: Platform,
        router: Router,
        deregister: Callable[[Member], Awaitable[None]],
    ) -> None:
        """Make it.

        Args:
            platform: stops replicas.
            router: is told that they leave.
            deregister: removes a replica from the router.
        """
        self._platform = platform
        self._router = router
        self._deregister = deregister

    async def drain(self, member: Member, plan: LeavingPlan, timeout: float) -> Drained:  # noqa: ASYNC109 - a limit on the drain
        """Tell the router, after the lag, to send no more requests; wait for those in flight.

        Args:
            member: the leaving replica.
            plan: how it leaves.
            timeout: how long its requests in flight may take, in seconds.
        """
        _begin(member)
        if not member.registered:
            return Drained(0, 0.0)
        await asyncio.sleep(plan.lag_seconds)
        member.departure.router_told_ns = monotonic_ns()
        drained = await self._drained(member, plan, timeout)
        member.departure.drained_ns = monotonic_ns()
        member.departure.cut = drained.cut
        member.drained = True
        return drained

    async def stop(self, member: Member, plan: LeavingPlan, timeout: float) -> ReplicaExit:  # noqa: ASYNC109 - a limit on the drain
        """Stop the replica, tell the router when the plan says so, and remove it from the router.

        Args:
            member: the leaving replica.
            plan: how it leaves.
            timeout: how long its requests in flight may take, in seconds; and in `checks-only`, how
                long the router's own checks may take to notice the end. A router without checks
                of its own keeps the replica for that long.
        """
        _begin(member)
        ends: list[ReplicaExit] = []
        told = member.departure.router_told_ns is not None or not member.registered
        work = [self._end(member, plan, ends)]
        if plan.tells_router == "start" and plan.stops == "start" and not told:
            work.append(self._tell(member, plan, timeout))
            told = True
        await each_to_its_end(work)
        if plan.tells_router == "never" and member.registered:
            await self._wait_noticed(member, timeout)
        elif not told:
            await asyncio.sleep(plan.lag_seconds)
            member.departure.router_told_ns = monotonic_ns()
        # Also when it was never registered: a registration may have been interrupted.
        await self._deregister(member)
        member.departure.router_forgot_ns = monotonic_ns()
        return ends[0]

    @asynccontextmanager
    async def watching_requests(self, members: Sequence[Member]) -> AsyncIterator[None]:
        """Note during the block when the router's statistics last showed a new request to each."""
        seen: dict[str, int] = {}
        if not members:
            yield
            return
        with first_error():
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(self._watch(members, seen), name="last requests")
                try:
                    yield
                finally:
                    watch.cancel()
        await self._look(members, seen)

    async def _watch(self, members: Sequence[Member], seen: dict[str, int]) -> None:
        while True:
            await self._look(members, seen)
            await asyncio.sleep(_STATISTICS_SECONDS)

    async def _look(self, members: Sequence[Member], seen: dict[str, int]) -> None:
        try:
            counts = await self._router.counts()
        except RouterError:
            return  # the router cannot tell; what it is asked to do will fail by itself
        at_ns = monotonic_ns()
        for member in members:
            name = member.replica.id
            if name not in counts:
                continue
            chosen = counts[name].requests + counts[name].in_flight
            if chosen > seen.get(name, chosen):
                member.departure.last_request_ns = at_ns
            seen[name] = chosen

    async def _drained(self, member: Member, plan: LeavingPlan, seconds: float) -> Drained:
        if plan.close_idle:
            return await self._router.drain(member.replica.id, seconds)
        if isinstance(self._router, KeepsIdleConnections):
            member.departure.idle_kept = True
            return await self._router.drain_keeping_idle(member.replica.id, seconds)
        member.departure.idle_kept = False
        return await self._router.drain(member.replica.id, seconds)

    async def _tell(self, member: Member, plan: LeavingPlan, seconds: float) -> None:
        if not plan.close_idle:
            # Until preStop is over, the replica does not close the connections that are used on.
            seconds += plan.pre_stop_seconds
        await self.drain(member, plan, seconds)

    async def _end(self, member: Member, plan: LeavingPlan, ends: list[ReplicaExit]) -> None:
        if plan.pre_stop_seconds:
            with contextlib.suppress(TimeoutError):  # else it ended by itself
                async with asyncio.timeout(plan.pre_stop_seconds):
                    await self._platform.wait_ended(member.replica)
        end = await self._platform.stop(member.replica, plan.kill_after_seconds)
        member.departure.take(end)
        ends.append(end)

    async def _wait_noticed(self, member: Member, seconds: float) -> None:
        """Wait until the router's own checks say that the replica is down.

        A router without such checks never notices, whatever its adapter knows from checks in its
        place. It goes on sending requests to the replica until somebody changes its configuration.
        """
        if not self._router.capabilities.own_health:
            member.departure.router_checks = False
            await asyncio.sleep(seconds)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not await self._router.why_not_up([member.replica.id]):  # noqa: ASYNC110 - the port has no event for it
                    await asyncio.sleep(_NOTICE_SECONDS)
                member.departure.router_noticed_ns = monotonic_ns()


def _begin(member: Member) -> None:
    member.leaving = True
    member.weight = 0.0
    if member.departure.began_ns is None:
        member.departure.began_ns = monotonic_ns()
