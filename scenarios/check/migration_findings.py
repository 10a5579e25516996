"""What the migrations of a release do to live traffic: what was observed, where, and the safe way.

A finding needs an observation: a lock with work under it, a refused statement, something that was
left behind. The text of a migration only says which operation it was, and on which line.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from scenarios.check.change_effects import ChangeEffects, LeftBehind, StatementEffect
from scenarios.check.hazard_rules import RULES, HazardRule, Level
from scenarios.check.lock_result import strength
from scenarios.check.observed import CellResult, MigratorResult, Observed, SchemaKey
from scenarios.check.operations import Kind, SchemaOperation, bare_name, operations_of
from scenarios.check.sql_text import SqlStatement, statements_of
from scenarios.verdict.causes.sqlstates import describe

_STALE = "0A000"
_WITHOUT_A_GAP = 0.995
_EXCLUSIVE = strength("SHARE ROW EXCLUSIVE")
_WHOLE = strength("ACCESS EXCLUSIVE")


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationSource:
    """Where a change comes from.

    Attributes:
        change: the change.
        file: its file, or that of the scenario for a command.
        line: the line of the command in it.
        sql: the text of a file of SQL; None for others.
    """

    change: str
    file: str
    line: int = 1
    sql: str | None = None


class FileLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a file.

    Attributes:
        file: its path.
        line: from 1 on.
    """

    file: str
    line: int


class MigrationFinding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A hazard of a migration that was observed.

    Attributes:
        rule: its name, a key of `RULES`.
        level: how bad it is.
        change: the migration.
        file: its file.
        line: the line of the statement in it, from 1 on.
        observed: what was observed, in a sentence.
        recipe: how the same is done safely.
        statement: the statement; absent if it is not known.
        sqlstate: the code with which something fails; absent if nothing does.
    """

    rule: str
    level: Level
    change: str
    file: str
    line: int
    observed: str
    recipe: str
    statement: str | None = None
    sqlstate: str | None = None

    @property
    def title(self) -> str:
        """What happens, in a sentence."""
        return RULES[self.rule].title


def findings(
    sources: Iterable[MigrationSource],
    observed: Observed,
    before: Mapping[str, SchemaKey],
    serving: Mapping[str, str],
) -> tuple[MigrationFinding, ...]:
    """The hazards of a release's migrations, in the order of the migrations and their lines.

    Args:
        sources: where the changes come from, in the order of the release.
        observed: what the trials saw.
        before: the schema before each change.
        serving: the version that serves while a change is applied.
    """
    found: dict[tuple[str, str, int, str | None], MigrationFinding] = {}
    for source in sources:
        change = _Change(source, observed, before, serving.get(source.change))
        for finding in sorted(change.findings(), key=lambda one: one.line):
            key = (finding.rule, finding.change, finding.line, finding.sqlstate)
            found.setdefault(key, finding)
    return tuple(found.values())


def tool_findings(
    migrators: Iterable[MigratorResult], steps: Mapping[int, FileLine]
) -> Iterator[MigrationFinding]:
    """Tools that make requests wait while they wait themselves.

    Args:
        migrators: what became of the tools.
        steps: where each step of the release is written.
    """
    for one in migrators:
        at = steps.get(one.step)
        if not one.holds_up or at is None or one.queued_share is None:
            continue
        forever = one.queued_share > _WITHOUT_A_GAP
        rule = RULES["no-lock-timeout" if forever else "retries-without-pause"]
        yield MigrationFinding(
            rule=rule.name,
            level=rule.level,
            change=one.tool,
            file=at.file,
            line=at.line,
            observed=f"while a reader held its tables, {one.tool} stood in the queue for "
            f"{one.queued_share:.0%} of the time",
            recipe=rule.recipe,
        )


@dataclass(slots=True)
class _Change:
    """One change, with what was observed of it."""

    source: MigrationSource
    observed: Observed
    before: Mapping[str, SchemaKey]
    serving: str | None
    effects: ChangeEffects | None = None
    operations: list[SchemaOperation] = field(default_factory=list)
    statements: Sequence[SqlStatement] = ()

    def __post_init__(self) -> None:
        name = self.source.change
        self.effects = next((one for one in self.observed.effects if one.change == name), None)
        if self.source.sql is not None:
            self.statements = statements_of(self.source.sql)
        elif self.effects is not None:
            self.statements = [
                one for effect in self.effects.statements for one in statements_of(effect.text)
            ]
        self.operations = [one for each in self.statements for one in operations_of(each)]

    def findings(self) -> Iterator[MigrationFinding]:
        if self.effects is not None:
            yield from self._failed(self.effects)
            yield from self._locks(self.effects)
            yield from self._left(self.effects)
            yield from self._rows(self.effects)
        yield from self._versions()

    def _failed(self, effects: ChangeEffects) -> Iterator[MigrationFinding]:
        if effects.failed is None:
            return
        rule, operation = self._blamed(effects.sqlstate, effects.failed, "failing-migration")
        yield self._finding(
            rule, operation, f"it fails: {effects.failed}", effects.sqlstate, level="error"
        )

    def _locks(self, effects: ChangeEffects) -> Iterator[MigrationFinding]:
        unlimited: StatementEffect | None = None
        first_of: dict[tuple[int, str], StatementEffect] = {}
        told: set[int] = set()
        for one in effects.statements:
            operations = self._of(one)
            yield from self._work(one, operations)
            if one.locks and not one.lock_timeout:
                unlimited = unlimited or one
            new = []
            for table, mode in one.locks:
                if strength(mode) >= _EXCLUSIVE and (one.transaction, table) not in first_of:
                    first_of[one.transaction, table] = one
                    new.append(table)
            yield from self._parents(one, operations, new)
            others = [
                table
                for (number, table), first in first_of.items()
                if number == one.transaction and first is not one
            ]
            if new and others and one.transaction not in told:
                told.add(one.transaction)
                words = f"one transaction locks {', '.join(others)}, and then {', '.join(new)}"
                yield self._finding("several-tables", _first(operations), words, statement=one)
        if unlimited is not None:
            operations = self._of(unlimited)
            creates = any(op.kind == "create_table" and op.expression for op in operations)
            table = unlimited.locked[0]
            words = f"it takes {unlimited.mode(table)} on {table}, and waits for it without a limit"
            rule = "reference-to-live-table" if creates else "no-lock-timeout"
            yield self._finding(rule, _first(operations), words, statement=unlimited)

    def _work(
        self, one: StatementEffect, operations: Sequence[SchemaOperation]
    ) -> Iterator[MigrationFinding]:
        """Work under a lock that holds up requests."""
        if not one.locks:
            return
        table = one.locked[0]
        mode = one.mode(table)
        if one.rewrites is not None:
            rule, operation = _first_of(operations, _REWRITING, "written-anew")
            words = f"{mode} on {table} while the table is written anew"
            yield self._finding(rule, operation, words, statement=one)
        elif one.works_through:
            rule, operation = _first_of(operations, _SCANNING, "work-under-lock")
            words = (
                f"{mode} on {_and(one.locked)} while all rows of {_and(one.works_through)} are read"
            )
            yield self._finding(rule, operation, words, statement=one)
        if one.then_works_through:
            rows = _and(one.then_works_through)
            words = f"{mode} on {_and(one.locked)} is kept while all rows of {rows} are read or "
            words += "changed"
            yield self._finding("work-under-lock", _first(operations), words, statement=one)

    def _parents(
        self, one: StatementEffect, operations: Sequence[SchemaOperation], new: Sequence[str]
    ) -> Iterator[MigrationFinding]:
        """Tables that are locked although the statement does not name them, and dropped indexes."""
        for operation in operations:
            tables = [name for name in new if one.mode(name) == "ACCESS EXCLUSIVE"]
            if operation.kind in ("drop_table", "drop_constraint"):
                named = {op.table for op in operations}
                others = [name for name in tables if name not in named]
                if others:
                    words = f"ACCESS EXCLUSIVE on {_and(others)}, too"
                    yield self._finding("locked-parent", operation, words, statement=one)
                    return
            if operation.kind == "drop_index" and not operation.concurrent and tables:
                words = f"ACCESS EXCLUSIVE on {_and(tables)}"
                yield self._finding("index-dropped-under-lock", operation, words, statement=one)

    def _left(self, effects: ChangeEffects) -> Iterator[MigrationFinding]:
        for one in effects.left_behind:
            rule, words, kinds = _LEFT[one.kind]
            operation = next(
                (op for op in self.operations if op.kind in kinds and _about(op, one)),
                next((op for op in self.operations if op.kind in kinds), None),
            )
            if one.kind == "rewritten" and (operation is None or operation.concurrent):
                continue  # a table that was emptied or swapped on purpose
            text = words.format(
                name=one.name, table=one.table, rows=one.rows, message=one.message,
                codes=", ".join(one.sqlstates),
            )  # fmt: skip
            yield self._finding(rule, operation, text, one.sqlstates[0] if one.sqlstates else None)

    def _rows(self, effects: ChangeEffects) -> Iterator[MigrationFinding]:
        for operation in self.operations:
            if operation.kind != "change_rows":
                continue
            for table in effects.changed_rows:
                if bare_name(operation.table) == bare_name(table):
                    words = f"one transaction changes most rows of {table}"
                    yield self._finding("unbatched-change", operation, words)

    def _versions(self) -> Iterator[MigrationFinding]:
        """What of the version that serves worked before the change, and fails after it.

        What failed before already is the doing of an earlier change.
        """
        schema = self.before.get(self.source.change)
        if schema is None or self.serving is None:
            return
        after = (*schema, self.source.change)
        cells = [one for one in self.observed.cells if one.version == self.serving]
        ready = [one for one in cells if one.schema == schema and one.not_ready is None]
        if not ready:
            return
        worked = {one.endpoint for cell in ready for one in cell.endpoints if one.ok}
        now = [one for one in cells if one.schema == after]
        broken = [found for cell in now for found in self._cell(cell, worked)]
        yield from broken
        still = all(one.level != "error" for one in broken)
        for operation in self.operations:
            if _has_silent_default(operation) and now and still:
                words = f"{self.serving} works, and its rows get {operation.expression}"
                yield self._finding("silent-default", operation, words)

    def _cell(self, cell: CellResult, worked: Collection[str]) -> Iterator[MigrationFinding]:
        for endpoint in cell.endpoints:
            if endpoint.ok or endpoint.endpoint not in worked:
                continue
            message = endpoint.message or endpoint.mismatch or ""
            rule, operation = self._blamed(endpoint.sqlstate, message, "breaks-version")
            why = endpoint.cause.removeprefix("sqlstate:")
            if endpoint.sqlstate is not None:
                why += f" {describe(endpoint.sqlstate)}"
            words = f"{cell.version}, {cell.connections}: {endpoint.endpoint} fails: {why}"
            yield self._finding(rule, operation, words, endpoint.sqlstate, level="error")
        if cell.not_ready is not None:
            words = f"a fresh replica of {cell.version} does not become ready: {cell.not_ready}"
            yield self._finding("breaks-version", None, words, level="error")
        for refused in cell.refused:
            if refused.sqlstate == _STALE:
                words = f"{cell.version}, {cell.connections}: {refused.message} (healed)"
                _, operation = self._blamed(_STALE, refused.message, "stale-statement")
                yield self._finding("stale-statement", operation, words, _STALE, level="note")

    def _blamed(
        self, sqlstate: str | None, message: str, otherwise: str
    ) -> tuple[str, SchemaOperation | None]:
        """The hazard with this code, and the operation that probably caused it."""
        possible = [
            (rule, one)
            for one in self.operations
            for code, kinds, rule in _CODES
            if code == sqlstate and one.kind in kinds and _can(one, rule)
        ]
        named = [
            (rule, one)
            for rule, one in possible
            if any(f'"{name}"' in message for name in (*one.columns, one.name, one.table) if name)
        ]
        return next(iter((*named, *possible)), (otherwise, _first(self.operations)))

    def _of(self, effect: StatementEffect) -> Sequence[SchemaOperation]:
        """The operations of a statement; where the client sent several at once, of all of them."""
        normal = {one.normal for one in statements_of(effect.text)}
        return [one for one in self.operations if one.statement.normal in normal]

    def _finding(
        self,
        name: str,
        operation: SchemaOperation | None,
        observed: str,
        sqlstate: str | None = None,
        *,
        level: Level | None = None,
        statement: StatementEffect | None = None,
    ) -> MigrationFinding:
        rule: HazardRule = RULES[name]
        line = self.source.line
        text = None if statement is None else " ".join(statement.text.split())
        if operation is not None:
            text = " ".join(operation.statement.text.split())
            line = operation.statement.line if self.source.sql is not None else line
        elif statement is not None and self.source.sql is not None:
            normal = {one.normal for one in statements_of(statement.text)}
            line = next((one.line for one in self.statements if one.normal in normal), line)
        return MigrationFinding(
            rule=name,
            level=level or rule.level,
            change=self.source.change,
            file=self.source.file,
            line=line,
            observed=observed,
            recipe=rule.recipe,
            statement=text,
            sqlstate=sqlstate,
        )


_REWRITING: Mapping[Kind, str] = {
    "alter_type": "rewriting-type",
    "add_column": "rewriting-default",
}
_SCANNING: Mapping[Kind, str] = {
    "set_not_null": "set-not-null",
    "add_not_null": "set-not-null",
    "add_check": "validating-check",
    "add_foreign_key": "validating-foreign-key",
    "add_unique": "unique-constraint",
    "add_primary_key": "unique-constraint",
    "add_exclusion": "unique-constraint",
    "create_index": "index-blocks-writes",
    "alter_type": "rewriting-type",
    "add_column": "rewriting-default",
    "rewrite": "written-anew",
}
_LEFT: Mapping[str, tuple[str, str, frozenset[Kind]]] = {
    "invalid_index": (
        "invalid-index",
        "the index {name} of {table} is invalid",
        frozenset({"create_index", "rewrite", "add_unique"}),
    ),
    "pending_detach": (
        "pending-detach",
        "the partition {name} of {table} is detached only half",
        frozenset({"detach_partition"}),
    ),
    "refused_rows": (
        "constraint-before-backfill",
        "{rows:,} old rows of {table} break {name}, and an update of them fails: {codes} {message}",
        frozenset({"add_check", "add_not_null"}),
    ),
    "rewritten": ("written-anew", "{name} is written anew", frozenset({"rewrite"})),
    "unreadable_rows": (
        "unreadable-rows",
        "reads of {name} of {table} fail: {codes} {message}",
        frozenset({"add_column"}),
    ),
    "view_for_table": (
        "view-in-place",
        "{name} is a view now, and Postgres refuses some statements: {codes}",
        frozenset({"create_view", "rename_table"}),
    ),
}
_CODES: Sequence[tuple[str, frozenset[Kind], str]] = (
    ("23502", frozenset({"add_column"}), "required-column"),
    ("23502", frozenset({"set_not_null", "add_not_null", "drop_default"}), "not-null-too-early"),
    ("23514", frozenset({"add_check"}), "constraint-too-early"),
    ("23503", frozenset({"add_foreign_key"}), "constraint-too-early"),
    ("23505", frozenset({"add_unique", "create_index", "add_primary_key"}), "constraint-too-early"),
    ("42703", frozenset({"rename_column"}), "renamed"),
    ("42703", frozenset({"drop_column"}), "dropped-column"),
    ("42P01", frozenset({"rename_table"}), "renamed"),
    ("42P01", frozenset({"drop_table"}), "dropped-table"),
    ("42P10", frozenset({"drop_index", "drop_constraint"}), "dropped-unique-index"),
    ("42704", frozenset({"drop_constraint", "create_view"}), "dropped-unique-index"),
    ("22P02", frozenset({"rename_enum_value"}), "renamed-enum-value"),
    ("55P04", frozenset({"add_enum_value"}), "enum-value-too-early"),
    ("22003", frozenset({"add_column"}), "unreadable-rows"),
    ("22000", frozenset({"alter_type"}), "type-in-use"),
    ("22003", frozenset({"alter_type"}), "type-in-use"),
    ("22P02", frozenset({"alter_type"}), "type-in-use"),
    ("42804", frozenset({"alter_type"}), "type-in-use"),
    ("42883", frozenset({"alter_type"}), "type-in-use"),
    ("55000", frozenset({"detach_partition"}), "pending-detach"),
    (
        _STALE,
        frozenset({"alter_type", "add_column", "drop_column", "rename_column"}),
        "stale-statement",
    ),
)
"""Which operation makes Postgres refuse a statement with which code, and which hazard that is."""


def _can(operation: SchemaOperation, rule: str) -> bool:
    if rule == "required-column":
        return operation.not_null and not operation.expression
    return rule != "unreadable-rows" or operation.virtual


def _has_silent_default(operation: SchemaOperation) -> bool:
    return operation.kind == "add_column" and operation.not_null and bool(operation.expression)


def _first(operations: Sequence[SchemaOperation]) -> SchemaOperation | None:
    return operations[0] if operations else None


def _first_of(
    operations: Sequence[SchemaOperation], names: Mapping[Kind, str], otherwise: str
) -> tuple[str, SchemaOperation | None]:
    for one in operations:
        if one.kind in names:
            return names[one.kind], one
    return otherwise, _first(operations)


def _about(operation: SchemaOperation, left: LeftBehind) -> bool:
    names = {bare_name(one) for one in (left.name, left.table)}
    return bool(names & {bare_name(one) for one in (operation.name or "", operation.table)})


def _and(names: Sequence[str]) -> str:
    return " and ".join(names)
