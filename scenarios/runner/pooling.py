"""The pooler that a scenario puts between its application and the database."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from orchestrator.pooler import PgBouncer, PoolerRefusedError, PoolerSettings
from orchestrator.processes import Processes
from scenarios.errors import ScenarioError
from scenarios.evidence.pooler import pooler_messages
from scenarios.evidence.run_folder import RunFolder
from scenarios.scenario.reader import Loaded


@asynccontextmanager
async def pooled(
    loaded: Loaded, processes: Processes, server_url: str, log: Path
) -> AsyncIterator[PgBouncer | None]:
    """The scenario's pooler, running; None if it has none.

    Args:
        loaded: the scenario.
        processes: owns its process.
        server_url: a database of the server.
        log: the file for its log.

    Raises:
        ScenarioError: PgBouncer refuses the scenario's settings.
        EnvironmentFailure: it does not start.
    """
    database = loaded.scenario.database
    if database is None or database.pooler is None:
        yield None
        return
    settings = PoolerSettings(
        binary=database.pooler_binary,
        pool_mode=database.pool_mode,
        settings=database.pooler_settings,
    )
    pooler = PgBouncer(processes, server_url, settings=settings, log=log)
    try:
        await pooler.__aenter__()
    except PoolerRefusedError as error:
        if not database.pooler_settings:
            raise
        raise ScenarioError(f"{loaded.at('database', 'pooler_settings')}{error}") from error
    try:
        yield pooler
    finally:
        await pooler.__aexit__(None, None, None)


def record_messages(files: RunFolder) -> None:
    """Write down what the pooler complained of, if there was one."""
    if not files.pooler_log.is_file():
        return
    offset = time.monotonic_ns() - time.time_ns()
    with (
        files.pooler_log.open(encoding="utf-8", errors="replace") as lines,
        files.pooler_messages.recorder() as recorder,
    ):
        for message in pooler_messages(lines, offset):
            recorder.write(message)
