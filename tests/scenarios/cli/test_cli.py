"""Bad input is one line and a status, with nothing started and nothing left."""

import contextlib
import json
import shlex
from importlib.metadata import version
from pathlib import Path

import pytest

from scenarios.cli.help import EXAMPLES
from scenarios.cli.main import status
from scenarios.errors import near
from scenarios.exit_status import ExitStatus
from scenarios.scenario.experiment import STRATEGY_NAMES
from scenarios.scenario.reader import builtin_names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "expand-contact"], "unknown scenario 'expand-contact'; did you mean 'expand-"),
        (["run", "--strategy", "roling"], "unknown strategy 'roling'; did you mean 'rolling'?"),
        (["run", "--replicas", "0"], "Invalid value for '--replicas': "),
        (["run", "--replicas", "1001"], "--replicas 1001: 1,001 replicas are too many for real"),
        (
            ["run", "--set", "policy.replicas=1001"],
            "--set policy.replicas=1001: key 'policy.replicas': 1,001 replicas are too many",
        ),
        (["run", "--platform", "simulatd"], "--platform simulatd: did you mean 'simulated'?"),
        (["run", "--platform", "simulated", "--replicas", "0"], "Invalid value for '--replicas': "),
        (["run", "--platform", "simulated", "--hold"], "--hold has no meaning with --platform sim"),
        (
            ["run", "--platform", "simulated", "--router", "haproxy"],
            "--router haproxy: --platform simulated knows only the router hitless",
        ),
        (
            ["run", "--platform", "simulated", "--fault", "crash-postgres"],
            "--fault: 'crash-postgres' is not simulated; kill, freeze, block are",
        ),
        (
            ["run", "--platform", "simulated", "--set", "simulation.replica.start_seconds=-1"],
            "--set simulation.replica.start_seconds=-1: key 'simulation.replica.start_seconds': ",
        ),
        (
            ["run", "--platform", "simulated", "--set", "policy.auto_promotion=false"],
            "--set policy.auto_promotion=false: key 'policy.auto_promotion': false waits for a pe",
        ),
        (["run", "--set", "policy.x=1"], "--set policy.x=1: key 'policy.x': unknown key; "),
        (["run", "--set", "policy.replicas=0"], "--set policy.replicas=0: key 'policy.replicas': "),
        (["run", "--replicas", "three"], "Invalid value for '--replicas': "),
        (["run", "--rate", "-5"], "--rate -5: expected a number above 0"),
        (["run", "--rate", "nan"], "--rate nan: expected a number above 0"),
        (
            [
                *("run", "good", "--replicas", "2", "--set", "policy.replicas=8"),
                *("--set", "policy.max_surge=0", "--set", "policy.max_unavailable=25%"),
            ],
            "--replicas 2: max_surge 0 and max_unavailable 25% of 2 replicas are both 0",
        ),
        (
            ["run", "take-back", "--repeat", "2"],
            "--repeat 2: scenario take-back takes its migrations back",
        ),
        (["run", "--existing-rows", "-1"], "Invalid value for '--existing-rows': "),
        (["run", "--database-log", "x"], "--database-log needs --database"),
        (
            ["run", "--database", "postgresql://x/y", "--database-log", "/none"],
            "--database-log /none: there is no such file or folder",
        ),
        (["matrix", "--database-log", "x"], "--database-log needs --database"),
        (["run", "--control", "--counterfactual"], "--control cannot be combined with"),
        (["run", "--baseline", "-1"], "Invalid value for '--baseline': "),
        (["run", "--seed", "x"], "Invalid value for '--seed': "),
        (["run", "--stategy", "naive"], "No such option: --stategy"),
        (["run", "none.toml"], "none.toml: this scenario file does not exist"),
        (["matrix", "big-bang", "codefirst"], "unknown scenario 'codefirst'; did you mean 'code-"),
        (["report", "nowhere"], "nowhere: this folder does not exist"),
        (["rum"], "No such command 'rum'"),
        (["run", "Expand_Contract"], "did you mean 'expand-contract'?"),
        (["run", "--junit", "none/results.xml"], "--junit none/results.xml: there is no folder"),
        (["run", "--junit", "."], "--junit .: this is a folder; expected the path of a file"),
        (["watch", "--url", "ftp://x/"], "--url ftp://x/: expected a URL such as http://"),
        (["explain", "nowhere", "s1-1-1"], "nowhere: this folder does not exist"),
        (["compare", "nowhere", "nowhere"], "nowhere: this folder does not exist"),
        (["init", "file.yaml"], "file.yaml: the name of a scenario file must end in .toml"),
        (["help", "exitstatus"], "no help about 'exitstatus'; did you mean 'exit-status'?"),
        (["schema", "verdikt"], "did you mean 'verdict'?"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A mistake on the command line is one clear line, exit status 2, and no folder is made."""
    out = tmp_path / "runs"
    if arguments[0] in ("run", "matrix"):
        arguments = [*arguments, "--out", str(out)]
    assert status(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.startswith("hitless: ")
    assert captured.err.count("\n") == 1
    assert not out.exists()


def test_a_folder_that_holds_no_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """`report` of a folder that is not a run's says so."""
    assert status(["report", str(tmp_path)]) == 2
    assert "not the folder of a run: it has no run.json" in capsys.readouterr().err


def test_a_place_that_cannot_hold_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """`--out` that names a file is a mistake of one line."""
    (tmp_path / "file").write_text("")
    assert status(["run", "--out", str(tmp_path / "file")]) == 2
    assert "--out" in capsys.readouterr().err


def test_a_database_that_does_not_answer(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A database URL that does not answer is the environment's failure: status 4, no password."""
    url = "postgresql://someone:hush@127.0.0.1:1/nothing"
    assert status(["run", "--no-live", "--database", url, "--out", str(tmp_path)]) == 4
    error = capsys.readouterr().err
    assert "127.0.0.1:1/nothing does not answer" in error
    assert "hush" not in error


def test_list_names_every_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    """`list` shows the built-in scenarios, for people and as JSON."""
    assert status(["list"]) == 0
    text = capsys.readouterr().out
    assert status(["list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows][:4] == [
        "big-bang",
        "code-first",
        "with-default",
        "expand-contract",
    ]
    for row in rows:
        assert row["name"] in text
        assert row["teaches"]


def test_list_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    """Below the scenarios stand the strategies and the command; JSON marks what must fail."""
    assert status(["list"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"Strategies: {', '.join(STRATEGY_NAMES)}. Run one with: hitless run SCENARIO" in text
    assert status(["list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["big-bang"]["fails_with"].keys() == set(STRATEGY_NAMES)
    assert rows["expand-contract"]["fails_with"].keys() == {"naive"}
    assert rows["code-first-gated"]["outcome"] == "rolled_back"


def test_a_command_that_no_run_knows(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """`ctl` says which commands there are, and that a folder has no run that is active."""
    assert status(["ctl", str(tmp_path), "prommote"]) == 2
    assert "unknown command 'prommote'; did you mean 'promote'" in capsys.readouterr().err
    assert status(["ctl", str(tmp_path), "promote"]) == 2
    said = f"hitless: {tmp_path}: no run is active in this folder (No such file or directory)\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("arguments", [[], ["-h"], ["help"], ["--help"]])
def test_the_help_is_where_it_is_looked_for(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """`hitless` alone, `-h`, `help` and `--help` print the same help, with status 0."""
    assert status(arguments) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("Usage: hitless [OPTIONS] COMMAND")
    assert "explain" in captured.out
    assert captured.err == ""


def test_the_help_of_a_command_is_where_it_is_looked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`hitless run -h` and `hitless help run` print the same."""
    said = []
    for arguments in (["run", "-h"], ["help", "run"], ["run", "--help"]):
        assert status(arguments) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] == said[2]
    assert said[0].startswith("Usage: hitless run [OPTIONS]")


def test_a_mistyped_file_name(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hint names the file that is there."""
    (tmp_path / "scenario.toml").touch()
    monkeypatch.chdir(tmp_path)
    assert status(["run", "scenaro.toml"]) == 2
    said = capsys.readouterr().err
    assert "this scenario file does not exist; did you mean 'scenario.toml'?" in said


def test_the_exit_statuses_are_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    """`hitless help exit-status` tells every exit status with its meaning."""
    assert status(["help", "exit-status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for one in ExitStatus:
        assert f"{one.value:>5}  {one.meaning}" in lines


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("Codefirst", "did you mean 'code-first'?"),
        ("expand", "did you mean 'expand-contract'?"),
        ("tak-back", "did you mean 'take-back'?"),
        ("kubernetes", "there are: "),
        ("", "there are: "),
    ],
)
def test_near_names_are_near(typed: str, meant: str) -> None:
    """The hint names what was probably meant; where nothing is near it lists what there is."""
    assert near(typed, builtin_names()).startswith(meant)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` names the program and its version."""
    assert status(["--version"]) == 0
    assert capsys.readouterr().out == f"hitless {version('hitless')}\n"


@pytest.mark.parametrize("name", EXAMPLES)
def test_help_has_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command's help ends with examples, and the options in them exist."""
    assert status([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert "Examples:" in text
    assert EXAMPLES[name]
    for example in EXAMPLES[name]:
        words = shlex.split(example.partition(" > ")[0].partition(" -- ")[0])
        assert words[:2] == ["hitless", name]
        assert status([*words[1:], "--help"]) == 0, example
        capsys.readouterr()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("hitless ru", "run"),
        ("hitless run expand", "expand-contract"),
        ("hitless run --strategy blue", "blue-green"),
        ("hitless run --persona kub", "kubernetes"),
        ("hitless run my", "my-own.toml"),
    ],
)
def test_shells_complete(
    typed: str,
    offered: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A shell that asks is offered commands, scenarios, files, strategies and personas."""
    (tmp_path / "my-own.toml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("_HITLESS_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split()) - 1))
    with contextlib.suppress(SystemExit):
        status([])
    assert offered in capsys.readouterr().out.split()
