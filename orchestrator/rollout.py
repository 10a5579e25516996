"""A Rollout: the verbs that strategies are made of, each with its deadline and journal entries."""

import asyncio
from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TypedDict, TypeVar

from orchestrator.analysis import Finding, Judgement, judge
from orchestrator.errors import RolloutFailed
from orchestrator.journal import Journal
from orchestrator.model import Policy, Replica, Version
from orchestrator.platform import Count, Drained, Ended, Platform, Router
from orchestrator.tasks import all_or_first_error, deadline, each_to_its_end, first_error

T = TypeVar("T")

_ROUTER_SECONDS = 10.0  # a router that takes longer to change its mind is broken
_MARGIN_SECONDS = 5.0  # beyond a deadline that a platform or router keeps by itself
_SAMPLE_SECONDS = 0.25  # how often a judgement that lacks requests looks again

_NOTHING = Count()

Replicas = tuple[Replica, ...]


@dataclass(slots=True)
class _Member:
    """What is known of a replica of the fleet."""

    replica: Replica
    version: Version
    registered: bool = False
    weight: float = 0.0
    leaving: bool = False
    before: Count = _NOTHING  # when its present share of the traffic, or its comparison, began


class Rollout:
    """The fleet of one run, and what can be done to it.

    Every verb is written to the journal from one place, fails with `OrchestratorError` and nothing
    else, and takes several replicas at once: they are handled at the same time.

    The **floor** of a verb is the part of its time that no orchestrator could have saved:

    - `start`: all of it, which is the fork;
    - `wait_ready`: the application's own start, until its port accepts, and the router's fewest
      checks after that (with rise 2: one fast interval);
    - `soak`, and the wait for a sample in `analyse`: what the policy asks;
    - `migrate`: the try that succeeded;
    - `attach`, `weigh`, `switch`, `drain`, `stop`: 0. A drain waits for clients, and so it is not
      the rollout's own time, yet another order might have hidden it.

    With several replicas it is that of the slowest. Strategies do one verb after the other, so the
    critical path of a release is all of its verbs, and its floor is the sum of theirs.
    """

    def __init__(
        self, platform: Platform, router: Router, journal: Journal, policy: Policy
    ) -> None:
        self.policy = policy
        self.journal = journal
        self._platform = platform
        self._router = router
        self._fleet: dict[str, _Member] = {}
        self._numbers = count(1)

    # What there is

    def serving(self) -> Replicas:
        """Return the replicas that get traffic, oldest first."""
        return tuple(one.replica for one in self._fleet.values() if one.weight > 0)

    def all(self) -> Replicas:
        """Return every replica that was started and not stopped yet, oldest first."""
        return tuple(one.replica for one in self._fleet.values())

    def usable(self, version: str) -> Replicas:
        """Return the version's replicas that run and were not told to go, with traffic or not."""
        return tuple(
            one.replica
            for one in self._fleet.values()
            if one.version.name == version
            and not one.leaving
            and self._platform.is_running(one.replica)
        )

    # The verbs

    async def start(self, version: Version, count: int) -> Replicas:
        """Start that many replicas; they are not ready yet, and get no traffic."""
        names = [f"{version.name}-{next(self._numbers)}" for _ in range(count)]
        if not names:
            return ()
        async with self.journal.verb("start", version=version.name, replicas=names) as entry:
            began = _now()
            async with deadline(_start_seconds(version, self.policy), "not started"):
                started = await each_to_its_end(self._start(version, name) for name in names)
            entry.detail["addresses"] = {one.id: one.address for one in started}
            entry.detail["pids"] = {one.id: one.pid for one in started}
            entry.floor_seconds = _now() - began
        return tuple(started)

    async def wait_ready(self, replicas: Sequence[Replica]) -> None:
        """Wait until the router's own checks say that all of them are up.

        A replica that ends meanwhile ends the wait, with its last words as the reason.
        """
        if not replicas:
            return
        members = [self._fleet[one.id] for one in replicas]
        seconds = max(_start_seconds(one.version, self.policy) for one in members)
        limit = _at_most(seconds)
        async with self.journal.verb("wait_ready", **_about(replicas), detail=limit) as entry:
            try:
                async with asyncio.timeout(seconds):
                    listening = await self._unless_one_ends(
                        replicas, all_or_first_error(self._admit(member) for member in members)
                    )
            except TimeoutError:
                why = await self._why_not_ready(members)
                raise RolloutFailed(f"not ready within {seconds:g} s: {why}") from None
            entry.floor_seconds = max(listening) + self._router.admission_seconds

    async def attach(self, replicas: Sequence[Replica]) -> None:
        """Give each of them a full share of the traffic."""
        if replicas:
            await self._weigh("attach", replicas, {one.id: 1.0 for one in replicas})

    async def weigh(self, replicas: Sequence[Replica], percent: float) -> None:
        """Give them together that many percent of the traffic, and the rest to those that serve."""
        chosen = {one.id for one in replicas}
        others = [one.id for one in self.serving() if one.id not in chosen]
        if percent >= 100 or not others:  # noqa: PLR2004 - percent
            shares = dict.fromkeys(chosen, 1.0) | dict.fromkeys(others, 0.0)
        else:
            # The others keep weight 1, so that a replica attached later has its fair share.
            each = percent / (100 - percent) * len(others) / len(chosen)
            shares = dict.fromkeys(chosen, each) | dict.fromkeys(others, 1.0)
        await self._remember_counts(chosen, others)
        await self._weigh("weigh", replicas, shares, detail={"percent": percent})

    async def switch(self, replicas: Sequence[Replica]) -> None:
        """Give all traffic to them and none to any other, in one atomic assignment."""
        async with self.journal.verb("switch", **_about(replicas)) as entry:
            ids = [one.id for one in replicas]
            async with deadline(_ROUTER_SECONDS, "the router did not switch"):
                await self._router.switch(ids)
            for name, member in self._fleet.items():
                member.weight = 1.0 if name in ids else 0.0
            entry.detail["shares"] = self._shares()

    async def soak(self, replicas: Sequence[Replica], seconds: float | None = None) -> None:
        """Let them serve for so long, by default `min_ready_seconds`; they must stay up."""
        if not replicas:
            return
        wanted = self.policy.min_ready_seconds if seconds is None else seconds
        lasts = {"lasts_seconds": wanted}
        async with self.journal.verb("soak", **_about(replicas), detail=lasts) as entry:
            entry.floor_seconds = wanted
            await self._unless_one_ends(replicas, asyncio.sleep(wanted))
            async with deadline(_ROUTER_SECONDS, "the router did not answer"):
                why = await self._router.why_not_up([one.id for one in replicas])
            if why:
                raise RolloutFailed(f"not up any more: {_each(why)}")

    async def analyse(self, canary: Sequence[Replica]) -> Judgement:
        """Judge them by their requests since `weigh`; those that served then are the comparison.

        Too few requests are waited for, as long as the policy's patience lasts.
        """
        policy = self.policy
        limit = _at_most(policy.canary_patience_seconds)
        async with self.journal.verb("analyse", **_about(canary), detail=limit) as entry:
            began = _now()
            while True:
                judgement = await self._judge(canary)
                left = policy.canary_patience_seconds - (_now() - began)
                if judgement.finding is not Finding.INCONCLUSIVE or left <= 0:
                    break
                pause = min(_SAMPLE_SECONDS, left)
                await self._unless_one_ends(canary, asyncio.sleep(pause))
                entry.floor_seconds += pause
            entry.detail |= {"finding": judgement.finding.value, "reason": judgement.reason}
            refused = {Finding.FAIL} | (
                {Finding.INCONCLUSIVE} if policy.on_inconclusive == "fail" else set()
            )
            if judgement.finding in refused:
                raise RolloutFailed(f"analysis: {judgement.finding.value}: {judgement.reason}")
        return judgement

    async def drain(self, replicas: Sequence[Replica]) -> None:
        """Send them nothing new, and wait for what they have in flight, or the drain's timeout."""
        if not replicas:
            return
        limit = _at_most(self.policy.drain_timeout)
        async with self.journal.verb("drain", **_about(replicas), detail=limit) as entry:
            members = [self._fleet[one.id] for one in replicas]
            seconds = self.policy.drain_timeout + _MARGIN_SECONDS
            async with deadline(seconds, "not drained"):
                drained = await each_to_its_end(self._drain(member) for member in members)
            entry.detail["cut"] = sum(one.cut for one in drained)

    async def stop(self, replicas: Sequence[Replica]) -> None:
        """Stop them, gently at first, and take them off the router's list."""
        if not replicas:
            return
        limit = _at_most(self.policy.termination_grace_seconds)
        async with self.journal.verb("stop", **_about(replicas), detail=limit) as entry:
            members = [self._fleet[one.id] for one in replicas]
            seconds = self.policy.termination_grace_seconds + _ROUTER_SECONDS
            async with deadline(seconds, "not stopped"):
                ends = await each_to_its_end(self._stop(member) for member in members)
            entry.detail["ended"] = {
                one.id: end.reason for one, end in zip(replicas, ends, strict=True)
            }
            entry.detail["killed"] = [
                one.id for one, end in zip(replicas, ends, strict=True) if end.killed
            ]

    # Their parts

    async def _start(self, version: Version, name: str) -> Replica:
        replica = await self._platform.start(version, name)
        self._fleet[name] = _Member(replica, version)
        return replica

    async def _admit(self, member: _Member) -> float:
        """Wait until it is up; returns after how many seconds it listened."""
        began = _now()
        await self._platform.wait_listening(member.replica)
        listening = _now() - began
        # Not before: a check that comes too early costs the replica a whole interval.
        if not member.registered:
            await self._router.register(member.replica)
            member.registered = True
        await self._router.wait_up([member.replica.id])
        return listening

    async def _why_not_ready(self, members: Iterable[_Member]) -> str:
        why = {
            one.replica.id: self._platform.why_not_listening(one.replica)
            for one in members
            if not one.registered
        }
        async with deadline(_ROUTER_SECONDS, "the router did not answer"):
            why |= await self._router.why_not_up(
                [one.replica.id for one in members if one.registered]
            )
        return _each(why)

    async def _weigh(
        self,
        verb: str,
        replicas: Sequence[Replica],
        weights: dict[str, float],
        detail: dict[str, object] | None = None,
    ) -> None:
        async with self.journal.verb(verb, **_about(replicas), detail=detail) as entry:
            async with deadline(_ROUTER_SECONDS, "the router did not take the weights"):
                await self._router.weigh(weights)
            for name, weight in weights.items():
                self._fleet[name].weight = weight
            entry.detail["shares"] = self._shares()

    def _shares(self) -> dict[str, float]:
        """How many percent of the traffic each version gets."""
        total = sum(member.weight for member in self._fleet.values())
        shares: dict[str, float] = {}
        for member in self._fleet.values():
            share = 100 * member.weight / total if total else 0.0
            shares[member.version.name] = shares.get(member.version.name, 0.0) + share
        return {version: round(share, 3) for version, share in shares.items()}

    async def _remember_counts(self, chosen: Collection[str], others: Collection[str]) -> None:
        """Begin the window of those chosen; those that they are compared with keep theirs."""
        counts = await self._counts()
        fresh = all(self._fleet[name].weight == 0 for name in chosen)
        for name in {*chosen, *(others if fresh else ())}:
            self._fleet[name].before = counts.get(name, _NOTHING)

    async def _judge(self, canary: Sequence[Replica]) -> Judgement:
        counts = await self._counts()
        chosen = {one.id for one in canary}
        stable = {
            name
            for name, member in self._fleet.items()
            if name not in chosen and member.registered and not member.leaving
        }
        return judge(
            self._since(counts, chosen),
            self._since(counts, stable),
            minimum=self.policy.canary_minimum_requests,
            tolerance=self.policy.canary_tolerance,
        )

    def _since(self, counts: Mapping[str, Count], names: Collection[str]) -> Count:
        """Sum up what these replicas answered since their windows began."""
        pairs = [(counts.get(name, _NOTHING), self._fleet[name].before) for name in names]
        return Count(
            sum(now.requests - before.requests for now, before in pairs),
            sum(now.failed - before.failed for now, before in pairs),
        )

    async def _counts(self) -> dict[str, Count]:
        async with deadline(_ROUTER_SECONDS, "the router did not tell its statistics"):
            return dict(await self._router.counts())

    async def _drain(self, member: _Member) -> Drained:
        member.leaving = True
        member.weight = 0.0
        if not member.registered:
            return Drained(0, 0.0)
        return await self._router.drain(member.replica.id, self.policy.drain_timeout)

    async def _stop(self, member: _Member) -> Ended:
        member.leaving = True
        member.weight = 0.0
        ended = await self._platform.stop(member.replica, self.policy.termination_grace_seconds)
        # Even when it was never registered: a registration may have been cut short.
        await self._router.remove(member.replica.id)
        del self._fleet[member.replica.id]
        return ended

    async def _unless_one_ends(self, replicas: Sequence[Replica], work: Awaitable[T]) -> T:
        """Do the work; a replica that ends meanwhile ends it."""
        with first_error():
            async with asyncio.TaskGroup() as group:
                watchers = [group.create_task(self._fail_at_end(replica)) for replica in replicas]
                result = await work
                for watcher in watchers:
                    watcher.cancel()
        return result

    async def _fail_at_end(self, replica: Replica) -> None:
        ended = await self._platform.wait_ended(replica)
        last = f"; its log ends: {' | '.join(ended.log)}" if ended.log else ""
        raise RolloutFailed(f"{replica.id} {ended.reason}{last}")


class _About(TypedDict):
    version: str | None
    replicas: tuple[str, ...]


def _about(replicas: Sequence[Replica]) -> _About:
    versions = {one.version for one in replicas}
    return {
        "version": versions.pop() if len(versions) == 1 else None,
        "replicas": tuple(one.id for one in replicas),
    }


def _at_most(seconds: float) -> dict[str, object]:
    """Tell whoever watches how long that may take, so that they can count down."""
    return {"at_most_seconds": seconds}


def _start_seconds(version: Version, policy: Policy) -> float:
    given = version.start_seconds
    return policy.progress_deadline_seconds if given is None else given


def _each(why: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({reason})" for name, reason in sorted(why.items()))


def _now() -> float:
    return asyncio.get_running_loop().time()
