"""The simulated database: which schema it has, what each version can do with it, who waits."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from orchestrator.errors import MigrationFailed
from orchestrator.journal import Journal
from orchestrator.model import Migrate, MigrateDown, Release, RunCommand
from orchestrator.simulated.events import Events
from orchestrator.simulated.replica import Behaviour
from orchestrator.simulated.world_settings import MigrationModel, World

_NS = 1_000_000_000
_MIGRATOR = "hitless-migrator"


class SimulatedDatabase:
    """The schema of a simulated world, and the Migrator that changes it.

    Attributes:
        applied: the names of the migrations that are applied, in order.
        directories: the names of the migrations of each directory, in order; the migrations of a
            directory that is not here are those of the world.
        on_lock: told of a table whose lock a migration holds, until when, and of the holder.
        on_schema: told when the schema has changed.
    """

    def __init__(
        self,
        world: World,
        events: Events,
        directories: Mapping[Path, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        self._world = world
        self._events = events
        self._behaviours: list[Behaviour] = []
        self.applied: list[str] = []
        self.directories = directories
        self.on_lock: Callable[[str, int, str], None] = lambda _table, _until_ns, _holder: None
        self.on_schema: Callable[[], None] = lambda: None

    def meet(self, behaviour: Behaviour) -> None:
        """A version uses the schema from now on."""
        self._behaviours.append(behaviour)
        self._refresh(behaviour)

    # The Migrator

    async def apply(self, directory: Path, through: str | None, journal: Journal) -> None:
        """Apply the pending migrations up to and including `through`, in the world's order."""
        for name in self._pending(directory, through, self.applied):
            await self._carry_out(self._model(name), journal)

    def _pending(
        self, directory: Path, through: str | None, applied: Sequence[str]
    ) -> Sequence[str]:
        known = self.directories.get(directory)
        if known is None:
            known = [one.name for one in self._world.migrations]
        pending = [name for name in known if name not in applied]
        if through is None:
            return pending
        if through not in pending:
            if through in applied:
                return ()
            raise MigrationFailed(f"there is no migration {through}")
        return pending[: pending.index(through) + 1]

    async def roll_back(self, directory: Path, through: str | None, journal: Journal) -> None:
        """Take back applied migrations, newest first, down to and including `through`."""
        known = self.directories.get(directory, self.applied)
        while names := [name for name in self.applied if name in known]:
            name = names[-1]
            detail = {"migration": name, "direction": "rollback"}
            async with journal.verb("migrate", detail=detail):
                await asyncio.sleep(self._model(name).seconds)
                self.applied.remove(name)
                self._changed()
            if name == through:
                return

    async def run(self, step: RunCommand, journal: Journal) -> None:
        """Run a command that migrates."""
        if not step.down:
            await self._carry_out(self._model(step.name), journal)
            return
        detail = {"migration": step.name, "direction": "rollback"}
        async with journal.verb("migrate", detail=detail):
            await asyncio.sleep(self._model(step.name).seconds)
            if self.applied:
                self.applied.pop()
            self._changed()

    # The Rehearsal

    def rehearsal(self, release: Release) -> "SimulatedRehearsal":
        """Try versions on a schema that is still to come."""
        return SimulatedRehearsal(self, release)

    def schema_after(self, release: Release, steps: int) -> Sequence[str]:
        """The migrations that are applied after the first steps of a release.

        Raises:
            MigrationFailed: there is no such migration.
        """
        applied: list[str] = []
        for step in release.steps[:steps]:
            match step:
                case Migrate():
                    applied += self._pending(step.directory, step.through, applied)
                case RunCommand():
                    applied.append(step.name)
                case MigrateDown(what=Migrate() as what):
                    known = self.directories.get(what.directory, applied)
                    while names := [name for name in applied if name in known]:
                        applied.remove(names[-1])
                        if names[-1] == what.through:
                            break
                case MigrateDown() if applied:
                    applied.pop()
        return applied

    def why_not_ready(self, version: str, applied: Collection[str]) -> str | None:
        """Why a version would not be ready on a schema; None if it would be."""
        for one in self._world.breaks:
            if not one.ready and one.holds(version, applied):
                return f"it fails with {one.sqlstate or one.status}"
        return None

    def _model(self, name: str) -> MigrationModel:
        for one in self._world.migrations:
            if one.name == name:
                return one
        return MigrationModel(name=name)

    async def _carry_out(self, migration: MigrationModel, journal: Journal) -> None:
        await asyncio.sleep(migration.lead_seconds)
        detail = {"migration": migration.name, "direction": "apply"}
        async with journal.verb("migrate", detail=detail) as entry:
            if migration.locks is not None:
                until_ns = self._events.clock.ns + round(migration.seconds * _NS)
                self.on_lock(migration.locks, until_ns, _MIGRATOR)
            await asyncio.sleep(migration.seconds)
            entry.floor_seconds = migration.seconds
            if migration.fails is not None:
                raise MigrationFailed(
                    f"{migration.name} was refused",
                    migration=migration.name,
                    sqlstate=migration.fails,
                )
            self.applied.append(migration.name)
            self._changed()

    # What versions can do

    def _changed(self) -> None:
        for one in self._behaviours:
            self._refresh(one)
        self.on_schema()

    def _refresh(self, behaviour: Behaviour) -> None:
        broken = [one for one in self._world.breaks if one.holds(behaviour.version, self.applied)]
        behaviour.ready = all(one.ready for one in broken)
        behaviour.healthy = behaviour.ready or not self._world.checks_schema(
            self._world.health_path
        )
        endpoints = self._world.endpoints
        answers: list[tuple[int, str | None]] = [(200, None)] * len(endpoints)
        for one in broken:
            for number, endpoint in enumerate(endpoints):
                if one.endpoint in (None, endpoint.name) and not endpoint.refused:
                    answers[number] = (one.status, one.sqlstate)
        behaviour.answers = answers


class SimulatedRehearsal:
    """The Rehearsal of a simulated world: it knows which version works with which schema."""

    def __init__(self, database: SimulatedDatabase, release: Release) -> None:
        self._database = database
        self._release = release

    async def after(self, steps: int, versions: Collection[str]) -> Mapping[str, str]:
        """Try these versions on the schema that the release's first `steps` steps lead to."""
        applied = self._database.schema_after(self._release, steps)
        said = {name: self._database.why_not_ready(name, applied) for name in sorted(versions)}
        return {name: why for name, why in said.items() if why is not None}
