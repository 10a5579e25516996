"""Where the changes of a release and its steps are written: which file, and which line."""

from pathlib import Path

from scenarios.check.migration_findings import FileLine, MigrationSource
from scenarios.check.release_plan import Apply
from scenarios.runner.checking.planned_release import PlannedRelease
from scenarios.scenario.reader import Loaded


def migration_sources(loaded: Loaded, release: PlannedRelease) -> tuple[MigrationSource, ...]:
    """Where the changes of a release's schema come from: files of migrations, or the scenario."""
    found = []
    for step in release.plan.steps:
        for change in step.changes if isinstance(step, Apply) else ():
            file = release.files.get(change.name)
            if file is None:
                at = step_line(loaded, step.step)
                source = MigrationSource(change=change.name, file=at.file, line=at.line)
            else:
                sql = file.suffix == ".sql"
                text = file.read_text(encoding="utf-8", errors="replace") if sql else None
                source = MigrationSource(change=change.name, file=repository_path(file), sql=text)
            found.append(source)
    return tuple(found)


def step_lines(loaded: Loaded) -> dict[int, FileLine]:
    """Where each step of the release is written, by its number from 1 on."""
    steps = loaded.scenario.release.steps
    return {number: step_line(loaded, number) for number in range(1, len(steps) + 1)}


def step_line(loaded: Loaded, number: int) -> FileLine:
    """Where a step of the release is written; the scenario's file where a flag sets it.

    Args:
        loaded: the scenario.
        number: the number of the step, from 1 on.
    """
    at, _ = loaded.locations.of(("release", "steps", str(number - 1)))
    if at is None or at.line is None:
        return FileLine(file=repository_path(loaded.path), line=1)
    return FileLine(file=repository_path(Path(at.source)), line=at.line)


def repository_path(path: Path) -> str:
    """The path within its git repository; the whole path where it lies in none.

    Of a checked-out copy of the repository, it is the same as in the repository itself.
    """
    path = path.resolve()
    for folder in path.parents:
        if (folder / ".git").exists():
            return str(path.relative_to(folder))
    return str(path)
