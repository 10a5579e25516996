"""The Rollout: the verbs of strategies, each with its deadline and its journal entries."""

import asyncio
from collections.abc import Awaitable, Sequence
from itertools import count
from typing import TypeVar

from orchestrator.analysis import Finding, Judgement
from orchestrator.clock import monotonic_ns
from orchestrator.errors import RolloutFailed
from orchestrator.fleet import Member, Replicas
from orchestrator.gates import ReadinessGates, fail_at_end, readiness_refusal
from orchestrator.interfaces import Drained, Hooks, Platform, ProbeResult, ReplicaExit, Router
from orchestrator.journal import Journal
from orchestrator.leaving import Leaving
from orchestrator.model import Replica, Version
from orchestrator.policy import Criteria, Policy
from orchestrator.routers.capabilities import Capabilities
from orchestrator.tasks import all_or_first_error, deadline, each_to_its_end, first_error, now
from orchestrator.termination import (
    DRAIN_FIRST,
    LeavingPlan,
    TerminationPolicy,
    lags_of,
    leaving_plan,
    longest,
)
from orchestrator.traffic_verbs import TrafficVerbs

__all__ = ["Replicas", "Rollout"]

T = TypeVar("T")

_ROUTER_SECONDS = 10.0  # for the router, on top of what the replicas take
_MARGIN_SECONDS = 5.0  # on top of a deadline that a platform or router keeps by itself
_SAMPLE_SECONDS = 0.25  # the time between two looks at the statistics


class Rollout(TrafficVerbs):
    """The fleet of one run, and the verbs that change it.

    A verb raises only `OrchestratorError`. It takes several replicas and handles them at the same
    time.

    The verbs that move traffic are in `TrafficVerbs`.
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
        seed: int = 0,
        prefix: str = "",
    ) -> None:
        """Make the rollout of one run.

        Args:
            platform: runs replicas.
            router: sends requests to them.
            journal: gets an entry for each verb.
            policy: the settings.
            hooks: runs the policy's hooks; absent: they are ignored.
            first_number: the number of the first replica.
            seed: the run's seed; the lags of its replicas follow from it.
            prefix: what the ids of its replicas begin with, before the name of the version.
        """
        super().__init__(router, journal, policy, hooks)
        self._platform = platform
        self._numbers = count(first_number)
        self._gates = ReadinessGates(platform, router)
        self._leaving = Leaving(platform, router, self.deregister)
        self._seed = seed
        self._prefix = prefix

    # The fleet

    def all(self) -> Replicas:
        """Return all replicas that were started and not stopped yet, oldest first."""
        return self.fleet.all()

    def usable(self, version: str) -> Replicas:
        """Return the version's running replicas that are not leaving, with or without traffic."""
        return tuple(
            one.replica
            for one in self.fleet
            if one.version.name == version
            and not (one.leaving or one.lost)
            and self._platform.is_running(one.replica)
        )

    def deployed_as(self, version: str) -> str:
        """What the ids of a version's replicas begin with: no other rollout of a run has the same.

        A service and the web may both have a version `v2`; these are `prices-v2` and `v2`.
        """
        return f"{self._prefix}{version}"

    def version_of(self, replica: Replica) -> Version:
        """Return the version that a replica of the fleet runs."""
        return self._present([replica])[0].version

    # The verbs

    async def start(self, version: Version, count: int) -> Replicas:
        """Start `count` replicas; they are not ready yet and get no traffic."""
        begin = self.deployed_as(version.name)
        names = [f"{begin}-{next(self._numbers)}" for _ in range(count)]
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

    async def wait_ready(
        self, replicas: Sequence[Replica], termination: TerminationPolicy | None = None
    ) -> None:
        """Wait until the replicas are ready, first by themselves, then by the router's checks.

        A replica that ends meanwhile fails the verb; the error has the end of its log.

        Args:
            replicas: the replicas.
            termination: when and how late the router is told of them; absent: as the policy says.
        """
        if not replicas:
            return
        how = termination or self.policy.termination
        seconds = max(_start_seconds(one.version, self.policy) for one in self._present(replicas))
        seconds += longest(how.registration_lag_seconds)
        async with self.verb("wait_ready", replicas, detail=_at_most(seconds)) as entry:
            members = self._present(replicas)
            said: dict[str, ProbeResult] = {}
            try:
                async with asyncio.timeout(seconds):
                    ready = await self._unless_one_ends(
                        members,
                        all_or_first_error(
                            self._gates.admit(
                                member,
                                said,
                                registration=how.registration,
                                lag_seconds=lags_of(
                                    how, self._seed, member.replica.id
                                ).registration,
                            )
                            for member in members
                        ),
                    )
            except TimeoutError:
                entry.floor_seconds = seconds
                entry.detail["timed_out"] = True
                why = await self._gates.why_not_ready(members, said)
                raise RolloutFailed(f"not ready within {seconds:g} s: {why}") from None
            entry.floor_seconds = max(ready) + self._router.admission_seconds

    async def rehearse(self, version: Version) -> str | None:
        """Find out whether a version works with the present schema, away from all traffic.

        A running replica of it is probed; if there is none, one is started and stopped again.

        Returns why the version does not work; None if it works, or if it has no `readiness_path`.
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
                    readiness_refusal(
                        self._platform, replicas[0], path, self.policy.progress_deadline_seconds
                    ),
                )
            except RolloutFailed as error:
                why = str(error)
            finally:
                if not running:
                    await self.stop(replicas, DRAIN_FIRST)
            entry.detail["refused"] = why
        return why

    async def preview(self, replicas: Sequence[Replica]) -> None:
        """Send the policy's preview requests to each replica directly; all must get a 2xx."""
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
                            self._platform.probe(one, path, wanted.timeout_seconds)
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

    async def soak(self, replicas: Sequence[Replica], seconds: float | None = None) -> None:
        """Let the replicas serve, for `min_ready_seconds` by default; they must stay up."""
        if not replicas:
            return
        wanted = self.policy.min_ready_seconds if seconds is None else seconds
        async with self.verb("soak", replicas, detail={"lasts_seconds": wanted}) as entry:
            members = self._present(replicas)
            entry.floor_seconds = wanted
            await self._unless_one_ends(members, asyncio.sleep(wanted))
            await self._gates.need_up(members)

    async def pause(self, replicas: Sequence[Replica], seconds: float | None, what: str) -> None:
        """Wait until the time is over or somebody promotes.

        Args:
            replicas: the replicas that must stay up meanwhile.
            seconds: how long; None: until somebody promotes.
            what: what waits, as text for people.
        """
        if self.control.promoted_in_full or not replicas:
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

    async def analyse(
        self, canary: Sequence[Replica], baseline: Sequence[Replica] = ()
    ) -> Judgement:
        """Judge the canary by its requests since `weigh`.

        It is compared with its baseline, or with the other serving replicas. The policy's
        `patience_seconds` limit two waits: for enough requests, and for a slow canary to become as
        fast as the others. A canary is refused for its latency only if it is slow in every sample
        of that time. Behind a router that sees no requests nothing is judged, and the journal says
        so.

        Raises:
            RolloutFailed: it is refused.
        """
        if self.control.promoted_in_full:
            return Judgement(Finding.INCONCLUSIVE, "skipped: promoted in full")
        criteria = self.policy.analysis
        if not self._router.capabilities.sees_requests:
            return self._not_analysed(canary, criteria)
        limit = _at_most(criteria.patience_seconds)
        async with self.verb("analyse", canary, detail=limit) as entry:
            began, slow = now(), None
            while True:
                chosen = {one.replica.id for one in self._present(canary)}
                baseline_ids = {one.replica.id for one in self.fleet.present(baseline)}
                seen = await self._samples.judge(chosen, baseline_ids, criteria)
                slow = seen if seen.fleeting else slow
                settled = seen.finding in (Finding.PASS, Finding.FAIL) and not seen.fleeting
                judgement = seen if settled or slow is None else slow
                left = criteria.patience_seconds - (now() - began)
                if settled or left <= 0:
                    break
                if seen.fleeting:
                    await self._samples.begin_latencies(chosen, baseline_ids)
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

    def _not_analysed(self, canary: Sequence[Replica], criteria: Criteria) -> Judgement:
        """The judgement behind a router that counts no requests."""
        reason = "the router sees no requests, so there is nothing to judge"
        if criteria.on_inconclusive == "fail":
            raise RolloutFailed(f"analysis: {Finding.INCONCLUSIVE.value}: {reason}")
        self.journal.note(
            "analyse", replicas=[one.id for one in canary], detail={"skipped": reason}
        )
        return Judgement(Finding.INCONCLUSIVE, reason)

    async def drain(
        self, replicas: Sequence[Replica], termination: TerminationPolicy | None = None
    ) -> None:
        """Send the replicas no new requests, and wait for those in flight, up to the timeout.

        Only `drain-first` does so before the stop; with any other order this does nothing, and
        `stop` tells the router.

        Args:
            replicas: the replicas that leave.
            termination: how they leave; absent: as the policy says.
        """
        how = termination or self.policy.termination
        members = self.fleet.present(replicas)
        if not members or how.order != "drain-first":
            return
        timeout = self.policy.drain_timeout_seconds
        limit = longest(how.deregistration_lag_seconds) + timeout
        about = [one.replica for one in members]
        async with self.verb("drain", about, detail=_at_most(limit)) as entry:
            began = now()
            async with (
                deadline(limit + _MARGIN_SECONDS, "not drained"),
                self._leaving.watching_requests(members),
            ):
                drained = await each_to_its_end(
                    self._leaving.drain(member, self._plan(member, how), timeout)
                    for member in members
                )
            entry.detail["cut"] = sum(one.cut for one in drained)
            entry.detail |= _not_drained(drained, self._router.capabilities)
            lags = [self._plan(member, how).lag_seconds for member in members]
            entry.floor_seconds = min(
                now() - began,
                max(lag + one.seconds for lag, one in zip(lags, drained, strict=True)),
            )

    async def stop(
        self, replicas: Sequence[Replica], termination: TerminationPolicy | None = None
    ) -> None:
        """Ask the replicas to stop, kill them after their grace period, and deregister them.

        Unless they are drained already, the router is told when the termination policy says so.

        Args:
            replicas: the replicas that leave.
            termination: how they leave; absent: as the policy says.
        """
        how = termination or self.policy.termination
        members = self.fleet.present(replicas)
        if not members:
            return
        plans = {one.replica.id: self._plan(one, how) for one in members}
        undrained = [one for one in members if one.registered and not one.drained]
        timeout = self.policy.drain_timeout_seconds
        limit = max(one.pre_stop_seconds + one.kill_after_seconds for one in plans.values())
        if undrained:
            limit += longest(how.deregistration_lag_seconds)
            limit += 0 if how.order == "drain-first" else timeout
        about = [one.replica for one in members]
        async with self.verb("stop", about, detail=_at_most(limit)) as entry:
            began_ns = monotonic_ns()
            async with (
                deadline(limit + _ROUTER_SECONDS, "not stopped"),
                self._leaving.watching_requests(undrained),
            ):
                ends = await each_to_its_end(
                    self._stop(member, plans[member.replica.id], timeout) for member in members
                )
            named = [(one.replica.id, end) for one, end in zip(members, ends, strict=True)]
            entry.detail["ended"] = {name: end.reason for name, end in named}
            entry.detail["killed"] = [name for name, end in named if end.killed]
            entry.detail["departures"] = {
                one.replica.id: one.departure.to_json() for one in members
            }
            # The policy, the application and the router decide how long this takes, nobody else.
            last_ns = max(one.departure.last_step_ns() for one in members)
            entry.floor_seconds = max(0.0, (last_ns - began_ns) / 1e9)

    # Parts of the verbs

    async def _start(self, version: Version, name: str) -> Replica:
        replica = await self._platform.start(version, name)
        self.fleet.add(Member(replica, version))
        return replica

    async def _stop(self, member: Member, plan: LeavingPlan, seconds: float) -> ReplicaExit:
        end = await self._leaving.stop(member, plan, seconds)
        self.fleet.remove(member.replica.id)
        return end

    def _plan(self, member: Member, how: TerminationPolicy) -> LeavingPlan:
        lags = lags_of(how, self._seed, member.replica.id)
        grace = member.version.termination_grace_seconds
        return leaving_plan(how, lags.deregistration, grace)

    async def _unless_one_ends(self, members: Sequence[Member], work: Awaitable[T]) -> T:
        """Do the work; it fails when one of the members ends, or when the deployment must end."""
        for one in members:
            one.gated += 1
        try:
            with first_error():
                async with asyncio.TaskGroup() as group:
                    watchers = [
                        group.create_task(fail_at_end(self._platform, one.replica))
                        for one in members
                    ]
                    if self.in_deployment:
                        watchers.append(group.create_task(self.control.wait_for_end()))
                    result = await work
                    for watcher in watchers:
                        watcher.cancel()
        finally:
            for one in members:
                one.gated -= 1
        return result


def _at_most(seconds: float) -> dict[str, object]:
    """The longest time that the verb can take, for a countdown in the display."""
    return {"at_most_seconds": seconds}


def _start_seconds(version: Version, policy: Policy) -> float:
    given = version.start_seconds
    return policy.progress_deadline_seconds if given is None else given


def _not_drained(drained: Sequence[Drained], can: Capabilities) -> dict[str, object]:
    """What the drains did not wait for, and what the router cannot tell of them."""
    left = [one.left for one in drained if one.left is not None]
    found: dict[str, object] = {}
    if sum(left):
        found["left"] = sum(left)
    if len(left) < len(drained) or can.drain_waits != "replica":
        found["router"] = can.drain_limits()
    return found
