"""A printed command can be copied where it is printed."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from scenarios.cli.program import program_of
from scenarios.reports.terminal import print_verdict
from tests.support.evidence import clean

HERE = Path("/home/me/hitless")


@pytest.mark.parametrize(
    ("started", "found", "words"),
    [
        (".venv/bin/hitless", None, ".venv/bin/hitless"),
        ("/home/me/hitless/.venv/bin/hitless", None, ".venv/bin/hitless"),
        ("/opt/my tools/hitless", None, "'/opt/my tools/hitless'"),
        (".venv/bin/hitless", "/usr/bin/hitless", ".venv/bin/hitless"),
        ("/x/site-packages/hitless/__main__.py", None, ".venv/bin/python -m hitless"),
        ("/x/site-packages/pytest/__main__.py", None, "hitless"),
        ("/x/site-packages/hitless/__main__.py", "/usr/bin/hitless", "hitless"),
        ("/usr/bin/pytest", None, "hitless"),
    ],
)
def test_how_the_program_is_started_here(started: str, found: str | None, words: str) -> None:
    """The path from this folder where `hitless` is no command here, or is another program."""
    assert program_of(started, found, "/home/me/hitless/.venv/bin/python", HERE) == words


def test_on_the_path_it_is_hitless(tmp_path: Path) -> None:
    """In an environment that is activated, the name is enough."""
    script = tmp_path / "hitless"
    script.touch()
    assert program_of(str(script), str(script), "python", tmp_path) == "hitless"


def test_the_commands_below_a_verdict() -> None:
    """The terminal tells how to run again from here; what is recorded says `hitless`."""
    verdict, out = clean().judge(), io.StringIO()
    print_verdict(Console(file=out, width=200), verdict, "runs/x", program=".venv/bin/hitless")
    assert verdict.replay.startswith("hitless ")
    assert f"Run again   .venv/bin/{verdict.replay}\n" in out.getvalue()
