"""Postgres' own log becomes lines with a code and the run's clock."""

import time
from pathlib import Path

import asyncpg
import pytest

from scenarios.evidence.run_folder import RecordFile, RunFolder
from scenarios.evidence.server_log import ServerLine, convert_log, parse_log
from scenarios.runner.environment import environment

LOG = b"""\
{"timestamp":"2026-11-24 23:43:35.250 UTC","pid":77,"error_severity":"LOG",\
"message":"database system is ready to accept connections","backend_type":"postmaster"}
{"timestamp":"2026-11-24 23:43:36.001 UTC","user":"me","dbname":"run_1","pid":80,\
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
