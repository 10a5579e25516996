# ruff: noqa: S608 - the SQL is only read
"""What `--suggest` writes, as text: nothing of the migration is lost, nor its place."""

import pytest

from scenarios.check.migration_findings import MigrationSource
from scenarios.check.operations import operations_of, written
from scenarios.check.sql_text import statements_of
from scenarios.check.suggested_parts import ColumnFacts
from scenarios.check.suggestion import Suggestion, suggest

COLUMNS = {
    ("people", name): ColumnFacts(type="text") for name in ("id", "age", "date", "note", "text")
}


def suggested(migration: str) -> Suggestion:
    """What is written for a migration of which each statement has a hazard."""
    source = MigrationSource(change="m", file="m.sql", sql=migration)
    return suggest([source], {"m": frozenset(range(1, 20))}, COLUMNS, {})


def text_of(found: Suggestion) -> str:
    return "\n".join(one.sql for one in found.migrations)


ADDED = "ALTER TABLE people ADD COLUMN status text NOT NULL;\n"
LOST = {
    "a second UPDATE of the column": ADDED + "UPDATE people SET status = 'a' WHERE age > 1;\n"
    "UPDATE people SET status = 'b' WHERE age < 2",
    "a second column of an UPDATE": ADDED + "UPDATE people SET status = 'a', note = 'b'",
    "an UPDATE with an alias": ADDED + "UPDATE people p SET status = 'a' WHERE p.age > 1",
    "an UPDATE of ONLY the parent": ADDED + "UPDATE ONLY people SET status = 'a'",
    "an UPDATE of rows that have a value": "UPDATE people SET note = lower(note);\n"
    "ALTER TABLE people ALTER COLUMN note SET NOT NULL",
    "an UPDATE of what a default fills": "ALTER TABLE people ADD COLUMN status text NOT NULL"
    " DEFAULT random()::text;\nUPDATE people SET status = 'a' WHERE age > 1",
    "a search_path": "SET search_path = audit;\nALTER TABLE people ALTER COLUMN age SET NOT NULL",
    "another action of ALTER TABLE": "ALTER TABLE people ALTER COLUMN age SET DEFAULT 5,"
    " ALTER COLUMN age SET NOT NULL",
    "that a constraint is deferred": "ALTER TABLE people ADD UNIQUE (age) DEFERRABLE INITIALLY"
    " DEFERRED",
    "that NULLs are equal": "ALTER TABLE people ADD UNIQUE NULLS NOT DISTINCT (age)",
    "that a check is for this table only": "ALTER TABLE people ADD CHECK (age > 1) NO INHERIT",
    "the table of a column in USING": "ALTER TABLE people ALTER age TYPE int USING people.age::int",
}


@pytest.mark.parametrize("migration", LOST.values(), ids=LOST)
def test_a_migration_of_which_something_would_be_lost_stays_as_it_is(migration: str) -> None:
    """And the reason is told."""
    found = suggested(migration)
    assert [one.name for one in found.migrations] == ["m"]
    assert len(found.left) == 1


def test_a_migration_without_a_hazard_stays_where_it_is() -> None:
    """It comes after the deployment if it did; what restricts rows comes after all of them."""
    texts = {
        "wide": "ALTER TABLE people ALTER COLUMN note SET NOT NULL",
        "between": "ALTER TABLE people ADD COLUMN more text",
        "narrow": "--depends: between\n-- transactional : False\n"
        "ALTER TABLE people DROP COLUMN age",
    }
    sources = [MigrationSource(change=name, file="", sql=sql) for name, sql in texts.items()]
    after = {"wide": 0, "between": 1, "narrow": 2}
    found = suggest(
        sources, {"wide": frozenset({1})}, COLUMNS, {}, after=after, deployments=2
    ).migrations
    places = [(one.name.partition(".")[0], one.after) for one in found]
    assert places == [("between", 1), *[("wide", 2)] * 4, ("narrow", 2)]
    assert found[-1].file("other") == (
        "-- transactional: false\n-- depends: other\n\nALTER TABLE people DROP COLUMN age\n"
    )


@pytest.mark.parametrize(
    ("using", "expression"),
    [
        ("date::date", "NEW.date::date"),
        ("CAST(note AS text)", "CAST(NEW.note AS text)"),
        ("coalesce(date, note, 'age')::date", "coalesce(NEW.date, NEW.note, 'age')::date"),
    ],
)
def test_the_trigger_of_a_type_reads_all_columns_from_the_new_row(
    using: str, expression: str
) -> None:
    """A type and a function may have the name of a column; a string is none."""
    found = suggested(f"ALTER TABLE people ALTER COLUMN date TYPE date USING {using}")
    assert f"NEW.date_new := {expression};" in text_of(found)


@pytest.mark.parametrize(
    ("index", "statements"),
    [
        ("INDEX CONCURRENTLY low ON audit.people (note)", 2),
        ("INDEX low ON audit.people (note)", 2),
        ("INDEX CONCURRENTLY IF NOT EXISTS low ON audit.people (note)", 1),
        ("INDEX ON audit.people (note)", 1),
    ],
)
def test_an_index_that_may_belong_to_somebody_else_is_not_dropped(
    index: str, statements: int
) -> None:
    """One is dropped only by the migration's own name for it, and in the schema of its table."""
    found = suggested(f"CREATE {index}")
    (one,) = found.migrations
    assert one.apart
    drop = "DROP INDEX CONCURRENTLY IF EXISTS audit.low;\n\n"
    assert one.sql.startswith(drop) == (statements == 2)
    assert len(statements_of(one.sql)) == statements


@pytest.mark.parametrize(
    "expression",
    [
        "E'a b'",
        "a !~* 'x' AND b ?| c",
        "a @> '{}' AND b ->> 'x' = B'01'",
        "n >= -1 AND - n < 2",
        '"a b" || $$c d$$',
    ],
)
def test_an_expression_is_written_as_it_was(expression: str) -> None:
    """Operators of several signs stay whole, and so does what belongs to a string."""
    (statement,) = statements_of(f"SELECT {expression}")
    assert written(statement.words[1:]) == expression


def test_a_statement_with_many_values_is_read() -> None:
    """It is one statement, and the next one has its line."""
    values = ",\n".join(f"({number}, 'x')" for number in range(5_000))
    insert, alter = statements_of(f"INSERT INTO people VALUES {values};\nALTER TABLE people DROP a")
    assert (insert.line, alter.line) == (1, 5_001)
    assert [one.kind for one in operations_of(alter)] == ["drop_column"]
