"""A migration tool as it is written by hand: read what is pending, apply it, write it down."""

import asyncio
import os

import asyncpg

_CHANGE = "UPDATE readings SET amount = amount + 1 FROM pg_sleep(1)"


async def migrate(url: str) -> None:
    """Apply the only migration, unless its number is written down."""
    connection = await asyncpg.connect(url)
    try:
        if await connection.fetchval("SELECT max(number) FROM schema_version") == 1:
            return
        await connection.execute(_CHANGE)
        await connection.execute("INSERT INTO schema_version VALUES (1)")
    finally:
        await connection.close()


if __name__ == "__main__":
    asyncio.run(migrate(os.environ["DATABASE_URL"]))
