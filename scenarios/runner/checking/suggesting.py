"""Writes the safe version of a release's migrations, and a scenario that uses it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from scenarios.check.migration_findings import MigrationFinding
from scenarios.check.release_plan import Apply, Deployment, ReleasePlan
from scenarios.check.suggestion import Suggestion, suggest
from scenarios.errors import StorageError, UsageError
from scenarios.runner.checking.check_run import Checked
from scenarios.runner.checking.column_facts import column_facts
from scenarios.runner.environment import Environment
from scenarios.scenario.reader import Loaded
from scenarios.scenario.spec import ReleaseStep

_FLAG = "--suggest"


@dataclass(frozen=True, slots=True, kw_only=True)
class SuggestedRelease:
    """What was written.

    Attributes:
        suggestion: the migrations.
        loaded: the scenario with these migrations and the steps that they need.
        steps: these steps, as in a scenario file.
    """

    suggestion: Suggestion
    loaded: Loaded
    steps: tuple[str, ...]


def check_suggestible(loaded: Loaded, folder: Path) -> None:
    """See that a safe version can be written for a release, and where.

    Raises:
        UsageError: the release has other steps, or the folder has files.
    """
    for number, step in enumerate(loaded.scenario.release.steps, 1):
        if not isinstance(step.migrate, str) and step.deploy is None:
            raise UsageError(
                f"{_FLAG}: step {number} of {loaded.path} is neither a folder of yoyo migrations "
                "nor a deployment, so there is no rule for it"
            )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{_FLAG} {folder}: expected a folder that is empty or does not exist")
    if not folder.parent.is_dir():
        raise UsageError(f"{_FLAG} {folder}: there is no folder {folder.parent}")


async def write_suggestion(
    loaded: Loaded,
    place: Environment,
    checked: Checked,
    findings: Sequence[MigrationFinding],
    folder: Path,
) -> SuggestedRelease | None:
    """Write the safe version of the migrations with hazards; None if there is none.

    Args:
        loaded: the scenario.
        place: where the database is.
        checked: what a check of it found.
        findings: the hazards of its migrations.
        folder: where the migrations are written.

    Raises:
        EnvironmentFailure: the database does not answer.
        UsageError: the path cannot be that of a folder.
        StorageError: the machine refuses a file.
    """
    hazardous = _lines(findings)
    if not hazardous:
        return None
    database = loaded.scenario.database
    columns = {}
    if database is not None:
        log = place.private / "migrations.log"
        server = await place.server()
        template = await place.template(loaded, database, log)
        async with server.database("suggest", template=template) as url:
            columns = dict(await column_facts(url))
    rollbacks = {
        change: rollback.read_text(encoding="utf-8")
        for change, path in checked.release.files.items()
        if (rollback := path.with_suffix(".rollback.sql")).is_file()
    }
    after = _deployments_before(checked.release.plan)
    deployments = sum(one.deploy is not None for one in loaded.scenario.release.steps)
    suggestion = suggest(
        checked.sources, hazardous, columns, rollbacks, after=after, deployments=deployments
    )
    if all(one.name in checked.release.files for one in suggestion.migrations):
        return SuggestedRelease(suggestion=suggestion, loaded=loaded, steps=())
    _write(folder, suggestion)
    steps = _steps(loaded, folder, suggestion)
    release = msgspec.structs.replace(loaded.scenario.release, steps=steps)
    return SuggestedRelease(
        suggestion=suggestion,
        loaded=Loaded(
            msgspec.structs.replace(loaded.scenario, release=release),
            loaded.path,
            loaded.locations,
        ),
        steps=tuple(_toml(step) for step in steps),
    )


def _lines(findings: Sequence[MigrationFinding]) -> Mapping[str, frozenset[int]]:
    found: dict[str, set[int]] = {}
    for one in findings:
        if one.level != "note":
            found.setdefault(one.change, set()).add(one.line)
    return {change: frozenset(lines) for change, lines in found.items()}


def _write(folder: Path, suggestion: Suggestion) -> None:
    depends: str | None = None
    try:
        folder.mkdir(exist_ok=True)
        for one in suggestion.migrations:
            (folder / f"{one.name}.sql").write_text(one.file(depends), encoding="utf-8")
            if one.rollback:
                rollback = folder / f"{one.name}.rollback.sql"
                rollback.write_text(one.rollback, encoding="utf-8")
            depends = one.name
    except (NotADirectoryError, FileNotFoundError) as error:
        raise UsageError(f"{_FLAG} {folder}: {error.strerror}") from error
    except OSError as error:
        raise StorageError(f"{_FLAG} {folder}: {error.strerror}") from error


def _steps(loaded: Loaded, folder: Path, suggestion: Suggestion) -> tuple[ReleaseStep, ...]:
    """The deployments of the release, and the migrations that belong before and after each."""
    deployments = [one for one in loaded.scenario.release.steps if one.deploy is not None]
    path = str(folder.resolve())
    last = suggestion.migrations[-1].name
    steps: list[ReleaseStep] = []
    for place in range(len(deployments) + 1):
        names = [one.name for one in suggestion.migrations if one.after == place]
        if names:
            through = names[-1] if names[-1] != last else None
            steps.append(ReleaseStep(migrate=path, through=through))
        steps += deployments[place : place + 1]
    return tuple(steps)


def _deployments_before(plan: ReleasePlan) -> dict[str, int]:
    """How many deployments come before each change of the schema."""
    found: dict[str, int] = {}
    deployments = 0
    for step in plan.steps:
        deployments += isinstance(step, Deployment)
        if isinstance(step, Apply):
            found |= dict.fromkeys((change.name for change in step.changes), deployments)
    return found


def _toml(step: ReleaseStep) -> str:
    if step.deploy is not None:
        return f'{{ deploy = "{step.deploy}" }}'
    through = f', through = "{step.through}"' if step.through is not None else ""
    return f'{{ migrate = "{step.migrate}"{through} }}'
