"""The statements of a migration's SQL, each with its words and the line on which it begins."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

import sqlparse
from sqlparse import tokens

_QUOTES = "'\"$"


@dataclass(frozen=True, slots=True)
class SqlStatement:
    """One statement.

    Attributes:
        text: the statement as it is written, without the semicolon at its end.
        line: the line of its first word, from 1 on.
        words: its words and signs, without comments; what is in quotes is one word.
    """

    text: str
    line: int
    words: tuple[str, ...]

    @property
    def normal(self) -> str:
        """The same for two statements that differ only in spaces, comments and upper case."""
        return " ".join(self.words).casefold()


def statements_of(sql: str) -> tuple[SqlStatement, ...]:
    """The statements of a text; bodies of functions and `DO` blocks are not taken apart."""
    found = []
    line = 1
    for parsed in sqlparse.parsestream(sql):
        flat = list(parsed.flatten())  # type: ignore[no-untyped-call]
        lead = [*takewhile(_says_nothing, flat)]
        words = tuple(_words(flat))
        if words:
            while _says_nothing(flat[-1]) or flat[-1].value == ";":
                flat.pop()
            text = "".join(token.value for token in flat[len(lead) :])
            first = line + sum(token.value.count("\n") for token in lead)
            found.append(SqlStatement(text, first, words))
        line += str(parsed).count("\n")
    return tuple(found)


def _says_nothing(token: sqlparse.sql.Token) -> bool:
    return token.is_whitespace or token.ttype in tokens.Comment


def _words(flat: list[sqlparse.sql.Token]) -> Iterator[str]:
    for token in flat:
        if _says_nothing(token) or token.value == ";":
            continue
        if token.value[0] in _QUOTES:
            yield token.value
        else:
            yield from token.value.split()  # such as NOT NULL, which is one token
