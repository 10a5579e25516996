"""Probes a version of a scenario: with its database, its schema and its environment."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import msgspec

from orchestrator.journal import Journal
from orchestrator.migrations import YoyoMigrator
from orchestrator.model import Deploy, Migrate, RunCommand
from scenarios.evidence.run_folder import RunFolder
from scenarios.probe.discovery import Asked
from scenarios.probe.probing import WATCH_SECONDS, probe
from scenarios.probe.profile import Profile
from scenarios.probe.server import Target
from scenarios.runner import release as application
from scenarios.runner.environment import Environment
from scenarios.scenario.placeholders import database_values, run_values, without_processes
from scenarios.scenario.reader import Loaded

_NOWHERE = "127.0.0.1:9"
"""Where mail and links lead, since nobody reads or follows them here (RFC 863)."""


async def probe_version(
    loaded: Loaded,
    name: str,
    place: Environment,
    asked: Asked | None = None,
    *,
    watch_seconds: float = WATCH_SECONDS,
    tell: Callable[[str], None] = lambda _line: None,
) -> Profile:
    """Probe it on the schema that it is deployed to, in a database of its own.

    Args:
        loaded: the scenario.
        name: the version.
        place: where its database is made.
        asked: the paths that it can be asked, besides those that the scenario names.
        watch_seconds: how long each experiment is watched at most.
        tell: hears a line for each experiment that has been made.

    Raises:
        DidNotStart: it did not become a server that answers.
        EnvironmentFailure: its database cannot be made.
        MigrationFailed: a migration that it stands on failed.
    """
    version, scenario = application.version(loaded, name), loaded.scenario
    path = scenario.application.health_path
    asked = asked or Asked()
    asked = msgspec.structs.replace(asked, health=asked.health or path, get=asked.get or path)
    values = {
        "version": name,
        **without_processes(scenario.application.processes, scenario.services),
        **run_values(database_url="", smtp=_NOWHERE, address=_NOWHERE),
    }
    if version.python is not None:
        values["python"] = version.python
    async with AsyncExitStack() as stack:
        if scenario.database is not None:
            log = place.private / "probe.log"
            url = await stack.enter_async_context(place.database(loaded, scenario.database, log))
            values |= database_values(url)
            migrator = YoyoMigrator(place.processes, url, log=log)
            await _migrate(loaded, name, values, migrator)
        target = Target(
            command=version.command,
            env=version.env,
            cwd=Path(version.cwd) if version.cwd is not None else None,
            values=values,
            stop_signal=version.stop_signal.name,
            signal_group=version.signal_group,
            ready_path=version.readiness_path or path,
        )
        return await probe(target, asked, watch_seconds=watch_seconds, tell=tell)


async def probe_marked(
    loaded: Loaded,
    place: Environment,
    folder: RunFolder,
    tell: Callable[[str, str], None] = lambda _version, _line: None,
) -> dict[str, Profile]:
    """Probe the versions that ask for it (`probe = true`); what is found goes to the folder.

    Args:
        loaded: the scenario.
        place: where the databases are made.
        folder: the run's.
        tell: hears the version and a line for each experiment that has been made.

    Returns:
        What was found, by version.

    Raises:
        DidNotStart: one of them did not become a server that answers.
        EnvironmentFailure: its database cannot be made.
        MigrationFailed: a migration that it stands on failed.
    """
    profiles: dict[str, Profile] = {}
    for name, spec in loaded.scenario.versions.items():
        if spec.probe:
            profile = profiles[name] = await probe_version(
                loaded, name, place, tell=partial(tell, name)
            )
            text = msgspec.json.format(msgspec.json.encode(profile), indent=2)
            folder.profile(name).write_bytes(text + b"\n")
    return profiles


async def _migrate(
    loaded: Loaded, name: str, values: dict[str, str], migrator: YoyoMigrator
) -> None:
    """Apply what the release applies before it deploys this version."""
    if name == loaded.scenario.release.serving:
        return
    with Journal() as journal:
        for step in application.release(loaded, values).steps:
            match step:
                case Migrate():
                    await migrator.apply(step.directory, step.through, journal)
                case RunCommand():
                    await migrator.run(step, journal)
                case Deploy() if step.version.name == name:
                    return
                case _:
                    pass
