# ruff: noqa: S608 - it writes SQL for a person to read, from that person's own SQL
"""Writes the expand-contract version of a hazardous migration, where the recipe is mechanical.

What adds something comes first (expand). What restricts the rows comes after the new version is
deployed everywhere (contract), since the old one may still break it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from scenarios.check.migration_findings import MigrationSource
from scenarios.check.operations import SchemaOperation, operations_of, written
from scenarios.check.sql_text import SqlStatement, statements_of

Phase: TypeAlias = Literal["expand", "contract"]

_APART = "-- transactional: false\n"
_LIMIT = "SET LOCAL lock_timeout = '100ms';\n\n"
_NOTHING = "SELECT 1"
_PAGES = 50
_SETTINGS = ("SET", "RESET")


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
        phase: whether it comes before or after the deployment.
        sql: the text of its file, without `-- depends`.
        rollback: the text of its rollback.
        apart: whether each of its statements is a transaction of its own.
    """

    name: str
    phase: Phase
    sql: str
    rollback: str
    apart: bool = False

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
        migrations: what comes before the deployment, then what comes after it.
        left: what could not be rewritten, and why.
    """

    migrations: tuple[SuggestedMigration, ...]
    left: tuple[str, ...] = ()

    @property
    def last_expand(self) -> str | None:
        """The last migration that comes before the deployment; None if there is none."""
        names = [one.name for one in self.migrations if one.phase == "expand"]
        return names[-1] if names else None


class _NotMechanicalError(Exception):
    """What a statement does cannot be rewritten by a rule; the message says why."""


def suggest(
    sources: Iterable[MigrationSource],
    hazardous: Mapping[str, frozenset[int]],
    columns: Mapping[tuple[str, str], ColumnFacts],
    rollbacks: Mapping[str, str],
) -> Suggestion:
    """Rewrite the migrations with hazards; the others stay as they are.

    Args:
        sources: the migrations, in the order of the release.
        hazardous: for each change the lines of the statements with a hazard.
        columns: what is known of the columns, by their table and name.
        rollbacks: the text of the rollback of each change that has one.
    """
    made: list[SuggestedMigration] = []
    left: list[str] = []
    for source in sources:
        if source.sql is None:
            left.append(f"{source.change} is no file of SQL")
            continue
        lines = hazardous.get(source.change, frozenset())
        safe = [_kept(source, rollbacks.get(source.change))]
        if lines:
            try:
                safe = list(_Rewriting(source, lines, columns).migrations())
            except _NotMechanicalError as reason:
                left.append(f"{source.change}: {reason}")
        made += safe
    made.sort(key=lambda one: one.phase == "contract")
    return Suggestion(migrations=tuple(made), left=tuple(left))


def _kept(source: MigrationSource, rollback: str | None) -> SuggestedMigration:
    lines = (source.sql or "").splitlines()
    directives = ("-- depends:", "-- transactional:")
    return SuggestedMigration(
        name=source.change,
        phase="expand",
        sql="\n".join(line for line in lines if not line.startswith(directives)).strip() + "\n",
        rollback=rollback or "",
        apart=any(line.replace(" ", "") == "--transactional:false" for line in lines),
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
    new_tables: set[str] = field(default_factory=set)

    def migrations(self) -> Iterator[SuggestedMigration]:
        """The migrations that do the same safely.

        Raises:
            _NotMechanicalError: there is no rule for something that it does.
        """
        statements = [
            one
            for one in statements_of(self.source.sql or "")
            if one.words[0].upper() not in _SETTINGS
        ]
        operations = [(one, operations_of(one)) for one in statements]
        for statement, found in operations:
            if not found:
                raise _NotMechanicalError(f"line {statement.line}: {_short(statement)}")
            for one in found:
                if one.kind == "create_table":
                    self.new_tables.add(one.table)
                if one.kind == "change_rows":
                    self._note_fill(one)
        parts = [part for _, found in operations for one in found for part in self._parts(one)]
        for key in self.fills:
            raise _NotMechanicalError(f"the UPDATE of {key[0]} fills no column that is new here")
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
        if not value or "," in column or one.statement.words[0].upper() != "UPDATE":
            raise _NotMechanicalError(f"line {one.statement.line}: {_short(one.statement)}")
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
            case "add_check" | "add_foreign_key":
                yield from _constraint(one)
            case "add_unique" if not one.using_index:
                yield from _unique(one)
            case "create_index" if not one.concurrent and one.table not in self.new_tables:
                yield _index(one)
            case "alter_type" if hazard:
                yield from self._type(one)
            case "create_table":
                yield _Part("table", "expand", [one.statement.text], [f"DROP TABLE {one.table}"])
            case "create_index" if one.name is not None:
                undo = f"DROP INDEX {one.name}"
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
        check = f"{_bare(table)}_{_bare(column)}_is_there"
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
        facts = self.columns.get((_bare(table), _bare(column)))
        if facts is None or '"' in column:
            raise _NotMechanicalError(f"nothing is known of {column} of {table}")
        if facts.used_by:
            raise _NotMechanicalError(f"{column} of {table} is used by {facts.used_by[0]}")
        yield from _TypeChange(table, column, one, facts).parts()


@dataclass(slots=True)
class _TypeChange:
    """A type that changes by a new column, with triggers that keep both equal."""

    table: str
    column: str
    operation: SchemaOperation
    facts: ColumnFacts

    def parts(self) -> Iterator[_Part]:
        table, column, facts = self.table, self.column, self.facts
        new, old, kind = f"{column}_new", f"{column}_old", self.operation.type
        using = self.operation.expression or f"{column}::{kind}"
        name = f"{_bare(table)}_{column}_sync"
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
        check = f"{_bare(table)}_{column}_is_there"
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
        """The expression of a row in a trigger."""
        words = [word for one in statements_of(expression) for word in one.words]
        return written([f"NEW.{word}" if word == self.column else word for word in words])


def _constraint(one: SchemaOperation) -> Iterator[_Part]:
    table = one.table
    if one.kind == "add_check":
        name = one.name or f"{_bare(table)}_check"
        rule = f"CHECK ({one.expression})"
    else:
        columns = ", ".join(one.columns)
        name = one.name or f"{_bare(table)}_{'_'.join(map(_bare, one.columns))}_fkey"
        rule = f"FOREIGN KEY ({columns}) REFERENCES {one.expression}"
    add = f"ALTER TABLE {table} ADD CONSTRAINT {name} {rule} NOT VALID"
    drop = f"ALTER TABLE {table} DROP CONSTRAINT {name}"
    yield _Part("constraint", "contract", [add], [drop])
    if one.valid:
        validate = f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}"
        yield _Part("constraint-valid", "contract", [validate])


def _unique(one: SchemaOperation) -> Iterator[_Part]:
    table, columns = one.table, ", ".join(one.columns)
    name = one.name or f"{_bare(table)}_{'_'.join(map(_bare, one.columns))}_key"
    yield _concurrent_index(name, f"UNIQUE INDEX CONCURRENTLY {name} ON {table} ({columns})")
    add = f"ALTER TABLE {table} ADD CONSTRAINT {name} UNIQUE USING INDEX {name}"
    # The constraint owns the index, so both go; what is left of the rollback finds none.
    yield _Part("unique", "expand", [add], [f"ALTER TABLE {table} DROP CONSTRAINT {name}"])


def _index(one: SchemaOperation) -> _Part:
    words = one.expression.replace("(", " ").replace(")", " ").split()
    letters = ["".join(c for c in word if c.isalnum() or c == "_") for word in words]
    name = one.name or "_".join([_bare(one.table), *filter(None, letters)][:5]) + "_idx"
    unique = "UNIQUE " if one.unique else ""
    return _concurrent_index(
        name, f"{unique}INDEX CONCURRENTLY {name} ON {one.table} {one.expression}"
    )


def _concurrent_index(name: str, rest: str) -> _Part:
    """An index that is built beside the traffic, also where a try has left an invalid one."""
    drop = f"DROP INDEX CONCURRENTLY IF EXISTS {name}"
    return _Part("index", "expand", [drop, f"CREATE {rest}"], [drop], apart=True)


def _fill(table: str, column: str, value: str, where: str, phase: Phase) -> _Part:
    """Fill a column page by page, each time in a transaction of its own, until no row lacks it."""
    empty = f"{column} IS NULL AND ({value}) IS NOT NULL" + (f" AND ({where})" if where else "")
    text = f"""DO $fill$
DECLARE
    page bigint := 0;
BEGIN
    LOOP
        WHILE page <= pg_relation_size('{table}') / current_setting('block_size')::bigint LOOP
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


def _bare(name: str) -> str:
    return name.rpartition(".")[2].strip('"')
