"""What goes wrong beside the web is told in one line, with status 4 and nothing left behind."""

from pathlib import Path

import pytest

from scenarios.cli.main import status

WORKER = """
extends = "good"
name = "mistaken"

[policy]
progress_deadline_seconds = 2
replicas = 1

[[application.processes]]
name = "worker"
command = ["{python}", "-c", "SCRIPT"]
ready_log = "^ready"
"""
WAITS = "import time; print('ready', flush=True); time.sleep(600)"


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("scenario", "said"),
    [
        pytest.param(
            WORKER.replace("SCRIPT", "import time; time.sleep(600)"),
            "worker-a-1 (no line of its log matches '^ready')",
            marks=pytest.mark.soak,
        ),
        (
            WORKER.replace("SCRIPT", "raise SystemExit('no queue here')"),
            "worker-a-1 exited with status 1; its log ends: no queue here",
        ),
        (
            WORKER.replace("SCRIPT", WAITS) + '[jobs]\nstore = ["echo", "3 jobs"]\n',
            "jobs.store: line 1 of the output of echo 3 jobs is '3 jobs'",
        ),
        pytest.param(
            WORKER.replace("SCRIPT", WAITS) + '[jobs]\nstore = ["no-such-program"]\n',
            "jobs.store cannot be started: no-such-program",
            marks=pytest.mark.soak,
        ),
    ],
)
def test_it_is_told_in_one_line(
    scenario: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A worker that does not become ready, and a store command that prints no jobs."""
    path = tmp_path / "scenario.toml"
    path.write_text(scenario)
    options = ("--no-live", "--rate", "10", "--out", str(tmp_path / "runs"))
    assert status(["run", str(path), *options]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("hitless: ")
    assert said in line


def test_keeping_is_refused_before_anything_is_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A recovery would not know of the processes, so they would be nobody's."""
    path = tmp_path / "scenario.toml"
    path.write_text(WORKER.replace("SCRIPT", WAITS))
    assert status(["run", str(path), "--keep", "--no-live", "--out", str(tmp_path / "runs")]) == 2
    assert "--keep cannot be combined with application.processes" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


SERVICE = """
[[services]]
name = "prices"
command = ["{python}", "prices.py"]
from = "v1"
versions = { v1 = {} }
"""


@pytest.mark.parametrize(
    ("scenario", "said"),
    [
        (
            WORKER.replace('"{python}", "-c", "SCRIPT"', '"no-such-worker"'),
            "key 'application.processes.command': there is no program no-such-worker on PATH",
        ),
        (
            WORKER.replace("SCRIPT", WAITS) + SERVICE,
            "key 'services.command': there is no file",
        ),
    ],
)
def test_a_program_that_is_missing_is_told_before_anything_is_started(
    scenario: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line has the file, the line and the key; nothing is started, and the status is 2."""
    path = tmp_path / "scenario.toml"
    path.write_text(scenario)
    assert status(["run", str(path), "--no-live", "--out", str(tmp_path / "runs")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert "scenario.toml:" in line
    assert not (tmp_path / "runs").exists()
