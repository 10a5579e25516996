"""Migrations are taken back only where everything that lives can do without them."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from orchestrator.errors import EnvironmentFailure, PlatformError
from orchestrator.interfaces import ProbeResult, Rehearsal, ReplicaExit
from orchestrator.journal import Journal
from orchestrator.model import (
    Deploy,
    JournalEvent,
    Migrate,
    MigrateDown,
    Release,
    Replica,
    RunCommand,
    Undo,
    Version,
)
from orchestrator.platforms.local import LocalPlatform
from orchestrator.processes import Processes
from orchestrator.rehearsal import CopyRehearsal
from orchestrator.release import ReleaseRun, bring_up
from orchestrator.strategies import STRATEGIES
from tests.support.in_memory import InMemoryFleet, RolloutBench, assert_ordered, policy_of

A, B, C = (Version(name=name, command=(name,), readiness_path="/ready") for name in "abc")
UP = Migrate(directory=Path("expand"))
DOWN = MigrateDown(what=UP)


class Oracle:
    """A rehearsal that knows who tolerates what, and remembers what it was asked."""

    def __init__(self, refuses: Mapping[str, str]) -> None:
        self.asked: list[tuple[int, frozenset[str]]] = []
        self._refuses = refuses

    async def after(self, steps: int, versions: Collection[str]) -> Mapping[str, str]:
        self.asked.append((steps, frozenset(versions)))
        return {name: self._refuses[name] for name in versions if name in self._refuses}


def taken_back(events: list[JournalEvent]) -> bool:
    """Whether a migration was undone, or was begun to be."""
    return any(one.detail.get("direction") == "rollback" for one in events)


async def run(bench: RolloutBench, rehearsal: Rehearsal | None, *steps: object) -> ReleaseRun:
    await bring_up(bench.rollout, A)
    release = Release(name="r", start=A, steps=steps)  # type: ignore[arg-type]
    releasing = ReleaseRun(
        release, bench.rollout, STRATEGIES["rolling"], bench.world, rehearsal=rehearsal
    )
    await releasing.run()
    return releasing


async def test_what_everybody_tolerates_is_done() -> None:
    """When all that lives is ready without them, the migrations are taken back."""
    bench, oracle = RolloutBench(policy_of({})), Oracle({"b": "it needs them"})
    releasing = await run(bench, oracle, UP, Deploy(version=B), Undo(), DOWN)
    assert releasing.result is not None
    assert (releasing.result.outcome, releasing.result.reason) == ("completed", None)
    assert oracle.asked == [(4, frozenset({"a"}))]
    assert taken_back(bench.events)
    assert bench.versions() == {"a": 3}
    assert_ordered(bench.events)


@settings(deadline=None, max_examples=100)
@given(some.sets(some.sampled_from("abc"), min_size=1), some.sets(some.sampled_from("abc")))
def test_one_who_lives_and_needs_them_is_enough(living: set[str], needing: set[str]) -> None:
    """Whoever lives is asked, serving or not; one who needs the migrations keeps all of them."""
    bench, oracle = RolloutBench(policy_of({})), Oracle(dict.fromkeys(needing, "it needs them"))

    async def scenario() -> ReleaseRun:
        for version in (A, B, C):
            if version.name in living:
                await bench.rollout.start(version, 1)
        release = Release(name="r", start=A, steps=(DOWN,))
        releasing = ReleaseRun(
            release, bench.rollout, STRATEGIES["rolling"], bench.world, rehearsal=oracle
        )
        await releasing.run()
        return releasing

    result = asyncio.run(scenario()).result
    assert result is not None
    assert oracle.asked == [(1, frozenset(living))]
    assert taken_back(bench.events) == (not living & needing)
    assert result.outcome == ("failed" if living & needing else "completed")
    for name in living & needing:
        assert f"version {name}: it needs them" in (result.reason or "")
    assert len(bench.rollout.all()) == len(living)


async def test_where_nobody_can_tell_the_answer_is_no() -> None:
    """Without a place to try it, or without a readiness path, nothing is taken back."""
    bench = RolloutBench(policy_of({}))
    releasing = await run(bench, None, UP, DOWN)
    assert releasing.result is not None
    assert releasing.result.reason == "migrate down: refused: there is no database for a rehearsal"
    mute = Version(name="b", command=("b",))
    bench, oracle = RolloutBench(policy_of({})), Oracle({})
    releasing = await run(bench, oracle, Deploy(version=mute), DOWN)
    assert releasing.result is not None
    assert releasing.result.outcome == "failed"
    assert "version b declares no readiness_path" in (releasing.result.reason or "")
    assert oracle.asked == []
    assert not taken_back(bench.events)


async def test_what_cannot_be_tried_is_not_done() -> None:
    """A rehearsal that breaks refuses as well, with its reason, and what serves serves on."""

    class Broken:
        async def after(self, steps: int, versions: Collection[str]) -> Mapping[str, str]:
            raise EnvironmentFailure(f"no room for {len(versions)} after {steps}")

    bench = RolloutBench(policy_of({}))
    releasing = await run(bench, Broken(), DOWN)
    assert releasing.result is not None
    assert releasing.result.reason == "migrate down: no room for 1 after 1"
    assert not taken_back(bench.events)
    assert bench.versions() == {"a": 3}


@pytest.mark.parametrize("word", ["abort", "pause"])
async def test_what_is_said_during_the_rehearsal_counts(word: str) -> None:
    """An abort during the rehearsal keeps the migrations, and a pause keeps them until it ends."""
    bench = RolloutBench(policy_of({}))

    class Interrupted(Oracle):
        async def after(self, steps: int, versions: Collection[str]) -> Mapping[str, str]:
            getattr(bench.rollout.control, word)()
            await asyncio.sleep(0)
            return await super().after(steps, versions)

    if word == "abort":
        releasing = await run(bench, Interrupted({}), UP, DOWN)
        assert releasing.result is not None
        assert (releasing.result.outcome, releasing.result.reason) == (
            "aborted",
            "aborted on request",
        )
    else:
        task = asyncio.ensure_future(run(bench, Interrupted({}), UP, DOWN))
        for _ in range(1000):  # far more turns of the loop than it takes
            await asyncio.sleep(0)
        assert "rehearse" in {one.verb for one in bench.events if one.state == "completed"}
        assert not taken_back(bench.events)
        bench.rollout.control.resume()
        assert (await task).result is not None
    assert taken_back(bench.events) == (word == "pause")
    assert bench.versions() == {"a": 3}


async def test_a_failed_one_ends_the_release() -> None:
    """A migration that cannot be taken back fails the release, and what serves serves on."""
    bench = RolloutBench(policy_of({}))
    bad = MigrateDown(what=Migrate(directory=Path("bad")))
    releasing = await run(bench, Oracle({}), bad, Deploy(version=B))
    assert releasing.result is not None
    assert (releasing.result.outcome, releasing.result.reason) == (
        "failed",
        "migrate down: planted",
    )
    assert bench.versions() == {"a": 3}


async def test_afterwards_the_schema_has_changed() -> None:
    """A version that was deployed before migrations were taken back is asked before it returns."""
    bench = RolloutBench(policy_of({}))
    migrate = bench.world.roll_back

    async def forget(directory: Path, through: str | None, journal: Journal) -> None:
        await migrate(directory, through, journal)
        bench.world.says[("a", "/ready")] = ProbeResult(503, "not with this one")

    bench.world.roll_back = forget  # type: ignore[method-assign]
    releasing = await run(bench, Oracle({}), Deploy(version=B), DOWN, Undo())
    assert releasing.result is not None
    assert (releasing.result.reason or "").startswith("undo to a: refused: the schema has changed")
    assert bench.versions() == {"b": 3}


# The rehearsal itself


class Copy(InMemoryFleet):
    """A copy's platform and migrator; it remembers what it was taken through."""

    def __init__(self, url: str, log: list[str]) -> None:
        super().__init__()
        self._url = url
        self._log = log

    async def apply(self, directory: Path, through: str | None, journal: Journal) -> None:
        self._log.append(f"{self._url}: {directory} up to {through}")
        await super().apply(directory, through, journal)

    async def roll_back(self, directory: Path, through: str | None, journal: Journal) -> None:
        self._log.append(f"{self._url}: {directory} down to {through}")
        await super().roll_back(directory, through, journal)

    async def run(self, step: RunCommand, journal: Journal) -> None:
        self._log.append(f"{self._url}: {' '.join(step.command)}")
        await super().run(step, journal)

    async def start(self, version: Version, replica_id: str) -> Replica:
        self._log.append(f"start {replica_id}")
        return await super().start(version, replica_id)


def up_by_command(url: str) -> RunCommand:
    return RunCommand(name="c", command=("migrate", url))


def down_by_command(url: str) -> MigrateDown:
    return MigrateDown(what=RunCommand(name="c", command=("back", url), down=True))


class Scene:
    """A rehearsal on a `Copy`."""

    def __init__(self, *steps: object) -> None:
        self.log: list[str] = []
        self.worlds: list[Copy] = []
        self.says: dict[tuple[str, str], ProbeResult] = {}
        self._steps = steps
        self.rehearsal = CopyRehearsal(
            database=self._database,
            release=self._release,
            migrator=lambda url: Copy(url, self.log),
            platform=self._platform,
            start_seconds=5.0,
        )

    def _release(self, url: str) -> Release:
        steps = tuple(one(url) if callable(one) else one for one in self._steps)
        return Release(name="r", start=A, steps=steps)

    @asynccontextmanager
    async def _database(self) -> AsyncIterator[str]:
        self.log.append("made")
        yield "copy"
        self.log.append("dropped")

    @asynccontextmanager
    async def _platform(self, url: str) -> AsyncIterator[Copy]:
        world = Copy(url, self.log)
        world.says = self.says
        self.worlds.append(world)
        yield world


async def test_the_copy_goes_through_the_same_steps() -> None:
    """The copy is taken through the release's steps so far, up and down, and no further."""
    scene = Scene(UP, up_by_command, Deploy(version=B), DOWN, down_by_command, UP)
    scene.says[("b", "/ready")] = ProbeResult(503, "b needs them")
    found = await scene.rehearsal.after(5, ["a", "b"])
    assert found == {"b": "it answered GET /ready with 503: b needs them"}
    assert scene.log == [
        "made",
        "copy: expand up to None",
        "copy: migrate copy",
        "copy: expand down to None",
        "copy: back copy",
        "start a-rehearsal-1",
        "start b-rehearsal-1",
        "dropped",
    ]
    assert all(world.running == {} for world in scene.worlds)


async def test_a_version_that_ends_is_no_version_that_works() -> None:
    """A replica that ends during its rehearsal says no, with its last words."""
    scene = Scene(UP)

    class Dying(Copy):
        async def probe(self, replica: Replica, path: str, timeout: float) -> ProbeResult:  # noqa: ASYNC109 - the port's
            self.running[replica.id].set()
            await asyncio.Event().wait()
            return await super().ask(replica, path, timeout)

        async def wait_ended(self, replica: Replica) -> ReplicaExit:
            await self.running[replica.id].wait()
            return ReplicaExit("exited with status 3", ("no such column",))

    @asynccontextmanager
    async def platform(url: str) -> AsyncIterator[Copy]:
        yield Dying(url, scene.log)

    scene.rehearsal._platform = platform
    assert await scene.rehearsal.after(1, ["a"]) == {
        "a": "a-rehearsal-1 exited with status 3; its log ends: no such column"
    }


async def test_a_place_that_cannot_be_had(tmp_path: Path) -> None:
    """When the platform refuses, nobody was asked, and that is no answer."""
    scene = Scene(MigrateDown(what=Migrate(directory=tmp_path)))

    @asynccontextmanager
    async def platform(url: str) -> AsyncIterator[Copy]:
        world = Copy(url, scene.log)
        world.expect(0)
        yield world

    scene.rehearsal._platform = platform
    with pytest.raises(PlatformError, match="planted at call 0"):
        await scene.rehearsal.after(1, ["a"])


async def test_it_can_be_tried_again(tmp_path: Path) -> None:
    """Each rehearsal has replicas of its own, whose folders are none of another's."""
    command = ("{python}", "-m", "scenarios.subjects.service", "--port", "{port}", "--unready")
    version = Version(name="a", command=command, readiness_path="/ready")
    log: list[str] = []

    @asynccontextmanager
    async def database() -> AsyncIterator[str]:
        yield "copy"

    async with Processes() as processes:
        rehearsal = CopyRehearsal(
            database=database,
            release=lambda _: Release(name="r", start=version, steps=(DOWN, DOWN)),
            migrator=lambda url: Copy(url, log),
            platform=lambda _: LocalPlatform(
                processes, log_directory=tmp_path, replica_directories=tmp_path
            ),
            start_seconds=30.0,
        )
        for steps in (1, 2):
            found = await rehearsal.after(steps, ["a"])
            assert found == {"a": "it answered GET /ready with 503: a"}
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {
        *("a-rehearsal-1", "a-rehearsal-2")
    }
