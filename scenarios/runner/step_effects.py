"""Whether each step that migrates changes anything.

A migration tool may end with exit status 0 and do nothing, such as alembic for a revision that was
rebased below the head. Under traffic, rows change all the time. So a step is suspected if it
changed neither the schema nor the history of migrations. After the traffic, the suspected steps are
carried out on a copy of the database, where nobody else changes a row.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

from orchestrator.database_state import everything, schema_and_history
from orchestrator.errors import EnvironmentFailure, OrchestratorError
from orchestrator.interfaces import Migrator
from orchestrator.journal import Journal
from orchestrator.model import JournalEvent, RunCommand
from orchestrator.rehearsal import CopyRehearsal
from scenarios.scenario.spec import ReleaseStep


class StepEffects:
    """Finds the steps of a release that change nothing."""

    def __init__(
        self, url: str, steps: Sequence[ReleaseStep], journal: Journal, rehearsal: CopyRehearsal
    ) -> None:
        """Prepare it; `hear` must be told of the journal's events.

        Args:
            url: the application's database.
            steps: the steps of the release.
            journal: gets the results.
            rehearsal: carries the steps out on a copy.
        """
        self._url = url
        self._steps = steps
        self._journal = journal
        self._rehearsal = rehearsal
        self._suspected: str | None = None
        self._due: dict[int, str] = {}

    def watched(self, migrator: Migrator) -> Migrator:
        """The migrator, with a look at the schema and the history before and after each step."""
        return _Watched(migrator, self)

    def hear(self, event: JournalEvent) -> None:
        """Take an event of the journal: the step that is done is the one that was looked at."""
        done = event.detail.get("done") if event.verb == "step" else None
        if not isinstance(done, int) or not done:
            return
        if self._suspected is not None and not self._steps[done - 1].may_change_nothing:
            self._due[done] = self._suspected
        self._suspected = None

    async def around(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Carry out a step, and suspect it if it changes neither schema nor history.

        Raises:
            MigrationFailed: the step failed.
        """
        try:
            before = await schema_and_history(self._url)
        except EnvironmentFailure:
            before = None  # the database is away: the step itself says what that means
        await work()
        try:
            unchanged = before is not None and await schema_and_history(self._url) == before
        except EnvironmentFailure:
            unchanged = False
        self._suspected = name if unchanged else None

    async def look_again(self) -> None:
        """Carry the release out on a copy, and note the suspected steps that change nothing."""
        if not self._due:
            return
        try:
            found = await self._rehearsal.without_effect(self._due, everything)
            error = None
        except OrchestratorError as failure:
            found = tuple(self._due)
            error = f"it could not be carried out on a copy: {failure}"
        for step in found:
            detail = {"step": step, "migration": self._due[step]}
            self._journal.note("step_effect", error=error, detail=detail)


class _Watched:
    """A migrator whose steps are looked at."""

    def __init__(self, migrator: Migrator, effects: StepEffects) -> None:
        self._migrator = migrator
        self._effects = effects

    async def apply(self, directory: Path, through: str | None, journal: Journal) -> None:
        """Apply pending migrations."""
        work = partial(self._migrator.apply, directory, through, journal)
        await self._effects.around(directory.name, work)

    async def roll_back(self, directory: Path, through: str | None, journal: Journal) -> None:
        """Take migrations back."""
        work = partial(self._migrator.roll_back, directory, through, journal)
        await self._effects.around(directory.name, work)

    async def run(self, step: RunCommand, journal: Journal) -> None:
        """Run a command that migrates."""
        await self._effects.around(step.name, partial(self._migrator.run, step, journal))
