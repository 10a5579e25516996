"""Runs a Release, step by step; a deployment that fails is taken back."""

import asyncio

from orchestrator.errors import MigrationFailed, OrchestratorError
from orchestrator.model import (
    Deploy,
    Migrate,
    Outcome,
    Release,
    ReleaseResult,
    RunCommand,
    Version,
)
from orchestrator.platform import Migrator
from orchestrator.rollout import Rollout
from orchestrator.strategies import Strategy


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


async def restore(rollout: Rollout, version: Version) -> None:
    """Let the version serve again, and it alone, in the order that drops nothing.

    Its replicas that still run are kept, those that lack are started, and only when all are up
    they get all traffic at once; then the others are drained and stopped.

    Raises:
        OrchestratorError: the version does not come up again; what serves, serves on.
    """
    async with rollout.journal.verb("rollback", version=version.name, encloses=True):
        kept = rollout.usable(version.name)
        added = await rollout.start(version, rollout.policy.replicas - len(kept))
        serving = kept + added
        await rollout.wait_ready(serving)
        await rollout.switch(serving)
        others = tuple(one for one in rollout.all() if one not in serving)
        await rollout.drain(others)
        await rollout.stop(others)


class ReleaseRun:
    """One release on a fleet whose start version already serves.

    Attributes:
        result: how it ended; None until then. It is there also after a cancellation (`aborted`),
            which `run` passes on.
    """

    def __init__(
        self, release: Release, rollout: Rollout, strategy: Strategy, migrator: Migrator
    ) -> None:
        self.result: ReleaseResult | None = None
        self._release = release
        self._rollout = rollout
        self._strategy = strategy
        self._migrator = migrator
        self._serving = release.start
        self._served = [release.start.name]

    async def run(self) -> ReleaseResult:
        """Do the steps in order; the first that fails is the last.

        A failed deployment is rolled back to the version that served before it: `rolled_back`. A
        failed migration leaves the fleet as it is, for nothing was deployed on top of it: `failed`.
        The schema is never taken back here: rows that were written meanwhile may depend on it.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        floor_before = self._rollout.journal.floor_seconds
        outcome: Outcome = "aborted"
        reason: str | None = None
        try:
            async with self._rollout.journal.verb(
                "release", version=self._release.start.name, encloses=True
            ) as entry:
                entry.detail["name"] = self._release.name
                outcome, reason = await self._steps()
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
                versions=tuple(self._served),
            )
        return self.result

    async def _steps(self) -> tuple[Outcome, str | None]:
        for step in self._release.steps:
            match step:
                case Migrate():
                    try:
                        await self._migrator.apply(
                            step.directory, step.through, self._rollout.journal
                        )
                    except MigrationFailed as error:
                        return "failed", f"migration: {error}"
                case RunCommand():
                    try:
                        await self._migrator.run(step, self._rollout.journal)
                    except MigrationFailed as error:
                        return "failed", f"migration: {error}"
                case Deploy():
                    failure = await self._deploy(step.version)
                    if failure is not None:
                        return await self._roll_back(step.version, failure)
        return "completed", None

    async def _deploy(self, version: Version) -> str | None:
        """Deploy; returns why it failed, None when it did not."""
        try:
            async with self._rollout.journal.verb(
                "deploy", version=version.name, encloses=True
            ) as entry:
                entry.detail["replaces"] = self._serving.name
                await self._strategy(self._rollout, version, self._rollout.policy)
        except OrchestratorError as error:
            return str(error)
        self._serving = version
        self._served.append(version.name)
        return None

    async def _roll_back(self, version: Version, failure: str) -> tuple[Outcome, str]:
        reason = f"deploy {version.name}: {failure}"
        try:
            await restore(self._rollout, self._serving)
        except OrchestratorError as error:
            return "failed", f"{reason}; rollback to {self._serving.name}: {error}"
        return "rolled_back", reason
