"""`hitless matrix` and `hitless demo` compare runs with what their scenarios declare."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from orchestrator.routers.capabilities import Kind
from orchestrator.routers.registry import capabilities_of
from scenarios.cli.demo import DEMO, show_demo
from scenarios.cli.main import status
from scenarios.cli.matrix import Cell, limits_of, show_matrix
from scenarios.cli.questions.expectation import Declared, declared, surprise
from scenarios.reports.matrix import MatrixRow, matrix_row
from scenarios.scenario.experiment import STRATEGY_NAMES
from scenarios.scenario.overrides import Changes
from scenarios.scenario.spec import Expectation, ExpectationElsewhere
from scenarios.verdict import Verdict
from tests.support.evidence import clean

NO_DATABASE = "postgresql://nobody@127.0.0.1:1/nothing"


@pytest.fixture(scope="session")
def passed() -> Verdict:
    return clean().judge()


@pytest.fixture(scope="session")
def failed() -> Verdict:
    return clean().failing(2.5, 2.8, status=500, sqlstate="23502").judge()


@pytest.fixture(scope="session")
def invalid() -> Verdict:
    return clean().asked(interrupted=True).judge()


def cell(verdict: Verdict, surprised: str | None = None) -> Cell:
    return Cell(row=matrix_row(verdict, "runs/x"), surprise=surprised)


ERROR = Cell(
    row=MatrixRow(scenario="good", strategy="naive", verdict="error", error="no port is free"),
    surprise="no port is free",
)


def test_the_worst_cell_is_the_exit_status(
    passed: Verdict, failed: Verdict, invalid: Verdict
) -> None:
    """0 if all is as declared, a declared fail included; 1 on a surprise; 3 invalid; 4 no run."""
    good, declared = cell(passed), cell(failed)
    surprising, void = cell(failed, "it should pass"), cell(invalid, "the run is invalid")
    console = Console(quiet=True)

    def exits(*cells: Cell) -> int:
        return show_matrix(console, cells, as_json=False, markdown=False)

    assert exits(good, declared) == 0
    assert exits(good, surprising) == 1
    assert exits(surprising, void) == 3
    assert exits(void, ERROR, surprising) == 4


def shown(*cells: Cell) -> str:
    console = Console(width=200, file=io.StringIO(), record=True)
    show_matrix(console, cells, as_json=False, markdown=False)
    return console.export_text()


def test_what_is_not_as_declared_is_named(passed: Verdict, failed: Verdict) -> None:
    """Each surprise is a line with its cell; without one, the last line says that all is well."""
    text = shown(cell(passed), cell(failed, "it should pass"), ERROR)
    assert "expand-contract under rolling: it should pass" in text
    assert "good under naive: no port is free" in text
    assert "have the result" not in text
    text = shown(cell(passed), cell(failed))
    assert "All 2 cells have the result that their scenario declares." in text
    assert f"{failed.requests.failed:,} of {failed.requests.planned:,}" in text


def test_the_table_for_machines(
    passed: Verdict, failed: Verdict, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--json` and `--markdown` print the table, and nothing else, on standard output."""
    cells, quiet = [cell(passed), cell(failed, "it should pass")], Console(quiet=True)
    show_matrix(quiet, cells, as_json=True, markdown=False)
    rows = json.loads(capsys.readouterr().out)
    assert [(row["row"]["verdict"], row["surprise"]) for row in rows] == [
        ("pass", None),
        ("fail", "it should pass"),
    ]
    show_matrix(quiet, cells, as_json=False, markdown=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("| plan | strategy | verdict |")
    assert "**fail**" in lines[3]


def test_github_hears_of_the_matrix(
    passed: Verdict,
    failed: Verdict,
    tmp_path: Path,
) -> None:
    """The step summary gets the table, and the log one annotation for each surprise."""
    step = tmp_path / "summary.md"
    script = (
        "import sys, msgspec; from rich.console import Console;"
        "from scenarios.cli.matrix import Cell, show_matrix;"
        "cells = msgspec.json.decode(sys.stdin.buffer.read(), type=list[Cell]);"
        "show_matrix(Console(), cells, as_json=False, markdown=False)"
    )
    cells = [cell(passed), cell(failed, "it should pass")]
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=msgspec.json.encode(cells),
        env={**os.environ, "GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(step)},
        capture_output=True,
        check=True,
    )
    assert step.read_text().startswith("## hitless matrix\n\n| plan |")
    told = [line for line in done.stdout.decode().splitlines() if line.startswith("::")]
    assert told == ["::error title=hitless%3A expand-contract%2C rolling::it should pass"]


def test_a_run_that_cannot_be_made_is_a_cell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a database each cell has its error, the other cells are still tried, status is 4."""
    arguments = ["matrix", "big-bang", "--json", "--database", NO_DATABASE, "--out", str(tmp_path)]
    assert status([*arguments, "--persona", "ecs", "--persona", "nomad"]) == 4
    captured = capsys.readouterr()
    rows = [each["row"] for each in json.loads(captured.out)]
    assert [(row["persona"], row["strategy"]) for row in rows] == [
        (persona, strategy) for persona in ("ecs", "nomad") for strategy in STRATEGY_NAMES
    ]
    assert {row["verdict"] for row in rows} == {"error"}
    assert all("does not answer" in row["error"] for row in rows)
    count = 2 * len(STRATEGY_NAMES)
    assert f"{count} of {count}  big-bang under" in captured.err


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_a_plan_under_every_strategy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A plan without traps is run under each strategy, and comes out as it declares."""
    small = ("--replicas", "2", "--rate", "40", "--baseline", "0.5", "--settle", "0.5")
    assert status(["matrix", "good", *small, "--json", "--out", str(tmp_path)]) == 0
    cells = json.loads(capsys.readouterr().out)
    assert [each["row"]["strategy"] for each in cells] == list(STRATEGY_NAMES)
    assert [each["surprise"] for each in cells] == [None] * len(STRATEGY_NAMES)
    assert len(list(tmp_path.iterdir())) == len(STRATEGY_NAMES)


@pytest.mark.parametrize(
    ("fails_with", "strategy", "verdict", "said"),
    [
        ({}, "rolling", "passed", None),
        ({}, "rolling", "failed", "the run should pass, but it failed: failed 30 of "),
        ({"rolling": ("sqlstate:23502",)}, "rolling", "failed", None),
        ({"rolling": ()}, "rolling", "failed", None),
        ({"rolling": ("lock_wait", "sqlstate:23502")}, "rolling", "failed", None),
        (
            *({"rolling": ("lock_wait",)}, "rolling", "failed"),
            "the run should fail with lock_wait, but it failed with sqlstate:23502",
        ),
        (
            *({"rolling": ("lock_wait", "no_backend")}, "rolling", "passed"),
            "the run should fail with lock_wait or no_backend, but it passed",
        ),
        ({"naive": ("no_backend",)}, "rolling", "passed", None),
        ({}, "rolling", "invalid", "the run is invalid: the run was interrupted"),
        ({"rolling": ()}, "rolling", "invalid", "the run is invalid: the run was interrupted"),
    ],
)
def test_what_a_scenario_declares(
    fails_with: dict[str, tuple[str, ...]],
    strategy: str,
    verdict: str,
    said: str | None,
    request: pytest.FixtureRequest,
) -> None:
    """What must pass passes, what must fail fails with a declared cause, and invalid is neither."""
    found: Verdict = request.getfixturevalue(verdict)
    assert found.strategy == strategy
    words = surprise(Expectation(fails_with=fails_with), found)
    assert words == said if said is None else (words or "").startswith(said)


ELSEWHERE = Expectation(
    fails_with={"naive": ("no_backend",)},
    elsewhere=(
        ExpectationElsewhere(router=("nginx", "caddy"), may_fail_with=("router:reload",)),
        ExpectationElsewhere(
            router=("traefik",),
            persona=("kubernetes", "nomad"),
            strategy=("rolling",),
            fails_with=("lifecycle:undrained",),
        ),
    ),
)


@pytest.mark.parametrize(
    ("strategy", "router", "persona", "expected"),
    [
        ("rolling", "hitless", None, Declared(None, ())),
        ("naive", "hitless", "nomad", Declared(("no_backend",), ())),
        ("rolling", "nginx", None, Declared(None, ("router:reload",))),
        ("naive", "caddy", "nomad", Declared(("no_backend",), ("router:reload",))),
        ("rolling", "traefik", "nomad", Declared(("lifecycle:undrained",), ())),
        ("rolling", "traefik", None, Declared(None, ())),
        ("rolling", "traefik", "ecs", Declared(None, ())),
        ("naive", "traefik", "nomad", Declared(("no_backend",), ())),
    ],
)
def test_what_is_declared_of_other_routers_and_personas(
    strategy: str, router: str, persona: str | None, expected: Declared
) -> None:
    """An entry holds for its routers, personas and strategies, and adds to what holds anywhere."""
    assert declared(ELSEWHERE, strategy=strategy, router=router, persona=persona) == expected


@pytest.mark.parametrize(
    ("router", "verdict", "said"),
    [
        ("nginx", "passed", None),
        ("nginx", "lost", None),
        ("haproxy", "lost", "the run should pass, but it failed: failed "),
        ("nginx", "failed", "the run should pass, or fail with router:reload alone, but it failed"),
        ("nginx", "both", "the run should pass, or fail with router:reload alone, but it failed"),
        ("nginx", "row_lost", "the run should pass, or fail with router:reload alone, but it fail"),
    ],
)
def test_a_loss_that_is_a_matter_of_luck(
    router: str, verdict: str, said: str | None, failed: Verdict, passed: Verdict
) -> None:
    """What may fail with a cause may pass, too; another cause, or lost data, is a surprise."""
    replace = msgspec.structs.replace
    lost = replace(
        failed,
        causes=tuple(replace(one, cause="router:reload") for one in failed.causes),
        integrity=replace(
            failed.integrity,
            violation_count=0,
            invariants=tuple(replace(one, violations=0) for one in failed.integrity.invariants),
        ),
    )
    found = {
        "passed": passed,
        "failed": failed,
        "lost": lost,
        "both": replace(failed, causes=(*lost.causes, *failed.causes)),
        "row_lost": replace(lost, integrity=replace(lost.integrity, violation_count=1)),
    }[verdict]
    words = surprise(ELSEWHERE, replace(found, router=router))
    assert words == said if said is None else (words or "").startswith(said)


def test_a_cell_that_its_router_cannot_run_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A router that lacks what the scenario asks for is not started, and the cell has the reason.

    That is no surprise and no mistake: the other cells are run (here they have no database).
    """
    arguments = ["matrix", "expand-contract", "--strategy", "rolling", "--json"]
    where = ["--router", "hitless", "--router", "haproxy", "--database", NO_DATABASE]
    cookie = ["--set", 'balancer.affinity_cookie="version"', "--out", str(tmp_path)]
    assert status([*arguments, *where, *cookie]) == 4
    ours, theirs = json.loads(capsys.readouterr().out)
    assert ours["row"]["verdict"] == "error"
    assert (theirs["row"]["verdict"], theirs["surprise"]) == ("not run", None)
    assert "router haproxy cannot keep a user on one version" in theirs["row"]["error"]


def test_a_router_that_is_missing_is_found_before_the_first_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A router's missing program is one line and status 2, and no run is made before it."""
    missing = ["--set", f'router.binary="{tmp_path / "none"}"', "--router", "haproxy"]
    out = tmp_path / "runs"
    assert status(["matrix", "expand-contract", *missing, "--out", str(out)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("kind", "strategy", "words"),
    [
        ("hitless", "blue-green", set()),
        ("haproxy", "rolling", set()),
        ("haproxy", "blue-green", {"it takes the weights of a switch one after the other"}),
        (
            "traefik",
            "rolling",
            {
                "its drain waits for nothing that is in flight",
                "it does not say why it answered by itself",
            },
        ),
    ],
)
def test_a_strategy_meets_the_gaps_that_it_relies_on(
    kind: Kind, strategy: str, words: set[str]
) -> None:
    """A cell names what its router cannot do of what its strategy needs, and nothing else."""
    assert set(limits_of(capabilities_of(kind), strategy)) == words
    kept = set(limits_of(capabilities_of(kind), strategy, close_idle=False)) - words
    assert len(kept) == (kind != "hitless")


def test_the_demo_says_what_is_not_as_declared(
    passed: Verdict, failed: Verdict, invalid: Verdict, capsys: pytest.CaptureFixture[str]
) -> None:
    """0 if one plan fails and the other passes as declared, else 1; 3 if a run says nothing."""
    experiments = [Changes().experiment(scenario, strategy, 1) for scenario, strategy in DEMO]

    def exits(*verdicts: Verdict) -> int:
        done = [(verdict, Path("runs/x")) for verdict in verdicts]
        return show_demo(Console(stderr=True), experiments, done, as_json=True)

    assert exits(failed, passed) == 0
    captured = capsys.readouterr()
    assert [one["verdict"] for one in json.loads(captured.out)] == ["fail", "pass"]
    assert "The same release, twice" in captured.err
    assert "should" not in captured.err
    assert exits(failed, failed) == 1
    assert "the run should pass, but it failed" in capsys.readouterr().err
    assert exits(passed, passed) == 1
    assert exits(failed, invalid) == 3
