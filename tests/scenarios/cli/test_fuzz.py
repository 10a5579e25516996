"""`hitless fuzz`: what it says, and that a violation can be replayed."""

import json
from pathlib import Path

import pytest

from orchestrator.policy import Policy
from scenarios.cli.main import status


def test_nothing_is_found_in_what_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    """It says how many schedules were tried, and from which seed on."""
    assert status(["fuzz", "--seeds", "5", "--seed", "40"]) == 0
    assert "No invariant was broken in 5 schedules, from seed 40 on." in capsys.readouterr().out
    assert status(["fuzz", "--seeds", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"seeds": 2, "first": 0, "found": None}


def test_a_violation_is_shrunk_and_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The smallest schedule is written down, and one command repeats what it breaks."""
    surge = Policy.surge.fget
    assert surge is not None
    with monkeypatch.context() as patch:
        patch.setattr(Policy, "surge", property(lambda self: surge(self) + 1))
        assert status(["fuzz", "--out", str(tmp_path)]) == 1
        said = capsys.readouterr().out
        (file,) = tmp_path.iterdir()
        assert f"hitless fuzz --replay {file}" in said
        assert "capacity: at" in said
        assert status(["fuzz", "--replay", str(file)]) == 1
        assert "capacity: at" in capsys.readouterr().out
    assert status(["fuzz", "--replay", str(file)]) == 0
    assert "No invariant is broken" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0"], "Invalid value for '--seeds'"),
        (["--seeds", "5", "--seconds", "5"], "--seconds cannot be combined with --seeds"),
        (["--replay", "/none.json"], "--replay /none.json: No such file or directory"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong is said in one line, with the status 2."""
    assert status(["fuzz", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_damaged_schedule_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is no schedule is refused with its name and what is wrong in it."""
    file = tmp_path / "fuzz.json"
    file.write_text('{"policy": {"replicas": -1}}')
    assert status(["fuzz", "--replay", str(file)]) == 2
    said = capsys.readouterr().err
    assert str(file) in said
    assert said.count("\n") == 1
