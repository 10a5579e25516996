"""Readiness gates: the checks that a replica must pass before it gets traffic."""

import asyncio
from collections.abc import Iterable, Mapping

from orchestrator.errors import RolloutFailed
from orchestrator.fleet import Member
from orchestrator.interfaces import Platform, ProbeResult, Router
from orchestrator.model import Replica
from orchestrator.tasks import deadline, now
from orchestrator.termination import Registration

_ROUTER_SECONDS = 10.0  # a router that needs longer to answer is broken
_PROBE_SECONDS = 1.0  # for one readiness probe
_PROBE_PAUSE_SECONDS = 0.1
_REHEARSAL_SECONDS = 2.0  # a version that listens must become ready within this time


class ReadinessGates:
    """Probes the replica itself first, then waits for the router's own checks, which decide."""

    def __init__(self, platform: Platform, router: Router) -> None:
        self._platform = platform
        self._router = router

    async def admit(
        self,
        member: Member,
        said: dict[str, ProbeResult],
        *,
        registration: Registration = "when-ready",
        lag_seconds: float = 0.0,
    ) -> float:
        """Wait until the router says that the replica is up.

        Returns the seconds until the router was told of the replica: the replica's own start, and
        the lag. With `when-started` they are all seconds but the router's fewest checks.

        Args:
            member: the replica; it is registered with the router once it is ready.
            said: gets the last readiness probe of the replica, by its id.
            registration: whether the router is told when the replica is ready or at once.
            lag_seconds: how long that news takes.
        """
        began = now()
        if registration == "when-ready":
            await self._wait_ready(member, said)
        # Only now: a router check that fails costs the replica a whole interval.
        if not member.registered:
            await asyncio.sleep(lag_seconds)
            await self._router.register(member.replica)
            member.registered = True
        told = now() - began
        await self._router.wait_up([member.replica.id])
        if registration == "when-started":
            return max(0.0, now() - began - self._router.admission_seconds)
        return told

    async def _wait_ready(self, member: Member, said: dict[str, ProbeResult]) -> None:
        replica, path = member.replica, member.version.readiness_path
        await self._platform.wait_listening(replica)
        while path is not None and not member.registered:
            said[replica.id] = await self._platform.probe(replica, path, _PROBE_SECONDS)
            if said[replica.id].good:
                break
            await asyncio.sleep(_PROBE_PAUSE_SECONDS)

    async def why_not_ready(
        self, members: Iterable[Member], said: Mapping[str, ProbeResult]
    ) -> str:
        """Say of each member that is not ready what it still lacks."""
        why = {}
        for one in members:
            name = one.replica.id
            if not one.registered:
                why[name] = (
                    f"it {said[name].to(path)}"
                    if name in said and (path := one.version.readiness_path) is not None
                    else self._platform.why_not_listening(one.replica)
                )
        async with deadline(_ROUTER_SECONDS, "the router did not answer"):
            why |= await self._router.why_not_up(
                [one.replica.id for one in members if one.registered]
            )
        return _each(why)

    async def need_up(self, members: Iterable[Member]) -> None:
        """Check that the router still says that all of them are up.

        Raises:
            RolloutFailed: one of them is not.
        """
        async with deadline(_ROUTER_SECONDS, "the router did not answer"):
            why = await self._router.why_not_up([one.replica.id for one in members])
        if why:
            raise RolloutFailed(f"no longer up: {_each(why)}")


async def readiness_refusal(
    platform: Platform,
    replica: Replica,
    path: str,
    seconds: float,
    *,
    patience: float = _REHEARSAL_SECONDS,
) -> str | None:
    """Probe a replica until it is ready; return why it is not, or None when it is.

    Args:
        platform: runs the replica.
        replica: the replica.
        path: the path that it must answer with a 2xx.
        seconds: how long it may take until it listens.
        patience: how long it may take from then on until it is ready.

    Raises:
        RolloutFailed: it does not listen within `seconds`.
    """
    async with deadline(seconds, "it does not listen"):
        await platform.wait_listening(replica)
    until = now() + patience
    while True:
        answer = await platform.probe(replica, path, _PROBE_SECONDS)
        if answer.good:
            return None
        if now() >= until:
            return f"it {answer.to(path)}"
        await asyncio.sleep(_PROBE_PAUSE_SECONDS)


async def fail_at_end(platform: Platform, replica: Replica) -> None:
    """Wait until the replica ends, and raise an error when it does.

    Raises:
        RolloutFailed: always, with the end of its log.
    """
    ended = await platform.wait_ended(replica)
    last = f"; its log ends: {' | '.join(ended.log)}" if ended.log else ""
    raise RolloutFailed(f"{replica.id} {ended.reason}{last}")


def _each(why: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({reason})" for name, reason in sorted(why.items()))
