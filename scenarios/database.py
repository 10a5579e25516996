"""What the harness asks of the application's database: rows before the run, subjects around it."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from orchestrator.errors import EnvironmentFailure
from orchestrator.postgres import redacted
from scenarios.evidence.subject import Subject
from scenarios.spec import Rows

_ANSWER_SECONDS = 10.0
_POLL_SECONDS = 0.05
_LINES_AT_ONCE = 1000
_NOT_THERE = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError)


async def fill(url: str, rows: Rows) -> None:
    """Make the rows with COPY; Postgres itself turns their text into the columns' types.

    Raises:
        EnvironmentFailure: the database refuses them or does not answer.
    """
    async with _connected(url) as connection:
        await connection.copy_to_table(
            rows.table,
            columns=list(rows.columns),
            source=_chunks(rows),
            format="csv",
        )


async def _chunks(rows: Rows) -> AsyncIterator[bytes]:
    lines = _lines(rows)
    while chunk := "".join(islice(lines, _LINES_AT_ONCE)):
        yield chunk.encode()


def _lines(rows: Rows) -> Iterator[str]:
    now = datetime.now(UTC).isoformat()
    for number in range(1, rows.count + 1):
        values = [
            template.replace("{n}", str(number))
            .replace("{uuid}", str(uuid.uuid4()))
            .replace("{now}", now)
            .replace('"', '""')
            for template in rows.columns.values()
        ]
        yield ",".join(f'"{value}"' for value in values) + "\n"


async def record_subjects(url: str, query: str, path: Path) -> None:
    """Write the query's rows as a subjects file.

    Raises:
        EnvironmentFailure: the database refuses the query or does not answer.
    """
    async with _connected(url) as connection:
        with path.open("wb") as file:
            async with connection.transaction(readonly=True):
                async for row in connection.cursor(query, prefetch=2000):
                    state = row.get("state")
                    subject = Subject(
                        subject=str(row["subject"]), state=None if state is None else str(state)
                    )
                    file.write(msgspec.json.encode(subject) + b"\n")


async def wait_settled(url: str, query: str, timeout_seconds: float) -> bool:
    """Wait until the query says that the application has no work left; whether it came to that.

    While the query's table or column does not exist, nothing can be left.

    Raises:
        EnvironmentFailure: the database refuses the query or does not answer.
    """
    deadline = time.monotonic() + timeout_seconds
    async with _connected(url) as connection:
        while True:
            try:
                if await connection.fetchval(query):
                    return True
            except _NOT_THERE:
                return True
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(_POLL_SECONDS)


@contextlib.asynccontextmanager
async def _connected(url: str) -> AsyncIterator[Any]:  # asyncpg ships no types
    try:
        connection = await asyncpg.connect(
            url, timeout=_ANSWER_SECONDS, server_settings={"application_name": "hitless-harness"}
        )
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        reason = str(error) or type(error).__name__
        raise EnvironmentFailure(
            f"the database {redacted(url)} does not answer: {reason}"
        ) from error
    try:
        yield connection
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise EnvironmentFailure(f"the database {redacted(url)} refused: {error}") from error
    finally:
        await connection.close()
