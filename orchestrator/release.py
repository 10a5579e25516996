"""Runs a Release, step by step; a deployment that fails is taken back."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from orchestrator.errors import (
    MigrationFailed,
    MigrationRefused,
    OrchestratorError,
    RollbackRefused,
    RolloutAborted,
    RolloutFailed,
)
from orchestrator.model import (
    Deploy,
    Migrate,
    MigrateDown,
    Outcome,
    Release,
    ReleaseResult,
    RunCommand,
    Undo,
    Version,
)
from orchestrator.platform import Migrator, Rehearsal
from orchestrator.policy import WHOLE
from orchestrator.rollout import Rollout
from orchestrator.strategies import Strategy
from orchestrator.tasks import first_error

STEP = "step"
"""What the journal says when a step of a release is done; `done` in its detail: how many are."""

_End: TypeAlias = tuple[Outcome, str | None]


async def bring_up(rollout: Rollout, version: Version) -> None:
    """Start the version that serves before a release, and give it all traffic.

    Raises:
        OrchestratorError: it does not come up.
    """
    fresh = await rollout.start(version, rollout.policy.replicas)
    await rollout.wait_ready(fresh)
    await rollout.switch(fresh)


async def take_down(rollout: Rollout) -> None:
    """Drain and stop every replica, at the end of a run.

    Raises:
        OrchestratorError: one of them could not be; the others are drained and stopped.
    """
    try:
        await rollout.drain(rollout.all())
    finally:
        await rollout.stop(rollout.all())


async def restore(
    rollout: Rollout, version: Version, *, pace: Sequence[float] = (), verb: str = "rollback"
) -> None:
    """Let the version serve again, and it alone, in the order that drops nothing.

    Its replicas that still run are kept, those that lack are started, and only when all are up
    they get all traffic; then the others are drained and stopped.

    Args:
        rollout: what runs.
        version: what shall serve.
        pace: shares of the others, in percent and falling, that are gone through on the way, each
            as long as a canary's step; empty: all traffic moves at once.
        verb: what the journal calls it.

    Raises:
        OrchestratorError: the version does not come up again; what serves, serves on.
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


@dataclass(slots=True)
class History:
    """What has served so far, and on which schema.

    Attributes:
        served: the versions, in order; the last one serves.
        met: the schema that each of them was deployed on.
        schema: the present one: how often it has changed.
    """

    served: list[Version]
    met: list[int]
    schema: int = 0


async def need_works(rollout: Rollout, version: Version, history: History, met: int) -> None:
    """See that a version works with the schema of now, where that is not the one that it met.

    Raises:
        RollbackRefused: it does not; nothing was changed.
    """
    if met == history.schema:
        return
    why = await rollout.rehearse(version)
    if why is not None:
        raise RollbackRefused(
            f"refused: the schema has changed, and version {version.name} does not work with "
            f"it: {why}; what serves, serves on"
        )


class ReleaseRun:
    """One release on a fleet whose start version already serves.

    Attributes:
        result: how it ended; None until then. It is there also after a cancellation (`aborted`),
            which `run` passes on.
    """

    def __init__(
        self,
        release: Release,
        rollout: Rollout,
        strategy: Strategy,
        migrator: Migrator,
        *,
        rehearsal: Rehearsal | None = None,
        history: History | None = None,
        done: int = 0,
    ) -> None:
        """Describe a run of a release.

        Args:
            release: what is done.
            rollout: what it is done to.
            strategy: how versions are deployed.
            migrator: who changes the schema.
            rehearsal: where a schema is tried before migrations are taken back to it; absent: none
                are.
            history: what was before it; absent: nothing but the version that it starts from.
            done: how many of its steps are behind it.
        """
        self.result: ReleaseResult | None = None
        self._release = release
        self._rollout = rollout
        self._strategy = strategy
        self._migrator = migrator
        self._rehearsal = rehearsal
        self._history = history or History([release.start], [0])
        self._done = done

    async def retry(self) -> ReleaseResult:
        """Do the step that failed again, and what follows it."""
        return await self._go(self._steps)

    async def undo(self) -> ReleaseResult:
        """Deploy the version that served before the present one, if it works with the schema."""

        async def work() -> tuple[Outcome, str | None]:
            end = await self._undo()
            self._note_done()  # a deployment that is none of the release's steps
            return end or ("completed", None)

        return await self._go(work)

    async def run(self) -> ReleaseResult:
        """Do the steps in order; the first that fails is the last.

        A failed deployment is rolled back to the version that served before it: `rolled_back`, or
        `aborted` when somebody asked for it. A failed migration leaves the fleet as it is, for
        nothing was deployed on top of it: `failed`. The schema is never taken back here: rows that
        were written meanwhile may depend on it. When it has changed since a version was deployed,
        that version comes back only if one replica of it, away from all traffic, says that it is
        ready; else the way back is refused (`failed`), and the fleet is held as it is.
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
                with self._rollout.control.release(), self._rollout.going("forward"):
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
                    end = await self._deploy(step.version)
                case Undo():
                    end = await self._undo()
            if end is not None:
                return end
            self._done += 1
            self._note_done()
        return "completed", None

    def _note_done(self) -> None:
        """Say how far it is, for whoever has to go on after a `kill -9`."""
        self._rollout.journal.note(STEP, detail={"done": self._done})

    async def _migrate(self, step: Migrate | RunCommand) -> _End | None:
        # Also when it fails: those before the one that failed stay applied.
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
            await self._need_tolerated()
            await control.checkpoint()  # what it drops is gone for good: the last word before that
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

    async def _need_tolerated(self) -> None:
        """Raise MigrationRefused unless all that lives works with the schema that is to come.

        What it drops is gone for good, so where nobody can tell the answer is no.
        """
        versions = {one.version.name: one.version for one in self._rollout.fleet}
        if self._rehearsal is None:
            raise MigrationRefused("refused: there is nowhere to try it first")
        if mute := sorted(name for name, one in versions.items() if one.readiness_path is None):
            raise MigrationRefused(
                f"refused: version {mute[0]} declares no readiness_path, so nobody can tell "
                f"whether it works with the schema that this leads to"
            )
        detail = {"for": "migrate down", "versions": sorted(versions)}
        async with self._rollout.verb("rehearse", detail=detail) as entry:
            with first_error():
                async with asyncio.TaskGroup() as group:
                    abort = group.create_task(self._rollout.control.ended())
                    refused = await self._rehearsal.after(self._done + 1, sorted(versions))
                    abort.cancel()
            entry.detail["refused"] = dict(refused)
        if refused:
            why = "; ".join(f"version {name}: {words}" for name, words in sorted(refused.items()))
            raise MigrationRefused(
                f"refused: what serves does not work with the schema that this leads to: {why}; "
                f"the schema stays, and what serves, serves on"
            )

    async def _deploy(self, version: Version) -> _End | None:
        """Deploy; returns how it ended when it did not succeed."""
        rollout = self._rollout
        rollout.path.clear()
        try:
            with rollout.control.deployment(version.name):
                async with rollout.verb(
                    "deploy",
                    version=version.name,
                    detail={"replaces": self._history.served[-1].name},
                    encloses=True,
                ):
                    await self._strategy(rollout, version, rollout.policy)
        except OrchestratorError as error:
            return await self._go_back(version, error)
        self._history.served.append(version)
        self._history.met.append(self._history.schema)
        return None

    async def _undo(self) -> _End | None:
        if len(self._history.served) == 1:
            return "failed", "undo: no other version served before"
        version = self._history.served[-2]
        try:
            await need_works(self._rollout, version, self._history, self._history.met[-2])
        except OrchestratorError as error:
            return "failed", f"undo to {version.name}: {error}"
        return await self._deploy(version)

    async def _go_back(self, version: Version, failure: OrchestratorError) -> _End:
        reason = f"deploy {version.name}: {failure}"
        before = self._history.served[-1]
        aborted = isinstance(failure, RolloutAborted)
        # What was taken away in time is not worth a hurry; what is broken is.
        pace = self._rollout.path[-2::-1] if aborted else ()
        try:
            with self._rollout.going("back"):
                await need_works(self._rollout, before, self._history, self._history.met[-1])
                await restore(self._rollout, before, pace=pace)
        except RollbackRefused as refused:
            await self._hold(version)
            return "failed", f"{reason}; rollback to {before.name}: {refused}"
        except OrchestratorError as error:
            return "failed", f"{reason}; rollback to {before.name}: {error}"
        return ("aborted" if aborted else "rolled_back"), reason

    async def _hold(self, version: Version) -> None:
        """Keep everything that serves; what never did is stopped."""
        serving = set(self._rollout.serving())
        idle = [one for one in self._rollout.all() if one not in serving]
        with self._rollout.going("back"):
            async with self._rollout.verb("hold", version=version.name, encloses=True):
                await self._rollout.drain(idle)
                await self._rollout.stop(idle)
