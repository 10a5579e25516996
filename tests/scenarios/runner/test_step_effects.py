"""A step of a release that changes nothing at all is noticed, also under traffic."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from pathlib import Path

import pytest

from orchestrator.database import connected, run_sql
from orchestrator.journal import Journal
from orchestrator.migrations import YoyoMigrator
from orchestrator.model import JournalEvent, Migrate, Release, RunCommand, Step, Version
from orchestrator.postgres import EmbeddedServer
from orchestrator.processes import Processes
from orchestrator.rehearsal import CopyRehearsal
from scenarios.runner.step_effects import StepEffects
from scenarios.scenario.spec import ReleaseStep
from tests.support.runs import released

BASE = (
    "CREATE TABLE things (id serial PRIMARY KEY, name text)",
    "INSERT INTO things (name) VALUES ('one'), ('two')",
    "CREATE TABLE alembic_version (version_num text)",
    "CREATE VIEW named AS SELECT name FROM things",
)
CHANGES = {
    "rows": "UPDATE things SET name = 'three' WHERE name = 'two'",
    "a row less": "DELETE FROM things WHERE name = 'one'",
    "the history": "INSERT INTO alembic_version VALUES ('0002')",
    "a column": "ALTER TABLE things ADD COLUMN size integer",
    "a default": "ALTER TABLE things ALTER COLUMN name SET DEFAULT 'x'",
    "an index": "CREATE INDEX CONCURRENTLY by_name ON things (name)",
    "a function": "CREATE FUNCTION one() RETURNS integer LANGUAGE sql RETURN 1",
    "a view": "CREATE OR REPLACE VIEW named AS SELECT name || '' AS name FROM things",
    "a right": "GRANT SELECT ON things TO public",
    "a sequence": "SELECT setval('things_id_seq', 1000)",
    "all rows are gone": "TRUNCATE things",
    "a storage parameter": "ALTER TABLE things SET (fillfactor = 50)",
}
NOTHING = {
    "no statement": "SELECT 1",
    "a table that is there already": "CREATE TABLE IF NOT EXISTS things (id serial PRIMARY KEY)",
    "no row that matches": "UPDATE things SET name = 'three' WHERE name = 'nobody'",
    "what is taken back": "BEGIN; DELETE FROM things; ROLLBACK",
    "statistics": "ANALYZE things",
}
_NUMBERS = count(1)


def sql(statement: str) -> RunCommand:
    return RunCommand(name="tool", command=(statement,))


class Tool:
    """Migrates with yoyo, or carries out a statement."""

    def __init__(self, url: str, migrator: YoyoMigrator) -> None:
        self._url = url
        self.apply = migrator.apply
        self.roll_back = migrator.roll_back

    async def run(self, step: RunCommand, _: Journal) -> None:
        async with connected(self._url) as connection:
            for statement in step.command[0].split("; "):
                await connection.execute(statement)


class Place:
    """A database with traffic, its copies, and what is found of the steps of a release."""

    def __init__(self, server: EmbeddedServer, processes: Processes, folder: Path) -> None:
        self._server = server
        self._processes = processes
        self._folder = folder

    async def found(self, *steps: Step, may_change_nothing: bool = False) -> list[tuple[int, str]]:
        """The steps that change nothing, with their names."""
        found: list[JournalEvent] = []
        async with self.database() as url:
            with Journal(listeners=[found.append]) as journal:
                spec = ReleaseStep(migrate="m", may_change_nothing=may_change_nothing)
                effects = StepEffects(url, [spec] * len(steps), journal, self._rehearsal(steps))
                migrator = effects.watched(self._migrator(url))
                for number, step in enumerate(steps, 1):
                    if isinstance(step, Migrate):
                        await migrator.apply(step.directory, step.through, journal)
                    elif isinstance(step, RunCommand):
                        await migrator.run(step, journal)
                    await run_sql(url, ["INSERT INTO things (name) VALUES ('of a user')"])
                    journal.note("step", detail={"done": number})
                    effects.hear(found[-1])
                await effects.look_again()
        return [
            (int(str(one.detail["step"])), str(one.detail["migration"]))
            for one in found
            if one.verb == "step_effect" and one.error is None
        ]

    def _migrator(self, url: str) -> Tool:
        log = self._folder / "migrator.log"
        return Tool(url, YoyoMigrator(self._processes, url, log=log))

    def _rehearsal(self, steps: tuple[Step, ...]) -> CopyRehearsal:
        start = Version(name="a", command=("a",))

        def no_replicas(url: str) -> AbstractAsyncContextManager[object]:
            raise AssertionError(url)

        return CopyRehearsal(
            database=self.database,
            release=lambda _: Release(name="r", start=start, steps=steps),
            migrator=self._migrator,
            platform=no_replicas,  # type: ignore[arg-type]
            start_seconds=1.0,
        )

    @asynccontextmanager
    async def database(self) -> AsyncIterator[str]:
        name = f"effects_{next(_NUMBERS)}"
        url = await self._server.create_database(name)
        await run_sql(url, BASE)
        try:
            yield url
        finally:
            await run_sql(self._server.url("postgres"), [f"DROP DATABASE {name} WITH (FORCE)"])


@pytest.fixture
async def place(
    postgres_server: tuple[EmbeddedServer, str], tmp_path: Path
) -> AsyncIterator[Place]:
    async with Processes() as processes:
        yield Place(postgres_server[0], processes, tmp_path)


async def test_steps_that_change_nothing_are_found_and_no_others(place: Place) -> None:
    """Rows that users write meanwhile are no change of a step; rows that the step changes are."""
    steps = [*(sql(one) for one in CHANGES.values()), *(sql(one) for one in NOTHING.values())]
    found = await place.found(*steps)
    names = [*CHANGES, *NOTHING]
    assert [names[number - 1] for number, _ in found] == list(NOTHING)


async def test_migrations_that_were_applied_before_are_found(place: Place, tmp_path: Path) -> None:
    """A folder of yoyo migrations of which none is left; the first time it is no doubt."""
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "0001.sql").write_text("UPDATE things SET name = 'new' WHERE name = 'two'")
    step = Migrate(directory=folder)
    assert await place.found(step, step) == [(2, "more")]


async def test_a_step_that_may_change_nothing_is_no_doubt(place: Place) -> None:
    assert await place.found(sql("SELECT 1"), may_change_nothing=True) == []


RELEASE = """
extends = "three-migrators"
name = "steps"

[release]
from = "a"
steps = [
    { migrate = "scenarios:subjects/migrations/readings" },
    { migrate = ["{python}", "-c", "pass"] },
    { migrate = ["{python}", "-c", "pass"], may_change_nothing = true },
    { migrate = ["{python}", "-P", "-m", "scenarios.subjects.migrate"] },
    { deploy = "wide" },
]
"""


@pytest.mark.soak
def test_a_run_doubts_the_steps_that_change_nothing(postgres_url: str, tmp_path: Path) -> None:
    """Migrations of yoyo that the base has already, and a command; not a data migration."""
    scenario = tmp_path / "scenario.toml"
    scenario.write_text(RELEASE)
    run = released(scenario, tmp_path / "out", "--database", postgres_url)
    assert run.code == 0
    assert [one.split(")")[0] for one in run.verdict.doubts] == [
        "step 1 (readings",
        "step 2 (-c pass",
    ]
