"""The rows that the application's database holds before a run."""

import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from itertools import islice

from orchestrator.database import connected
from scenarios.scenario.spec import Rows

_LINES_AT_ONCE = 1000


async def fill(url: str, rows: Rows) -> None:
    """Make the rows with COPY; Postgres itself turns their text into the columns' types.

    Raises:
        EnvironmentFailure: the database refuses them or does not answer.
    """
    async with connected(url) as connection:
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
