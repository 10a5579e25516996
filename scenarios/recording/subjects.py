"""What the harness reads of the application's database: its subjects, and whether work is left."""

import asyncio
import time
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from orchestrator.database import connected
from scenarios.evidence.request_id import is_try
from scenarios.evidence.subject import Subject, as_text
from scenarios.recording.ndjson_command import NdjsonCommand

_POLL_SECONDS = 0.05
_PAUSE_SECONDS = 0.3  # a command costs more than a query
_NOT_THERE = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError)


EXAMPLE = '{"subject": "x@example.com", "state": "active"}'


async def record_subjects(url: str, query: str | NdjsonCommand, path: Path) -> None:
    """Write the query's rows as a subjects file; a command prints them instead.

    Rows of those who only tried a journey before the run are no part of the run, and left out.

    Raises:
        EnvironmentFailure: the database refuses the query or does not answer, or the command
            failed or printed something else.
    """
    if isinstance(query, NdjsonCommand):
        rows = await query.lines(Subject, EXAMPLE)
        kept = (row for row in rows if not is_try(row.subject))
        path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in kept))
        return
    async with connected(url) as connection:
        with path.open("wb") as file:
            async with connection.transaction(readonly=True):
                async for row in connection.cursor(query, prefetch=2000):
                    subject = subject_of(row)
                    if not is_try(subject.subject):
                        file.write(msgspec.json.encode(subject) + b"\n")


def subject_of(row: Any) -> Subject:  # noqa: ANN401 - asyncpg ships no types
    """A row of the query as evidence."""
    state, value = row.get("state"), row.get("value", msgspec.UNSET)
    if value is not None and value is not msgspec.UNSET:
        value = as_text(value)
    return Subject(
        subject=str(row["subject"]), state=None if state is None else str(state), value=value
    )


async def read_subjects(url: str, query: str) -> list[Subject] | None:
    """The query's rows; None while a table or a column of it does not exist.

    Raises:
        EnvironmentFailure: the database refuses the query or does not answer.
    """
    async with connected(url) as connection:
        try:
            return [subject_of(row) for row in await connection.fetch(query)]
        except _NOT_THERE:
            return None


async def wait_settled(url: str, query: str | NdjsonCommand, timeout_seconds: float) -> bool:
    """Wait until the application has no work left; whether it came to that.

    A query says so, or a command that then exits with status 0.

    While the query's table or column does not exist, nothing can be left.

    Raises:
        EnvironmentFailure: the database refuses the query or does not answer.
    """
    deadline = time.monotonic() + timeout_seconds
    if isinstance(query, NdjsonCommand):
        while True:
            if await query.succeeds():
                return True
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(_PAUSE_SECONDS)
    async with connected(url) as connection:
        while True:
            try:
                if await connection.fetchval(query):
                    return True
            except _NOT_THERE:
                return True
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(_POLL_SECONDS)
