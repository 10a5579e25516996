"""Rehearsal: try versions on a schema that is still to come, on a second database.

The second database does not copy the data that users are writing, because that would hold them up.
It is built as the application's own database was and goes through the same steps of the release.
So it has the same schema, and each version reacts to it in the same way.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import count

from orchestrator.errors import RolloutFailed
from orchestrator.gates import fail_at_end, readiness_refusal
from orchestrator.interfaces import Migrator, Platform
from orchestrator.journal import Journal
from orchestrator.model import Deploy, Migrate, MigrateDown, Release, RunCommand, Step, Version
from orchestrator.tasks import each_to_its_end, first_error

NAME = "rehearsal"

_GRACE_SECONDS = 5.0


class CopyRehearsal:
    """Tries one replica of each version on a second database, away from all traffic.

    The run's journal gets only the result, not the migrations of the second database.
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
        """Make the rehearsal; nothing is started yet.

        Args:
            database: builds a database as it was before the release, and yields its URL.
            release: returns the release for the database with this URL.
            migrator: returns the migrator for the database with this URL.
            platform: runs replicas that use the database with this URL.
            start_seconds: how long a replica may take until it listens.
        """
        self._database = database
        self._release = release
        self._migrator = migrator
        self._platform = platform
        self._start_seconds = start_seconds
        self._numbers = count(1)

    async def after(self, steps: int, versions: Collection[str]) -> Mapping[str, str]:
        """Try these versions on the schema that the release's first `steps` steps lead to.

        Returns the reason for each version that does not work with it.

        Raises:
            MigrationFailed: a migration failed on the second database too.
            OrchestratorError: the rehearsal itself failed.
        """
        async with self._database() as url:
            release, migrator = self._release(url), self._migrator(url)
            await _replay(release.steps[:steps], migrator)
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

    async def without_effect(
        self, steps: Collection[int], look: Callable[[str], Awaitable[object]]
    ) -> tuple[int, ...]:
        """Which of these steps change nothing, where nobody else uses the database.

        Args:
            steps: their numbers, from 1 on.
            look: reads what the database with this URL holds.

        Raises:
            MigrationFailed: a migration failed on the second database.
            OrchestratorError: the rehearsal itself failed.
        """
        found = []
        async with self._database() as url:
            migrator = self._migrator(url)
            for number, step in enumerate(self._release(url).steps[: max(steps)], 1):
                before = await look(url) if number in steps else None
                await _replay([step], migrator)
                if number in steps and await look(url) == before:
                    found.append(number)
        return tuple(found)

    async def _ask(self, platform: Platform, version: Version, name: str) -> str | None:
        """Start a replica, probe it, and stop it; return why it is not ready, or None."""
        path = version.readiness_path
        if path is None:
            return "it declares no readiness_path"
        replica = await platform.start(version, name)
        try:
            with first_error():
                async with asyncio.TaskGroup() as group:
                    watcher = group.create_task(fail_at_end(platform, replica))
                    why = await readiness_refusal(platform, replica, path, self._start_seconds)
                    watcher.cancel()
        except RolloutFailed as failure:
            return str(failure)
        finally:
            await platform.stop(replica, _GRACE_SECONDS)
        return why


async def _replay(steps: Sequence[Step], migrator: Migrator) -> None:
    """Change the schema as these steps do; nothing is deployed."""
    with Journal() as journal:
        for step in steps:
            match step:
                case Migrate():
                    await migrator.apply(step.directory, step.through, journal)
                case RunCommand():
                    await migrator.run(step, journal)
                case MigrateDown(what=Migrate() as what):
                    await migrator.roll_back(what.directory, what.through, journal)
                case MigrateDown(what=RunCommand() as what):
                    await migrator.run(what, journal)
