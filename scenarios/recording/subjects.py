"""What the harness reads of the application's database: its subjects, and whether work is left."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from orchestrator.database import redacted
from orchestrator.errors import EnvironmentFailure
from scenarios.evidence.subject import Subject

_ANSWER_SECONDS = 10.0
_POLL_SECONDS = 0.05
_NOT_THERE = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError)


async def record_subjects(url: str, query: str, path: Path) -> None:
    """Write the query's rows as a subjects file.

    Raises:
        EnvironmentFailure: the database refuses the query or does not answer.
    """
    async with connected(url) as connection:
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


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:  # asyncpg ships no types
    """A connection of the harness to the application's database.

    Raises:
        EnvironmentFailure: the database does not answer, or refuses what is asked.
    """
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
