"""Relative paths of a scenario that another file extends start from the file that has them."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def moved(document: Mapping[str, Any], base: Path, above: Path) -> dict[str, Any]:
    """The document of one file as it would stand in another file.

    What has not the type that it should have stays as it is; it is refused later, where it stands.

    Args:
        document: what the file says.
        base: its folder.
        above: the folder of the file that extends it.
    """
    prefix = Path(os.path.relpath(base.resolve(), above.resolve()))
    if prefix == Path():
        return dict(document)
    application = {"cwd": ".", **_table(document.get("application"))}
    return {
        **document,
        "application": _programs(application, prefix),
        **_each(document, "versions", lambda version: _programs(version, prefix)),
        **_database(document, prefix),
        **_release(document, prefix),
        **_traffic(document, prefix),
    }


def _table(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _each(
    document: Mapping[str, Any], key: str, move: Callable[[Mapping[str, Any]], dict[str, Any]]
) -> dict[str, Any]:
    tables = document.get(key)
    if not isinstance(tables, Mapping):
        return {}
    return {
        key: {
            name: move(table) if isinstance(table, Mapping) else table
            for name, table in tables.items()
        }
    }


def _programs(table: Mapping[str, Any], prefix: Path) -> dict[str, Any]:
    result = dict(table)
    if isinstance(result.get("cwd"), str):
        result["cwd"] = str(prefix / result["cwd"])
    python = result.get("python")
    if isinstance(python, str) and "/" in python:
        result["python"] = str(prefix / python)
    return result


def _migrate(table: Mapping[str, Any], prefix: Path) -> dict[str, Any]:
    result = dict(table)
    for key in ("migrate", "migrate_down"):
        if isinstance(result.get(key), str) and ":" not in result[key]:
            result[key] = str(prefix / result[key])
    return result


def _database(document: Mapping[str, Any], prefix: Path) -> dict[str, Any]:
    database = document.get("database")
    return {"database": _migrate(database, prefix)} if isinstance(database, Mapping) else {}


def _release(document: Mapping[str, Any], prefix: Path) -> dict[str, Any]:
    release = _table(document.get("release"))
    if isinstance(release.get("steps"), list):
        release["steps"] = [
            _migrate(step, prefix) if isinstance(step, Mapping) else step
            for step in release["steps"]
        ]
    return {"release": release} if release else {}


def _traffic(document: Mapping[str, Any], prefix: Path) -> dict[str, Any]:
    traffic = _table(document.get("traffic"))
    if isinstance(traffic.get("journeys"), list):
        traffic["journeys"] = [
            {**journey, "python": str(prefix / journey["python"])}
            if isinstance(journey, Mapping) and isinstance(journey.get("python"), str)
            else journey
            for journey in traffic["journeys"]
        ]
    if isinstance(traffic.get("arrivals_path"), str):
        traffic["arrivals_path"] = str(prefix / traffic["arrivals_path"])
    return {"traffic": traffic} if traffic else {}
