"""What applications of five languages write when something fails, as their own loggers write it.

Each is one error: a second one of the same failure would leave it open which of them counts.
"""

import tomllib
from pathlib import Path

import pytest

from scenarios.evidence.logged_error import LoggedError
from scenarios.recording.error_blocks import ErrorBlocks
from scenarios.verdict.causes.logged import sqlstate_of

LOGS = tomllib.loads((Path(__file__).parent / "application_logs.toml").read_text("utf-8"))["logs"]
CALM = (
    "2026-11-28 INFO  handled Error page for /x: 404",
    'INFO: 127.0.0.1 - "GET / HTTP/1.1" 200 OK',
    'level=info msg="no error: all fine"',
    "level=warning msg=slow error=none",
    "WARN  c.z.h.HikariPool - Connection timed out? no",
    "pq is ready",
    "#<User: id 1>",
    "2026-11-28 02:00:00 - GET - /orders",
)


@pytest.mark.parametrize("log", [pytest.param(one, id=one["name"]) for one in LOGS])
def test_each_is_one_error_with_its_sqlstate(log: dict[str, str]) -> None:
    """The class and the message are those that a person would quote."""
    blocks = ErrorBlocks()
    found = [block for line in log["log"].splitlines() for block in blocks.feed(line)]
    (block,) = [*found, *blocks.flush()]
    assert block.last_line == log["last_line"]
    error = LoggedError(
        at_ns=0,
        source="a-1",
        language=block.language,
        type=block.type,
        message=block.message,
        root=block.root,
        sqlstate=block.sqlstate,
    )
    assert sqlstate_of(error) == log.get("sqlstate")


def test_what_only_looks_like_an_error_is_none() -> None:
    """Words such as `Error` in a path, or another level, are no failure."""
    blocks = ErrorBlocks()
    assert [one for line in CALM for one in blocks.feed(line)] == []
    assert list(blocks.flush()) == []


@pytest.mark.parametrize("code", ["EPIPE", "EPERM", "P2022", "99999", "2350", "abcde"])
def test_other_codes_of_five_characters_are_no_sqlstate(code: str) -> None:
    """Node's `EPIPE` and Prisma's `P2022` have the shape of an SQLSTATE, but no class of one."""
    blocks = ErrorBlocks()
    lines = ("Error: no", "    at f (/app/a.js:1:1) {", f"  code: '{code}'", "}")
    (block,) = [*(one for line in lines for one in blocks.feed(line)), *blocks.flush()]
    assert block.sqlstate is None
