"""Texts within the width of a screen."""

import re

from rich.text import Text

_CLAUSE = re.compile(r"; | \(| {3}")
"""Where a text can end before it is over."""


def ends(left: Text, right: Text, width: int) -> Text:
    """Two texts at the two ends of a line."""
    left.truncate(max(width - right.cell_len - 1, 0), overflow="ellipsis")
    left.pad_right(max(width - left.cell_len - right.cell_len, 0))
    return left.append_text(right)


def fit(text: Text, width: int) -> Text:
    """A text, cut to a width."""
    text.truncate(width, overflow="ellipsis")
    return text


def fit_clauses(text: Text, width: int, least: int = 0) -> Text:
    """A text that ends with a clause, such as `; …` or ` (…`, if not all of it fits.

    Args:
        text: the text.
        width: in columns.
        least: so many letters of it are kept in any case; then it is cut anywhere.
    """
    if text.cell_len > width:
        for clause in reversed(list(_CLAUSE.finditer(text.plain))):
            shorter = text[: clause.start()]
            if clause.start() > least and shorter.cell_len <= width:
                return shorter
    return fit(text, width)
