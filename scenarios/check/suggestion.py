# ruff: noqa: S608 - it writes SQL for a person to read, from that person's own SQL
"""Writes the expand-contract version of a hazardous migration, where the recipe is mechanical.

What adds something comes first (expand). What restricts the rows comes after the new version is
deployed everywhere (contract), since the old one may still break it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from scenarios.check.migration_findings import MigrationSource
from scenarios.check.operations import SchemaOperation, bare_name, operations_of, written
from scenarios.check.sql_text import SqlStatement, statements_of

Phase: TypeAlias = Literal["expand", "contract"]

_APART = "-- transactional: false\n"
_LIMIT = "SET LOCAL lock_timeout = '100ms';\n\n"
_NOTHING = "SELECT 1"
_PAGES = 50
_TIMEOUTS = frozenset(("lock_timeout", "statement_timeout"))
_DIRECTIVE = re.compile(r"\s*--\s*(depends|transactional)\s*:\s*(.*?)\s*$")
"""A line of a migration that is for yoyo."""
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
_SIZE = """(
            WITH RECURSIVE tables AS (
                SELECT '{table}'::regclass::oid AS oid
                UNION ALL SELECT inhrelid FROM pg_inherits JOIN tables ON oid = inhparent
            ) SELECT max(pg_relation_size(oid)) FROM tables)"""
"""The size of a table; of one with partitions, that of the largest."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SuggestedMigration:
    """A migration of a suggestion.

    Attributes:
        name: its id.
        phase: whether it adds something, or restricts rows.
        after: how many deployments come before it.
        sql: the text of its file, without `-- depends`.
        rollback: the text of its rollback.
        apart: whether each of its statements is a transaction of its own.
    """

    name: str
    phase: Phase
    sql: str
    rollback: str
    apart: bool = False
    after: int = 0

    def file(self, depends: str | None) -> str:
        """The text of its file.

        Args:
            depends: the migration before it.
        """
        head = _APART if self.apart else ""
        head += f"-- depends: {depends}\n" if depends else ""
        return f"{head}\n{self.sql}" if head else self.sql


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """The safe version of the migrations of a release.

    Attributes:
        migrations: in the order in which they are applied.
        left: what could not be rewritten, and why.
    """

    migrations: tuple[SuggestedMigration, ...]
    left: tuple[str, ...] = ()


class _NotMechanicalError(Exception):
    """What a statement does cannot be rewritten by a rule; the message says why."""


def suggest(
    sources: Iterable[MigrationSource],
    hazardous: Mapping[str, frozenset[int]],
    columns: Mapping[tuple[str, str], ColumnFacts],
    rollbacks: Mapping[str, str],
    *,
    after: Mapping[str, int] | None = None,
    deployments: int = 1,
) -> Suggestion:
    """Rewrite the migrations with hazards; the others stay as they are, and where they are.

    Args:
        sources: the migrations, in the order of the release.
        hazardous: for each change the lines of the statements with a hazard.
        columns: what is known of the columns, by their table and name.
        rollbacks: the text of the rollback of each change that has one.
        after: how many deployments come before each change; absent: none.
        deployments: how many the release has. What restricts rows comes after all of them.
    """
    made: list[SuggestedMigration] = []
    left: list[str] = []
    for source in sources:
        if source.sql is None:
            left.append(f"{source.change} is no file of SQL")
            continue
        lines = hazardous.get(source.change, frozenset())
        place = (after or {}).get(source.change, 0)
        safe = [_kept(source, rollbacks.get(source.change))]
        if lines:
            try:
                safe = list(_Rewriting(source, lines, columns).migrations())
            except _NotMechanicalError as reason:
                left.append(f"{source.change}: {reason}")
        for one in safe:
            contract = one.phase == "contract"
            made.append(replace(one, after=deployments if contract else place))
    made.sort(key=lambda one: one.after)
    return Suggestion(migrations=tuple(made), left=tuple(left))


def _kept(source: MigrationSource, rollback: str | None) -> SuggestedMigration:
    lines = (source.sql or "").splitlines()
    directives = [found.groups() for line in lines if (found := _DIRECTIVE.match(line))]
    return SuggestedMigration(
        name=source.change,
        phase="expand",
        sql="\n".join(line for line in lines if not _DIRECTIVE.match(line)).strip() + "\n",
        rollback=rollback or "",
        apart=any(key == "transactional" and value.lower() != "true" for key, value in directives),
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """A migration to be: what it does in a word, its statements, and those that take it back."""

    what: str
    phase: Phase
    sql: Sequence[str]
    rollback: Sequence[str] = (_NOTHING,)
    apart: bool = False


@dataclass(slots=True)
class _Rewriting:
    """Rewrites one migration."""

    source: MigrationSource
    lines: frozenset[int]
    columns: Mapping[tuple[str, str], ColumnFacts]
    fills: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    new_columns: set[tuple[str, str]] = field(default_factory=set)
    new_tables: set[str] = field(default_factory=set)

    def migrations(self) -> Iterator[SuggestedMigration]:
        """The migrations that do the same safely.

        Raises:
            _NotMechanicalError: there is no rule for something that it does.
        """
        statements = [
            one for one in statements_of(self.source.sql or "") if not _sets_a_timeout(one)
        ]
        operations = [(one, operations_of(one)) for one in statements]
        for statement, found in operations:
            if not found:
                raise _NotMechanicalError(f"line {statement.line}: {_short(statement)}")
            for one in found:
                if one.kind == "create_table":
                    self.new_tables.add(one.table)
                if one.kind == "add_column":
                    self.new_columns |= {(one.table, column) for column in one.columns}
                if one.kind == "change_rows":
                    self._note_fill(one)
        parts = [part for _, found in operations for one in found for part in self._parts(one)]
        for key in self.fills:
            raise _NotMechanicalError(
                f"the UPDATE of {key[0]} fills no column that is required here"
            )
        parts.sort(key=lambda one: one.phase == "contract")
        for number, part in enumerate(parts, 1):
            yield SuggestedMigration(
                name=f"{self.source.change}.{number:02}.{part.what}",
                phase=part.phase,
                sql=_text(part.sql, apart=part.apart),
                rollback=_text(part.rollback, apart=part.apart),
                apart=part.apart,
            )

    def _note_fill(self, one: SchemaOperation) -> None:
        """Note what old rows get, from the UPDATE that says it."""
        column, _, value = one.expression.partition(" = ")
        where = _where(one.statement)
        if not _assigns_one_column(one) or (one.table, column) in self.fills:
            raise _NotMechanicalError(f"line {one.statement.line}: {_short(one.statement)}")
        only_empty = where.upper() == f"{column} IS NULL".upper()
        if (one.table, column) not in self.new_columns and not only_empty:
            raise _NotMechanicalError(
                f"line {one.statement.line}: the UPDATE of {one.table} changes more than the rows "
                f"in which {column} is NULL"
            )
        self.fills[one.table, column] = (value, where)

    def _parts(self, one: SchemaOperation) -> Iterator[_Part]:
        hazard = one.statement.line in self.lines
        match one.kind:
            case "change_rows":
                return
            case "add_column":
                yield from self._column(one, hazard=hazard)
            case "set_not_null":
                (column,) = one.columns
                yield from self._required(one.table, column)
            case "add_check" | "add_foreign_key" if not one.more:
                yield from _constraint(one)
            case "add_unique" if not one.using_index and not one.more:
                yield from _unique(one)
            case "create_index" if one.table not in self.new_tables:
                yield _index(one)
            case "alter_type" if hazard:
                yield from self._type(one)
            case "create_table":
                yield _Part("table", "expand", [one.statement.text], [f"DROP TABLE {one.table}"])
            case "create_index" if one.name is not None:
                undo = f"DROP INDEX {_beside(one.table, one.name)}"
                yield _Part("index", "expand", [one.statement.text], [undo])
            case _:
                raise _NotMechanicalError(f"line {one.statement.line}: {_short(one.statement)}")

    def _column(self, one: SchemaOperation, *, hazard: bool) -> Iterator[_Part]:
        table, (column,) = one.table, one.columns
        if one.computed or one.more or one.unique:
            raise _NotMechanicalError(f"line {one.statement.line}: {_short(one.statement)}")
        add = f"ALTER TABLE {table} ADD COLUMN {column} {one.type}"
        undo = f"ALTER TABLE {table} DROP COLUMN {column}"
        if one.virtual:
            yield _Part("column", "expand", [one.statement.text], [undo])
        elif one.expression and not hazard:
            required = " NOT NULL" if one.not_null else ""
            whole = f"{add}{required} DEFAULT {one.expression}"
            yield _Part("column", "expand", [whole], [undo])
        elif one.expression and (table, column) in self.fills:
            raise _NotMechanicalError(f"{column} has a default, and an UPDATE changes it")
        elif one.expression:
            default = f"ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT {one.expression}"
            yield _Part("column", "expand", [add, default], [undo])
            yield _fill(table, column, one.expression, "", "expand")
            if one.not_null:
                yield from self._required(table, column)
        else:
            yield _Part("column", "expand", [add], [undo])
            if one.not_null:
                if (table, column) not in self.fills:
                    raise _NotMechanicalError(
                        f"nothing says what old rows get in {column}; add an UPDATE that fills it"
                    )
                yield from self._required(table, column)

    def _required(self, table: str, column: str) -> Iterator[_Part]:
        fill = self.fills.pop((table, column), None)
        if fill is not None:
            yield _fill(table, column, *fill, "contract")
        check = _named(table, column, "is_there")
        add = f"ALTER TABLE {table} ADD CONSTRAINT {check} CHECK ({column} IS NOT NULL) NOT VALID"
        drop = f"ALTER TABLE {table} DROP CONSTRAINT {check}"
        alter = f"ALTER TABLE {table} ALTER COLUMN {column}"
        yield _Part("check", "contract", [add], [drop])
        validate = f"ALTER TABLE {table} VALIDATE CONSTRAINT {check}"
        yield _Part("check-valid", "contract", [validate])
        yield _Part("not-null", "contract", [f"{alter} SET NOT NULL"], [f"{alter} DROP NOT NULL"])
        yield _Part("check-dropped", "contract", [drop], [add])

    def _type(self, one: SchemaOperation) -> Iterator[_Part]:
        table, (column,) = one.table, one.columns
        facts = self.columns.get((bare_name(table), bare_name(column)))
        names = frozenset(name for of, name in self.columns if of == bare_name(table))
        if facts is None or '"' in column:
            raise _NotMechanicalError(f"nothing is known of {column} of {table}")
        if facts.used_by:
            raise _NotMechanicalError(f"{column} of {table} is used by {facts.used_by[0]}")
        yield from _TypeChange(table, column, one, facts, names).parts()


@dataclass(slots=True)
class _TypeChange:
    """A type that changes by a new column, with triggers that keep both equal."""

    table: str
    column: str
    operation: SchemaOperation
    facts: ColumnFacts
    columns: frozenset[str]

    def parts(self) -> Iterator[_Part]:
        table, column, facts = self.table, self.column, self.facts
        new, old, kind = f"{column}_new", f"{column}_old", self.operation.type
        using = self.operation.expression or f"{column}::{kind}"
        name = _named(table, column, "sync")
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
        yield _Part("new-column", "expand", [add, *forth], [*gone, drop_new])
        yield _fill(table, new, using, f"{column} IS NOT NULL", "expand")
        check = _named(table, column, "is_there")
        add_check = (
            f"ALTER TABLE {table} ADD CONSTRAINT {check} CHECK ({new} IS NOT NULL) NOT VALID"
        )
        drop_check = f"ALTER TABLE {table} DROP CONSTRAINT {check}"
        if facts.not_null:
            yield _Part("check", "expand", [add_check], [drop_check])
            validate = f"ALTER TABLE {table} VALIDATE CONSTRAINT {check}"
            yield _Part("check-valid", "expand", [validate])
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
        yield _Part(
            "swap",
            "expand",
            [*gone, *loose, *swap, *there, *checked, *back],
            [*gone, *loose, *swap_back, *there, *unchecked, *forth],
        )
        drop_old = f"ALTER TABLE {table} DROP COLUMN {old}"
        add_old = f"ALTER TABLE {table} ADD COLUMN {old} {facts.type}"
        refill = f"UPDATE {table} SET {column} = {column}"
        yield _Part("old-column", "contract", [*gone, drop_old], [add_old, *back, refill])

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
                raise _NotMechanicalError(f"there is no rule for {expression} in USING")
            found.append(f"NEW.{word}" if is_column else word)
        return written(found)


def _constraint(one: SchemaOperation) -> Iterator[_Part]:
    table = one.table
    if one.kind == "add_check":
        name = one.name or _named(table, "check")
        rule = f"CHECK ({one.expression})"
    else:
        columns = ", ".join(one.columns)
        name = one.name or _named(table, *one.columns, "fkey")
        rule = f"FOREIGN KEY ({columns}) REFERENCES {one.expression}"
    add = f"ALTER TABLE {table} ADD CONSTRAINT {name} {rule} NOT VALID"
    drop = f"ALTER TABLE {table} DROP CONSTRAINT {name}"
    yield _Part("constraint", "contract", [add], [drop])
    if one.valid:
        validate = f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}"
        yield _Part("constraint-valid", "contract", [validate])


def _unique(one: SchemaOperation) -> Iterator[_Part]:
    table, columns = one.table, ", ".join(one.columns)
    name = one.name or _named(table, *one.columns, "key")
    yield _concurrent_index(one, name, f"UNIQUE INDEX CONCURRENTLY {name} ON {table} ({columns})")
    add = f"ALTER TABLE {table} ADD CONSTRAINT {name} UNIQUE USING INDEX {name}"
    # The constraint owns the index, so both go; what is left of the rollback finds none.
    yield _Part("unique", "expand", [add], [f"ALTER TABLE {table} DROP CONSTRAINT {name}"])


def _index(one: SchemaOperation) -> _Part:
    letters = re.findall(r"\w+", one.expression)
    name = one.name or _named(one.table, *letters[:4], "idx")
    unique = "UNIQUE " if one.unique else ""
    on = f"{name} ON {one.table} {one.expression}"
    if _if_not_exists(one.statement):
        # One that is there already is neither built again nor taken back.
        text = f"CREATE {unique}INDEX CONCURRENTLY IF NOT EXISTS {on}"
        return _Part("index", "expand", [text], apart=True)
    return _concurrent_index(one, name, f"{unique}INDEX CONCURRENTLY {on}")


def _if_not_exists(statement: SqlStatement) -> bool:
    upper = [word.upper() for word in statement.words]
    return "EXISTS" in upper[: upper.index("ON")]


def _concurrent_index(one: SchemaOperation, name: str, rest: str) -> _Part:
    """An index that is built beside the traffic.

    What an earlier try has left invalid is dropped before, unless the name is made up here: an
    index that was there before could have it.
    """
    drop = f"DROP INDEX CONCURRENTLY IF EXISTS {_beside(one.table, name)}"
    first = [] if one.name is None else [drop]
    return _Part("index", "expand", [*first, f"CREATE {rest}"], [drop], apart=True)


def _fill(table: str, column: str, value: str, where: str, phase: Phase) -> _Part:
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
    return _Part("fill", phase, [text], apart=True)


def _sets_a_timeout(statement: SqlStatement) -> bool:
    """Whether it is such a setting: the safe version has its own."""
    first, *rest = statement.words
    return first.upper() in ("SET", "RESET") and not _TIMEOUTS.isdisjoint(map(str.lower, rest))


def _assigns_one_column(one: SchemaOperation) -> bool:
    """Whether it is `UPDATE table SET column = value`, with WHERE or without."""
    words = list(one.statement.words)
    upper = [word.upper() for word in words]
    if upper[0] != "UPDATE" or written(words[1 : upper.index("SET")]) != one.table:
        return False
    depth = 0
    assigned = words[upper.index("SET") + 1 : upper.index("WHERE") if "WHERE" in upper else None]
    for word in assigned:
        depth += (word in "([") - (word in ")]")
        if word == "," and depth == 0:
            return False
    return assigned[1:2] == ["="]


def _named(*parts: str) -> str:
    """A name that is made of others, such as that of a table's constraint."""
    name = "_".join(map(bare_name, parts))
    return name if _PLAIN.fullmatch(name) else f'"{name}"'


def _beside(table: str, name: str) -> str:
    """The name of an index, with the schema of its table."""
    schema, dot, _ = table.rpartition(".")
    return f"{schema}{dot}{name}"


def _where(statement: SqlStatement) -> str:
    words = list(statement.words)
    upper = [word.upper() for word in words]
    if "FROM" in upper or "RETURNING" in upper:
        raise _NotMechanicalError(f"line {statement.line}: {_short(statement)}")
    return written(words[upper.index("WHERE") + 1 :]) if "WHERE" in upper else ""


def _text(statements: Sequence[str], *, apart: bool) -> str:
    text = "".join(f"{one};\n\n" for one in statements).rstrip() + "\n"
    return text if apart or statements[0] == _NOTHING else _LIMIT + text


def _short(statement: SqlStatement) -> str:
    return f"there is no rule for {' '.join(statement.text.split())[:60]}"
