# ruff: noqa: S608 - it writes SQL for a person to read, from that person's own SQL
"""The recipes of safe changes: parts that become migrations, each with its rollback.

Each part holds its locks for moments only, or works beside the traffic.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from scenarios.check.operations import SchemaOperation, bare_name, written
from scenarios.check.sql_text import SqlStatement, statements_of

Phase: TypeAlias = Literal["expand", "contract"]

NOTHING = "SELECT 1"
"""The rollback of what needs none."""

_PAGES = 50
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
_SIZE = """(
            WITH RECURSIVE tables AS (
                SELECT '{table}'::regclass::oid AS oid
                UNION ALL SELECT inhrelid FROM pg_inherits JOIN tables ON oid = inhparent
            ) SELECT max(pg_relation_size(oid)) FROM tables)"""
"""The size of a table; of one with partitions, that of the largest."""


class NotMechanicalError(Exception):
    """What a statement does cannot be rewritten by a rule; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnFacts:
    """What the catalog says of a column before the change.

    Attributes:
        type: its type.
        not_null: whether it is NOT NULL.
        default: its default; None if it has none.
        used_by: indexes, constraints, views and other columns that use it.
    """

    type: str
    not_null: bool = False
    default: str | None = None
    used_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SuggestedPart:
    """A migration to be: what it does in a word, its statements, and those that take it back."""

    what: str
    phase: Phase
    sql: Sequence[str]
    rollback: Sequence[str] = (NOTHING,)
    apart: bool = False


def constraint_parts(one: SchemaOperation) -> Iterator[SuggestedPart]:
    """A foreign key or a CHECK: first NOT VALID, then validated apart from it."""
    table = one.table
    if one.kind == "add_check":
        name = one.name or made_name(table, "check")
        rule = f"CHECK ({one.expression})"
    else:
        columns = ", ".join(one.columns)
        name = one.name or made_name(table, *one.columns, "fkey")
        rule = f"FOREIGN KEY ({columns}) REFERENCES {one.expression}"
    add = f"ALTER TABLE {table} ADD CONSTRAINT {name} {rule} NOT VALID"
    drop = f"ALTER TABLE {table} DROP CONSTRAINT {name}"
    yield SuggestedPart("constraint", "contract", [add], [drop])
    if one.valid:
        validate = f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}"
        yield SuggestedPart("constraint-valid", "contract", [validate])


def unique_parts(one: SchemaOperation) -> Iterator[SuggestedPart]:
    """A UNIQUE constraint: it takes over an index that was built beside the traffic."""
    table, columns = one.table, ", ".join(one.columns)
    name = one.name or made_name(table, *one.columns, "key")
    yield _concurrent_index(one, name, f"UNIQUE INDEX CONCURRENTLY {name} ON {table} ({columns})")
    add = f"ALTER TABLE {table} ADD CONSTRAINT {name} UNIQUE USING INDEX {name}"
    # The constraint owns the index, so both go; what is left of the rollback finds none.
    yield SuggestedPart("unique", "expand", [add], [f"ALTER TABLE {table} DROP CONSTRAINT {name}"])


def index_part(one: SchemaOperation) -> SuggestedPart:
    """An index that is built beside the traffic, with a name of its own if it has none."""
    letters = re.findall(r"\w+", one.expression)
    name = one.name or made_name(one.table, *letters[:4], "idx")
    unique = "UNIQUE " if one.unique else ""
    on = f"{name} ON {one.table} {one.expression}"
    if _if_not_exists(one.statement):
        # One that is there already is neither built again nor taken back.
        text = f"CREATE {unique}INDEX CONCURRENTLY IF NOT EXISTS {on}"
        return SuggestedPart("index", "expand", [text], apart=True)
    return _concurrent_index(one, name, f"{unique}INDEX CONCURRENTLY {on}")


def _if_not_exists(statement: SqlStatement) -> bool:
    upper = [word.upper() for word in statement.words]
    return "EXISTS" in upper[: upper.index("ON")]


def _concurrent_index(one: SchemaOperation, name: str, rest: str) -> SuggestedPart:
    """An index that is built beside the traffic.

    What an earlier try has left invalid is dropped before, unless the name is made up here: an
    index that was there before could have it.
    """
    drop = f"DROP INDEX CONCURRENTLY IF EXISTS {beside_table(one.table, name)}"
    first = [] if one.name is None else [drop]
    return SuggestedPart("index", "expand", [*first, f"CREATE {rest}"], [drop], apart=True)


def fill_part(table: str, column: str, value: str, where: str, phase: Phase) -> SuggestedPart:
    """Fill a column page by page, each time in a transaction of its own, until no row lacks it."""
    empty = f"{column} IS NULL AND ({value}) IS NOT NULL" + (f" AND ({where})" if where else "")
    text = f"""DO $fill$
DECLARE
    page bigint := 0;
    pages bigint;
BEGIN
    LOOP
        pages := {_SIZE.format(table=table)} / current_setting('block_size')::bigint;
        WHILE page <= pages LOOP
            UPDATE {table} SET {column} = {value}
            WHERE ctid >= format('(%s,0)', page)::tid
                AND ctid < format('(%s,0)', page + {_PAGES})::tid
                AND {empty};
            COMMIT;
            page := page + {_PAGES};
        END LOOP;
        EXIT WHEN NOT EXISTS (SELECT FROM {table} WHERE {empty});
        page := 0;
    END LOOP;
END
$fill$"""
    return SuggestedPart("fill", phase, [text], apart=True)


def made_name(*parts: str) -> str:
    """A name that is made of others, such as that of a table's constraint."""
    name = "_".join(map(bare_name, parts))
    return name if _PLAIN.fullmatch(name) else f'"{name}"'


def beside_table(table: str, name: str) -> str:
    """The name of an index, with the schema of its table."""
    schema, dot, _ = table.rpartition(".")
    return f"{schema}{dot}{name}"


@dataclass(slots=True)
class TypeChange:
    """A type that changes by a new column, with triggers that keep both equal."""

    table: str
    column: str
    operation: SchemaOperation
    facts: ColumnFacts
    columns: frozenset[str]

    def parts(self) -> Iterator[SuggestedPart]:
        """The new column, its values, the swap of both names, and the end of the old column.

        Raises:
            NotMechanicalError: there is no rule for the expression in USING.
        """
        table, column, facts = self.table, self.column, self.facts
        new, old, kind = f"{column}_new", f"{column}_old", self.operation.type
        using = self.operation.expression or f"{column}::{kind}"
        name = made_name(table, column, "sync")
        forth = self._trigger(name, f"NEW.{new} := {self._of_new(using)};")
        # A value that the old type cannot hold is lost on the way back, and refuses no write.
        back = self._trigger(
            name,
            f"BEGIN NEW.{old} := NEW.{column}::{facts.type}; "
            f"EXCEPTION WHEN data_exception THEN NEW.{old} := NULL; END;",
        )
        gone = [f"DROP TRIGGER {name} ON {table}", f"DROP FUNCTION {name}()"]
        add = f"ALTER TABLE {table} ADD COLUMN {new} {kind}"
        drop_new = f"ALTER TABLE {table} DROP COLUMN {new}"
        yield SuggestedPart("new-column", "expand", [add, *forth], [*gone, drop_new])
        yield fill_part(table, new, using, f"{column} IS NOT NULL", "expand")
        check = made_name(table, column, "is_there")
        add_check = (
            f"ALTER TABLE {table} ADD CONSTRAINT {check} CHECK ({new} IS NOT NULL) NOT VALID"
        )
        drop_check = f"ALTER TABLE {table} DROP CONSTRAINT {check}"
        if facts.not_null:
            yield SuggestedPart("check", "expand", [add_check], [drop_check])
            validate = f"ALTER TABLE {table} VALIDATE CONSTRAINT {check}"
            yield SuggestedPart("check-valid", "expand", [validate])
        there = [*self._alter("SET NOT NULL")] if facts.not_null else []
        loose = [*self._alter("DROP NOT NULL")] if facts.not_null else []
        if facts.default is not None:
            there += self._alter(f"SET DEFAULT {facts.default}")
            loose += self._alter("DROP DEFAULT")
        rename = f"ALTER TABLE {table} RENAME COLUMN"
        swap = [f"{rename} {column} TO {old}", f"{rename} {new} TO {column}"]
        swap_back = [f"{rename} {column} TO {new}", f"{rename} {old} TO {column}"]
        checked = [drop_check] if facts.not_null else []
        unchecked = [add_check] if facts.not_null else []
        yield SuggestedPart(
            "swap",
            "expand",
            [*gone, *loose, *swap, *there, *checked, *back],
            [*gone, *loose, *swap_back, *there, *unchecked, *forth],
        )
        drop_old = f"ALTER TABLE {table} DROP COLUMN {old}"
        add_old = f"ALTER TABLE {table} ADD COLUMN {old} {facts.type}"
        refill = f"UPDATE {table} SET {column} = {column}"
        yield SuggestedPart("old-column", "contract", [*gone, drop_old], [add_old, *back, refill])

    def _alter(self, what: str) -> list[str]:
        return [f"ALTER TABLE {self.table} ALTER COLUMN {self.column} {what}"]

    def _trigger(self, name: str, body: str) -> list[str]:
        function = (
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN\n"
            f"    {body}\n    RETURN NEW;\nEND $$"
        )
        trigger = (
            f"CREATE TRIGGER {name} BEFORE INSERT OR UPDATE ON {self.table}\n"
            f"    FOR EACH ROW EXECUTE FUNCTION {name}()"
        )
        return [function, trigger]

    def _of_new(self, expression: str) -> str:
        """The expression of a row in a trigger: NEW. stands before each column of the table."""
        words = ["", *(word for one in statements_of(expression) for word in one.words), ""]
        found = []
        for before, word, behind in zip(words, words[1:], words[2:], strict=False):
            # The name of a type or of a function may be that of a column, too.
            other = before.upper() in ("::", "AS") or behind == "(" or word.startswith("'")
            is_column = bare_name(word) in self.columns and not other
            if is_column and "." in (before, behind):
                raise NotMechanicalError(f"there is no rule for {expression} in USING")
            found.append(f"NEW.{word}" if is_column else word)
        return written(found)
