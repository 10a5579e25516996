"""Connections to Postgres: one way to open them, to name them, and to report their errors."""

import contextlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from orchestrator.database_url import redacted
from orchestrator.errors import EnvironmentFailure

APPLICATION_NAME = "hitless-harness"
"""How Postgres lists our own sessions, unless the caller gives another name."""

DATABASE_ERRORS = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    # asyncpg raises this one ("cannot switch to state") when the server ends the session while
    # asyncpg changes its own state.
    asyncpg.InternalClientError,
)
"""What asyncpg raises when the server does not answer, refuses a statement, or goes away."""

_ANSWER_SECONDS = 10.0


@asynccontextmanager
async def connected(
    url: str,
    application_name: str = APPLICATION_NAME,
    *,
    timeout: float = _ANSWER_SECONDS,  # noqa: ASYNC109 - a setting of the session, as asyncpg has it
    command_timeout: float | None = None,
) -> AsyncIterator[Any]:  # asyncpg ships no types
    """Open an asyncpg connection for the block, and close it at the end.

    Args:
        url: `postgresql://user:password@host:port/database`.
        application_name: how `pg_stat_activity` and the server's log name the session.
        timeout: seconds within which the session must be open, and later closed.
        command_timeout: seconds that each statement may take; absent: no limit.

    Raises:
        EnvironmentFailure: the server does not answer, or it refused a statement of the block.
    """
    try:
        connection = await asyncpg.connect(
            url,
            timeout=timeout,
            command_timeout=command_timeout,
            server_settings={"application_name": application_name},
        )
    except (*DATABASE_ERRORS, ValueError, OverflowError) as error:  # the URL cannot be read
        within = f"it was silent for {timeout:g} s"
        reason = within if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        raise EnvironmentFailure(
            f"the database at {redacted(url)} does not answer: {reason}"
        ) from error
    try:
        yield connection
    except DATABASE_ERRORS as error:
        raise EnvironmentFailure(f"the database at {redacted(url)} refused: {error}") from error
    finally:
        # An orderly end is a courtesy: asyncpg breaks the session off when its time is over.
        with contextlib.suppress(*DATABASE_ERRORS):
            await connection.close(timeout=timeout)


async def run_sql(url: str, statements: Iterable[str]) -> None:
    """Execute statements one by one, each in a transaction of its own.

    Raises:
        EnvironmentFailure: the server does not answer, or refuses one.
    """
    async with connected(url) as connection:
        for statement in statements:
            await connection.execute(statement)
