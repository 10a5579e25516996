"""What is printed into a pipe is neither wrapped nor padded."""

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from scenarios.cli.console import Output

CELL = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=200)


@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=5))
def test_a_table_in_a_pipe(rows: list[tuple[str, str]]) -> None:
    """Each row is a line, however long its cells are, and no line ends in spaces."""
    out = io.StringIO()
    table = Table(box=None, show_header=False)
    for row in rows:
        table.add_row(*map(Text, row))
    Output(file=out, width=40).print(table)
    lines = out.getvalue().splitlines()
    assert len(lines) == len(rows)
    for line, (first, second) in zip(lines, rows, strict=True):
        assert line == line.rstrip()
        assert line.split() == [first, second]


def test_a_terminal_wraps() -> None:
    """In a terminal the same text is folded at its width."""
    out = io.StringIO()
    Output(file=out, width=20, force_terminal=True).print(Text("word " * 20))
    assert len(out.getvalue().splitlines()) > 1


def test_a_rule_has_the_width_of_a_page() -> None:
    """A rule is no line of data: it does not become endless in a pipe."""
    out = io.StringIO()
    Output(file=out, width=60).rule("Together")
    assert len(out.getvalue().rstrip("\n")) == 60
