"""What the harness reads of the application's database: its subjects, and whether work is left."""

import asyncio
import time
from pathlib import Path

import asyncpg
import msgspec

from orchestrator.database import connected
from scenarios.evidence.subject import Subject

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
