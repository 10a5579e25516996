"""A run is steered from another terminal."""

import asyncio
import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from balancer.client import AdminClient
from orchestrator import guardian
from orchestrator.recovery import PLAN
from scenarios.cli.main import status
from scenarios.evidence.run_folder import RunFolder

RUN = [
    *(sys.executable, "-m", "hitless", "run", "good", "--strategy", "blue-green"),
    *("--no-live", "--hold", "--rate", "40", "--replicas", "1", "--baseline", "0.5"),
    *("--set", "policy.auto_promotion=false"),
]


def ctl(folder: Path, command: str) -> tuple[int, str]:
    """The status of `hitless ctl` and what it says, in this process: no interpreter is started."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = status(["ctl", str(folder), command])
    return code, said.getvalue().strip()


def ctl_process(folder: Path, command: str) -> tuple[int, str]:
    """The same in a process of its own, for what leaves processes running when it ends."""
    done = subprocess.run(
        [sys.executable, "-m", "hitless", "ctl", str(folder), command],
        check=False,
        capture_output=True,
        text=True,
    )
    return done.returncode, (done.stdout + done.stderr).strip()


LEFT = "resume, retry, undo, abort, finish"


async def who_serves(admin: str) -> list[str]:
    """The versions of those that get traffic, as the balancer has it."""
    async with AdminClient(admin) as client:
        return [one.version or "" for one in await client.backends() if one.weight]


def killed_when(printed: str, scenario: str | Path, out: Path, *options: str) -> Path:
    """Start a run that keeps its fleet, `kill -9` it when it prints this, and return its folder."""
    arguments = [
        *(sys.executable, "-m", "hitless", "run", str(scenario), "--keep", "--no-live"),
        *("--rate", "40", "--replicas", "2", "--baseline", "0.5", "--out", str(out), *options),
    ]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        next(line for line in run.stdout if printed in line)
        (folder,) = out.iterdir()
        run.kill()
    return folder


@pytest.mark.timeout(120)
def test_promote_undo_and_finish(tmp_path: Path) -> None:
    """A held run is promoted, undone and finished by `hitless ctl`, and nothing fails."""
    with subprocess.Popen(
        [*RUN, "--out", str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    ) as run:
        assert run.stdout is not None
        lines = iter(run.stdout)
        next(line for line in lines if "preview" in line)
        (folder,) = tmp_path.iterdir()
        while (answer := ctl(folder, "promote")) != (0, "promoted: the switch"):
            assert answer == (1, "nothing waits for a promotion")
        next(line for line in lines if "phase settle" in line or "release good" in line)
        assert ctl_process(folder, "undo") == (0, "undo: starting now")
        while (answer := ctl(folder, "promote")) != (0, "promoted: the switch"):
            assert answer == (1, "nothing waits for a promotion")
        while "no release is under way" not in ctl(folder, "status")[1]:
            pass
        assert ctl(folder, "finish") == (0, "finish: starting now")
        assert run.wait() == 0
        run.stdout.read()
    verdict = json.loads((folder / "verdict.json").read_text())
    assert verdict["requests"]["failed"] == 0
    code, said = ctl(folder, "pause")
    assert (code, "no run is active" in said) == (2, True)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("scenario", "command", "said"),
    [
        # What is left of it is a deployment, and then its undo.
        ("undo", "resume", "resume: completed"),
        pytest.param("good", "resume", "resume: completed", marks=pytest.mark.soak),
        pytest.param("good", "retry", "retry: completed", marks=pytest.mark.soak),
        pytest.param("good", "abort", "aborted: a serves", marks=pytest.mark.soak),
        pytest.param("expand-contract", "resume", "resume: completed", marks=pytest.mark.soak),
    ],
)
def test_a_killed_run_is_finished(scenario: str, command: str, said: str, tmp_path: Path) -> None:
    """What `kill -9` left of a run that keeps its fleet is finished by `hitless ctl`, and ended."""
    folder = killed_when("  soak ", scenario, tmp_path)
    mark = json.loads((folder / PLAN).read_text())["mark"]
    try:
        assert ctl(folder, "pause") == (
            2,
            f"hitless: {folder}: its orchestrator is gone, so only these work: {LEFT}",
        )
        assert ctl_process(folder, command) == (0, said)
        assert ctl(folder, "finish") == (0, "finished: all processes of the run have ended")
        assert guardian.marked_processes(mark) == []
    finally:
        guardian.end_all((), mark)


EXPANDED = "expand_contract.0004.tokens-foreign-key-valid"
CONTRACTED = "expand_contract.0009.status-check-dropped"
HALF_WAY = """
extends = "undo-refused"
name = "half-way"

[release]
from = "a"
steps = [
    { migrate = "newsletter_app:migrations/expand_contract", through = "EXPANDED" },
    { deploy = "bridge" },
    { migrate = "newsletter_app:migrations/expand_contract", through = "THROUGH" },
]
"""


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("through", "serving", "said"),
    [
        (EXPANDED, "a", (0, "undo: completed")),
        (CONTRACTED, "bridge", (1, "undo: failed: undo to a: ")),
    ],
)
def test_a_killed_run_is_undone(
    through: str, serving: str, said: tuple[int, str], tmp_path: Path
) -> None:
    """After `kill -9` an undo still asks the schema: it works, or is refused with its reason."""
    scenario = tmp_path / "half-way.toml"
    scenario.write_text(HALF_WAY.replace("EXPANDED", EXPANDED).replace("THROUGH", through))
    out = tmp_path / "runs"
    folder = killed_when("  release half-way", scenario, out, "--hold", "--existing-rows", "500")
    plan = json.loads((folder / PLAN).read_text())
    try:
        code, words = ctl_process(folder, "undo")
        assert (code, words[: len(said[1])]) == said
        assert code == 0 or "status demands a value" in " ".join(words.split())
        assert asyncio.run(who_serves(plan["admin"])) == [serving] * 2
        assert ctl(folder, "finish") == (0, "finished: all processes of the run have ended")
        assert guardian.marked_processes(plan["mark"]) == []
    finally:
        guardian.end_all((), plan["mark"])


BROKEN_BEFORE = """
extends = "big-bang"
name = "half-way"

[application]
readiness_path = "/ready"
"""


@pytest.mark.timeout(120)
def test_a_killed_run_is_not_aborted_to_what_the_schema_broke(tmp_path: Path) -> None:
    """After `kill -9` an abort asks the schema as well: refused, it moves no traffic."""
    scenario = tmp_path / "half-way.toml"
    scenario.write_text(BROKEN_BEFORE)
    out = tmp_path / "runs"
    folder = killed_when("  attach b", scenario, out, "--existing-rows", "500")
    plan = json.loads((folder / PLAN).read_text())
    try:
        before = asyncio.run(who_serves(plan["admin"]))
        assert set(before) == {"a", "b"}
        code, words = ctl_process(folder, "abort")
        assert code == 1
        assert words.startswith("abort: refused: the schema has changed, and version a does not")
        assert asyncio.run(who_serves(plan["admin"])) == before
        assert ctl(folder, "finish") == (0, "finished: all processes of the run have ended")
    finally:
        guardian.end_all((), plan["mark"])


def test_a_damaged_control_file_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A control file that cannot be read is a usage error that names the file."""
    file = RunFolder(tmp_path).control
    file.write_text("{")
    assert status(["ctl", str(tmp_path), "pause"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"hitless: {file} is damaged: ")
    assert len(said.splitlines()) == 1
