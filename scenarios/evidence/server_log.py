"""What Postgres itself logged, as recorded in `postgres.ndjson`.

The embedded server's log is text (`postgres.log` in the run's folder); each message of it becomes
one line here, with its SQLSTATE and on the run's own clock. A server of the user's own has its log
elsewhere, and then there is no such file.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

# `log_line_prefix` is "%m [%p] %e %q%a@%d ": time, process, SQLSTATE, application@database.
_LINE = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) UTC \[(?P<pid>\d+)\] "
    r"(?P<sqlstate>[0-9A-Z]{5}) (?:(?P<application>.*?)@(?P<database>[^@ ]*) )?"
    r"(?P<kind>[A-Z]+\d?):  (?P<text>.*)"
)
_FOLLOWS = frozenset({"DETAIL", "HINT", "CONTEXT", "STATEMENT", "QUERY", "LOCATION"})
_LETTERS = 1000


class ServerLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message of the server.

    Attributes:
        at_ns: when, on the machine's monotonic clock, to the millisecond.
        pid: the process that logged it.
        severity: `LOG`, `WARNING`, `ERROR`, `FATAL`, `PANIC`.
        sqlstate: its code; `00000` where it is no error.
        message: its text.
        application: the session's `application_name`; absent where no session logged it.
        database: the session's database.
        detail: what else was said, such as who waited for whom in a deadlock.
        statement: what the session ran.
    """

    at_ns: int
    pid: int
    severity: str
    sqlstate: str
    message: str
    application: str | None = None
    database: str | None = None
    detail: str | None = None
    statement: str | None = None


def parse_log(lines: Iterable[str], wall_to_monotonic_ns: int) -> Iterator[ServerLine]:
    """The messages in the text of a log.

    What does not begin like a line of ours belongs to the message before it.

    Args:
        lines: the lines of the log.
        wall_to_monotonic_ns: what to add to nanoseconds since 1970 to get the monotonic clock.
    """
    current: dict[str, object] | None = None
    into = "message"
    for line in lines:
        match = _LINE.match(line.rstrip("\n"))
        if match is None:
            if current is not None:
                current[into] = _add(current.get(into), line.strip())
            continue
        if match["kind"] in _FOLLOWS and current is not None:
            into = "statement" if match["kind"] == "STATEMENT" else "detail"
            current[into] = _add(current.get(into), match["text"])
            continue
        if current is not None:
            yield msgspec.convert(current, ServerLine)
        into = "message"
        stamp = datetime.strptime(match["time"], "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC)
        current = {
            "at_ns": round(stamp.timestamp() * 1000) * 1_000_000 + wall_to_monotonic_ns,
            "pid": int(match["pid"]),
            "severity": match["kind"],
            "sqlstate": match["sqlstate"],
            "message": match["text"],
            "application": match["application"],
            "database": match["database"],
        }
    if current is not None:
        yield msgspec.convert(current, ServerLine)


def convert_log(text: Path, path: Path, wall_to_monotonic_ns: int) -> None:
    """Write the messages of a log as `postgres.ndjson`.

    Raises:
        OSError: one of the files cannot be used.
    """
    encode = msgspec.json.Encoder().encode
    with text.open(encoding="utf-8", errors="replace") as lines, path.open("wb") as out:
        for line in parse_log(lines, wall_to_monotonic_ns):
            out.write(encode(line) + b"\n")


def _add(before: object, text: str) -> str:
    return (f"{before} {text}" if before else text)[:_LETTERS]
