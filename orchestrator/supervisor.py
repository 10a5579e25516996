"""Self-healing and scaling: what keeps a fleet at its strength, beside and between releases.

A replica that ends by itself, or that does not answer its liveness path any more (a hang, SIGSTOP),
loses its place to a new one of the same version: killed, if need be, then started, admitted by the
router, and given the weight that the lost one had. Replicas that a deployment is just finding out
about are not touched: there an end is a verdict, and the deployment's business.

What dies again and again is restarted ever later, and a version that dies `crash_loop` times within
`crash_window_seconds` is condemned: its deployment, if one is under way, is taken back.
"""

import asyncio
import math
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from orchestrator.errors import OrchestratorError, RouterError
from orchestrator.fleet import Member
from orchestrator.model import Replica, Version
from orchestrator.platform import Count, Ended, Platform, Router
from orchestrator.policy import Autoscaling, Healing
from orchestrator.rollout import Rollout


class Exits:
    """PURE: how often versions died lately, and what follows from it."""

    def __init__(self, healing: Healing) -> None:
        self._healing = healing
        self._when: dict[str, deque[float]] = {}

    def note(self, version: str, now: float) -> None:
        """Remember that a replica of the version died."""
        when = self._when.setdefault(version, deque())
        when.append(now)
        while when[0] < now - self._healing.crash_window_seconds:
            when.popleft()

    def backoff(self, version: str) -> float:
        """Seconds until the next start: none for the first death, then doubling."""
        deaths = len(self._when.get(version, ()))
        if deaths <= 1:
            return 0.0
        wait = self._healing.backoff_seconds * 2.0 ** (deaths - 2)
        return min(wait, self._healing.backoff_most_seconds)

    def verdict(self, version: str) -> str | None:
        """Why the version is in a crash loop; None if it is not."""
        deaths = len(self._when.get(version, ()))
        if deaths < self._healing.crash_loop:
            return None
        return (
            f"crash loop: {deaths} replicas of {version} died within "
            f"{self._healing.crash_window_seconds:g} s; the limit is {self._healing.crash_loop - 1}"
        )


class Wish(NamedTuple):
    """How many replicas there should be, and why.

    Attributes:
        replicas: so many.
        reason: the number and the limit that it follows from.
    """

    replicas: int
    reason: str


def wanted(in_flight: int, replicas: int, scaling: Autoscaling) -> Wish:
    """PURE: how many replicas the requests in flight ask for.

    Kubernetes' rule: the number that brings each to its target, rounded up; within a tenth of the
    target nothing changes, so that a fleet does not breathe with every request.
    Source: kubernetes.io, "Horizontal Pod Autoscaling", algorithm details.
    """
    each = in_flight / replicas
    reason = f"{in_flight} in flight on {replicas} replicas; the target is {scaling.target:g} each"
    count = replicas
    if abs(each / scaling.target - 1) > scaling.tolerance:
        count = math.ceil(in_flight / scaling.target)
    return Wish(min(max(count, scaling.least), scaling.most), reason)


class Supervisor:
    """Watches one fleet; `run` it in a task of its own, and cancel that to end it."""

    def __init__(self, rollout: Rollout, platform: Platform, router: Router) -> None:
        self._rollout = rollout
        self._platform = platform
        self._router = router
        self._healing = rollout.policy.healing
        self._scaling = rollout.policy.autoscaling
        self._exits = Exits(self._healing)
        self._wake = asyncio.Event()
        self._misses: dict[str, int] = {}
        self._healed: set[str] = set()
        self._calm_since: float | None = None

    def exited(self, replica: Replica, ended: Ended) -> None:
        """Hear of a replica that ended by itself (the platform's `on_exit`)."""
        del replica, ended
        self._wake.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look_after_exits(group), name="replace what ended")
            group.create_task(self._look_after_hangs(group), name="replace what hangs")
            if self._scaling is not None:
                group.create_task(self._scale(self._scaling), name="scale")

    async def scale(self, replicas: int, reason: str) -> None:
        """Let so many replicas serve: started and admitted, or drained and stopped.

        Raises:
            OrchestratorError: it did not work; what serves, serves on.
        """
        rollout = self._rollout
        serving = rollout.serving()
        policy = msgspec.structs.replace(rollout.policy, replicas=replicas)  # or none can follow it
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

    async def _look_after_exits(self, group: asyncio.TaskGroup) -> None:
        while True:
            self._wake.clear()
            for member in self._rollout.fleet:
                if self._ours(member) and not self._platform.is_running(member.replica):
                    self._replace(member, "it ended", group)
            try:
                # Members that were gated when they ended may be ours by now.
                async with asyncio.timeout(self._healing.liveness_interval_seconds):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _look_after_hangs(self, group: asyncio.TaskGroup) -> None:
        while True:
            await asyncio.sleep(self._healing.liveness_interval_seconds)
            members = [one for one in self._rollout.fleet if self._asked(one)]
            async with asyncio.TaskGroup() as asking:
                for member in members:
                    asking.create_task(self._ask(member))
            for member in members:
                missed = self._misses.get(member.replica.id, 0)
                if missed >= self._healing.liveness_failures and self._ours(member):
                    path = member.version.liveness_path
                    self._replace(member, f"it failed {missed} checks of {path} in a row", group)

    async def _ask(self, member: Member) -> None:
        name, path = member.replica.id, member.version.liveness_path or "/"
        answer = await self._platform.ask(
            member.replica, path, self._healing.liveness_timeout_seconds
        )
        self._misses[name] = 0 if answer.good else self._misses.get(name, 0) + 1

    def _ours(self, member: Member) -> bool:
        """Whether it serves, and nobody else decides about it."""
        return (
            member.weight > 0
            and not (member.gated or member.leaving or member.lost)
            and member.replica.id not in self._healed
        )

    def _asked(self, member: Member) -> bool:
        return (
            self._ours(member)
            and member.version.liveness_path is not None
            and self._platform.is_running(member.replica)
        )

    def _replace(self, member: Member, why: str, group: asyncio.TaskGroup) -> None:
        self._healed.add(member.replica.id)
        member.lost = True
        self._exits.note(member.version.name, asyncio.get_running_loop().time())
        verdict = self._exits.verdict(member.version.name)
        if verdict is not None:
            self._rollout.journal.note("heal", version=member.version.name, error=verdict)
            self._rollout.control.condemn(member.version.name, verdict)
        group.create_task(self._heal(member, why), name=f"heal {member.replica.id}")

    async def _heal(self, lost: Member, why: str) -> None:
        """Put a new replica into the place of a lost one, unless the place is given up."""
        rollout, name = self._rollout, lost.replica.id
        try:
            async with rollout.verb(
                "heal", [lost.replica], detail={"reason": why}, encloses=True
            ) as entry:
                await self._platform.stop(lost.replica, 0.0)
                await rollout.unlist(lost)
                while not lost.leaving and rollout.fleet.find(name) is lost:
                    await asyncio.sleep(self._exits.backoff(lost.version.name))
                    if (fresh := await self._start(lost.version)) is not None:
                        entry.detail["successor"] = fresh.id
                        await self._take_place(lost, fresh)
                        return
        except OrchestratorError as error:
            # It is in the journal as failed; the place stays empty for the next release to fill.
            rollout.journal.note("heal", replicas=[name], error=f"given up: {error}")

    async def _start(self, version: Version) -> Replica | None:
        rollout = self._rollout
        fresh = await rollout.start(version, 1)
        try:
            await rollout.wait_ready(fresh)
        except OrchestratorError:
            self._exits.note(version.name, asyncio.get_running_loop().time())
            if (verdict := self._exits.verdict(version.name)) is not None:
                rollout.control.condemn(version.name, verdict)
            await rollout.stop(fresh)
            return None
        return fresh[0]

    async def _take_place(self, lost: Member, fresh: Replica) -> None:
        rollout, name = self._rollout, lost.replica.id
        member = rollout.fleet.find(fresh.id)
        wanted_still = lost.weight > 0 and not lost.leaving and rollout.fleet.find(name) is lost
        if member is not None and wanted_still:
            # From here on whoever means the lost one finds the new one, also amid the next await.
            rollout.fleet.replace(name, fresh.id)
            member.weight = lost.weight
            await rollout.give(fresh)
        else:
            await rollout.drain([fresh])
            await rollout.stop([fresh])

    async def _scale(self, scaling: Autoscaling) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(scaling.interval_seconds)
            rollout = self._rollout
            if rollout.control.deploying is not None:
                continue  # a strategy counts its replicas; they are its own until it is done
            try:
                counts = await self._router.counts()
            except RouterError as error:
                rollout.journal.note("scale", error=str(error))
                continue
            serving = [one.id for one in rollout.serving()]
            wish = wanted(in_flight(counts, serving), len(serving), scaling)
            if wish.replicas >= len(serving):
                self._calm_since = None
            elif self._calm_since is None:
                self._calm_since = loop.time()
            waits = (
                self._calm_since is not None
                and loop.time() - self._calm_since < scaling.scale_down_delay_seconds
            )
            if wish.replicas == len(serving) or waits:
                continue
            try:
                await self.scale(wish.replicas, wish.reason)
            except OrchestratorError as error:
                rollout.journal.note("scale", error=str(error))


def in_flight(counts: Mapping[str, Count], replicas: list[str]) -> int:
    """How many requests are under way with these replicas."""
    return sum(counts[name].in_flight for name in replicas if name in counts)
