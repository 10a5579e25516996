"""What Postgres itself logged, as recorded in `postgres.ndjson`.

The embedded server logs JSON (`jsonlog`, of Postgres 15 and later; `postgres.log` in the run's
folder); each message of it becomes one line here, on the run's own clock. A server of the user's
own has its log elsewhere, and then there is no such file.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

_LETTERS = 1000


class _Logged(msgspec.Struct, frozen=True, kw_only=True):
    """A message as `jsonlog` has it; a key without a value is absent.

    https://www.postgresql.org/docs/18/runtime-config-logging.html#RUNTIME-CONFIG-LOGGING-JSONLOG
    """

    timestamp: str
    pid: int
    error_severity: str
    state_code: str = "00000"
    message: str = ""
    application_name: str | None = None
    dbname: str | None = None
    detail: str | None = None
    hint: str | None = None
    context: str | None = None
    statement: str | None = None


class ServerLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message of the server.

    Attributes:
        at_ns: its time on the machine's monotonic clock, to the millisecond.
        pid: the process that logged it.
        severity: `LOG`, `WARNING`, `ERROR`, `FATAL`, `PANIC`.
        sqlstate: its code; `00000` if it is no error.
        message: its text.
        application: the session's `application_name`; absent if no session logged it.
        database: the session's database.
        detail: further details, such as which sessions of a deadlock waited for which.
        statement: the statement of the session.
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


def parse_log(lines: Iterable[bytes], wall_to_monotonic_ns: int) -> Iterator[ServerLine]:
    """The messages of a log; a server that is killed may leave half a line, which is none.

    Args:
        lines: the lines of the log.
        wall_to_monotonic_ns: what to add to nanoseconds since 1970 to get the monotonic clock.
    """
    decoder = msgspec.json.Decoder(_Logged)
    for line in lines:
        try:
            logged = decoder.decode(line.decode(errors="replace"))
        except msgspec.DecodeError:
            continue
        stamp = datetime.strptime(logged.timestamp, "%Y-%m-%d %H:%M:%S.%f UTC").replace(tzinfo=UTC)
        yield ServerLine(
            at_ns=round(stamp.timestamp() * 1000) * 1_000_000 + wall_to_monotonic_ns,
            pid=logged.pid,
            severity=logged.error_severity,
            sqlstate=logged.state_code,
            message=_one_line(logged.message) or "",
            application=logged.application_name,
            database=logged.dbname,
            detail=_one_line(logged.detail, logged.hint, logged.context),
            statement=_one_line(logged.statement),
        )


def convert_log(log: Path, path: Path, wall_to_monotonic_ns: int) -> None:
    """Write the messages of a log as `postgres.ndjson`.

    Raises:
        OSError: one of the files cannot be used.
    """
    encode = msgspec.json.Encoder().encode
    with log.open("rb") as lines, path.open("wb") as out:
        for line in parse_log(lines, wall_to_monotonic_ns):
            out.write(encode(line) + b"\n")


def _one_line(*texts: str | None) -> str | None:
    lines = [line.strip() for text in texts if text for line in text.splitlines()]
    return " ".join(lines)[:_LETTERS] or None
