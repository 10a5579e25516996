"""`hitless init` writes a file that runs."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from scenarios.cli.main import status
from scenarios.scenario.reader import load
from scenarios.verdict import decode

SERVER = """
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""


def test_what_it_writes_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From flags alone to a verdict, with no hand on the file."""
    (tmp_path / "server.py").write_text(SERVER)
    file = tmp_path / "scenario.toml"
    assert status(["init", str(file), "--old", "{python} server.py", "--visit", "/a?b=c"]) == 0
    assert f"hitless run {file}" in capsys.readouterr().out
    out = tmp_path / "runs"
    small = ["--rate", "40", "--replicas", "2", "--baseline", "0.5", "--settle", "0.2"]
    small += ["--set", "objectives.schedule_lag_p99_seconds=2"]  # the machine may be busy
    assert status(["run", str(file), "--no-live", "--out", str(out), *small]) == 0
    (folder,) = out.iterdir()
    verdict = decode((folder / "verdict.json").read_bytes())
    assert (verdict.verdict, verdict.requests.failed) == ("pass", 0)


def test_every_answer_is_in_the_file(tmp_path: Path) -> None:
    """Commands, directories, paths and migrations are where the program looks for them.

    Directories are those beside the file.
    """
    file = tmp_path / "own.toml"
    arguments = ["--name", "shop", "--old", "serve --greet 'a \"b\"'", "--new", "serve2 {port}"]
    arguments += ["--old-cwd", "old", "--new-cwd", "new", "--health", "/up"]
    arguments += [
        "--visit",
        "/a",
        "--visit",
        "/b",
        "--base",
        "make db",
        "--migrate",
        "up {version}",
    ]
    assert status(["init", str(file), *arguments]) == 0
    scenario = load(str(file)).scenario
    assert scenario.name == "shop"
    assert scenario.versions["old"].command == ("serve", "--greet", 'a "b"')
    assert (scenario.versions["new"].command, scenario.versions["new"].cwd) == (
        ("serve2", "{port}"),
        str(tmp_path / "new"),
    )
    assert scenario.application.health_path == "/up"
    assert [journey.steps[0].path for journey in scenario.traffic.journeys] == ["/a", "/b"]
    assert scenario.database is not None
    assert scenario.database.migrate == ("make", "db")
    assert [step.migrate or step.deploy for step in scenario.release.steps] == [
        ("up", "{version}"),
        "new",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--old is required when there is no terminal to ask in"),
        (["--old", ""], "--old: expected a command"),
        (["--old", "'x"], '--old "\'x": No closing quotation'),
        (["--old", "x", "--health", "up"], "--health 'up': a path must begin with /"),
        (["--old", "x", "--no-postgres", "--migrate", "y"], "need a database"),
        (["--old", "x {prot}"], "no placeholder {prot}"),
    ],
)
def test_a_mistake_writes_nothing(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistake is one line and status 2, and no file is left."""
    file = tmp_path / "scenario.toml"
    assert status(["init", str(file), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not file.exists()


def test_a_file_that_is_there_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file is overwritten only when that is asked for, and only by one that is right."""
    file = tmp_path / "scenario.toml"
    file.write_text("mine")
    assert status(["init", str(file), "--old", "x"]) == 2
    assert "--force overwrites it" in capsys.readouterr().err
    assert status(["init", str(file), "--old", "x {prot}", "--force"]) == 2
    assert file.read_text() == "mine"
    assert status(["init", str(file), "--old", "x", "--force"]) == 0
    assert load(str(file)).scenario.versions["old"].command == ("x",)
    assert status(["init", str(tmp_path / "scenario.yaml"), "--old", "x"]) == 2


def test_it_asks_at_a_terminal(tmp_path: Path) -> None:
    """Where there is a terminal, what no flag says is asked."""
    leader, follower = pty.openpty()
    with open(leader, "r+b", buffering=0) as terminal:  # noqa: PTH123 - a descriptor
        with subprocess.Popen(
            [sys.executable, "-m", "hitless", "init", "--new-cwd", "next"],
            stdin=follower,
            stdout=subprocess.PIPE,
            cwd=tmp_path,
            text=True,
        ) as process:
            terminal.write(b"serve {port}\n\n\n/up\n/a /b\ny\n")
            output, _ = process.communicate()
        assert process.returncode == 0, output
        os.close(follower)
    scenario = load(str(tmp_path / "scenario.toml")).scenario
    assert scenario.versions["new"].command == ("serve", "{port}")
    assert (scenario.versions["old"].cwd, scenario.versions["new"].cwd) == (
        str(tmp_path),
        str(tmp_path / "next"),
    )
    assert scenario.application.health_path == "/up"
    assert len(scenario.traffic.journeys) == 2
    assert scenario.database is not None
