"""The supervisor: replaces lost replicas and scales the fleet, during and between releases.

A replica is lost when it ends by itself, or when it no longer answers its liveness path (a hang,
SIGSTOP). The supervisor kills what is left of it and starts a new replica of the same version. When
the router has admitted the new replica, it gets the weight of the lost one. Replicas that a
deployment is checking at the moment are left alone: their end fails the deployment.

A version whose replicas die repeatedly is restarted after ever longer waits. After `crash_loop`
deaths within `crash_window_seconds`, a deployment of this version is rolled back.
"""

import asyncio
import math
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from orchestrator.errors import OrchestratorError, RouterError
from orchestrator.fleet import Member
from orchestrator.interfaces import KnowsWhoAnswers, Platform, ReplicaExit, Router
from orchestrator.model import Replica, Version
from orchestrator.policy import Autoscaling, Healing
from orchestrator.request_statistics import RequestCounts
from orchestrator.rollout import Rollout


class CrashHistory:
    """PURE: how often replicas of each version died lately, and what follows from it."""

    def __init__(self, healing: Healing) -> None:
        self._healing = healing
        self._when: dict[str, deque[float]] = {}

    def note(self, version: str, now: float) -> None:
        """Note that a replica of the version died at this time."""
        when = self._when.setdefault(version, deque())
        when.append(now)
        while when[0] < now - self._healing.crash_window_seconds:
            when.popleft()

    def backoff(self, version: str) -> float:
        """Return the seconds until the next start: 0 after the first death, then doubling."""
        deaths = len(self._when.get(version, ()))
        if deaths <= 1:
            return 0.0
        wait = self._healing.backoff_seconds * 2.0 ** (deaths - 2)
        return min(wait, self._healing.backoff_most_seconds)

    def verdict(self, version: str) -> str | None:
        """Return why the version is in a crash loop; None if it is not."""
        deaths = len(self._when.get(version, ()))
        if deaths < self._healing.crash_loop:
            return None
        return (
            f"crash loop: {deaths} replicas of {version} died within "
            f"{self._healing.crash_window_seconds:g} s; the limit is {self._healing.crash_loop - 1}"
        )


class ScalingDecision(NamedTuple):
    """How many replicas there should be, and why.

    Attributes:
        replicas: the number of replicas.
        reason: the load and the target that it follows from, for people.
    """

    replicas: int
    reason: str


def desired_replicas(in_flight: int, replicas: int, scaling: Autoscaling) -> ScalingDecision:
    """PURE: decide how many replicas are needed for the requests in flight.

    This is Kubernetes' rule: the number that brings each replica to its target, rounded up. Within
    the tolerance nothing changes, so that the fleet does not follow every small variation.
    Source: kubernetes.io, "Horizontal Pod Autoscaling", algorithm details.
    """
    each = in_flight / replicas
    reason = f"{in_flight} in flight on {replicas} replicas; the target is {scaling.target:g} each"
    count = replicas
    if abs(each / scaling.target - 1) > scaling.tolerance:
        count = math.ceil(in_flight / scaling.target)
    return ScalingDecision(min(max(count, scaling.least), scaling.most), reason)


class Supervisor:
    """Watches one fleet: start `run` in a task of its own, and cancel the task to end it."""

    def __init__(self, rollout: Rollout, platform: Platform, router: Router) -> None:
        self._rollout = rollout
        self._platform = platform
        # Looked up once: there may be ten thousand replicas to ask about, twice a second.
        self._knows = platform if isinstance(platform, KnowsWhoAnswers) else None
        self._router = router
        self._healing = rollout.policy.healing
        self._scaling = rollout.policy.autoscaling
        self._exits = CrashHistory(self._healing)
        self._wake = asyncio.Event()
        self._misses: dict[str, int] = {}
        self._healed: set[str] = set()
        self._calm_since: float | None = None

    def exited(self, replica: Replica, ended: ReplicaExit) -> None:
        """Take the news that a replica ended by itself (the platform's `on_exit`)."""
        del replica, ended
        self._wake.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._replace_ended(group), name="replace what ended")
            group.create_task(self._replace_hanging(group), name="replace what hangs")
            if self._scaling is not None:
                group.create_task(self._scale(self._scaling), name="scale")

    async def scale(self, replicas: int, reason: str) -> None:
        """Change the number of serving replicas: start and admit some, or drain and stop some.

        Raises:
            OrchestratorError: it failed; the serving replicas keep serving.
        """
        rollout = self._rollout
        serving = rollout.serving()
        policy = msgspec.structs.replace(
            rollout.policy, replicas=replicas
        )  # raises an error for an impossible number
        async with rollout.verb(
            "scale",
            version=serving[0].version,
            detail={"from": len(serving), "to": replicas, "reason": reason},
            encloses=True,
        ):
            if replicas > len(serving):
                version = rollout.version_of(serving[0])
                fresh = await rollout.start(version, replicas - len(serving))
                try:
                    await rollout.wait_ready(fresh)
                    await rollout.attach(fresh)
                except OrchestratorError:
                    await rollout.stop(fresh)
                    raise
            else:
                leaving = serving[replicas:]
                await rollout.drain(leaving)
                await rollout.stop(leaving)
        rollout.policy = policy

    async def _replace_ended(self, group: asyncio.TaskGroup) -> None:
        while True:
            self._wake.clear()
            fleet = self._rollout.fleet
            for member in () if self._all_run() else fleet:
                if not self._platform.is_running(member.replica) and self._ours(member):
                    self._replace(member, "it ended", group)
            try:
                # A member that a deployment was checking when it ended may be ours by now.
                async with asyncio.timeout(self._healing.liveness_interval_seconds):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _all_run(self) -> bool:
        """Whether the platform says at once that nothing has ended."""
        return self._knows is not None and self._knows.all_run(self._rollout.fleet.ids)

    async def _replace_hanging(self, group: asyncio.TaskGroup) -> None:
        while True:
            await asyncio.sleep(self._healing.liveness_interval_seconds)
            members = [
                one
                for one in self._rollout.fleet
                if one.version.liveness_path is not None
                and self._is_probed(one)
                and not self._answers(one)
            ]
            async with asyncio.TaskGroup() as asking:
                for member in members:
                    asking.create_task(self._ask(member))
            for member in members:
                missed = self._misses.get(member.replica.id, 0)
                if missed >= self._healing.liveness_failures and self._ours(member):
                    path = member.version.liveness_path
                    self._replace(member, f"it failed {missed} checks of {path} in a row", group)

    def _answers(self, member: Member) -> bool:
        """Whether the platform knows without a probe that a member answers."""
        path = member.version.liveness_path or "/"
        if self._knows is None or not self._knows.would_answer(member.replica, path):
            return False
        self._misses.pop(member.replica.id, None)
        return True

    async def _ask(self, member: Member) -> None:
        name, path = member.replica.id, member.version.liveness_path or "/"
        answer = await self._platform.probe(
            member.replica, path, self._healing.liveness_timeout_seconds
        )
        self._misses[name] = 0 if answer.good else self._misses.get(name, 0) + 1

    def _ours(self, member: Member) -> bool:
        """Whether the member serves and no deployment decides about it."""
        return (
            member.weight > 0
            and not (member.gated or member.leaving or member.lost)
            and member.replica.id not in self._healed
        )

    def _is_probed(self, member: Member) -> bool:
        return self._ours(member) and self._platform.is_running(member.replica)

    def _replace(self, member: Member, why: str, group: asyncio.TaskGroup) -> None:
        self._healed.add(member.replica.id)
        member.lost = True
        verdict = self._verdict_after_death(member.version)
        if verdict is not None:
            self._rollout.journal.note("heal", version=member.version.name, error=verdict)
        group.create_task(self._heal(member, why), name=f"heal {member.replica.id}")

    def _verdict_after_death(self, version: Version) -> str | None:
        """Note a death; if it is one too many, end the deployment of this version, and say why."""
        name = self._rollout.deployed_as(version.name)
        self._exits.note(name, asyncio.get_running_loop().time())
        verdict = self._exits.verdict(name)
        if verdict is not None:
            self._rollout.control.fail_deployment(name, verdict)
        return verdict

    async def _heal(self, lost: Member, why: str) -> None:
        """Replace a lost replica, unless the rollout no longer needs it."""
        rollout, name = self._rollout, lost.replica.id
        try:
            async with rollout.verb(
                "heal", [lost.replica], detail={"reason": why}, encloses=True
            ) as entry:
                await self._platform.stop(lost.replica, 0.0)
                await rollout.deregister(lost)
                while not lost.leaving and rollout.fleet.find(name) is lost:
                    await asyncio.sleep(self._exits.backoff(rollout.deployed_as(lost.version.name)))
                    if (fresh := await self._start(lost.version)) is not None:
                        entry.detail["successor"] = fresh.id
                        await self._take_place(lost, fresh)
                        return
        except OrchestratorError as error:
            # The journal has it as failed; the next release restores the number of replicas.
            rollout.journal.note("heal", replicas=[name], error=f"given up: {error}")

    async def _start(self, version: Version) -> Replica | None:
        rollout = self._rollout
        fresh = await rollout.start(version, 1)
        try:
            await rollout.wait_ready(fresh)
        except OrchestratorError:
            self._verdict_after_death(version)
            await rollout.stop(fresh)
            return None
        return fresh[0]

    async def _take_place(self, lost: Member, fresh: Replica) -> None:
        rollout, name = self._rollout, lost.replica.id
        member = rollout.fleet.find(fresh.id)
        still_needed = lost.weight > 0 and not lost.leaving and rollout.fleet.find(name) is lost
        if member is not None and still_needed:
            # From here on the lost id leads to the new replica, also during the next await.
            rollout.fleet.replace(name, fresh.id)
            member.weight = lost.weight
            await rollout.restore_weight(fresh)
        else:
            await rollout.drain([fresh])
            await rollout.stop([fresh])

    async def _scale(self, scaling: Autoscaling) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(scaling.interval_seconds)
            rollout = self._rollout
            if rollout.control.deploying is not None:
                continue  # a strategy counts its replicas, so their number must not change
            try:
                counts = await self._router.counts()
            except RouterError as error:
                rollout.journal.note("scale", error=str(error))
                continue
            serving = [one.id for one in rollout.serving()]
            if not serving:
                continue  # all are lost or not up yet; how many more are needed shows then
            decision = desired_replicas(in_flight(counts, serving), len(serving), scaling)
            if decision.replicas >= len(serving):
                self._calm_since = None
            elif self._calm_since is None:
                self._calm_since = loop.time()
            waits = (
                self._calm_since is not None
                and loop.time() - self._calm_since < scaling.scale_down_delay_seconds
            )
            if decision.replicas == len(serving) or waits:
                continue
            try:
                await self.scale(decision.replicas, decision.reason)
            except OrchestratorError as error:
                rollout.journal.note("scale", error=str(error))


def in_flight(counts: Mapping[str, RequestCounts], replicas: list[str]) -> int:
    """Return how many requests these replicas have in flight."""
    return sum(counts[name].in_flight for name in replicas if name in counts)
