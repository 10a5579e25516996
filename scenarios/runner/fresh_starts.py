"""Whether a version that serves could still be started after each migration.

Replicas that run may work on with what they have, while none could replace them. Nobody notices
that until one dies, or more are needed. So one replica of each serving version is started away
from the traffic, its readiness is asked, and it is stopped again. The release does not wait for it.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import count

from orchestrator.errors import PlatformError, RolloutFailed
from orchestrator.gates import fail_at_end, readiness_refusal
from orchestrator.interfaces import Platform
from orchestrator.journal import Journal
from orchestrator.model import Deploy, DeployServices, JournalEvent, Release, Undo, Version
from orchestrator.tasks import first_error

NAME = "hitless-fresh"
"""What the ids of such replicas begin with, so that their sessions are not those of the fleet."""

# Longer than a rehearsal may take: nobody waits for this, and the release uses the machine.
_READY_SECONDS = 10.0


class FreshStarts:
    """Starts a replica of each serving version after each step that changes the schema."""

    def __init__(
        self,
        release: Release,
        journal: Journal,
        *,
        platform: Callable[[], AbstractAsyncContextManager[Platform]],
        serving: Callable[[], Sequence[Version]],
        start_seconds: float,
    ) -> None:
        """Prepare it; `hear` must be told of the journal's events.

        Args:
            release: the release.
            journal: gets the results.
            platform: a platform of its own, so that nobody takes its replicas for the fleet's.
            serving: the versions that serve now.
            start_seconds: how long a replica may take until it listens.
        """
        self._release = release
        self._journal = journal
        self._platform = platform
        self._serving = serving
        self._start_seconds = start_seconds
        self._due: asyncio.Queue[int | None] = asyncio.Queue()
        self._numbers = count(1)

    def hear(self, event: JournalEvent) -> None:
        """Take an event of the journal: a replica is due when a step with a migration is done."""
        done = event.detail.get("done") if event.verb == "step" else None
        if isinstance(done, int) and done:
            step = self._release.steps[done - 1]
            if not isinstance(step, Deploy | DeployServices | Undo):
                self._due.put_nowait(done)

    def close(self) -> None:
        """The release has ended: `run` ends after what is due."""
        self._due.put_nowait(None)

    async def run(self) -> None:
        """Start replicas when they are due, until `close`."""
        while (done := await self._due.get()) is not None:
            versions = {one.name: one for one in self._serving()}
            for version in versions.values():
                if version.readiness_path is not None:
                    why = await self._try(version, version.readiness_path)
                    self._journal.note(
                        "fresh_start", version=version.name, error=why, detail={"step": done}
                    )

    async def _try(self, version: Version, path: str) -> str | None:
        """Start a replica; return why it does not become ready, or None."""
        async with self._platform() as platform:
            try:
                replica = await platform.start(
                    version, f"{NAME}-{version.name}-{next(self._numbers)}"
                )
            except PlatformError as error:
                return str(error)
            try:
                with first_error():
                    async with asyncio.TaskGroup() as group:
                        watcher = group.create_task(fail_at_end(platform, replica))
                        why = await readiness_refusal(
                            platform, replica, path, self._start_seconds, patience=_READY_SECONDS
                        )
                        watcher.cancel()
            except RolloutFailed as failure:
                return str(failure)
            finally:
                await platform.stop(replica, version.termination_grace_seconds)
        return why
