"""Make the orchestrator's versions and release from a scenario."""

import re
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from orchestrator.command_migrations import ignored_settings
from orchestrator.model import (
    Deploy,
    DeployServices,
    Migrate,
    MigrateDown,
    Release,
    RunCommand,
    Step,
    Undo,
    Version,
)
from orchestrator.placeholders import PlaceholderError, fill
from scenarios.errors import ScenarioError
from scenarios.scenario.paths import migrations_directory
from scenarios.scenario.placeholders import without_processes
from scenarios.scenario.reader import Loaded
from scenarios.scenario.spec import Scenario

ANY_PORT = "0"
MIGRATOR = "migrator"

_INTERPRETER = re.compile(r"(?:.*/)?python[\d.]*")


def version(loaded: Loaded, name: str) -> Version:
    """One version of the scenario's application; its placeholders are not filled yet."""
    application, spec = loaded.scenario.application, loaded.scenario.versions[name]
    return Version(
        name=name,
        command=spec.command or application.command or (),
        env={**application.env, **spec.env},
        cwd=Path(spec.cwd or application.cwd or loaded.path.parent),
        stop_signal=signal.Signals[application.stop_signal],
        signal_group=application.signal_group,
        termination_grace_seconds=application.termination_grace_seconds,
        python=spec.python or application.python,
        warm_up=application.warm_up,
        readiness_path=application.readiness_path,
        liveness_path=application.liveness_path,
    )


def release(loaded: Loaded, values: Mapping[str, str]) -> Release:
    """The scenario's release.

    Args:
        loaded: the scenario.
        values: what fills the placeholders of the commands that migrate.

    Raises:
        ScenarioError: a directory does not exist, or a placeholder is unknown.
    """
    scenario = loaded.scenario
    steps: list[Step] = []
    for number, step in enumerate(scenario.release.steps):
        if isinstance(step.migrate, str):
            steps.append(
                Migrate(directory=migrations_directory(step.migrate), through=step.through)
            )
        elif step.migrate is not None:
            using = step.using or next_deployed(scenario, number)
            steps.append(command(loaded, step.migrate, using, values))
        elif isinstance(step.migrate_down, str):
            directory = migrations_directory(step.migrate_down)
            steps.append(MigrateDown(what=Migrate(directory=directory, through=step.through)))
        elif step.migrate_down is not None:
            using = step.using or _last_deployed(scenario, number)
            back = command(loaded, step.migrate_down, using, values)
            steps.append(MigrateDown(what=msgspec.structs.replace(back, down=True)))
        elif step.undo:
            steps.append(Undo())
        elif step.deploy is not None:
            steps.append(Deploy(version=version(loaded, step.deploy), services=step.services))
        elif step.services:
            steps.append(DeployServices(services=step.services))
    return Release(
        name=scenario.name, start=version(loaded, scenario.release.serving), steps=tuple(steps)
    )


def command(
    loaded: Loaded, words: Sequence[str], using: str, values: Mapping[str, str]
) -> RunCommand:
    """A command that migrates; it runs with the directory and environment of a version.

    Raises:
        ScenarioError: a placeholder is unknown.
    """
    runner = version(loaded, using)
    known = {
        # Before the run, a schema is made where no shared process runs yet.
        **without_processes(loaded.scenario.application.processes, loaded.scenario.services),
        "host": "127.0.0.1",
        "port": ANY_PORT,
        "version": using,
        "replica_id": MIGRATOR,
        "python": runner.python or sys.executable,
        **values,
    }
    try:
        return RunCommand(
            name=command_name(words),
            command=tuple(fill(word, known) for word in words),
            env={name: fill(value, known) for name, value in runner.env.items()},
            cwd=runner.cwd,
        )
    except PlaceholderError as error:
        raise ScenarioError(f"{loaded.path}: {command_name(words)}: {error}") from error


def commands_without_lock_timeout(loaded: Loaded) -> list[str]:
    """The commands that are known to ignore the lock timeout, each as a warning.

    Empty if the scenario sets no lock timeout, or if no command's driver is known to ignore it.
    """
    scenario = loaded.scenario
    database = scenario.database
    if database is None or database.lock_timeout_seconds is None:
        return []
    steps = scenario.release.steps
    commands = [
        (step.migrate or step.migrate_down, step.using or next_deployed(scenario, number))
        for number, step in enumerate(steps)
    ]
    found = []
    for words, using in commands:
        if isinstance(words, tuple):
            runner = version(loaded, using)
            reason = ignored_settings(words, runner.env, runner.cwd)
            if reason is not None:
                found.append(
                    f"{command_name(words)} ignores lock_timeout_seconds: {reason}. Set "
                    "lock_timeout in the migration itself"
                )
    return list(dict.fromkeys(found))


def command_name(words: Sequence[str]) -> str:
    """The short name of a command: without the interpreter that runs it."""
    short = list(words)
    if len(short) > 1 and (short[0] == "{python}" or _INTERPRETER.fullmatch(short[0])):
        short = short[2:] if short[1] == "-m" and len(short) > 2 else short[1:]  # noqa: PLR2004 - `python -m x`
    return " ".join(short)


def next_deployed(scenario: Scenario, number: int) -> str:
    """The version that a step's command belongs to: the next one, else the last one deployed."""
    after = [step.deploy for step in scenario.release.steps[number:] if step.deploy]
    before = [step.deploy for step in scenario.release.steps[:number] if step.deploy]
    return (after or before[-1:] or [scenario.release.serving])[0]


def _last_deployed(scenario: Scenario, number: int) -> str:
    """The newest version before a step: the one that knows the migrations to take back."""
    before = [step.deploy for step in scenario.release.steps[:number] if step.deploy]
    return (before[-1:] or [scenario.release.serving])[0]
