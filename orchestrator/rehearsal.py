"""A schema that is still to come, tried on a copy: what works with it, and what does not.

The copy is not of the data that users are writing, which nobody may hold up: it is made as the
application's own database was, and taken through the same steps of the release. Its schema is
therefore the same, and so is what each version says to it.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from itertools import count

from orchestrator.errors import RolloutFailed
from orchestrator.gates import fail_at_end, says_ready
from orchestrator.journal import Journal
from orchestrator.model import Deploy, Migrate, MigrateDown, Release, RunCommand, Version
from orchestrator.platform import Migrator, Platform
from orchestrator.tasks import each_to_its_end, first_error

NAME = "rehearsal"

_GRACE_SECONDS = 5.0


class CopyRehearsal:
    """Tries versions on a copy of the database, one replica of each, away from all traffic.

    Nothing of it is in the run's journal but what it came to: its migrations are none of the run's.
    """

    def __init__(
        self,
        *,
        database: Callable[[], AbstractAsyncContextManager[str]],
        release: Callable[[str], Release],
        migrator: Callable[[str], Migrator],
        platform: Callable[[str], AbstractAsyncContextManager[Platform]],
        start_seconds: float,
    ) -> None:
        """Describe it; nothing is started yet.

        Args:
            database: makes a database as it was before the release, and yields its URL.
            release: the release, for a database of this URL.
            migrator: who migrates a database of this URL.
            platform: where replicas run that use a database of this URL.
            start_seconds: how long a replica may take until it listens.
        """
        self._database = database
        self._release = release
        self._migrator = migrator
        self._platform = platform
        self._start_seconds = start_seconds
        self._numbers = count(1)

    async def after(self, steps: int, versions: Collection[str]) -> Mapping[str, str]:
        """Try these versions on the schema as the release's first so many steps leave it.

        Returns why, for each that does not work with it.

        Raises:
            MigrationFailed: that schema cannot be reached, not even here.
            OrchestratorError: it cannot be tried.
        """
        async with self._database() as url:
            release, migrator = self._release(url), self._migrator(url)
            with Journal() as journal:
                for step in release.steps[:steps]:
                    match step:
                        case Migrate():
                            await migrator.apply(step.directory, step.through, journal)
                        case RunCommand():
                            await migrator.run(step, journal)
                        case MigrateDown(what=Migrate() as what):
                            await migrator.roll_back(what.directory, what.through, journal)
                        case MigrateDown(what=RunCommand() as what):
                            await migrator.run(what, journal)
            known = {release.start.name: release.start}
            known |= {
                step.version.name: step.version
                for step in release.steps
                if isinstance(step, Deploy)
            }
            async with self._platform(url) as platform:
                number = next(self._numbers)
                answers = await each_to_its_end(
                    self._ask(platform, known[name], f"{name}-{NAME}-{number}") for name in versions
                )
        said = zip(versions, answers, strict=True)
        return {name: why for name, why in said if why is not None}

    async def _ask(self, platform: Platform, version: Version, name: str) -> str | None:
        """Start a replica, ask whether it is ready, and stop it; returns why it is not."""
        path = version.readiness_path
        if path is None:
            return "it declares no readiness_path"
        replica = await platform.start(version, name)
        try:
            with first_error():
                async with asyncio.TaskGroup() as group:
                    watcher = group.create_task(fail_at_end(platform, replica))
                    why = await says_ready(platform, replica, path, self._start_seconds)
                    watcher.cancel()
        except RolloutFailed as failure:
            return str(failure)
        finally:
            await platform.stop(replica, _GRACE_SECONDS)
        return why
