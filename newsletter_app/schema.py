"""Whether a version can work with the schema that it finds: what `GET /ready` asks."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Needs:
    """What a version's SQL is about.

    Attributes:
        columns: the columns that it names, by table.
        filled: the tables that it inserts into; it fills all the columns that it names there.
    """

    columns: Mapping[str, frozenset[str]]
    filled: frozenset[str]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the database.

    Attributes:
        table: the table's name.
        name: the column's.
        demanded: whether an insert has to give a value, since NULL is refused and nothing else
            provides one.
    """

    table: str
    name: str
    demanded: bool


def shortcomings(needs: Needs, found: Iterable[Column]) -> list[str]:
    """Why a version cannot work with these columns; empty when it can.

    Two things break a version: a column that it names is not there (42703, or 42P01 for the whole
    table), or one that it does not know demands a value (23502).
    """
    columns = {(column.table, column.name): column for column in found}
    missing = [
        f"{table}.{name} is missing"
        for table, names in needs.columns.items()
        for name in sorted(names)
        if (table, name) not in columns
    ]
    unknown = [
        f"{table}.{name} demands a value that this version does not give"
        for (table, name), column in columns.items()
        if column.demanded and table in needs.filled and name not in needs.columns[table]
    ]
    return missing + unknown
