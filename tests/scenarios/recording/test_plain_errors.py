"""Errors in the logs of applications that nobody prepared for hitless: plain lines and stacks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.recording.error_block import ErrorBlock
from scenarios.recording.error_blocks import ErrorBlocks
from scenarios.recording.plain_errors import PlainErrors, plain_error

STACK = """\
Traceback (most recent call last):
  File "app.py", line 3, in save
ValueError: no"""
JAVA = """\
java.lang.IllegalStateException: closed
\tat shop.Orders.save(Orders.java:7)"""


def errors(*lines: str) -> list[str]:
    reader = PlainErrors()
    found = [block for line in lines for text in [line] for block in reader.feed(text)]
    return [block.last_line for block in [*found, *reader.flush()]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2026-11-28 05:36:37,123 ERROR shop.views: cannot save", "shop.views: cannot save"),
        ("ERROR:root:cannot save", "root:cannot save"),
        ("[2026-11-28 05:36:37 +0000] [12] [ERROR] cannot save", "cannot save"),
        ("2026/11/28 05:36:37 [error] cannot save", "cannot save"),
        ("web-1  | CRITICAL - cannot save", "cannot save"),
        ("2026-11-28T05:36:37Z INFO saved 3 errors", None),
        ("GET /errors 200", None),
        ("an ERROR_CODE is 7", None),
        ("ERROR", None),
    ],
)
def test_a_level_tells_of_an_error(line: str, message: str | None) -> None:
    """A plain line is an error by its level, not because the word occurs in it."""
    found = plain_error(line)
    assert (None if found is None else found.message) == message


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["ERROR cannot save", *STACK.split("\n")], ["ValueError: no"]),
        (["ERROR cannot save", *JAVA.split("\n")], ["java.lang.IllegalStateException: closed"]),
        (["ERROR one", "ERROR two"], ["one", "two"]),
        (["ERROR one", "INFO fine", *STACK.split("\n")], ["one", "ValueError: no"]),
        ([*STACK.split("\n"), "ERROR two", "INFO fine"], ["ValueError: no", "two"]),
        (['{"level":"error","msg":"cannot save"}', "ERROR two"], ["cannot save", "two"]),
        (["INFO a", "WARNING b"], []),
    ],
)
def test_a_line_that_announces_a_stack_is_no_second_error(
    lines: list[str], found: list[str]
) -> None:
    """Loggers write a line before a stack; the stack then tells more, and the error counts once."""
    assert errors(*lines) == found


@given(st.lists(st.sampled_from(["INFO x", "", *STACK.split("\n"), *JAVA.split("\n")])))
def test_without_levels_nothing_changes(lines: list[str]) -> None:
    """Where no line has the level of an error, the errors are those of the stacks alone."""
    plain, blocks = PlainErrors(), ErrorBlocks()

    def told(found: list[ErrorBlock]) -> list[str]:
        return [one.last_line for one in found]

    first = [one for line in lines for one in plain.feed(line)] + list(plain.flush())
    second = [one for line in lines for one in blocks.feed(line)] + list(blocks.flush())
    assert told(first) == told(second)
