"""Changes of a schema are seen while somebody else migrates, and told in few words."""

import asyncio

import asyncpg
import pytest

from orchestrator.journal import Journal
from orchestrator.model import JournalEvent
from scenarios.recording.schema_watch import Schema, SchemaColumn, changes_of, watch_schema

TEXT = SchemaColumn("text", required=False, has_default=False)
NUMBER = SchemaColumn("integer", required=False, has_default=False)
BEFORE: Schema = {"users": {"name": TEXT, "age": NUMBER}, "old": {"x": TEXT}}


@pytest.mark.parametrize(
    ("now", "changes"),
    [
        (BEFORE, []),
        ({"users": BEFORE["users"]}, ["drop table old"]),
        ({**BEFORE, "users": {"name": TEXT}}, ["drop column users.age"]),
        (
            {**BEFORE, "users": {"name": TEXT, "years": NUMBER}},
            ["drop column users.age", "add column users.years"],
        ),
        (
            {**BEFORE, "users": {"name": TEXT._replace(required=True), "age": TEXT}},
            ["change the type of users.age to text", "set not null of users.name"],
        ),
        ({**BEFORE, "new": {"x": TEXT}}, ["create table new"]),
        (
            {**BEFORE, "old": {"x": TEXT, "y": TEXT._replace(required=True)}},
            ["add column old.y not null"],
        ),
    ],
)
def test_changes_in_words(now: Schema, changes: list[str]) -> None:
    """Each change is named with its table and column, in an order that does not vary."""
    assert sorted(changes_of(BEFORE, now)) == sorted(changes)


async def test_a_migration_is_seen_also_while_it_holds_a_lock(postgres_url: str) -> None:
    """A change is journalled once it is committed, and looking waits for no lock."""
    owner = await asyncpg.connect(postgres_url)
    await owner.execute("DROP TABLE IF EXISTS watched; CREATE TABLE watched (a text, b text)")
    seen: asyncio.Queue[JournalEvent] = asyncio.Queue()
    with Journal(listeners=[seen.put_nowait]) as journal:
        watching = asyncio.create_task(watch_schema(postgres_url, journal))
        await asyncio.sleep(0.3)  # its first look has no event
        async with owner.transaction():
            await owner.execute("ALTER TABLE watched DROP COLUMN b")
            await owner.execute("SELECT pg_sleep(0.4)")
            assert seen.empty()
        started, completed = await seen.get(), await seen.get()
        watching.cancel()
    await owner.close()
    assert (started.verb, completed.state) == ("migrate", "completed")
    assert started.detail["migration"] == "drop column watched.b"
