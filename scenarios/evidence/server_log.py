"""What Postgres itself logged, as recorded in `postgres.ndjson`.

The embedded server logs JSON (`jsonlog`, of Postgres 15 and later; `postgres.log` in the run's
folder); each message of it becomes one line here, on the run's own clock. The log of a server of
the user's own is read in the same way, also as `csvlog`, where `--database-log` or the
scenario (`database.log`) says where it is. Without that there is no such file.
"""

import csv
import io
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, tzinfo
from pathlib import Path

import msgspec

_LETTERS = 1000

FORMATS = frozenset({".json", ".csv"})
"""The endings of the log files that are understood: `jsonlog` and `csvlog`."""

_CSV = (
    *("log_time", "user_name", "database_name", "process_id", "connection_from", "session_id"),
    *("session_line_num", "command_tag", "session_start_time", "virtual_transaction_id"),
    *("transaction_id", "error_severity", "sql_state_code", "message", "detail", "hint"),
    *("internal_query", "internal_query_pos", "context", "query", "query_pos", "location"),
    "application_name",
)
"""The columns of `csvlog` of every version; newer ones have more behind them.

https://www.postgresql.org/docs/18/runtime-config-logging.html#RUNTIME-CONFIG-LOGGING-CSVLOG
"""


class _Logged(msgspec.Struct, frozen=True, kw_only=True):
    """A message as `jsonlog` has it; a key without a value is absent.

    https://www.postgresql.org/docs/18/runtime-config-logging.html#RUNTIME-CONFIG-LOGGING-JSONLOG
    """

    timestamp: str
    pid: int
    remote_port: int | None = None
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
        port: the port of the session's client; absent over a Unix socket, and where no session
            logged it.
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
    port: int | None = None


def parse_log(
    lines: Iterable[bytes], wall_to_monotonic_ns: int, zone: tzinfo = UTC
) -> Iterator[ServerLine]:
    """The messages of a `jsonlog`; a server that is killed may leave half a line, which is none.

    Args:
        lines: the lines of the log.
        wall_to_monotonic_ns: what to add to nanoseconds since 1970 to get the monotonic clock.
        zone: the time zone of its stamps (`log_timezone`).
    """
    decoder = msgspec.json.Decoder(_Logged)
    for line in lines:
        try:
            logged = decoder.decode(line.decode(errors="replace"))
        except msgspec.DecodeError:
            continue
        yield ServerLine(
            at_ns=_nanoseconds(logged.timestamp, zone) + wall_to_monotonic_ns,
            pid=logged.pid,
            severity=logged.error_severity,
            sqlstate=logged.state_code,
            message=_one_line(logged.message) or "",
            application=logged.application_name,
            database=logged.dbname,
            detail=_one_line(logged.detail, logged.hint, logged.context),
            statement=_one_line(logged.statement),
            port=logged.remote_port,
        )


def parse_csv_log(text: str, wall_to_monotonic_ns: int, zone: tzinfo = UTC) -> Iterator[ServerLine]:
    """The messages of a `csvlog`; half a line at its end is none.

    Args:
        text: the log; a message may span several lines.
        wall_to_monotonic_ns: what to add to nanoseconds since 1970 to get the monotonic clock.
        zone: the time zone of its stamps (`log_timezone`).
    """
    for row in csv.reader(io.StringIO(text)):
        if len(row) < len(_CSV):
            continue
        one = dict(zip(_CSV, row, strict=False))
        try:
            at_ns, pid = _nanoseconds(one["log_time"], zone), int(one["process_id"])
        except ValueError:
            continue
        yield ServerLine(
            at_ns=at_ns + wall_to_monotonic_ns,
            pid=pid,
            severity=one["error_severity"],
            sqlstate=one["sql_state_code"] or "00000",
            message=_one_line(one["message"]) or "",
            application=one["application_name"] or None,
            database=one["database_name"] or None,
            detail=_one_line(one["detail"], one["hint"], one["context"]),
            statement=_one_line(one["query"]),
            port=_port(one["connection_from"]),
        )


def _port(connection_from: str) -> int | None:
    """The port in `127.0.0.1:51234`; over a Unix socket it is `[local]`."""
    port = connection_from.rpartition(":")[2]
    return int(port) if port.isdigit() else None


def parse_file(
    suffix: str, data: bytes, wall_to_monotonic_ns: int, zone: tzinfo
) -> Iterator[ServerLine]:
    """The messages of a part of a log file, by its ending; none of a file in another format.

    Args:
        suffix: the ending of the file's name: see `FORMATS`.
        data: that part.
        wall_to_monotonic_ns: what to add to nanoseconds since 1970 to get the monotonic clock.
        zone: the time zone of its stamps (`log_timezone`).
    """
    if suffix == ".json":
        return parse_log(data.splitlines(keepends=True), wall_to_monotonic_ns, zone)
    if suffix == ".csv":
        return parse_csv_log(data.decode(errors="replace"), wall_to_monotonic_ns, zone)
    return iter(())


def _nanoseconds(stamp: str, zone: tzinfo) -> int:
    """The time of a stamp such as `2026-11-24 23:43:35.250 UTC`, whose zone is known otherwise."""
    time = datetime.strptime(stamp.rpartition(" ")[0], "%Y-%m-%d %H:%M:%S.%f")  # noqa: DTZ007 - two lines below
    return round(time.replace(tzinfo=zone).timestamp() * 1000) * 1_000_000


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
