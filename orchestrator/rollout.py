"""A Rollout: the verbs that strategies are made of, each with its deadline and journal entries."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from itertools import count
from typing import TypeVar

from orchestrator.analysis import Finding, Judgement
from orchestrator.errors import RolloutFailed
from orchestrator.fleet import Member, Replicas
from orchestrator.gates import Gates, fail_at_end, says_ready
from orchestrator.journal import Journal
from orchestrator.model import Replica, Version
from orchestrator.platform import Answer, Drained, Ended, Hooks, Platform, Router
from orchestrator.policy import Policy
from orchestrator.samples import Samples
from orchestrator.shares import weights
from orchestrator.tasks import all_or_first_error, deadline, each_to_its_end, first_error
from orchestrator.verbs import Verbs, now

__all__ = ["Replicas", "Rollout"]

T = TypeVar("T")

_ROUTER_SECONDS = 10.0  # a router that takes longer to change its mind is broken
_MARGIN_SECONDS = 5.0  # beyond a deadline that a platform or router keeps by itself
_SAMPLE_SECONDS = 0.25  # how often a judgement that lacks requests looks again


class Rollout(Verbs):
    """The fleet of one run, and what can be done to it.

    Every verb fails with `OrchestratorError` and nothing else, and takes several replicas at once:
    they are handled at the same time.

    Attributes:
        path: the shares that the deployment under way gave to its canary so far, in percent.
    """

    def __init__(
        self,
        platform: Platform,
        router: Router,
        journal: Journal,
        policy: Policy,
        *,
        hooks: Hooks | None = None,
        first_number: int = 1,
    ) -> None:
        super().__init__(journal, policy, hooks)
        self._platform = platform
        self._router = router
        self._numbers = count(first_number)
        self._gates = Gates(platform, router)
        self._samples = Samples(router, self.fleet)
        # Weights name only what the router knows, so nothing is taken off its list meanwhile.
        self._listing = asyncio.Lock()
        self.path: list[float] = []

    # What there is

    def serving(self) -> Replicas:
        """Return the replicas that get traffic, oldest first."""
        return self.fleet.serving()

    def all(self) -> Replicas:
        """Return every replica that was started and not stopped yet, oldest first."""
        return self.fleet.all()

    def usable(self, version: str) -> Replicas:
        """Return the version's replicas that run and were not told to go, with traffic or not."""
        return tuple(
            one.replica
            for one in self.fleet
            if one.version.name == version
            and not (one.leaving or one.lost)
            and self._platform.is_running(one.replica)
        )

    def version_of(self, replica: Replica) -> Version:
        """Return the version that a replica of the fleet runs."""
        return self._present([replica])[0].version

    # The verbs

    async def start(self, version: Version, count: int) -> Replicas:
        """Start that many replicas; they are not ready yet, and get no traffic."""
        names = [f"{version.name}-{next(self._numbers)}" for _ in range(count)]
        if not names:
            return ()
        async with self.verb("start", version=version.name, names=names) as entry:
            began = now()
            async with deadline(_start_seconds(version, self.policy), "not started"):
                started = await each_to_its_end(self._start(version, name) for name in names)
            entry.detail["addresses"] = {one.id: one.address for one in started}
            entry.detail["pids"] = {one.id: one.pid for one in started}
            entry.floor_seconds = now() - began
        return tuple(started)

    async def wait_ready(self, replicas: Sequence[Replica]) -> None:
        """Wait until they say that they are ready, and then the router's own checks that they are.

        A replica that ends meanwhile ends the wait, with its last words as the reason.
        """
        if not replicas:
            return
        seconds = max(_start_seconds(one.version, self.policy) for one in self._present(replicas))
        async with self.verb("wait_ready", replicas, detail=_at_most(seconds)) as entry:
            members = self._present(replicas)
            said: dict[str, Answer] = {}
            try:
                async with asyncio.timeout(seconds):
                    ready = await self._unless_one_ends(
                        members,
                        all_or_first_error(self._gates.admit(member, said) for member in members),
                    )
            except TimeoutError:
                entry.floor_seconds = seconds
                why = await self._gates.why_not_ready(members, said)
                raise RolloutFailed(f"not ready within {seconds:g} s: {why}") from None
            entry.floor_seconds = max(ready) + self._router.admission_seconds

    async def rehearse(self, version: Version) -> str | None:
        """Find out, away from all traffic, whether a version works with the schema as it is now.

        A replica of it that still runs is asked, else one is started and stopped again. Returns
        why it does not; None if it does, or if it has no `readiness_path` that could tell.
        """
        path = version.readiness_path
        if path is None:
            self.journal.note(
                "rehearse",
                version=version.name,
                detail={"skipped": f"version {version.name} declares no readiness_path"},
            )
            return None
        running = self.usable(version.name)
        async with self.verb("rehearse", version=version.name, encloses=True) as entry:
            replicas = running[:1] or await self.start(version, 1)
            try:
                why = await self._unless_one_ends(
                    self._present(replicas),
                    says_ready(
                        self._platform, replicas[0], path, self.policy.progress_deadline_seconds
                    ),
                )
            except RolloutFailed as error:
                why = str(error)
            finally:
                if not running:
                    await self.stop(replicas)
            entry.detail["refused"] = why
        return why

    async def preview(self, replicas: Sequence[Replica]) -> None:
        """Send requests of our own to each of them, past the router; all must be answered well."""
        wanted = self.policy.preview
        if wanted is None or not replicas:
            return
        async with self.verb("preview", replicas) as entry:
            began = now()
            bad: list[str] = []
            asked = 0
            for path in wanted.paths:
                for _ in range(wanted.requests):
                    answers = await self._unless_one_ends(
                        self._present(replicas),
                        each_to_its_end(
                            self._platform.ask(one, path, wanted.timeout_seconds)
                            for one in replicas
                        ),
                    )
                    asked += len(answers)
                    bad += [
                        f"{one.id} {answer.to(path)}"
                        for one, answer in zip(replicas, answers, strict=True)
                        if not answer.good
                    ]
            entry.floor_seconds = now() - began
            entry.detail |= {"requests": asked, "failed": len(bad)}
            if bad:
                raise RolloutFailed(
                    f"preview: {len(bad)} of {asked} requests failed; the limit is 0: {bad[0]}"
                )

    async def attach(self, replicas: Sequence[Replica]) -> None:
        """Give each of them a full share of the traffic."""
        if replicas:
            await self._weigh("attach", replicas, {one.id: 1.0 for one in replicas})

    async def weigh(
        self, replicas: Sequence[Replica], percent: float, beside: Sequence[Replica] = ()
    ) -> None:
        """Give them together that many percent of the traffic, and the rest to those that serve.

        Args:
            replicas: the canary.
            percent: its share.
            beside: a baseline that gets as much as the canary does, up to 50 % each.
        """
        chosen = {one.replica.id for one in self._present(replicas)}
        twins = {one.replica.id for one in self.fleet.present(beside)}
        others = [one.id for one in self.serving() if one.id not in chosen | twins]
        shares = weights(percent, chosen, others, twins)
        alone = not any(shares[name] for name in (*others, *twins))
        await self._samples.begin(chosen, twins or others, alone=alone)
        self.path.append(percent)
        await self._weigh("weigh", replicas, shares, detail={"percent": percent})

    async def give(self, replica: Replica) -> None:
        """Give one replica the weight of its place; the others keep theirs."""
        async with self.verb("attach", [replica]) as entry:
            async with (
                deadline(_ROUTER_SECONDS, "the router did not take the weight"),
                self._listing,
            ):
                # Read only now: somebody may have switched while this one waited.
                member = self._present([replica])[0]
                await self._router.weigh(self._routed({member.replica.id: member.weight}))
            entry.detail["shares"] = self.fleet.shares()

    async def switch(self, replicas: Sequence[Replica]) -> None:
        """Give all traffic to them and none to any other, in one atomic assignment."""
        async with self.verb("switch", replicas) as entry:
            ids = [one.replica.id for one in self._present(replicas)]
            async with deadline(_ROUTER_SECONDS, "the router did not switch"), self._listing:
                await self._router.switch(ids)
                for member in self.fleet:
                    member.weight = 1.0 if member.replica.id in ids else 0.0
            entry.detail["shares"] = self.fleet.shares()

    async def soak(self, replicas: Sequence[Replica], seconds: float | None = None) -> None:
        """Let them serve for so long, by default `min_ready_seconds`; they must stay up."""
        if not replicas:
            return
        wanted = self.policy.min_ready_seconds if seconds is None else seconds
        async with self.verb("soak", replicas, detail={"lasts_seconds": wanted}) as entry:
            members = self._present(replicas)
            entry.floor_seconds = wanted
            await self._unless_one_ends(members, asyncio.sleep(wanted))
            await self._gates.need_up(members)

    async def pause(self, replicas: Sequence[Replica], seconds: float | None, what: str) -> None:
        """Wait for so long, or until somebody promotes; without a time, until somebody does.

        Args:
            replicas: what must stay up meanwhile.
            seconds: how long; None is for ever.
            what: what waits, for people.
        """
        if self.control.full or not replicas:
            return
        detail = {"for": what} | ({} if seconds is None else {"lasts_seconds": seconds})
        async with self.verb("pause", replicas, detail=detail) as entry:
            began = now()
            members = self._present(replicas)
            try:
                entry.detail["promoted"] = await self._unless_one_ends(
                    members, self.control.wait_promoted(what, seconds)
                )
            finally:
                entry.floor_seconds = now() - began
            await self._gates.need_up(members)

    async def analyse(self, canary: Sequence[Replica], beside: Sequence[Replica] = ()) -> Judgement:
        """Judge them by their requests since `weigh`.

        The comparison is `beside`, or those that served then. Too few requests are waited for, as
        long as the policy's patience lasts; and so are slow ones to become as fast as the others:
        they are looked at anew, sample by sample, and only who is slow in all of them is refused.
        """
        if self.control.full:
            return Judgement(Finding.INCONCLUSIVE, "skipped: promoted in full")
        criteria = self.policy.analysis
        limit = _at_most(criteria.patience_seconds)
        async with self.verb("analyse", canary, detail=limit) as entry:
            began, slow = now(), None
            while True:
                chosen = {one.replica.id for one in self._present(canary)}
                twins = {one.replica.id for one in self.fleet.present(beside)}
                seen = await self._samples.judge(chosen, twins, criteria)
                slow = seen if seen.fleeting else slow
                settled = seen.finding in (Finding.PASS, Finding.FAIL) and not seen.fleeting
                judgement = seen if settled or slow is None else slow
                left = criteria.patience_seconds - (now() - began)
                if settled or left <= 0:
                    break
                if seen.fleeting:
                    await self._samples.begin_latencies(chosen, twins)
                pause = min(_SAMPLE_SECONDS, left)
                await self._unless_one_ends(self._present(canary), asyncio.sleep(pause))
                entry.floor_seconds += pause
            entry.detail |= {"finding": judgement.finding.value, "reason": judgement.reason}
            refused = {Finding.FAIL, Finding.ERROR}
            if criteria.on_inconclusive == "fail":
                refused |= {Finding.INCONCLUSIVE}
            if judgement.finding in refused:
                raise RolloutFailed(f"analysis: {judgement.finding.value}: {judgement.reason}")
        return judgement

    async def drain(self, replicas: Sequence[Replica]) -> None:
        """Send them nothing new, and wait for what they have in flight, or the drain's timeout."""
        members = self.fleet.present(replicas)
        if not members:
            return
        limit = _at_most(self.policy.drain_timeout_seconds)
        async with self.verb("drain", [one.replica for one in members], detail=limit) as entry:
            seconds = self.policy.drain_timeout_seconds + _MARGIN_SECONDS
            async with deadline(seconds, "not drained"):
                drained = await each_to_its_end(self._drain(member) for member in members)
            entry.detail["cut"] = sum(one.cut for one in drained)
            entry.floor_seconds = max(one.seconds for one in drained)

    async def stop(self, replicas: Sequence[Replica]) -> None:
        """Stop them, gently at first, and take them off the router's list."""
        members = self.fleet.present(replicas)
        if not members:
            return
        grace = max(one.version.termination_grace_seconds for one in members)
        replicas = [one.replica for one in members]
        async with self.verb("stop", replicas, detail=_at_most(grace)) as entry:
            async with deadline(grace + _ROUTER_SECONDS, "not stopped"):
                ends = await each_to_its_end(self._stop(member) for member in members)
            named = [(one.replica.id, end) for one, end in zip(members, ends, strict=True)]
            entry.detail["ended"] = {name: end.reason for name, end in named}
            entry.detail["killed"] = [name for name, end in named if end.killed]
            entry.floor_seconds = max(end.seconds for _, end in named)

    # Their parts

    async def unlist(self, member: Member) -> None:
        """Take a replica off the router's list; it stays in the fleet."""
        async with self._listing:
            # First the mark: whoever drains it meanwhile must not ask for what is gone.
            member.registered = False
            await self._router.remove(member.replica.id)

    async def _start(self, version: Version, name: str) -> Replica:
        replica = await self._platform.start(version, name)
        self.fleet.add(Member(replica, version))
        return replica

    async def _weigh(
        self,
        verb: str,
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
        """The weights by the names that the router knows.

        One that was replaced meanwhile has its successor's; one that is lost is given its weight
        with its successor.
        """
        found = {name: self.fleet.find(name) for name in weights}
        return {
            member.replica.id: weights[name]
            for name, member in found.items()
            if member is not None and member.registered and not member.leaving
        }

    async def _drain(self, member: Member) -> Drained:
        member.leaving = True
        member.weight = 0.0
        if not member.registered:
            return Drained(0, 0.0)
        return await self._router.drain(member.replica.id, self.policy.drain_timeout_seconds)

    async def _stop(self, member: Member) -> Ended:
        member.leaving = True
        member.weight = 0.0
        grace = member.version.termination_grace_seconds
        ended = await self._platform.stop(member.replica, grace)
        # Even when it was never registered: a registration may have been cut short.
        await self.unlist(member)
        self.fleet.remove(member.replica.id)
        return ended

    async def _unless_one_ends(self, members: Sequence[Member], work: Awaitable[T]) -> T:
        """Do the work; a replica that ends meanwhile ends it, as does somebody who says so."""
        for one in members:
            one.gated += 1
        try:
            with first_error():
                async with asyncio.TaskGroup() as group:
                    watchers = [
                        group.create_task(fail_at_end(self._platform, one.replica))
                        for one in members
                    ]
                    if self.forward:
                        watchers.append(group.create_task(self.control.ended()))
                    result = await work
                    for watcher in watchers:
                        watcher.cancel()
        finally:
            for one in members:
                one.gated -= 1
        return result

    def _present(self, replicas: Sequence[Replica]) -> list[Member]:
        members = self.fleet.present(replicas)
        if len(members) < len(replicas):
            gone = [one.id for one in replicas if self.fleet.find(one.id) is None]
            raise RolloutFailed(f"{', '.join(gone)} is not there any more")
        return members


def _at_most(seconds: float) -> dict[str, object]:
    """Tell whoever watches how long that may take, so that they can count down."""
    return {"at_most_seconds": seconds}


def _start_seconds(version: Version, policy: Policy) -> float:
    given = version.start_seconds
    return policy.progress_deadline_seconds if given is None else given
