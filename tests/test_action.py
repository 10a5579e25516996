"""The GitHub Action: its steps, run as GitHub runs them, deploy one ref after another."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ACTION = (ROOT / "action.yml").read_text()
SET = r"^ +([A-Z_]+): \$\{\{ inputs\.([a-z-]+) \}\}$"
"""What a step sets from an input."""

SCENARIO = """
name = "own"
application = { command = ["{python}", "app.py", "{port}"] }
versions = { old = {}, new = {} }
release = { from = "old", steps = [{ deploy = "new" }] }
policy = { replicas = 1, min_ready_seconds = 0.1 }
traffic = { rate = 30, journeys = [{ name = "look", steps = [{ path = "/" }] }] }
"""
APP = """
import http.server, signal, sys, threading

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(STATUS)
        self.send_header("Content-Length", "0")
        self.end_headers()

server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
"""


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.com")
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with two commits: the old version works, and so does the new one."""
    folder = tmp_path / "repository"
    (folder / "service").mkdir(parents=True)
    git(folder, "init", "--quiet")
    (folder / "scenario.toml").write_text(SCENARIO)
    for name in ("old", "new"):
        (folder / "service" / "app.py").write_text(f"STATUS = 200  # {name}\n{APP}")
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "--message", name)
    return folder


def steps(**inputs: str) -> list[tuple[str, dict[str, str]]]:
    """The scripts of the action's steps in order, with the environment that each of them gets."""
    given = {
        name: inputs.get(name.replace("-", "_"), default)
        for name, default in re.findall(
            r'^  ([a-z-]+):\n(?:    .*\n)*?    default: "?([^"\n]*)"?$', ACTION, re.MULTILINE
        )
    } | {name.replace("_", "-"): value for name, value in inputs.items()}
    found = []
    for part in ACTION.split("\n    - ")[1:]:
        script = re.search(r"^ +run: (bash .*)$", part, re.MULTILINE)
        if script is not None:
            environment = re.findall(SET, part, re.MULTILINE)
            found.append((script[1], {name: given[key] for name, key in environment}))
    return found


def run_steps(
    repository: Path, tmp_path: Path, **inputs: str
) -> tuple[int, Mapping[str, str], str]:
    """Run the steps; returns the status of the last one, the outputs, and the step summary."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "hitless").write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m hitless "$@"\n'
    )
    (tools / "hitless").chmod(0o755)
    outputs, summary = tmp_path / "outputs", tmp_path / "summary"
    outputs.touch()
    status = 0
    for script, environment in steps(**inputs):
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=repository,
            check=False,
            capture_output=True,
            text=True,
            env={
                **os.environ,
                **environment,
                "PATH": f"{tools}:{os.environ['PATH']}",
                "PYTHONPATH": str(ROOT),
                "GITHUB_ACTION_PATH": str(ROOT),
                "GITHUB_OUTPUT": str(outputs),
                "GITHUB_STEP_SUMMARY": str(summary),
                "RUNNER_TEMP": str(tmp_path),
            },
        )
        status = done.returncode
        if status:
            break
    said = dict(line.split("=", 1) for line in outputs.read_text().splitlines())
    return status, said, summary.read_text() if summary.exists() else ""


@pytest.mark.matrix
@pytest.mark.timeout(120)
def test_one_ref_is_deployed_after_another(repository: Path, tmp_path: Path) -> None:
    """Both refs are checked out and installed; the verdict, the evidence and a summary are told."""
    old, new = git(repository, "rev-parse", "HEAD~1"), git(repository, "rev-parse", "HEAD")
    status, outputs, summary = run_steps(
        repository,
        tmp_path,
        scenario="scenario.toml",
        old_ref=old,
        new_ref=new,
        working_directory="service",
        install="head -n 1 app.py > installed",
        arguments="--baseline 0.5 --settle '0.3' --set objectives.schedule_lag_p99_seconds=2",
    )
    endings = {"pass": 0, "fail": 1, "invalid": 3}
    assert status == endings[outputs["verdict"]]
    assert outputs["verdict"] != "fail"
    for name in ("old", "new"):
        installed = repository / ".hitless" / name / "service" / "installed"
        assert installed.read_text() == f"STATUS = 200  # {name}\n"
    folder = Path(outputs["folder"])
    assert (folder / "report.html").exists()
    assert "own" in summary
    assert "--settle 0.3" in (folder / "run.json").read_text()


def test_a_ref_that_is_not_there(repository: Path, tmp_path: Path) -> None:
    """The step says which of the two refs does not exist, and nothing is run."""
    status, outputs, _ = run_steps(
        repository, tmp_path, scenario="scenario.toml", old_ref="nowhere", new_ref="HEAD"
    )
    assert (status, outputs) == (2, {})


def test_every_input_is_used_and_declared() -> None:
    """The action uses the inputs that it declares; its scripts read what its steps set."""
    declared = set(re.findall(r"^  ([a-z-]+):$", ACTION.partition("outputs:")[0], re.MULTILINE))
    assert declared == set(re.findall(r"inputs\.([a-z-]+)", ACTION))
    for script, environment in steps(scenario="x"):
        path = ROOT / re.findall(r"action/\w+\.sh", script)[0]
        read = re.search(r"^# Reads: ([A-Z_, ]+)\.", path.read_text(), re.MULTILINE)
        assert read is not None
        assert set(read[1].split(", ")) == set(environment), path
