"""Texts within the width of a screen."""

from rich.text import Text


def ends(left: Text, right: Text, width: int) -> Text:
    """Two texts at the two ends of a line."""
    left.truncate(max(width - right.cell_len - 1, 0), overflow="ellipsis")
    left.pad_right(max(width - left.cell_len - right.cell_len, 0))
    return left.append_text(right)


def fit(text: Text, width: int) -> Text:
    """A text, cut to a width."""
    text.truncate(width, overflow="ellipsis")
    return text
