"""The paths that a scenario names: they start from the folder of the file that names them.

A path is made absolute when its file is read, so that nothing that comes later needs to know where
the file was. Which settings are paths is said by their types (`PathText` and those beside it).
"""

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from scenarios.errors import ScenarioError
from scenarios.scenario.spec import Scenario
from scenarios.scenario.spec_types import step_into, struct_in

_MIGRATIONS = (".sql", ".py")


def with_absolute_paths(document: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The document of a scenario file with all of its paths absolute.

    A value that has not the type that it should have stays as it is; it is refused later.

    Args:
        document: what the file says.
        folder: the folder of the file.
    """
    return {
        key: _absolute(value, step_into(Scenario, key), folder) for key, value in document.items()
    }


def with_working_directory(document: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The document with a working directory of the application: its own, else the folder."""
    application = document.get("application", {})
    if not isinstance(application, Mapping):
        return dict(document)
    return {**document, "application": {"cwd": _joined(folder, "."), **application}}


def migrations_directory(reference: str, through: str | None = None) -> Path:
    """The directory of migrations that a scenario names.

    Args:
        reference: its path, or `package:folder` inside an installed package.
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
        directory = Path(reference)
    if not directory.is_dir():
        raise ScenarioError(f"{reference!r}: there is no directory {directory}")
    if through is not None and not any(
        (directory / f"{through}{end}").is_file() for end in _MIGRATIONS
    ):
        raise ScenarioError(f"{reference!r}: there is no migration {through!r} in {directory}")
    return directory


def migrations_in(directory: Path) -> list[str]:
    """The names of the migrations in a directory, in the order of their names."""
    rollback = ".rollback"
    found = {
        path.name.removesuffix(end)
        for end in _MIGRATIONS
        for path in directory.glob(f"*{end}")
        if not path.name.startswith(("_", "."))
    }
    return sorted(name for name in found if not name.endswith(rollback))


def _absolute(value: object, kind: object, folder: Path) -> object:
    struct = struct_in(kind)
    if isinstance(value, str):
        return _joined(folder, value) if _is_path(value, _role(kind)) else value
    if isinstance(value, Mapping):
        return {key: _absolute(part, step_into(kind, key), folder) for key, part in value.items()}
    if isinstance(value, list) and struct is not None:
        return [_absolute(part, struct, folder) for part in value]
    return value


def _is_path(text: str, role: str | None) -> bool:
    """Whether text of this role is a path from the file's folder, and not a name."""
    if role == "program":
        return "/" in text
    if role == "migrations":
        return ":" not in text
    return role == "file"


def _role(kind: object) -> str | None:
    """What a path-typed setting is for; None for any other type."""
    origin = get_origin(kind)
    if origin is Annotated:
        for meta in get_args(kind)[1:]:
            if isinstance(meta, msgspec.Meta) and "path" in (meta.extra or {}):
                role: str = (meta.extra or {})["path"]
                return role
    if origin in (Union, UnionType):
        return next(filter(None, map(_role, get_args(kind))), None)
    return None


def _joined(folder: Path, text: str) -> str:
    # An interpreter in a virtual environment is a symbolic link that must stay one.
    return os.path.abspath(folder / text)  # noqa: PTH100 - `resolve` would follow it
