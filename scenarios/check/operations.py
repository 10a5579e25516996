"""What the statements of a migration do to the schema, one operation after the other.

This reads the SQL that migrations consist of, as far as the advice needs it. What it does not know
is no operation. It judges nothing: whether an operation does harm is observed on a real Postgres.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from scenarios.check.sql_text import SqlStatement

Kind: TypeAlias = Literal[
    "add_check",
    "add_column",
    "add_enum_value",
    "add_exclusion",
    "add_foreign_key",
    "add_not_null",
    "add_primary_key",
    "add_unique",
    "alter_type",
    "change_rows",
    "create_index",
    "create_table",
    "create_view",
    "detach_partition",
    "drop_column",
    "drop_constraint",
    "drop_default",
    "drop_index",
    "drop_table",
    "other",
    "rename_column",
    "rename_enum_value",
    "rename_table",
    "rewrite",
    "set_not_null",
    "validate",
]

_IN_COLUMN = frozenset(
    (
        *("NOT", "NULL", "DEFAULT", "GENERATED", "REFERENCES", "UNIQUE", "PRIMARY", "CHECK"),
        *("CONSTRAINT", "COLLATE"),
    )
)
_TABLE_CONSTRAINTS = frozenset(
    ("CONSTRAINT", "CHECK", "FOREIGN", "UNIQUE", "PRIMARY", "EXCLUDE", "NOT")
)
_SERIAL = frozenset(["SERIAL", "BIGSERIAL", "SMALLSERIAL", "SERIAL4", "SERIAL8", "SERIAL2"])


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaOperation:
    """One change that a statement makes.

    Attributes:
        kind: what it is.
        statement: the statement.
        table: the table that it changes, as it is written; for an index or a type, its own name
            where the statement names no table.
        columns: the columns that it is about.
        name: the name of a constraint, of an index, or the new name.
        type: the type of a column.
        expression: the default of a column, the condition of a CHECK, what follows REFERENCES, the
            columns of an index, or the USING of a new type.
        not_null: whether a new column is NOT NULL.
        valid: whether old rows are checked, too.
        unique: whether an index is unique.
        concurrent: whether it is done concurrently.
        computed: whether the value of a new column is computed for each row: serial, identity,
            or stored.
        virtual: whether a new column is computed when it is read.
        using_index: whether a constraint takes over an index.
        more: whether a new column has constraints of its own, or a constraint has options, that
            are not told here.
    """

    kind: Kind
    statement: SqlStatement
    table: str = ""
    columns: tuple[str, ...] = ()
    name: str | None = None
    type: str = ""
    expression: str = ""
    not_null: bool = False
    valid: bool = True
    unique: bool = False
    concurrent: bool = False
    computed: bool = False
    virtual: bool = False
    using_index: bool = False
    more: bool = False


def bare_name(name: str) -> str:
    """A name as the catalog has it: without its schema and its quotes."""
    last = name.rpartition(".")[2]
    return last.strip('"') if last.startswith('"') else last.lower()


def operations_of(statement: SqlStatement) -> tuple[SchemaOperation, ...]:
    """What a statement does; nothing where it does none of the known."""
    words = _Reader(statement.words)
    for first, read in _READERS.items():
        if words.take(*first.split()):
            return tuple(read(words, statement))
    return ()


class _Reader:
    """Reads words one after the other; keywords in any case."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words
        self._at = 0

    def take(self, *keywords: str) -> bool:
        """Go on behind these keywords, if they come next."""
        end = self._at + len(keywords)
        if tuple(word.upper() for word in self._words[self._at : end]) != keywords:
            return False
        self._at = end
        return True

    def next_is(self, *choices: str) -> bool:
        """Whether one of these keywords comes next."""
        return self._at < len(self._words) and self._words[self._at].upper() in choices

    def word(self) -> str:
        """The next word; empty at the end."""
        if self._at == len(self._words):
            return ""
        self._at += 1
        return self._words[self._at - 1]

    def name(self) -> str:
        """A name, with its schema if it has one."""
        found = self.word()
        while self.take("."):
            found = f"{found}.{self.word()}"
        return found

    def until(self, *stops: str) -> list[str]:
        """All words before one of these keywords outside of brackets, or before the end."""
        found: list[str] = []
        depth = 0
        while self._at < len(self._words):
            word = self._words[self._at]
            if depth == 0 and word.upper() in stops:
                break
            depth += (word in "([") - (word in ")]")
            found.append(word)
            self._at += 1
        return found

    def in_brackets(self) -> list[str]:
        """The words within the brackets that come next; none where none come."""
        if not self.next_is("("):
            return []
        start, depth = self._at + 1, 0
        while self._at < len(self._words):
            word = self.word()
            depth += (word == "(") - (word == ")")
            if depth == 0:
                break
        return list(self._words[start : self._at - 1])

    def rest(self) -> list[str]:
        """All words that are left."""
        return self.until()

    def parts(self) -> Iterator["_Reader"]:
        """What is left, taken apart at its commas."""
        while self._at < len(self._words):
            yield _Reader(self.until(","))
            self.take(",")


def written(words: Sequence[str]) -> str:
    """Words as SQL again."""
    text = ""
    for word in words:
        tight = not text or text[-1] in "(.[:" or word in (")", ",", ".", "::", "[", "]", ":")
        call = word == "(" and text[-1:].isalnum() and not text.endswith((" IN", " AND", " OR"))
        text += word if tight or call else f" {word}"
    return text


def _names(words: Sequence[str]) -> tuple[str, ...]:
    return tuple(word for word in words if word != ",")


def _alter_table(words: _Reader, statement: SqlStatement) -> Iterator[SchemaOperation]:
    words.take("IF", "EXISTS")
    words.take("ONLY")
    table = words.name()
    words.take("*")
    for action in words.parts():
        base = SchemaOperation(kind="other", statement=statement, table=table)
        yield _action(action, base) or base


def _action(words: _Reader, base: SchemaOperation) -> SchemaOperation | None:
    for keywords, read in _ACTIONS.items():
        if words.take(*keywords.split()):
            return read(words, base)
    return None


def _added(words: _Reader, base: SchemaOperation) -> SchemaOperation | None:
    if words.next_is(*_TABLE_CONSTRAINTS):
        return _constraint(words, base)
    return _column(words, base)


def _dropped(words: _Reader, base: SchemaOperation) -> SchemaOperation:
    words.take("COLUMN")
    words.take("IF", "EXISTS")
    return replace(base, kind="drop_column", columns=(words.name(),))


def _dropped_constraint(words: _Reader, base: SchemaOperation) -> SchemaOperation:
    words.take("IF", "EXISTS")
    return replace(base, kind="drop_constraint", name=words.name())


def _renamed_column(words: _Reader, base: SchemaOperation) -> SchemaOperation:
    words.take("COLUMN")
    column = words.name()
    words.take("TO")
    return replace(base, kind="rename_column", columns=(column,), name=words.name())


def _detached(words: _Reader, base: SchemaOperation) -> SchemaOperation:
    name = words.name()
    concurrent = words.next_is("CONCURRENTLY")
    return replace(base, kind="detach_partition", name=name, concurrent=concurrent)


def _altered(words: _Reader, base: SchemaOperation) -> SchemaOperation | None:
    words.take("COLUMN")
    base = replace(base, columns=(words.name(),))
    if words.take("SET", "NOT", "NULL"):
        return replace(base, kind="set_not_null")
    if words.take("DROP", "DEFAULT"):
        return replace(base, kind="drop_default")
    words.take("SET", "DATA")
    if words.take("TYPE"):
        kind = written(words.until("USING", "COLLATE"))
        words.until("USING")
        words.take("USING")
        return replace(base, kind="alter_type", type=kind, expression=written(words.rest()))
    return None


def _column(words: _Reader, base: SchemaOperation) -> SchemaOperation:
    words.take("COLUMN")
    words.take("IF", "NOT", "EXISTS")
    name = words.name()
    type_words = words.until(*_IN_COLUMN)
    found = replace(
        base,
        kind="add_column",
        columns=(name,),
        type=written(type_words),
        computed=bool(type_words) and type_words[0].upper() in _SERIAL,
    )
    while rest := words.word():
        match rest.upper():
            case "NOT" if words.take("NULL"):
                found = replace(found, not_null=True)
            case "PRIMARY" if words.take("KEY"):
                found = replace(found, not_null=True, unique=True)
            case "UNIQUE":
                found = replace(found, unique=True)
            case "DEFAULT":
                found = replace(found, expression=written(words.until(*_IN_COLUMN)))
            case "GENERATED":
                how = [word.upper() for word in words.until(*_IN_COLUMN)]
                # Without a word, a generated column is virtual since Postgres 18.
                stored = "IDENTITY" in how or "STORED" in how
                found = replace(found, computed=stored, virtual=not stored)
            case "NULL":
                pass
            case _:
                words.in_brackets()
                found = replace(found, more=True)
    return found


def _constraint(words: _Reader, base: SchemaOperation) -> SchemaOperation | None:
    name = words.name() if words.take("CONSTRAINT") else None
    base = replace(base, name=name)
    found: SchemaOperation | None = None
    if words.take("CHECK"):
        found = replace(base, kind="add_check", expression=written(words.in_brackets()))
    elif words.take("FOREIGN", "KEY"):
        columns = _names(words.in_brackets())
        words.take("REFERENCES")
        refers = words.until("NOT")
        found = replace(base, kind="add_foreign_key", columns=columns, expression=written(refers))
    elif words.take("NOT", "NULL"):
        found = replace(base, kind="add_not_null", columns=(words.name(),))
    elif words.take("EXCLUDE"):
        found = replace(base, kind="add_exclusion")
    elif words.next_is("UNIQUE", "PRIMARY"):
        kind: Kind = "add_unique" if words.take("UNIQUE") else "add_primary_key"
        words.take("PRIMARY", "KEY")
        if words.take("USING", "INDEX"):
            return replace(base, kind=kind, using_index=True)
        found = replace(base, kind=kind, columns=_names(words.in_brackets()))
    if found is None:
        return None
    rest = [word.upper() for word in words.rest()]
    valid = rest[-2:] != ["NOT", "VALID"]
    return replace(found, valid=valid, more=bool(rest if valid else rest[:-2]))


def _create_index(
    words: _Reader, statement: SqlStatement, *, unique: bool
) -> Iterator[SchemaOperation]:
    concurrent = words.take("CONCURRENTLY")
    words.take("IF", "NOT", "EXISTS")
    name = None if words.next_is("ON") else words.name()
    words.take("ON")
    words.take("ONLY")
    table = words.name()
    yield SchemaOperation(
        kind="create_index",
        statement=statement,
        table=table,
        name=name,
        expression=written(words.rest()),
        unique=unique,
        concurrent=concurrent,
    )


def _drop_index(words: _Reader, statement: SqlStatement) -> Iterator[SchemaOperation]:
    concurrent = words.take("CONCURRENTLY")
    words.take("IF", "EXISTS")
    yield SchemaOperation(
        kind="drop_index", statement=statement, name=words.name(), concurrent=concurrent
    )


def _create_table(words: _Reader, statement: SqlStatement) -> Iterator[SchemaOperation]:
    words.take("IF", "NOT", "EXISTS")
    table = words.name()
    upper = [word.upper() for word in statement.words]
    refers = statement.words[upper.index("REFERENCES") + 1] if "REFERENCES" in upper else ""
    yield SchemaOperation(kind="create_table", statement=statement, table=table, expression=refers)


def _drop_table(words: _Reader, statement: SqlStatement) -> Iterator[SchemaOperation]:
    words.take("IF", "EXISTS")
    for one in words.parts():
        yield SchemaOperation(kind="drop_table", statement=statement, table=one.name())


def _alter_enum(words: _Reader, statement: SqlStatement) -> Iterator[SchemaOperation]:
    table = words.name()
    if words.take("ADD", "VALUE"):
        words.take("IF", "NOT", "EXISTS")
        yield SchemaOperation(
            kind="add_enum_value", statement=statement, table=table, name=words.word()
        )
    elif words.take("RENAME", "VALUE"):
        yield SchemaOperation(
            kind="rename_enum_value", statement=statement, table=table, name=words.word()
        )


def _create_view(words: _Reader, statement: SqlStatement) -> Iterator[SchemaOperation]:
    yield SchemaOperation(kind="create_view", statement=statement, table=words.name())


def _rewrite(words: _Reader, statement: SqlStatement) -> Iterator[SchemaOperation]:
    concurrent = any(word.upper() == "CONCURRENTLY" for word in statement.words)
    words.in_brackets()
    while words.next_is("VERBOSE", "ANALYZE", "FREEZE", "TABLE", "INDEX", "SCHEMA", "CONCURRENTLY"):
        words.word()
    yield SchemaOperation(
        kind="rewrite", statement=statement, table=words.name(), concurrent=concurrent
    )


def _vacuum(words: _Reader, statement: SqlStatement) -> Iterator[SchemaOperation]:
    if words.take("FULL") or "FULL" in map(str.upper, words.in_brackets()):
        yield from _rewrite(words, statement)


def _change_rows(words: _Reader, statement: SqlStatement) -> Iterator[SchemaOperation]:
    words.take("ONLY")
    table = words.name()
    words.until("SET", "WHERE")
    assigned = written(words.until("WHERE", "FROM")).removeprefix("SET ")
    yield SchemaOperation(kind="change_rows", statement=statement, table=table, expression=assigned)


_ReadAction: TypeAlias = Callable[[_Reader, SchemaOperation], SchemaOperation | None]
_ACTIONS: dict[str, _ReadAction] = {
    "ADD": _added,
    "ALTER": _altered,
    "DROP CONSTRAINT": _dropped_constraint,
    "DROP": _dropped,
    "RENAME TO": lambda words, base: replace(base, kind="rename_table", name=words.name()),
    "RENAME CONSTRAINT": lambda _words, _base: None,
    "RENAME": _renamed_column,
    "VALIDATE CONSTRAINT": lambda words, base: replace(base, kind="validate", name=words.name()),
    "DETACH PARTITION": _detached,
}
"""The actions of ALTER TABLE; of those that begin alike, the longer one comes first."""

_Read: TypeAlias = Callable[[_Reader, SqlStatement], Iterator[SchemaOperation]]
_READERS: dict[str, _Read] = {
    "ALTER TABLE": _alter_table,
    "CREATE INDEX": lambda words, one: _create_index(words, one, unique=False),
    "CREATE UNIQUE INDEX": lambda words, one: _create_index(words, one, unique=True),
    "DROP INDEX": _drop_index,
    "CREATE TABLE": _create_table,
    "CREATE UNLOGGED TABLE": _create_table,
    "DROP TABLE": _drop_table,
    "ALTER TYPE": _alter_enum,
    "CREATE VIEW": _create_view,
    "CREATE OR REPLACE VIEW": _create_view,
    "VACUUM": _vacuum,
    "CLUSTER": _rewrite,
    "REINDEX": _rewrite,
    "UPDATE": _change_rows,
    "DELETE FROM": _change_rows,
}
