"""A change of the schema is blamed for what worked before it, and for nothing else."""

from scenarios.check.change_effects import ChangeEffects
from scenarios.check.migration_findings import MigrationSource, findings
from scenarios.check.observed import CellResult, EndpointResult, Observed, SchemaKey

SOURCES = [
    MigrationSource(change="one", file="1.sql", sql="ALTER TABLE people DROP COLUMN age"),
    MigrationSource(change="two", file="2.sql", sql="ALTER TABLE people DROP COLUMN name"),
]
BEFORE: dict[str, SchemaKey] = {"one": (), "two": ("one",)}


def cell(schema: SchemaKey, **codes: str | None) -> CellResult:
    endpoints = tuple(
        EndpointResult(endpoint=name, requests=1, failed=int(code is not None), sqlstate=code)
        for name, code in codes.items()
    )
    return CellResult(schema=schema, version="a", connections="fresh", endpoints=endpoints)


def test_a_second_change_that_breaks_another_endpoint_is_found() -> None:
    """Although the version did not work any more; what failed already is not told twice."""
    observed = Observed(
        cells=(
            cell((), ages=None, names=None),
            cell(("one",), ages="42703", names=None),
            cell(("one", "two"), ages="42703", names="42703"),
        ),
        effects=(ChangeEffects(change="one"), ChangeEffects(change="two")),
    )
    found = findings(SOURCES, observed, BEFORE, {"one": "a", "two": "a"})
    told = [(one.change, one.rule, one.observed.split(" fails")[0]) for one in found]
    assert told == [
        ("one", "dropped-column", "a, fresh: ages"),
        ("two", "dropped-column", "a, fresh: names"),
    ]
