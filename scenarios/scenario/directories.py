"""The directories of migrations that a scenario names."""

import importlib.util
from pathlib import Path

from scenarios.errors import ScenarioError

_MIGRATIONS = (".sql", ".py")


def directory_of(reference: str, beside: Path, through: str | None = None) -> Path:
    """The directory: beside the scenario's file, or `package:folder` inside an installed package.

    Args:
        reference: what the scenario says.
        beside: where relative paths start.
        through: a migration that must be in it.

    Raises:
        ScenarioError: there is no such directory, package, or migration.
    """
    package, colon, folder = reference.partition(":")
    if colon:
        try:
            found = importlib.util.find_spec(package)
        except (ImportError, ValueError):
            found = None
        if found is None or not found.submodule_search_locations:
            raise ScenarioError(f"{reference!r}: no package {package!r} here")
        directory = Path(found.submodule_search_locations[0]) / folder
    else:
        directory = beside / reference
    if not directory.is_dir():
        raise ScenarioError(f"{reference!r}: there is no directory {directory}")
    if through is not None and not any(
        (directory / f"{through}{end}").is_file() for end in _MIGRATIONS
    ):
        raise ScenarioError(f"{reference!r}: there is no migration {through!r} in {directory}")
    return directory
