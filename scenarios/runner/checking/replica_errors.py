"""What Postgres refused the replicas of a trial, and which of their requests failed with it."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC
from pathlib import Path

from orchestrator.postgres import EmbeddedServer
from scenarios.check.observed import EndpointResult, RefusedStatement
from scenarios.evidence.locks import DatabaseSession
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.server_log import ServerLine, parse_file
from scenarios.runner.checking.replica_client import PlayedRequest
from scenarios.verdict.causes.server_errors import ServerErrors, words

_SERVER_ERRORS = range(500, 600)  # RFC 9110, section 15.6
_MARGIN_NS = 2_000_000  # the server's stamps are whole milliseconds


class ReplicaErrors:
    """Reads the log of the embedded server; without one, it knows nothing.

    Args:
        server: the server; None for a server of somebody else's, or without a database.
        database: the name of the trial's database.
        replicas: the ids of the trial's replicas.
    """

    def __init__(
        self, server: EmbeddedServer | None, database: str, replicas: Iterable[str]
    ) -> None:
        self._server = server
        self._database = database
        self._replicas = frozenset(replicas)
        self._start = 0 if server is None else server.log.stat().st_size

    async def read(self) -> ServerErrors:
        """What was refused since this object was made.

        Raises:
            EnvironmentFailure: the server does not answer.
        """
        lines: list[ServerLine] = []
        if self._server is not None:
            await self._server.flush_log()
            offset = time.monotonic_ns() - time.time_ns()
            data = _from(self._server.log, self._start)
            lines = list(parse_file(".json", data, offset, UTC))
        return ServerErrors(lines, self._database or None, self._replica_of)

    def _replica_of(self, line: DatabaseSession | ServerLine) -> str | None:
        named = words(line.application or "")
        return next((one for one in named if one in self._replicas), None)


def endpoint_results(
    played: Sequence[PlayedRequest], errors: ServerErrors, replica: str
) -> tuple[EndpointResult, ...]:
    """What each endpoint answered; the first failure of each is described.

    Args:
        played: the requests.
        errors: what the database refused.
        replica: the replica that answered.
    """
    by_endpoint: dict[str, list[PlayedRequest]] = {}
    for one in played:
        by_endpoint.setdefault(one.outcome.endpoint, []).append(one)
    return tuple(
        _endpoint(endpoint, requests, errors, replica) for endpoint, requests in by_endpoint.items()
    )


def refused_elsewhere(
    played: Sequence[PlayedRequest],
    errors: ServerErrors,
    replica: str,
    start_ns: int,
    end_ns: int,
) -> tuple[RefusedStatement, ...]:
    """What the database refused the replica in that time, and no failed request shows."""
    failed = [one.outcome for one in played if not one.outcome.ok]
    counts: Counter[tuple[str, str, str | None]] = Counter()
    for line in errors.errors_of(replica, start_ns, end_ns):
        if not any(_within(line, outcome) for outcome in failed):
            counts[line.sqlstate, line.message, line.statement] += 1
    return tuple(
        RefusedStatement(sqlstate=sqlstate, message=message, statement=statement, count=count)
        for (sqlstate, message, statement), count in counts.items()
    )


def _endpoint(
    endpoint: str, requests: Sequence[PlayedRequest], errors: ServerErrors, replica: str
) -> EndpointResult:
    failed = [one for one in requests if not one.outcome.ok]
    if not failed:
        return EndpointResult(endpoint=endpoint, requests=len(requests))
    first = failed[0].outcome
    line = None
    if first.status is None or first.status in _SERVER_ERRORS:
        line = errors.only_error(replica, first.sent_ns or first.planned_ns, first.done_ns)
    detail = first.error_detail or first.problem
    return EndpointResult(
        endpoint=endpoint,
        requests=len(requests),
        failed=len(failed),
        expected=first.expected,
        status=first.status,
        error=first.error,
        mismatch=first.mismatch,
        sqlstate=first.sqlstate or (line.sqlstate if line else None),
        message=line.message if line else detail,
        statement=line.statement if line else None,
        subject=failed[0].where,
        invariant=failed[0].invariant,
    )


def _within(line: ServerLine, outcome: Outcome) -> bool:
    start = (outcome.sent_ns or outcome.planned_ns) - _MARGIN_NS
    return start <= line.at_ns <= outcome.done_ns + _MARGIN_NS


def _from(path: Path, start: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read()
