"""The simulated database: which schema it has, what each version can do with it, who waits."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from orchestrator.errors import MigrationFailed
from orchestrator.journal import Journal
from orchestrator.model import RunCommand
from orchestrator.simulated.events import Events
from orchestrator.simulated.replica import Behaviour
from orchestrator.simulated.world_settings import Breaks, MigrationModel, World

_NS = 1_000_000_000


class SimulatedDatabase:
    """The schema of a simulated world, and the Migrator that changes it.

    Attributes:
        applied: the names of the migrations that are applied, in order.
        on_lock: told of a table whose lock a migration holds, and until when.
        on_schema: told when the schema has changed.
    """

    def __init__(self, world: World, events: Events) -> None:
        self._world = world
        self._events = events
        self._behaviours: list[Behaviour] = []
        self._endpoints = {one.name: number for number, one in enumerate(world.endpoints)}
        self.applied: list[str] = []
        self.on_lock: Callable[[str, int], None] = lambda _table, _until_ns: None
        self.on_schema: Callable[[], None] = lambda: None

    def meet(self, behaviour: Behaviour) -> None:
        """A version uses the schema from now on."""
        self._behaviours.append(behaviour)
        self._refresh(behaviour)

    # The Migrator

    async def apply(self, directory: Path, through: str | None, journal: Journal) -> None:
        """Apply the pending migrations up to and including `through`, in the world's order."""
        del directory
        pending = [one for one in self._world.migrations if one.name not in self.applied]
        names = [one.name for one in pending]
        if through is not None:
            if through not in names:
                if through in self.applied:
                    return
                raise MigrationFailed(f"there is no migration {through}")
            pending = pending[: names.index(through) + 1]
        for one in pending:
            await self._carry_out(one, journal)

    async def roll_back(self, directory: Path, through: str | None, journal: Journal) -> None:
        """Take back applied migrations, newest first, down to and including `through`."""
        del directory
        while self.applied:
            name = self.applied[-1]
            detail = {"migration": name, "direction": "rollback"}
            async with journal.verb("migrate", detail=detail):
                await asyncio.sleep(self._model(name).seconds)
                self.applied.pop()
                self._changed()
            if name == through:
                return

    async def run(self, step: RunCommand, journal: Journal) -> None:
        """Run a command that migrates."""
        await self._carry_out(self._model(step.name), journal)

    def _model(self, name: str) -> MigrationModel:
        for one in self._world.migrations:
            if one.name == name:
                return one
        return MigrationModel(name=name)

    async def _carry_out(self, migration: MigrationModel, journal: Journal) -> None:
        detail = {"migration": migration.name, "direction": "apply"}
        async with journal.verb("migrate", detail=detail) as entry:
            if migration.locks is not None:
                until_ns = self._events.clock.ns + round(migration.seconds * _NS)
                self.on_lock(migration.locks, until_ns)
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
        broken = [one for one in self._world.breaks if self._holds(one, behaviour.version)]
        behaviour.ready = all(one.ready for one in broken)
        answers: list[tuple[int, str | None]] = [(200, None)] * len(self._endpoints)
        for one in broken:
            for name, number in self._endpoints.items():
                if one.endpoint in (None, name):
                    answers[number] = (one.status, one.sqlstate)
        behaviour.answers = answers

    def _holds(self, one: Breaks, version: str) -> bool:
        return (
            one.version == version
            and (one.since is None or one.since in self.applied)
            and (one.until is None or one.until not in self.applied)
        )
