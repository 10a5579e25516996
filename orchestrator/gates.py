"""Gates: what a replica must show before it gets traffic, and as long as it proves itself."""

import asyncio
from collections.abc import Iterable, Mapping

from orchestrator.errors import RolloutFailed
from orchestrator.fleet import Member
from orchestrator.model import Replica
from orchestrator.platform import Answer, Platform, Router
from orchestrator.tasks import deadline

_ROUTER_SECONDS = 10.0  # a router that takes longer to answer is broken
_ASK_SECONDS = 1.0  # for one readiness question
_ASK_PAUSE_SECONDS = 0.1
_REHEARSAL_SECONDS = 2.0  # how long a version that listens may take to say that it is ready


class Gates:
    """Asks the replica itself, and then the router, whose own checks decide."""

    def __init__(self, platform: Platform, router: Router) -> None:
        self._platform = platform
        self._router = router

    async def admit(self, member: Member, said: dict[str, Answer]) -> float:
        """Wait until it is up; returns after how many seconds it was ready by its own account."""
        began = asyncio.get_running_loop().time()
        replica, path = member.replica, member.version.readiness_path
        await self._platform.wait_listening(replica)
        while path is not None and not member.registered:
            said[replica.id] = await self._platform.ask(replica, path, _ASK_SECONDS)
            if said[replica.id].good:
                break
            await asyncio.sleep(_ASK_PAUSE_SECONDS)
        ready = asyncio.get_running_loop().time() - began
        # Not before: a check that comes too early costs the replica a whole interval.
        if not member.registered:
            await self._router.register(replica)
            member.registered = True
        await self._router.wait_up([replica.id])
        return ready

    async def why_not_ready(self, members: Iterable[Member], said: Mapping[str, Answer]) -> str:
        """What each of those that are not ready lacks."""
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
        """See that the router still says that all of them are up.

        Raises:
            RolloutFailed: one of them is not.
        """
        async with deadline(_ROUTER_SECONDS, "the router did not answer"):
            why = await self._router.why_not_up([one.replica.id for one in members])
        if why:
            raise RolloutFailed(f"not up any more: {_each(why)}")


async def says_ready(platform: Platform, replica: Replica, path: str, seconds: float) -> str | None:
    """Ask until it says that it is ready; returns what it says instead, None if it does.

    Raises:
        RolloutFailed: it does not listen within so many seconds.
    """
    async with deadline(seconds, "it does not listen"):
        await platform.wait_listening(replica)
    until = asyncio.get_running_loop().time() + _REHEARSAL_SECONDS
    while True:
        answer = await platform.ask(replica, path, _ASK_SECONDS)
        if answer.good:
            return None
        if asyncio.get_running_loop().time() >= until:
            return f"it {answer.to(path)}"
        await asyncio.sleep(_ASK_PAUSE_SECONDS)


async def fail_at_end(platform: Platform, replica: Replica) -> None:
    """Wait until the replica ends.

    Raises:
        RolloutFailed: always, with its last words.
    """
    ended = await platform.wait_ended(replica)
    last = f"; its log ends: {' | '.join(ended.log)}" if ended.log else ""
    raise RolloutFailed(f"{replica.id} {ended.reason}{last}")


def _each(why: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({reason})" for name, reason in sorted(why.items()))
