"""The statements of a migration's SQL, each with its words and the line on which it begins."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

import sqlparse
from sqlparse import tokens
from sqlparse.engine import FilterStack

_QUOTES = "'\"$"
_OPERATORS = frozenset("+-*/<>=~!@#%^&|`?")
"""What the names of Postgres' operators consist of."""
_PREFIXES = frozenset(("B", "E", "N", "X"))
"""What stands before the quote of a string, without a space, as in `E'...'`."""


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
    # Without grouping, which refuses statements with many values.
    for parsed in FilterStack().run(sql):  # type: ignore[no-untyped-call]
        flat = list(parsed.flatten())
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
    last = ""
    for token in flat:
        if _says_nothing(token) or token.value == ";":
            yield from _apart(last)
            last = ""
        elif _belongs_to(last, token.value):
            last += token.value
        else:
            yield from _apart(last)
            last = token.value
    yield from _apart(last)


def _apart(text: str) -> list[str]:
    """The words of a token: NOT NULL is one token and two words; what has quotes is one word."""
    return [text] if any(quote in text for quote in _QUOTES) else text.split()


def _belongs_to(last: str, text: str) -> bool:
    """Whether a token goes on with the word right before it: an operator, or a string."""
    if text[0] == "'":
        return last.upper() in _PREFIXES
    return bool(last) and _OPERATORS.issuperset(last) and _OPERATORS.issuperset(text)
