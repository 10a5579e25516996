"""What is tried before there is much traffic: queries, each journey once, and the baseline.

A mistake is then found in seconds, and is told with the response and the log lines that show it.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg

from orchestrator.database import connected
from orchestrator.errors import EnvironmentFailure
from scenarios.errors import ScenarioError
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.run_folder import RunFolder
from scenarios.evidence.tick import Tick
from scenarios.scenario.reader import Loaded
from scenarios.scenario.spec import IntegritySpec
from scenarios.traffic.journeys.first_try import FailedTry

_NOT_THERE = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError)
_LOG_LINES = 3
_LOG_BYTES = 16 * 1024
_SERVER_ERROR = 500
_ENOUGH = 10


async def check_queries(loaded: Loaded, url: str, *, started: bool) -> None:
    """Let Postgres prepare the queries of `[integrity]`, without running them.

    Args:
        loaded: the scenario.
        url: its database.
        started: whether the application has started. Before, a table that is missing may still
            come: some applications make their own schema.

    Raises:
        ScenarioError: Postgres refuses a query, or its result has not the columns that it needs.
        EnvironmentFailure: the database does not answer.
    """
    integrity = loaded.scenario.integrity
    if integrity is None:
        return
    async with connected(url) as connection:
        for key, query, refuse in _queries(integrity):
            try:
                statement = await connection.prepare(query)
            except _NOT_THERE as error:
                # A query about work that is left may name a table that a migration makes.
                if started and key == "subjects":
                    raise ScenarioError(_refused(loaded, key, error)) from error
                continue
            except asyncpg.PostgresError as error:
                raise ScenarioError(_refused(loaded, key, error)) from error
            if (why := refuse(statement)) is not None:
                raise ScenarioError(f"{loaded.at('integrity', key)}{why}")
            if key == "subjects" and "value" not in _columns(statement):
                _refuse_values(loaded)


def _queries(
    integrity: IntegritySpec,
) -> list[tuple[str, str, Callable[[Any], str | None]]]:
    asked = (
        ("subjects", integrity.subjects, _no_subject),
        ("settled_when", integrity.settled_when, _no_answer),
    )
    return [(key, query, refuse) for key, query, refuse in asked if isinstance(query, str)]


def _refuse_values(loaded: Loaded) -> None:
    """Refuse steps that declare a value which nobody could compare.

    Raises:
        ScenarioError: there is one.
    """
    for number, journey in enumerate(loaded.scenario.traffic.journeys):
        for place, step in enumerate(journey.steps):
            if step.value is not None:
                at = loaded.at("traffic", "journeys", str(number), "steps", str(place), "value")
                raise ScenarioError(
                    f"{at}the query integrity.subjects has no column 'value' to compare it with"
                )


def _columns(statement: Any) -> list[str]:  # noqa: ANN401 - asyncpg ships no types
    return [column.name for column in statement.get_attributes()]


def _no_subject(statement: Any) -> str | None:  # noqa: ANN401 - asyncpg ships no types
    names = _columns(statement)
    if "subject" in names:
        return None
    return f"the query has no column 'subject'; its columns are: {', '.join(names)}"


def _no_answer(statement: Any) -> str | None:  # noqa: ANN401 - asyncpg ships no types
    kinds = [column.type.name for column in statement.get_attributes()]
    if kinds == ["bool"]:
        return None
    return f"the query must return one boolean; it returns: {', '.join(kinds)}"


def _refused(loaded: Loaded, key: str, error: Exception) -> str:
    return f"{loaded.at('integrity', key)}Postgres refuses the query: {error}"


def failure_of(loaded: Loaded, failed: FailedTry, folder: Path, replica: str) -> Exception:
    """The error for a journey that could not be made once.

    Args:
        loaded: the scenario.
        failed: the step that failed.
        folder: where the replicas' logs are.
        replica: whose log is quoted if the response does not say who answered.

    Returns:
        ScenarioError if the application answered something else than the file expects;
        EnvironmentFailure if it did not answer, or reported an error of its own (5xx).
    """
    version = loaded.scenario.release.serving
    at = loaded.at("traffic", *failed.keys)
    said = f"; the response: {failed.body}" if failed.body else ""
    log = _log(folder / f"{failed.replica or replica}.log")
    message = (
        f"{at}version {version} does not serve {failed.request} as the scenario expects, so "
        f"nothing was deployed: {failed.problem}{said}{log} (all logs: {folder})"
    )
    answered = failed.status is not None and failed.status < _SERVER_ERROR
    return ScenarioError(message) if answered else EnvironmentFailure(message)


class BaselineWatch:
    """Sees from the generator's ticks when a baseline fails from its start.

    Args:
        allow_some: whether it may fail in part, as that of a control run may.

    Attributes:
        hopeless: set once more requests have failed than succeeded; with `allow_some`, once many
            have failed and none has succeeded.
    """

    def __init__(self, *, allow_some: bool) -> None:
        self.hopeless = asyncio.Event()
        self._allow_some = allow_some
        self._ok = self._failed = 0

    def hear(self, tick: Tick) -> None:
        """Take in a tick."""
        self._ok += tick.ok
        self._failed += tick.failed
        most = 0 if self._allow_some else self._failed - 1
        if self._failed >= _ENOUGH and self._ok <= most:
            self.hopeless.set()


def hopeless(loaded: Loaded, folder: Path) -> EnvironmentFailure:
    """The error for a baseline that failed from its start, by the first request that failed."""
    first = next((one for one in RunFolder(folder).requests.read() if not one.ok), None)
    version = loaded.scenario.release.serving
    what = "" if first is None else f"; the first: {_told(first)}"
    replica = f"{version}-1" if first is None or first.served_by is None else first.served_by
    return EnvironmentFailure(
        f"requests failed from the start, before anything was deployed{what}"
        f"{_log(folder / f'{replica}.log')} (all logs: {folder})"
    )


def _told(outcome: Outcome) -> str:
    how = f"status {outcome.status}" if outcome.error is None else outcome.error
    detail = outcome.problem or outcome.error_detail
    return f"{outcome.request_id}, {outcome.endpoint}: {how}{f' ({detail})' if detail else ''}"


def _log(path: Path) -> str:
    """The last lines of a replica's log, for a message."""
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - _LOG_BYTES, 0))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    last = " | ".join(line.strip() for line in lines[-_LOG_LINES:] if line.strip())
    return f"; the last lines of its log: {last}" if last else ""
