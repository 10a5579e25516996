"""The pytest plugin: releases as tests, in sessions of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[3] / "examples" / "plain"
PYTEST = (sys.executable, "-m", "pytest")


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
    assert " of mixed_fleet:version: only version v2 fails" in output
    assert "HTTP 401" in output
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
        "import sys, pytest; before = set(sys.modules); import hitless_pytest; "
        "print(sorted(set(sys.modules) - before))"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert output.strip() == str(["hitless_cli", "hitless_pytest"])


OURS = ("scenarios", "orchestrator", "balancer", "newsletter_app")


def somebody_elses(folder: Path, *names: str) -> Path:
    """A project with packages of those names, a test of each, and a test with a rollout."""
    (folder / "tests").mkdir()
    for name in names:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("ANSWER = 42\n")
        (folder / "tests" / f"test_{name}.py").write_text(
            f"import {name}\n\ndef test_theirs():\n    assert {name}.ANSWER == 42\n"
        )
    (folder / "tests" / "test_release.py").write_text(
        "def test_release(rollout):\n    rollout(scenario='expand-contract')\n"
    )
    return folder


def hidden(name: str, folder: Path) -> str:
    """What is said where that folder hides a package of ours."""
    return (
        f"cannot import the package '{name}' of hitless, because {folder / name} comes first on "
        "sys.path; rename that package, or run the command `hitless` without its folder on "
        "PYTHONPATH"
    )


def test_a_project_with_packages_of_our_names(tmp_path: Path) -> None:
    """Its tests pass as if we were not there; a test with a rollout gets one line that says why."""
    code, output = run_pytest(somebody_elses(tmp_path, *OURS), "-rN", "tests")
    assert code == 1, output
    assert "4 passed, 1 error" in output
    lines = [line for line in output.splitlines() if "cannot" in line]
    assert lines == [hidden("scenarios", tmp_path)]
    assert "Traceback" not in output


@pytest.mark.parametrize("name", ["scenarios", "orchestrator", "balancer"])
def test_the_command_line_says_what_hides_ours(tmp_path: Path, name: str) -> None:
    """`python -m hitless` in a folder with such a package says so in one line, with status 4."""
    done = subprocess.run(
        [sys.executable, "-m", "hitless", "list"],
        cwd=somebody_elses(tmp_path, name),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == f"hitless: {hidden(name, tmp_path)}\n"


def test_a_newsletter_app_of_yours_is_not_taken_for_ours(tmp_path: Path) -> None:
    """A built-in scenario beside a package `newsletter_app` of yours names the folder it misses."""
    code, output = run_pytest(somebody_elses(tmp_path, "newsletter_app"), "tests/test_release.py")
    assert code == 1, output
    assert f"there is no directory {tmp_path / 'newsletter_app'}" in output


def test_the_command_runs_in_a_folder_with_packages_of_our_names(tmp_path: Path) -> None:
    """The command does not look into the folder it is started in, and neither do its processes."""
    for name in OURS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('somebody else is here')\n")
    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("hitless"), "run", "with-default", "--no-live"),
            *("--strategy", "blue-green", "--replicas", "1"),
            *("--rate", "30", "--existing-rows", "100", "--baseline", "0.5", "--settle", "0.2"),
            *("--out", tmp_path / "runs"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_folder_called_hitless_stays_importable(tmp_path: Path) -> None:
    """`python -m hitless` takes the name `hitless` from nobody: a folder of yours is beside it."""
    (tmp_path / "hitless").mkdir()
    (tmp_path / "hitless" / "helpers.py").write_text("ANSWER = 42\n")
    program = "import hitless.helpers; print(hitless.helpers.ANSWER)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "42\n"
