"""The programs that a scenario starts: they are looked for before anything is started."""

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from orchestrator.errors import EnvironmentFailure
from orchestrator.model import Version
from orchestrator.placeholders import PlaceholderError, fill
from orchestrator.pooler import find_pgbouncer
from scenarios.errors import ScenarioError
from scenarios.recording.cache_watch import redis_package
from scenarios.runner import release as application
from scenarios.runner.services import service_version
from scenarios.scenario.reader import Loaded

_SCRIPTS = (".py", ".js", ".mjs", ".cjs", ".ts", ".rb", ".php", ".pl", ".sh", ".jar")


class _Command(NamedTuple):
    """A command of the scenario, and where it is set."""

    words: Sequence[str]
    runner: Version
    keys: tuple[str, ...]


def check_programs(loaded: Loaded) -> None:
    """See that every command of a scenario can be started where it is to run.

    Looked for are the working directory, the program, and a script that an interpreter is given.
    A word with a placeholder other than `{python}` is not known yet, and not looked for.

    Raises:
        ScenarioError: one of them is not there; the message names the file, the line and the key.
        UsageError: the client of a Redis whose keys are looked at is not there.
        EnvironmentFailure: the pooler is not installed.
    """
    if loaded.scenario.cache is not None:
        redis_package()
    _check_pooler(loaded)
    for command in _commands(loaded):
        at, folder = loaded.at(*command.keys), command.runner.cwd or Path()
        if not command.words:
            raise ScenarioError(
                f"{loaded.path}: version {command.runner.name!r} has no 'command', which starts it "
                "as a process of this machine"
            )
        if not folder.is_dir():
            raise ScenarioError(f"{_at_cwd(loaded, command)}there is no folder {folder}")
        program = _filled(command.words[0], command.runner)
        if program is not None and not _is_there(program, folder, command.runner):
            raise ScenarioError(f"{at}there is no program {program}{_near(program, folder)}")
        script = command.words[1] if len(command.words) > 1 else ""
        if (
            script.endswith(_SCRIPTS)
            and not script.startswith("-")
            and "{" not in script
            and not (folder / script).is_file()
        ):
            raise ScenarioError(f"{at}there is no file {folder / script}")


def _check_pooler(loaded: Loaded) -> None:
    database = loaded.scenario.database
    if database is None or database.pooler is None:
        return
    try:
        find_pgbouncer(database.pooler_binary)
    except EnvironmentFailure as failure:
        if database.pooler_binary is None:
            raise
        raise ScenarioError(f"{loaded.at('database', 'pooler_binary')}{failure}") from failure


def _commands(loaded: Loaded) -> Iterator[_Command]:
    scenario = loaded.scenario
    for name, spec in scenario.versions.items():
        runner = application.version(loaded, name)
        keys = ("versions", name, "command") if spec.command else ("application", "command")
        yield _Command(runner.command, runner, keys)
    yield from _beside(loaded)
    database = scenario.database
    if database is not None and isinstance(database.migrate, tuple):
        using = database.using or scenario.release.serving
        yield _Command(
            database.migrate, application.version(loaded, using), ("database", "migrate")
        )
    for number, step in enumerate(scenario.release.steps):
        for key, words in (("migrate", step.migrate), ("migrate_down", step.migrate_down)):
            if isinstance(words, tuple):
                using = step.using or application.next_deployed(scenario, number)
                runner = application.version(loaded, using)
                yield _Command(words, runner, ("release", "steps", str(number), key))


def _beside(loaded: Loaded) -> Iterator[_Command]:
    """The commands of what runs beside the web, and of services."""
    scenario = loaded.scenario
    for number, spec in enumerate(scenario.application.processes):
        keys = ("application", "processes", str(number), "command")
        for name, version in scenario.versions.items():
            web, own = application.version(loaded, name), version.commands.get(spec.name)
            runner = msgspec.structs.replace(web, env={**web.env, **spec.env})
            own_keys = ("versions", name, "commands", spec.name)
            yield _Command(own or spec.command, runner, keys if own is None else own_keys)
    for number, service in enumerate(scenario.services):
        of_service = ("services", str(number))
        for name, one in service.versions.items():
            runner = service_version(loaded, service, name)
            its_own = (*of_service, "versions", name, "command")
            yield _Command(
                runner.command, runner, its_own if one.command else (*of_service, "command")
            )


def _at_cwd(loaded: Loaded, command: _Command) -> str:
    if command.keys[0] == "services":
        return loaded.at(*command.keys[:2])
    own = ("versions", command.runner.name, "cwd")
    return loaded.at(*own) if loaded.sets(*own) else loaded.at("application", "cwd")


def _filled(word: str, runner: Version) -> str | None:
    """The word with its placeholder filled; None if it has one that is not known yet."""
    try:
        return fill(word, {"python": runner.python or sys.executable})
    except PlaceholderError:
        return None


def _is_there(program: str, folder: Path, runner: Version) -> bool:
    if "/" in program:
        path = folder / program
        return path.is_file() and os.access(path, os.X_OK)
    return shutil.which(program, path=runner.env.get("PATH")) is not None


def _near(program: str, folder: Path) -> str:
    """Why a program may not be found: a file that cannot be executed, or that needs a path."""
    path = folder / program
    if not path.is_file():
        return f" in {folder}" if "/" in program else " on PATH"
    if "/" in program:
        return f": {path} is not executable (chmod +x)"
    return f" on PATH; for the file {path} write ./{program}"
