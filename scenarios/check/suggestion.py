"""Writes the expand-contract version of a hazardous migration, where the recipe is mechanical.

What adds something comes first (expand). What restricts the rows comes after the new version is
deployed everywhere (contract), since the old one may still break it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from scenarios.check.migration_findings import MigrationSource
from scenarios.check.operations import SchemaOperation, bare_name, operations_of, written
from scenarios.check.sql_text import SqlStatement, statements_of
from scenarios.check.suggested_parts import (
    NOTHING,
    ColumnFacts,
    NotMechanicalError,
    Phase,
    SuggestedPart,
    TypeChange,
    beside_table,
    constraint_parts,
    fill_part,
    index_part,
    made_name,
    unique_parts,
)

_APART = "-- transactional: false\n"
_LIMIT = "SET LOCAL lock_timeout = '100ms';\n\n"
_TIMEOUTS = frozenset(("lock_timeout", "statement_timeout"))
_DIRECTIVE = re.compile(r"\s*--\s*(depends|transactional)\s*:\s*(.*?)\s*$")
"""A line of a migration that is for yoyo."""


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
            except NotMechanicalError as reason:
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
            NotMechanicalError: there is no rule for something that it does.
        """
        statements = [
            one for one in statements_of(self.source.sql or "") if not _sets_a_timeout(one)
        ]
        operations = [(one, operations_of(one)) for one in statements]
        for statement, found in operations:
            if not found:
                raise NotMechanicalError(f"line {statement.line}: {_short(statement)}")
            for one in found:
                if one.kind == "create_table":
                    self.new_tables.add(one.table)
                if one.kind == "add_column":
                    self.new_columns |= {(one.table, column) for column in one.columns}
                if one.kind == "change_rows":
                    self._note_fill(one)
        parts = [part for _, found in operations for one in found for part in self._parts(one)]
        for key in self.fills:
            raise NotMechanicalError(
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
            raise NotMechanicalError(f"line {one.statement.line}: {_short(one.statement)}")
        only_empty = where.upper() == f"{column} IS NULL".upper()
        if (one.table, column) not in self.new_columns and not only_empty:
            raise NotMechanicalError(
                f"line {one.statement.line}: the UPDATE of {one.table} changes more than the rows "
                f"in which {column} is NULL"
            )
        self.fills[one.table, column] = (value, where)

    def _parts(self, one: SchemaOperation) -> Iterator[SuggestedPart]:
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
                yield from constraint_parts(one)
            case "add_unique" if not one.using_index and not one.more:
                yield from unique_parts(one)
            case "create_index" if one.table not in self.new_tables:
                yield index_part(one)
            case "alter_type" if hazard:
                yield from self._type(one)
            case "create_table":
                yield SuggestedPart(
                    "table", "expand", [one.statement.text], [f"DROP TABLE {one.table}"]
                )
            case "create_index" if one.name is not None:
                undo = f"DROP INDEX {beside_table(one.table, one.name)}"
                yield SuggestedPart("index", "expand", [one.statement.text], [undo])
            case _:
                raise NotMechanicalError(f"line {one.statement.line}: {_short(one.statement)}")

    def _column(self, one: SchemaOperation, *, hazard: bool) -> Iterator[SuggestedPart]:
        table, (column,) = one.table, one.columns
        if one.computed or one.more or one.unique:
            raise NotMechanicalError(f"line {one.statement.line}: {_short(one.statement)}")
        add = f"ALTER TABLE {table} ADD COLUMN {column} {one.type}"
        undo = f"ALTER TABLE {table} DROP COLUMN {column}"
        if one.virtual:
            yield SuggestedPart("column", "expand", [one.statement.text], [undo])
        elif one.expression and not hazard:
            required = " NOT NULL" if one.not_null else ""
            whole = f"{add}{required} DEFAULT {one.expression}"
            yield SuggestedPart("column", "expand", [whole], [undo])
        elif one.expression and (table, column) in self.fills:
            raise NotMechanicalError(f"{column} has a default, and an UPDATE changes it")
        elif one.expression:
            default = f"ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT {one.expression}"
            yield SuggestedPart("column", "expand", [add, default], [undo])
            yield fill_part(table, column, one.expression, "", "expand")
            if one.not_null:
                yield from self._required(table, column)
        else:
            yield SuggestedPart("column", "expand", [add], [undo])
            if one.not_null:
                if (table, column) not in self.fills:
                    raise NotMechanicalError(
                        f"nothing says what old rows get in {column}; add an UPDATE that fills it"
                    )
                yield from self._required(table, column)

    def _required(self, table: str, column: str) -> Iterator[SuggestedPart]:
        fill = self.fills.pop((table, column), None)
        if fill is not None:
            yield fill_part(table, column, *fill, "contract")
        check = made_name(table, column, "is_there")
        add = f"ALTER TABLE {table} ADD CONSTRAINT {check} CHECK ({column} IS NOT NULL) NOT VALID"
        drop = f"ALTER TABLE {table} DROP CONSTRAINT {check}"
        alter = f"ALTER TABLE {table} ALTER COLUMN {column}"
        yield SuggestedPart("check", "contract", [add], [drop])
        validate = f"ALTER TABLE {table} VALIDATE CONSTRAINT {check}"
        yield SuggestedPart("check-valid", "contract", [validate])
        yield SuggestedPart(
            "not-null", "contract", [f"{alter} SET NOT NULL"], [f"{alter} DROP NOT NULL"]
        )
        yield SuggestedPart("check-dropped", "contract", [drop], [add])

    def _type(self, one: SchemaOperation) -> Iterator[SuggestedPart]:
        table, (column,) = one.table, one.columns
        facts = self.columns.get((bare_name(table), bare_name(column)))
        names = frozenset(name for of, name in self.columns if of == bare_name(table))
        if facts is None or '"' in column:
            raise NotMechanicalError(f"nothing is known of {column} of {table}")
        if facts.used_by:
            raise NotMechanicalError(f"{column} of {table} is used by {facts.used_by[0]}")
        yield from TypeChange(table, column, one, facts, names).parts()


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


def _where(statement: SqlStatement) -> str:
    words = list(statement.words)
    upper = [word.upper() for word in words]
    if "FROM" in upper or "RETURNING" in upper:
        raise NotMechanicalError(f"line {statement.line}: {_short(statement)}")
    return written(words[upper.index("WHERE") + 1 :]) if "WHERE" in upper else ""


def _text(statements: Sequence[str], *, apart: bool) -> str:
    text = "".join(f"{one};\n\n" for one in statements).rstrip() + "\n"
    return text if apart or statements[0] == NOTHING else _LIMIT + text


def _short(statement: SqlStatement) -> str:
    return f"there is no rule for {' '.join(statement.text.split())[:60]}"
