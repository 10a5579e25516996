"""What the harness asks of the application's database is done to the letter."""

from pathlib import Path

import asyncpg
import pytest

from scenarios.evidence.run_folder import RunFolder
from scenarios.recording.subjects import record_subjects, wait_settled
from scenarios.runner.database import fill
from scenarios.scenario.spec import Rows

SUBJECTS = "SELECT name AS subject, note AS state FROM readers"


async def prepared(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("DROP TABLE IF EXISTS readers")
        await connection.execute(
            "CREATE TABLE readers (id uuid PRIMARY KEY, name text UNIQUE, note text)"
        )
    finally:
        await connection.close()


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 2500])
async def test_all_rows_are_made_and_read(postgres_url: str, count: int, tmp_path: Path) -> None:
    """As many rows are there as were asked for, none lost between chunks, and all are recorded."""
    await prepared(postgres_url)
    rows = Rows(
        table="readers",
        columns={"id": "{uuid}", "name": 'reader "{n}"', "note": "a, b"},
        count=count,
    )
    await fill(postgres_url, rows)
    rows = RunFolder(tmp_path).subjects_after
    await record_subjects(postgres_url, SUBJECTS, rows.path)
    found = list(rows.read())
    assert sorted(one.subject for one in found) == sorted(
        f'reader "{n}"' for n in range(1, count + 1)
    )
    assert {one.state for one in found} <= {"a, b"}


async def test_settled(postgres_url: str) -> None:
    """Nothing is owed by a table that does not exist; what is owed is not waited for for ever."""
    await prepared(postgres_url)
    assert await wait_settled(postgres_url, "SELECT NOT EXISTS (SELECT FROM nowhere)", 5)
    assert await wait_settled(postgres_url, "SELECT NOT EXISTS (SELECT FROM readers)", 5)
    assert not await wait_settled(postgres_url, "SELECT EXISTS (SELECT FROM readers)", 0.1)
