"""The pytest plugin: releases as tests, in sessions of their own."""

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

EXAMPLE = Path(__file__).parents[3] / "examples" / "plain"
# An installation from before the plugin does not know it yet.
LOADED = any(entry_points(group="pytest11", name="hitless"))
PYTEST = [
    sys.executable,
    "-m",
    "pytest",
    *([] if LOADED else ["-p", "scenarios.pytest_plugin.plugin"]),
]


def run_pytest(folder: Path, *arguments: str) -> tuple[int, str]:
    """A pytest of somebody else's, with no configuration of ours; its status and its output."""
    command = [*PYTEST, "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(folder)]
    done = subprocess.run(
        [*command, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_the_example_of_the_documentation(tmp_path: Path) -> None:
    """The example test file passes, also in two processes side by side."""
    code, output = run_pytest(EXAMPLE, "-n", "2", f"--hitless-out={tmp_path}", "test_release.py")
    assert code == 0, output
    assert "2 passed" in output
    assert len(list(tmp_path.iterdir())) == 2


def test_a_failure_says_why(tmp_path: Path) -> None:
    """`assert report.failed == []` fails with causes, downtime, and the command that replays it."""
    (tmp_path / "test_it.py").write_text(
        f"""
import pytest

@pytest.mark.hitless({str(EXAMPLE / "broken.toml")!r}, rate=30, baseline=0.5, settle=0.2)
def test_it(rollout):
    assert rollout().failed == []
"""
    )
    code, output = run_pytest(tmp_path)
    assert code == 1, output
    assert "FAIL plain-broken under rolling: " in output
    assert " of status:401: HTTP 401 (e.g. s1-" in output
    assert "downtime: " in output
    assert "again: hitless run " in output
    assert "evidence: " in output


def test_a_mistake_is_an_error(tmp_path: Path) -> None:
    """A scenario, a strategy or a change that is not there is an error before anything runs."""
    (tmp_path / "test_it.py").write_text(
        """
import pytest

@pytest.mark.hitless(scenario="big-bnag")
def test_scenario(rollout):
    rollout()

def test_strategy(rollout):
    rollout(strategy="roling")

def test_change(rollout):
    rollout(replica=3)
"""
    )
    code, output = run_pytest(tmp_path, "--strict-markers")
    assert code == 1, output
    assert "3 failed" in output
    assert "ScenarioError: unknown scenario 'big-bnag'; did you mean 'big-bang'?" in output
    assert "UsageError: unknown strategy 'roling'; did you mean 'rolling'?" in output
    assert "TypeError: Unexpected keyword argument 'replica'" in output


def test_it_costs_other_sessions_nothing() -> None:
    """The plugin itself imports none of what a rollout needs."""
    program = (
        "import sys, pytest; before = set(sys.modules); import scenarios.pytest_plugin.plugin; "
        "print(sorted(set(sys.modules) - before))"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    names = ["scenarios", "scenarios.pytest_plugin", "scenarios.pytest_plugin.plugin"]
    assert output.strip() == str(names)
