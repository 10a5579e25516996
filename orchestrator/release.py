"""Runs a release, step by step; a deployment that fails is rolled back."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias

from orchestrator.beside import Beside
from orchestrator.deployment_history import DeploymentHistory, ensure_compatible
from orchestrator.errors import (
    MigrationFailed,
    MigrationRefused,
    OrchestratorError,
    RollbackRefused,
    RolloutAborted,
    RolloutFailed,
)
from orchestrator.interfaces import Migrator, Rehearsal
from orchestrator.model import (
    Deploy,
    DeployServices,
    Migrate,
    MigrateDown,
    Outcome,
    Release,
    ReleaseResult,
    RunCommand,
    Undo,
    Version,
)
from orchestrator.policy import WHOLE
from orchestrator.rollout import Replicas, Rollout
from orchestrator.strategies import Strategy
from orchestrator.tasks import each_to_its_end, first_error
from orchestrator.termination import DRAIN_FIRST
from orchestrator.verbs import Verb

_End: TypeAlias = tuple[Outcome, str | None]

NO_SERVICES: Mapping[str, str] = {}
"""What most steps deploy of services."""


async def bring_up(rollout: Rollout, version: Version) -> None:
    """Start the version that serves before a release, and give it all traffic.

    With the policy's `start_in_turn`, each replica is ready before the next one starts.

    Raises:
        OrchestratorError: it does not become ready.
    """
    replicas = rollout.policy.replicas
    fresh: Replicas = ()
    for count in [1] * replicas if rollout.policy.start_in_turn else [replicas]:
        started = await rollout.start(version, count)
        await rollout.wait_ready(started, DRAIN_FIRST)
        fresh += started
    await rollout.switch(fresh)


async def take_down(rollout: Rollout) -> None:
    """Drain and stop every replica, at the end of a run; here the order drops no request.

    Raises:
        OrchestratorError: one of them failed; all others are drained and stopped.
    """
    try:
        await rollout.drain(rollout.all(), DRAIN_FIRST)
    finally:
        await rollout.stop(rollout.all(), DRAIN_FIRST)


async def restore(
    rollout: Rollout, version: Version, *, pace: Sequence[float] = (), verb: Verb = "rollback"
) -> None:
    """Let only this version serve, in the order that drops no request.

    Its running replicas are kept and missing ones are started. When all of them are up they get all
    traffic. Only then the other replicas are drained and stopped.

    Args:
        rollout: the rollout.
        version: the version that serves afterwards.
        pace: falling shares of the other replicas, in percent; the traffic moves through these
            shares, each for the time of a canary's step; empty: all traffic moves at once.
        verb: the verb in the journal.

    Raises:
        OrchestratorError: the version does not become ready; the serving replicas keep serving.
    """
    async with rollout.verb(verb, version=version.name, encloses=True):
        kept = rollout.usable(version.name)
        added = await rollout.start(version, rollout.policy.replicas - len(kept))
        serving = kept + added
        await rollout.wait_ready(serving)
        for share in pace:
            await rollout.weigh(serving, WHOLE - share)
            await rollout.soak(serving, rollout.policy.canary_soak_seconds)
        await rollout.switch(serving)
        others = tuple(one for one in rollout.all() if one not in serving)
        await rollout.drain(others)
        await rollout.stop(others)


class ReleaseRun:
    """One release on a fleet whose start version already serves.

    Attributes:
        result: how it ended; None until then. After a cancellation it is `aborted`, and `run`
            raises the cancellation.
    """

    def __init__(
        self,
        release: Release,
        rollout: Rollout,
        strategy: Strategy,
        migrator: Migrator,
        *,
        rehearsal: Rehearsal | None = None,
        history: DeploymentHistory | None = None,
        done: int = 0,
        beside: Sequence[Beside] = (),
    ) -> None:
        """Prepare the run of a release; nothing happens yet.

        Args:
            release: the release.
            rollout: the rollout over the fleet.
            strategy: how versions are deployed.
            migrator: changes the schema.
            rehearsal: tries a schema before migrations are taken back; absent: none are taken back.
            history: what served before; absent: only the release's start version.
            done: how many of its steps are already done.
            beside: the sets of processes that are deployed with the web, and the services.
        """
        self._beside = tuple(one for one in beside if one.place is not None)
        self._services = {one.name: one for one in beside if one.place is None}
        self._service_versions = {one.name: one.start for one in beside if one.start is not None}
        self.result: ReleaseResult | None = None
        self._release = release
        self._rollout = rollout
        self._strategy = strategy
        self._migrator = migrator
        self._rehearsal = rehearsal
        self._history = history or DeploymentHistory([release.start], [0])
        self._done = done

    async def retry(self) -> ReleaseResult:
        """Repeat the step that failed, and go on from there."""
        return await self._go(self._steps)

    async def undo(self) -> ReleaseResult:
        """Deploy the version that served before the present one, if it works with the schema."""

        async def work() -> tuple[Outcome, str | None]:
            end = await self._undo()
            self._note_done()  # this deployment is not a step of the release
            return end or ("completed", None)

        return await self._go(work)

    async def run(self) -> ReleaseResult:
        """Do the steps in order, up to the first that fails.

        A failed deployment is rolled back to the version that served before it (`rolled_back`, or
        `aborted` when somebody aborted it). A failed migration leaves the fleet as it is, because
        nothing was deployed on top of it (`failed`). A rollback never takes the schema back: rows
        that were written meanwhile may depend on it. If the schema has changed since a version was
        deployed, a rollback first starts one replica of that version without traffic. Only if this
        replica becomes ready, the rollback goes on; otherwise it is refused (`failed`), and the
        serving replicas stay.
        """
        return await self._go(self._steps)

    async def _go(self, work: Callable[[], Awaitable[tuple[Outcome, str | None]]]) -> ReleaseResult:
        loop = asyncio.get_running_loop()
        began = loop.time()
        floor_before = self._rollout.journal.floor_seconds
        outcome: Outcome = "aborted"
        reason: str | None = None
        try:
            async with self._rollout.journal.verb(
                "release",
                version=self._release.start.name,
                detail={"name": self._release.name},
                encloses=True,
            ) as entry:
                with self._rollout.control.release(), self._rollout.in_mode("deployment"):
                    outcome, reason = await work()
                entry.detail |= {"outcome": outcome, "reason": reason}
        except asyncio.CancelledError:
            reason = "cancelled"
            raise
        except Exception as error:
            outcome, reason = "failed", f"{type(error).__name__}: {error}"
            raise
        finally:
            self.result = ReleaseResult(
                outcome=outcome,
                reason=reason,
                seconds=loop.time() - began,
                floor_seconds=self._rollout.journal.floor_seconds - floor_before,
                versions=tuple(version.name for version in self._history.served),
            )
        return self.result

    async def _steps(self) -> tuple[Outcome, str | None]:
        for step in self._release.steps[self._done :]:
            try:
                await self._rollout.control.checkpoint()
            except RolloutAborted as error:
                return "aborted", str(error)
            match step:
                case Migrate() | RunCommand():
                    end = await self._migrate(step)
                case MigrateDown():
                    end = await self._migrate_down(step)
                case Deploy():
                    end = await self._deploy(step.version, step.services)
                case DeployServices():
                    end = await self._deploy_services(step.services)
                case Undo():
                    end = await self._undo()
            if end is not None:
                return end
            self._done += 1
            self._note_done()
        return "completed", None

    def _note_done(self) -> None:
        """Note how many steps are done, for a recovery after `kill -9`."""
        self._rollout.journal.note("step", detail={"done": self._done})

    async def _migrate(self, step: Migrate | RunCommand) -> _End | None:
        # Also when it fails: the migrations before the failed one stay applied.
        self._history.schema += 1
        try:
            await self._rollout.hook("before_migrate")
            if isinstance(step, Migrate):
                await self._migrator.apply(step.directory, step.through, self._rollout.journal)
            else:
                await self._migrator.run(step, self._rollout.journal)
            await self._rollout.hook("after_migrate")
        except (MigrationFailed, RolloutFailed) as error:
            return "failed", f"migration: {error}"
        return None

    async def _migrate_down(self, step: MigrateDown) -> _End | None:
        control = self._rollout.control
        try:
            await self._ensure_all_compatible()
            await control.checkpoint()  # the last chance to abort: dropped data cannot be restored
        except RolloutAborted as error:
            return "aborted", str(error)
        except OrchestratorError as error:
            return "failed", f"migrate down: {error}"
        self._history.schema += 1
        try:
            await self._rollout.hook("before_migrate")
            if isinstance(step.what, Migrate):
                await self._migrator.roll_back(
                    step.what.directory, step.what.through, self._rollout.journal
                )
            else:
                await self._migrator.run(step.what, self._rollout.journal)
            await self._rollout.hook("after_migrate")
        except (MigrationFailed, RolloutFailed) as error:
            return "failed", f"migrate down: {error}"
        return None

    async def _ensure_all_compatible(self) -> None:
        """Raise MigrationRefused unless every running version works with the schema to come.

        Dropped data cannot be restored. So a version that cannot be checked is a refusal, too.
        """
        versions = {one.version.name: one.version for one in self._rollout.fleet}
        if self._rehearsal is None:
            raise MigrationRefused("refused: there is no database for a rehearsal")
        if uncheckable := sorted(
            name for name, one in versions.items() if one.readiness_path is None
        ):
            raise MigrationRefused(
                f"refused: version {uncheckable[0]} declares no readiness_path, so hitless "
                "cannot tell whether it works with the resulting schema"
            )
        detail = {"for": "migrate down", "versions": sorted(versions)}
        async with self._rollout.verb("rehearse", detail=detail) as entry:
            with first_error():
                async with asyncio.TaskGroup() as group:
                    abort = group.create_task(self._rollout.control.wait_for_end())
                    refused = await self._rehearsal.after(self._done + 1, sorted(versions))
                    abort.cancel()
            entry.detail["refused"] = dict(refused)
        if refused:
            why = "; ".join(f"version {name}: {words}" for name, words in sorted(refused.items()))
            raise MigrationRefused(
                f"refused: a running version does not work with the resulting schema: "
                f"{why}; "
                f"the schema and the fleet stay as they are"
            )

    async def _deploy(
        self, version: Version, services: Mapping[str, str] = NO_SERVICES
    ) -> _End | None:
        """Deploy a version; return None on success, else how it ended."""
        rollout = self._rollout
        rollout.canary_shares.clear()
        try:
            with rollout.control.deployment(version.name, self._deployed(version, services)):
                async with rollout.verb(
                    "deploy",
                    version=version.name,
                    detail={"replaces": self._history.served[-1].name}
                    | ({"services": dict(services)} if services else {}),
                    encloses=True,
                ):
                    await self._deploy_everything(version, services)
        except OrchestratorError as error:
            return await self._go_back(version, error, services)
        self._service_versions |= services
        self._history.served.append(version)
        self._history.schemas.append(self._history.schema)
        return None

    async def _deploy_services(self, services: Mapping[str, str]) -> _End | None:
        """Deploy services at the same time; return None on success, else how it ended.

        If one of them fails, all of them go back to their versions before.
        """
        control = self._rollout.control
        names = ", ".join(f"{name} {version}" for name, version in services.items())
        try:
            with control.deployment(names, self._deployed(None, services)):
                detail = {"services": dict(services)}
                async with self._rollout.verb("deploy", detail=detail, encloses=True):
                    works = [self._services[name].deploy(to) for name, to in services.items()]
                    first = next(iter(self._deployed(None, services)))
                    await each_to_its_end(self._with_the_others(one, first) for one in works)
        except OrchestratorError as error:
            reason = f"deploy {names}: {error}"
            try:
                with self._rollout.in_mode("rollback"):
                    await self._restore_services(services)
            except OrchestratorError as again:
                return "failed", f"{reason}; rollback: {again}"
            return ("aborted" if isinstance(error, RolloutAborted) else "rolled_back"), reason
        self._service_versions |= services
        return None

    def _deployed(self, version: Version | None, services: Mapping[str, str]) -> list[str]:
        """What a step deploys, each as `Rollout.deployed_as` names it."""
        found = [self._services[name].rollout.deployed_as(to) for name, to in services.items()]
        if version is not None:
            web = (self._rollout, *(one.rollout for one in self._beside))
            found += [one.deployed_as(version.name) for one in web]
        return found

    async def _restore_services(self, services: Mapping[str, str]) -> None:
        """Let each of these services have the version that it had before this step."""
        for name in services:
            await self._services[name].restore(self._service_versions[name])

    async def _deploy_everything(self, version: Version, services: Mapping[str, str]) -> None:
        """Deploy the web and what runs beside it, each in its place."""
        rollout = self._rollout
        for one in self._beside:
            if one.place == "before":
                await one.deploy(version.name)
        together = [one.deploy(version.name) for one in self._beside if one.place == "with"]
        together += [self._services[name].deploy(to) for name, to in services.items()]
        web = self._strategy(rollout, version, rollout.policy)
        if together:
            every, its = (web, *together), rollout.deployed_as(version.name)
            await each_to_its_end(self._with_the_others(one, its) for one in every)
        else:
            await web
        for one in self._beside:
            if one.place == "after":
                await one.deploy(version.name)

    async def _with_the_others(self, work: Awaitable[None], version: str) -> None:
        """Do one of several deployments; if it fails, the others end at their next verb.

        Args:
            work: the deployment.
            version: any version that the step deploys, as `Rollout.deployed_as` names it.
        """
        try:
            await work
        except OrchestratorError as error:
            self._rollout.control.fail_deployment(version, str(error))
            raise

    async def _undo(self) -> _End | None:
        if len(self._history.served) == 1:
            return "failed", "undo: no version served before the present one"
        version = self._history.served[-2]
        try:
            await ensure_compatible(
                self._rollout, version, self._history, self._history.schemas[-2]
            )
        except OrchestratorError as error:
            return "failed", f"undo to {version.name}: {error}"
        return await self._deploy(version)

    async def _go_back(
        self, version: Version, failure: OrchestratorError, services: Mapping[str, str]
    ) -> _End:
        reason = f"deploy {version.name}: {failure}"
        before = self._history.served[-1]
        aborted = isinstance(failure, RolloutAborted)
        # An aborted canary works, so its traffic can move slowly; a failed one must go at once.
        pace = self._rollout.canary_shares[-2::-1] if aborted else ()
        try:
            with self._rollout.in_mode("rollback"):
                await ensure_compatible(
                    self._rollout, before, self._history, self._history.schemas[-1]
                )
                await restore(self._rollout, before, pace=pace)
                for one in self._beside:
                    await one.restore(before.name)
                await self._restore_services(services)
        except RollbackRefused as refused:
            await self._keep_serving(version)
            return "failed", f"{reason}; rollback to {before.name}: {refused}"
        except OrchestratorError as error:
            return "failed", f"{reason}; rollback to {before.name}: {error}"
        return ("aborted" if aborted else "rolled_back"), reason

    async def _keep_serving(self, version: Version) -> None:
        """Keep the serving replicas; drain and stop all others."""
        with self._rollout.in_mode("rollback"):
            beside = (*self._beside, *self._services.values())
            for rollout in (self._rollout, *(one.rollout for one in beside)):
                serving = set(rollout.serving())
                idle = [one for one in rollout.all() if one not in serving]
                async with rollout.verb("keep_serving", version=version.name, encloses=True):
                    await rollout.drain(idle)
                    await rollout.stop(idle)
