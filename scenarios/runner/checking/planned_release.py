"""A scenario's release as a check sees it, and how each of its changes is carried out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import MigrationFailed
from orchestrator.journal import Journal
from orchestrator.migrations import ListedMigration, YoyoMigrator, list_migrations
from orchestrator.model import MigrateDown, RunCommand, Step
from orchestrator.processes import Processes
from scenarios.check.release_plan import (
    Apply,
    Deployment,
    PlannedChange,
    ReleasePlan,
    SchemaChange,
    TakeBack,
)
from scenarios.check.trial_plan import Advance
from scenarios.errors import ScenarioError
from scenarios.runner import release as application
from scenarios.scenario.paths import migrations_directory, migrations_in
from scenarios.scenario.reader import Loaded


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRelease:
    """A release, and where its changes come from.

    Attributes:
        plan: the release.
        step_of: the number of the step that applies a change, from 0 on.
        files: the file of each migration.
        directories: the directory of each yoyo migration.
        ends: the migrations that are the last of their directory; `post-apply` belongs to them.
    """

    plan: ReleasePlan
    step_of: Mapping[str, int]
    files: Mapping[str, Path]
    directories: Mapping[str, Path]
    ends: frozenset[str]

    async def carry_out(
        self,
        advances: Sequence[Advance],
        steps: Sequence[Step],
        migrator: YoyoMigrator,
    ) -> None:
        """Carry out changes of the schema, in order.

        Args:
            advances: the changes.
            steps: the release's steps, with the placeholders of this database filled in.
            migrator: migrates the database.

        Raises:
            MigrationFailed: one of them failed.
        """
        with Journal() as journal:
            for number, advance in enumerate(advances):
                directory = self.directories.get(advance.change)
                if directory is None:
                    step = steps[self.step_of[advance.change]]
                    if isinstance(step, MigrateDown):
                        step = step.what
                    if not isinstance(step, RunCommand):
                        raise TypeError(f"step {step} runs no command")
                    await migrator.run(step, journal)
                elif advance.taken_back:
                    await migrator.roll_back(directory, advance.change, journal)
                elif advance.statements is not None:
                    await migrator.apply(
                        directory, advance.change, journal, first=advance.statements
                    )
                elif not self._follows(advance, advances[number + 1 :]):
                    through = None if advance.change in self.ends else advance.change
                    await migrator.apply(directory, through, journal)

    def _follows(self, advance: Advance, rest: Sequence[Advance]) -> bool:
        """Whether the next change comes from the same directory, and so applies this one too."""
        return bool(rest) and (
            not rest[0].taken_back
            and self.directories.get(rest[0].change) == self.directories[advance.change]
        )


async def planned_release(loaded: Loaded, processes: Processes, log: Path) -> PlannedRelease:
    """Read a scenario's release, and list its migrations.

    Args:
        loaded: the scenario.
        processes: owns the processes that list migrations.
        log: what they print.

    Raises:
        ScenarioError: a migration cannot be read, or the release has no such migration.
    """
    reading = _Reading(loaded, processes, log)
    await reading.read()
    return reading.result()


class _Reading:
    def __init__(self, loaded: Loaded, processes: Processes, log: Path) -> None:
        self._loaded = loaded
        self._processes = processes
        self._log = log
        self._steps: list[PlannedChange] = []
        self._applied: list[str] = []
        self._base: frozenset[str] = frozenset()
        self._served = [loaded.scenario.release.serving]
        self._names: Counter[str] = Counter()
        self._step_of: dict[str, int] = {}
        self._files: dict[str, Path] = {}
        self._directories: dict[str, Path] = {}
        self._ends: set[str] = set()

    async def read(self) -> None:
        database = self._loaded.scenario.database
        if database is not None and isinstance(database.migrate, str):
            self._base = await self._in_base(migrations_directory(database.migrate))
        for number, step in enumerate(self._loaded.scenario.release.steps):
            if isinstance(step.migrate, str):
                changes = await self._pending(number, step.migrate, step.through)
                self._steps.append(Apply(step=number + 1, changes=changes))
            elif isinstance(step.migrate_down, str):
                names = await self._to_take_back(number, step.migrate_down, step.through)
                self._steps.append(TakeBack(step=number + 1, names=names))
            elif (words := step.migrate or step.migrate_down) is not None:
                change = self._command(number, tuple(words))
                self._steps.append(Apply(step=number + 1, changes=(change,)))
            elif step.undo or step.deploy is not None:
                version = step.deploy or self._served[-2]
                self._served.append(version)
                self._steps.append(Deployment(step=number + 1, version=version, undo=step.undo))

    def result(self) -> PlannedRelease:
        return PlannedRelease(
            plan=ReleasePlan(
                name=self._loaded.scenario.name,
                start=self._served[0],
                steps=tuple(self._steps),
            ),
            step_of=self._step_of,
            files=self._files,
            directories=self._directories,
            ends=frozenset(self._ends),
        )

    async def _pending(
        self, number: int, reference: str, through: str | None
    ) -> tuple[SchemaChange, ...]:
        listed = await self._listed(number, reference, through)
        done = {*self._base, *self._applied}
        pending = [one for one in listed if one.migration not in done]
        self._applied += [one.migration for one in pending]
        return tuple(
            SchemaChange(
                name=one.migration,
                transactional=one.transactional,
                statements=one.statements,
                reversible=one.reversible,
            )
            for one in pending
        )

    async def _in_base(self, directory: Path) -> frozenset[str]:
        """The migrations of the base schema that the release names again, which applies none."""
        steps = self._loaded.scenario.release.steps
        named = {
            name
            for step in steps
            if isinstance(step.migrate, str)
            for name in migrations_in(migrations_directory(step.migrate))
        }
        if not named.intersection(migrations_in(directory)):
            return frozenset()
        try:
            listed = await list_migrations(self._processes, directory, None, log=self._log)
        except MigrationFailed as failure:
            where = self._loaded.at("database", "migrate")
            raise ScenarioError(f"{where}{failure}") from failure
        return frozenset(one.migration for one in listed)

    async def _to_take_back(
        self, number: int, reference: str, through: str | None
    ) -> tuple[str, ...]:
        listed = await self._listed(number, reference, None)
        known = [one.migration for one in listed]
        if through is not None and through not in known:
            raise ScenarioError(
                f"{self._loaded.path}: step {number + 1}: no migration {through} in {reference}"
            )
        if through is not None:
            known = known[known.index(through) :]
        names = [one for one in reversed(self._applied) if one in known]
        self._applied = [one for one in self._applied if one not in names]
        return tuple(names)

    async def _listed(
        self, number: int, reference: str, through: str | None
    ) -> tuple[ListedMigration, ...]:
        directory = migrations_directory(reference)
        try:
            listed = await list_migrations(self._processes, directory, through, log=self._log)
        except MigrationFailed as failure:
            raise ScenarioError(f"{self._loaded.path}: step {number + 1}: {failure}") from failure
        for one in listed:
            self._step_of.setdefault(one.migration, number)
            self._files[one.migration] = Path(one.path)
            self._directories[one.migration] = directory
        if through is None:
            self._ends.add(listed[-1].migration)
        return listed

    def _command(self, number: int, words: tuple[str, ...]) -> SchemaChange:
        name = application.command_name(words)
        self._names[name] += 1
        if self._names[name] > 1:  # the same command may do something else the next time
            name = f"{name} #{self._names[name]}"
        self._step_of[name] = number
        return SchemaChange(name=name)
