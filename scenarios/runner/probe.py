"""Probes a version of a scenario: with its database, its schema and its environment."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from orchestrator.journal import Journal
from orchestrator.migrations import YoyoMigrator
from orchestrator.model import Deploy, Migrate, RunCommand
from scenarios.probe.discovery import Asked
from scenarios.probe.probing import probe
from scenarios.probe.profile import Profile
from scenarios.probe.server import Target
from scenarios.runner import release as application
from scenarios.runner.environment import environment
from scenarios.scenario.reader import Loaded

# Nobody reads mail or follows links here, so these lead nowhere (RFC 863).
_NOWHERE = {"smtp_url": "smtp://127.0.0.1:9", "base_url": "http://127.0.0.1:9"}


def asked_of(loaded: Loaded, asked: Asked) -> Asked:
    """What can be asked, with what the scenario itself says."""
    path = loaded.scenario.application.health_path
    return msgspec.structs.replace(asked, health=asked.health or path, get=asked.get or path)


async def probe_version(
    loaded: Loaded,
    name: str,
    asked: Asked,
    *,
    watch_seconds: float,
    database: str | None = None,
    tell: Callable[[str], None] = lambda _line: None,
) -> Profile:
    """Probe it on the schema that it is deployed to.

    Args:
        loaded: the scenario.
        name: the version.
        asked: the paths that it can be asked.
        watch_seconds: how long each experiment is watched at most.
        database: the URL of a Postgres server to use instead of an embedded one.
        tell: hears a line for each experiment that has been made.

    Raises:
        DidNotStart: it did not become a server that answers.
        EnvironmentFailure: its database cannot be made.
        MigrationFailed: a migration that it stands on failed.
    """
    version = application.version(loaded, name)
    values = {**_NOWHERE, "version": name}
    if version.python is not None:
        values["python"] = version.python
    async with AsyncExitStack() as stack:
        if loaded.scenario.database is not None:
            place = await stack.enter_async_context(environment(database))
            url = await stack.enter_async_context(place.database(loaded, loaded.scenario.database))
            values |= application.database_values(url)
            migrator = YoyoMigrator(place.processes, url, log=place.private / "probe.log")
            await _migrate(loaded, name, values, migrator)
        target = Target(
            command=version.command,
            env=version.env,
            cwd=Path(version.cwd) if version.cwd is not None else None,
            values=values,
            stop_signal=version.stop_signal.name,
            signal_group=version.signal_group,
            ready_path=version.readiness_path or asked.health or "/",
        )
        return await probe(target, asked, watch_seconds=watch_seconds, tell=tell)


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
