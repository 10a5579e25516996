"""Postgres' own log becomes lines with a code and the run's clock."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta, timezone
from pathlib import Path

import asyncpg
import pytest

from orchestrator.errors import EnvironmentFailure
from orchestrator.postgres import EmbeddedServer
from orchestrator.processes import Processes
from scenarios.evidence.run_folder import RecordFile, RunFolder
from scenarios.evidence.server_log import ServerLine, convert_log, parse_csv_log, parse_log
from scenarios.runner import external_log
from scenarios.runner.environment import environment

LOG = b"""\
{"timestamp":"2026-11-24 23:43:35.250 UTC","pid":77,"error_severity":"LOG",\
"message":"database system is ready to accept connections","backend_type":"postmaster"}
{"timestamp":"2026-11-24 23:43:36.001 UTC","user":"me","dbname":"run_1","pid":80,\
"remote_host":"127.0.0.1","remote_port":40000,\
"error_severity":"ERROR","state_code":"23502","message":"null value in \\"status\\"",\
"detail":"Failing row contains (1).","hint":"Give one.",\
"statement":"INSERT INTO t\\n\\tVALUES ($1)","application_name":"newsletter_app a-1"}
{"timestamp":"2026-11-24 23:43:36.002 UTC","dbname":"run_1","pid":81,"error_severity":"ERROR",\
"state_code":"40P01","message":"deadlock detected","application_name":"me@home"}
{"timestamp":"2026-11-24 23:43:36.003 UTC","dbname":"run_1","pid":82,"error_sev"""


def test_messages_are_whole() -> None:
    """A message has its detail and its statement in one line each; half a line is no message."""
    ready, refused, deadlock = parse_log(LOG.splitlines(keepends=True), 0)
    assert (ready.severity, ready.sqlstate, ready.application) == ("LOG", "00000", None)
    assert (refused.sqlstate, refused.application, refused.database) == (
        "23502",
        "newsletter_app a-1",
        "run_1",
    )
    assert refused.detail == "Failing row contains (1). Give one."
    assert refused.statement == "INSERT INTO t VALUES ($1)"
    assert deadlock.application == "me@home"
    assert deadlock.at_ns - ready.at_ns == 752_000_000


async def test_the_embedded_servers_log_can_be_read(tmp_path: Path) -> None:
    """What the server that we start refuses is found with its SQLSTATE, at the time it happened."""
    async with environment() as place:
        server = await place.server()
        async with place.postgres_log(tmp_path):
            url = await server.create_database("logs")
            connection = await asyncpg.connect(url, server_settings={"application_name": "app a-1"})
            before = time.monotonic_ns()
            with pytest.raises(asyncpg.UndefinedTableError):
                await connection.execute("SELECT *\n  FROM nowhere")
            after = time.monotonic_ns()
            await connection.close()
    (line,) = [line for line in RunFolder(tmp_path).server_lines.read() if line.severity == "ERROR"]
    assert (line.sqlstate, line.application, line.database) == ("42P01", "app a-1", "logs")
    assert line.statement == "SELECT * FROM nowhere"
    assert before - 5_000_000 <= line.at_ns <= after + 5_000_000


def test_an_empty_log_is_no_line(tmp_path: Path) -> None:
    """A server that said nothing leaves an empty file."""
    (tmp_path / "log").write_text("")
    convert_log(tmp_path / "log", tmp_path / "lines", 0)
    assert list(RecordFile(tmp_path / "lines", ServerLine).read()) == []


CSV = """\
2026-11-24 18:43:36.001 EST,"me","run_1",80,"127.0.0.1:40000",6745.50,1,"INSERT",2026-11-24 \
18:43:30 EST,3/4,0,ERROR,23502,"null value in ""status"" ","Failing row
contains (1).","Give one.",,,,"INSERT INTO t
  VALUES ($1)",13,,"newsletter_app a-1","client backend",,0
2026-11-24 18:43:36.002 EST,,,81,,6745.51,1,,2026-11-24 18:43:30 EST,,0,LOG,00000,"half
"""


def test_csv_is_read_like_json() -> None:
    """A message in several lines is one; stamps count in the server's zone; half a row is none."""
    (line,) = parse_csv_log(CSV, 0, timezone(timedelta(hours=-5)))
    _, refused, _ = parse_log(LOG.splitlines(keepends=True), 0)
    assert line == refused
    assert list(parse_csv_log("x,y\n", 0)) == []


@asynccontextmanager
async def somebodys_server(folder: Path, destination: str) -> AsyncIterator[str]:
    """A server that we do not know, which logs into the folder; yields its URL."""
    async with (
        Processes() as processes,
        EmbeddedServer(
            processes, log_directory=folder, settings={"log_destination": destination}
        ) as server,
    ):
        yield server.url("postgres")


@pytest.mark.parametrize("destination", ["jsonlog", "csvlog", "stderr,csvlog"])
async def test_the_log_of_somebody_elses_server_can_be_read(
    tmp_path: Path, destination: str
) -> None:
    """What an own server refuses is found with its SQLSTATE, its time and its client's port."""
    logs, folder = tmp_path / "logs", tmp_path / "run"
    logs.mkdir()
    folder.mkdir()
    async with (
        somebodys_server(logs, destination) as url,
        environment(url) as place,
    ):
        await place.server()
        connection = await asyncpg.connect(url, server_settings={"application_name": "app a-1"})
        with pytest.raises(asyncpg.UndefinedTableError):
            await connection.execute("SELECT * FROM before_the_run")
        async with place.postgres_log(folder, logs):
            before = time.monotonic_ns()
            with pytest.raises(asyncpg.UndefinedTableError):
                await connection.execute("SELECT *\n  FROM nowhere")
            after = time.monotonic_ns()
        await connection.close()
    (line,) = [one for one in RunFolder(folder).server_lines.read() if one.severity == "ERROR"]
    assert (line.sqlstate, line.application) == ("42P01", "app a-1")
    assert line.port is not None
    assert line.statement == "SELECT * FROM nowhere"
    assert before - 5_000_000 <= line.at_ns <= after + 5_000_000


@pytest.mark.parametrize(
    ("destination", "elsewhere", "message"),
    [
        ("stderr", False, "a log in plain text does not say which session was refused what"),
        ("jsonlog", True, "what the server logs does not appear there within 0.3 s"),
    ],
)
async def test_a_log_that_cannot_be_understood_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    destination: str,
    message: str,
    *,
    elsewhere: bool,
) -> None:
    """Plain text, and the log of another server, are one line before anything runs."""
    logs, empty = tmp_path / "logs", tmp_path / "empty"
    logs.mkdir()
    empty.mkdir()
    if elsewhere:
        monkeypatch.setattr(external_log, "_SEEN_SECONDS", 0.3)
    async with (
        somebodys_server(logs, destination) as url,
        environment(url) as place,
    ):
        with pytest.raises(EnvironmentFailure, match=message):
            async with place.postgres_log(tmp_path, empty if elsewhere else logs):
                pass
