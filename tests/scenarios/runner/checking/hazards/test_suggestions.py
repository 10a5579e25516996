"""What `--suggest` writes: it leads to the same schema, does no harm, and can be taken back."""

from dataclasses import dataclass, field

import pytest

from orchestrator.database import connected, run_sql
from scenarios.check.migration_findings import MigrationSource
from scenarios.check.suggestion import Suggestion, suggest
from scenarios.runner.checking.column_facts import column_facts
from scenarios.runner.checking.migrator_trials import snapshot
from tests.scenarios.runner.checking.hazards.migrations import apply, checked, told
from tests.scenarios.runner.checking.hazards.table import APART

QUICK = ("a required column", "a foreign key", "a UNIQUE constraint", "a type")
"""The operations that `make test` tries; `make soak` tries all."""
ASKS = ("update", "select", "upsert", "letter")


@dataclass(frozen=True, kw_only=True)
class Mechanical:
    """An operation with a mechanical recipe.

    Attributes:
        name: its name.
        migration: what does harm.
        still: the hazards that are no fault of the recipe.
        asks: what the old version asks for until the contract.
        before: what is done to the schema before.
    """

    name: str
    migration: str
    still: frozenset[str] = frozenset()
    asks: tuple[str, ...] = (*ASKS, "insert")
    before: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        return self.name


OPERATIONS = (
    Mechanical(
        name="a required column",
        migration="ALTER TABLE people ADD COLUMN status text NOT NULL;\n"
        "UPDATE people SET status = 'active';",
    ),
    Mechanical(
        name="a column, its values, and NOT NULL",
        migration="SET LOCAL lock_timeout = '1s';\nALTER TABLE people ADD COLUMN status text;\n"
        "UPDATE people SET status = 'active' WHERE status IS NULL;\n"
        "ALTER TABLE people ALTER COLUMN status SET NOT NULL;",
    ),
    Mechanical(
        name="a volatile default",
        migration="ALTER TABLE people ADD COLUMN token uuid NOT NULL DEFAULT gen_random_uuid()",
    ),
    Mechanical(name="SET NOT NULL", migration="ALTER TABLE people ALTER COLUMN age SET NOT NULL"),
    Mechanical(
        name="a foreign key",
        migration="ALTER TABLE letters ADD FOREIGN KEY (person) REFERENCES people (id)"
        " ON DELETE CASCADE",
    ),
    Mechanical(
        name="a CHECK",
        migration="ALTER TABLE people ADD CONSTRAINT grown CHECK (age > 0 AND name IS NOT NULL)",
    ),
    Mechanical(name="a UNIQUE constraint", migration="ALTER TABLE people ADD UNIQUE (email, name)"),
    Mechanical(
        name="an index", migration="CREATE INDEX low ON people (lower(email)) WHERE age > 3"
    ),
    Mechanical(
        name="a unique index", migration="CREATE UNIQUE INDEX by_mail ON people (email, age)"
    ),
    Mechanical(
        name="a type",
        migration="ALTER TABLE people ALTER COLUMN age TYPE bigint",
        still=frozenset({"stale-statement"}),
        before=(
            "ALTER TABLE people ALTER COLUMN age SET DEFAULT 7, ALTER COLUMN age SET NOT NULL",
        ),
    ),
    Mechanical(
        name="a type with an expression",
        migration="ALTER TABLE people ALTER COLUMN note TYPE integer USING length(note)",
        still=frozenset({"stale-statement"}),
        asks=(*ASKS, "insert"),
    ),
)


async def suggested(url: str, migration: str) -> Suggestion:
    """What is written for a migration of which each statement has a hazard."""
    source = MigrationSource(change="m", file="m.sql", sql=migration)
    lines = frozenset(range(1, migration.count("\n") + 2))
    return suggest([source], {"m": lines}, await column_facts(url), {})


@pytest.mark.parametrize(
    "operation",
    [one if one.name in QUICK else pytest.param(one, marks=pytest.mark.soak) for one in OPERATIONS],
    ids=str,
)
async def test_what_is_suggested_leads_to_the_same_schema_and_does_no_harm(
    operation: Mechanical, url: str
) -> None:
    """A check of each of its migrations is silent, and the old version works until the contract."""
    await run_sql(url, operation.before)
    found = await suggested(url, operation.migration)
    assert found.left == ()
    files = [one.file(None) for one in found.migrations]
    expand = sum(one.phase == "expand" for one in found.migrations)
    before = await snapshot(url)
    _, refused, harm = await checked(url, files[:expand], operation.asks)
    assert {one.rule for one in harm} <= operation.still, told(harm)
    assert set(refused.values()) <= {"0A000"}, refused
    await run_sql(url, ["UPDATE people SET age = coalesce(age, 1)"])
    _, _, harm = await checked(url, files[expand:], ())
    assert told(harm) == []
    safe = await snapshot(url)

    for one in reversed(found.migrations):
        await apply(url, (APART if one.apart else "") + one.rollback)
    assert (await snapshot(url)).schema == before.schema

    direct = operation.migration
    if "NOT NULL;\nUPDATE" in direct:  # with rows it could not be carried out as it is
        direct = direct.replace("text NOT NULL", "text NOT NULL DEFAULT 'active'")
        direct += "ALTER TABLE people ALTER COLUMN status DROP DEFAULT"
    await apply(url, direct)
    assert (await snapshot(url)).schema == safe.schema


async def test_a_type_change_keeps_both_columns_equal_until_the_end(url: str) -> None:
    """Rows that are written before and after the swap have their value in both, if it fits."""
    found = await suggested(url, "ALTER TABLE people ALTER COLUMN age TYPE bigint")
    *parts, last = found.migrations
    for one in parts:
        await apply(url, one.file(None))
        if one.name.endswith("new-column"):
            await run_sql(url, ["INSERT INTO people (id, email, age) VALUES (9001, 'a', 5)"])
    async with connected(url) as connection:
        await connection.execute("INSERT INTO people (id, email, age) VALUES (9002, 'b', 6)")
        await connection.execute(
            "INSERT INTO people (id, email, age) VALUES (9003, 'c', 5000000000)"
        )
        rows = await connection.fetch("SELECT age, age_old FROM people WHERE id > 9000 ORDER BY id")
    assert [tuple(row) for row in rows] == [(5, 5), (6, 6), (5_000_000_000, None)]
    await apply(url, last.file(None))


@pytest.mark.parametrize(
    ("migration", "why"),
    [
        ("ALTER TABLE people ADD COLUMN status text NOT NULL", "nothing says what old rows get"),
        ("ALTER TABLE people ALTER COLUMN id TYPE numeric", "id of people is used by"),
        ("ALTER TABLE people DROP COLUMN age", "no rule for ALTER TABLE people DROP COLUMN"),
        ("ALTER TABLE people ADD COLUMN n serial", "no rule for ALTER TABLE people ADD COLUMN n"),
        ("UPDATE people SET age = 1", "changes more than the rows in which age is NULL"),
    ],
)
async def test_what_no_rule_can_rewrite_stays_and_says_why(
    migration: str, why: str, url: str
) -> None:
    """The migration is kept as it is, with its name."""
    found = await suggested(url, migration)
    assert [one.name for one in found.migrations] == ["m"]
    assert why in found.left[0]
