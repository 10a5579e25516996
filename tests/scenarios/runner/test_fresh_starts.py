"""After each migration, a fresh replica of what serves is tried, away from the traffic."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from orchestrator.journal import Journal
from orchestrator.model import Deploy, JournalEvent, Migrate, Release, Version
from orchestrator.platforms.local import LocalPlatform
from orchestrator.processes import Processes
from scenarios.runner.fresh_starts import NAME, FreshStarts

COMMAND = (
    *("{python}", "-P", "-m", "scenarios.subjects.service"),
    *("--version", "{version}", "--port", "{port}"),
)


def version(name: str, path: str | None, command: tuple[str, ...] = COMMAND) -> Version:
    return Version(name=name, command=command, readiness_path=path)


async def tried(serving: list[Version], tmp_path: Path) -> list[tuple[str | None, str | None]]:
    """What is noted of these versions after a migration and a deployment."""
    release = Release(
        name="x",
        start=serving[0],
        steps=(Migrate(directory=tmp_path), Deploy(version=serving[0])),
    )
    events: list[JournalEvent] = []
    async with Processes() as processes:

        @asynccontextmanager
        async def platform() -> AsyncIterator[LocalPlatform]:
            async with LocalPlatform(processes, log_directory=tmp_path) as place:
                yield place

        with Journal(listeners=[events.append]) as journal:
            fresh = FreshStarts(
                release, journal, platform=platform, serving=lambda: serving, start_seconds=30
            )
            for done in (1, 2):
                journal.note("step", detail={"done": done})
            for event in events:
                fresh.hear(event)
            fresh.close()
            await fresh.run()
    found = [one for one in events if one.verb == "fresh_start"]
    assert all(one.detail == {"step": 1} for one in found)
    return [(one.version, one.error) for one in found]


async def test_a_version_that_starts_is_noted_and_ended(tmp_path: Path) -> None:
    """Only after the step that migrated; its log says that it belongs to nobody's fleet."""
    assert await tried([version("a", "/ready")], tmp_path) == [("a", None)]
    assert [path.name for path in tmp_path.glob("*.log")] == [f"{NAME}-a-1.log"]


async def test_a_version_that_does_not_start_is_noted_with_the_reason(tmp_path: Path) -> None:
    """Not ready, ended at once, or without a program: each in words."""
    ends = ("{python}", "-c", "raise SystemExit('no column status')")
    bad = [
        version("unready", "/ready", (*COMMAND, "--unready")),
        version("ends", "/ready", ends),
        version("missing", "/ready", ("/no/such/program",)),
        version("unasked", None),
    ]
    found = dict(await tried(bad, tmp_path))
    assert found.keys() == {"unready", "ends", "missing"}
    assert "503" in (found["unready"] or "")
    assert "no column status" in (found["ends"] or "")
    assert "/no/such/program" in (found["missing"] or "")
