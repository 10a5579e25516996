"""The log of the user's own Postgres server explains failures as that of the embedded one does."""

from pathlib import Path

import pytest

from orchestrator.postgres import EmbeddedServer
from scenarios.evidence.run_folder import RunFolder
from tests.support.runs import released

pytestmark = [pytest.mark.matrix, pytest.mark.timeout(180)]

SMALL = ("--replicas", "2", "--rate", "60", "--existing-rows", "200", "--settle", "0.5")
UNREAD = "the database server's log was not read"


def test_a_run_reads_the_log_of_the_server_that_it_is_given(
    postgres_server: tuple[EmbeddedServer, str], tmp_path: Path
) -> None:
    """With `--database-log` the server's messages about the run's own database are evidence."""
    server, url = postgres_server
    options = ("--strategy", "rolling", "--database", url, *SMALL)
    run = released("big-bang", tmp_path / "1", *options, "--database-log", str(server.log))
    assert run.code == 1
    assert not any(UNREAD in limit for limit in run.verdict.limits)
    found = [one for one in run.server_lines if one.sqlstate == "23502"]
    refused = sum(one.count for one in run.verdict.causes if one.cause == "sqlstate:23502")
    assert len(found) >= refused > 0
    assert "--database-log" in run.verdict.replay
    clients = {one.replica for one in RunFolder(run.folder).session_clients.read()}
    assert {"a-1", "a-2"} <= clients
