"""A sweep: its values, its runs, and where they are carried out."""

import contextlib
import json
import os
import pickle
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scenarios.cli.main import status
from scenarios.errors import UsageError
from scenarios.reports.sweep import SweepPoint
from scenarios.scenario.overrides import Changes
from scenarios.simulation.model import model_of
from scenarios.simulation.sweep import (
    Task,
    carry_out,
    carry_out_all,
    combinations,
    knob,
    points_of,
)

PRE_STOP = "policy.termination.pre_stop_seconds"


def test_values_are_lists_and_ranges() -> None:
    """A list is split at its commas, but not within brackets; a range needs a step in a grid."""
    assert knob("policy.max_surge=1,25%, 100%").values == ("1", "25%", "100%")
    assert knob("policy.canary_steps=[5,100],[50, 100]").values == ("[5,100]", "[50, 100]")
    assert knob("a.b=0..1:0.25").values == ("0", "0.25", "0.5", "0.75", "1")
    assert knob("a.b=0..5").span == (0.0, 5.0)
    grid = list(combinations([knob("a=1,2"), knob("b=0..2:1")], None, 1))
    assert len(grid) == 6
    assert grid[0] == {"a": "1", "b": "0"}
    drawn = list(combinations([knob("a=1,2"), knob("b=0..5")], 20, 1))
    assert drawn == list(combinations([knob("a=1,2"), knob("b=0..5")], 20, 1))
    assert all(0 <= float(one["b"]) <= 5 for one in drawn)
    assert len({one["b"] for one in drawn}) > 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--vary: say at least one setting"),
        (["--vary", "policy.max_surge"], "expected KEY=VALUES"),
        (["--vary", "policy.max_surge=5..1:1"], "the range must rise"),
        (["--vary", f"{PRE_STOP}=0..5"], "a grid needs a step, such as 0..5:1; or use --random N"),
        (["--vary", "policy.max_surg=1,2"], "did you mean 'max_surge'"),
        (["--vary", "traffic.rate=1..2", "--random", "100001"], "more than 100,000 runs"),
        (
            ["--vary", "policy.max_surge=1", "--scheduler", "tcp://x:1", "--workers", "2"],
            "--workers",
        ),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistake in any combination is found before the first run, and said in one line."""
    if message.startswith("more than"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("scenarios.cli.sweep.MOST_RUNS", 3)
            message = "more than 3 runs"
            assert status(["sweep", "good", *arguments]) == 2
    else:
        assert status(["sweep", "good", *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def tasks(values: tuple[str, ...] = ("0", "1.2"), seeds: int = 2) -> list[Task]:
    """Runs of a release whose router hears late that replicas leave."""
    found = []
    for number, value in enumerate(values):
        for seed in range(seeds):
            changes = Changes(
                platform="simulated",
                persona="kubernetes",
                rate=300.0,
                settings=(f"{PRE_STOP}={value}",),
            )
            run = model_of(changes.experiment("good", "rolling", seed)).run
            found.append(Task(number, {PRE_STOP: value}, run, 10**9))
    return found


def test_a_run_is_the_same_wherever_it_is_carried_out() -> None:
    """A task survives the way to another process, and any executor gives the same points."""
    here = [carry_out(task) for task in tasks()]
    there = [carry_out(pickle.loads(pickle.dumps(task))) for task in tasks()]  # noqa: S301 - ours
    assert there == here
    with ThreadPoolExecutor(1) as pool:
        assert points_of(list(carry_out_all(tasks(), pool))) == points_of(here)
    lossy, covered = points_of(here)
    assert lossy.failed > 0
    assert covered.failed == 0
    assert covered.most_replicas == 4
    assert covered.extra_replica_seconds == pytest.approx(covered.seconds, rel=0.6)


def test_the_command_says_what_the_smallest_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table, a plot and JSON tell the frontier and the smallest preStop that loses nothing."""
    plot = tmp_path / "sweep.svg"
    arguments = ["sweep", "good", "--persona", "kubernetes", "--rate", "200", "--workers", "1"]
    arguments += ["--vary", f"{PRE_STOP}=0,1.2", "--plot", str(plot), "--json"]
    assert status(arguments) == 0
    sweep = json.loads(capsys.readouterr().out)
    assert sweep["predicted"] is True
    (smallest,) = sweep["smallest"]
    assert smallest == {"key": PRE_STOP, "with_others": "1.2", "whatever_others": "1.2"}
    assert 1 in sweep["frontier"]
    assert plot.read_text().startswith("<svg")


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A Dask scheduler and two workers, each a process of its own, on this machine."""
    with contextlib.ExitStack() as stack:

        def started(*words: str) -> subprocess.Popen[bytes]:
            log = stack.enter_context((folder / f"{len(processes)}.log").open("wb"))
            command = [sys.executable, "-m", "distributed.cli.dask_" + words[0], *words[1:]]
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
            processes.append(process)
            return process

        def stop() -> None:
            for process in processes:
                process.kill()
                process.wait()

        processes: list[subprocess.Popen[bytes]] = []
        stack.callback(stop)
        file = folder / "scheduler.json"
        started("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
                "--scheduler-file", str(file))  # fmt: skip
        workers = [
            started("worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-nanny",
                    "--no-dashboard", "--name", f"w{n}")
            for n in range(2)
        ]  # fmt: skip
        while not file.is_file() or not file.read_text():
            assert processes[0].poll() is None
        yield json.loads(file.read_text())["address"], workers


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_a_worker_dies_in_the_middle(tmp_path: Path) -> None:
    """A sweep on two Dask workers has the same result, although one of them is killed."""
    distributed = pytest.importorskip("distributed")
    many = tasks(("0", "0.3", "0.6", "1.2"), seeds=10)
    found: list[tuple[int, SweepPoint]] = []
    with (
        cluster(tmp_path) as (address, workers),
        distributed.Client(address, timeout="60s") as client,
    ):
        client.wait_for_workers(2, timeout=120)
        for pair in carry_out_all(many, client.get_executor(retries=3, pure=False)):
            found.append(pair)
            if len(found) == 5:
                os.kill(workers[0].pid, signal.SIGKILL)
    assert points_of(found) == points_of([carry_out(task) for task in many])


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_the_command_uses_a_cluster(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--scheduler` hands the runs to a Dask cluster; without one there, the status is 4."""
    with cluster(tmp_path) as (address, _):
        assert re.match("tcp://", address)
        vary = ["--vary", f"{PRE_STOP}=0,1.2", "--rate", "100", "--persona", "kubernetes"]
        assert status(["sweep", "good", *vary, "--scheduler", address, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["smallest"][0]["with_others"] == "1.2"
    assert status(["sweep", "good", *vary, "--scheduler", "tcp://127.0.0.1:1"]) == 4


def test_a_knob_that_is_none_is_refused() -> None:
    """What is no range and no list of values is refused with an example."""
    for text in ("=1", "key=", "key"):
        with pytest.raises(UsageError, match="expected KEY=VALUES"):
            knob(text)
