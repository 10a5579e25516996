"""What the documentation takes from the program is what the program says today."""

import re
import shlex
from pathlib import Path

import pytest

from scenarios.cli import status

ROOT = Path(__file__).parents[2]
WORKFLOW_COMMAND = re.compile(r"- (?:run: )?(hitless (?:run|matrix|report|compare)\b[^\n|]*)")


def test_ci_examples_use_options_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    """Every command in the CI examples is one that this program understands."""
    text = (ROOT / "docs" / "ci.md").read_text()
    found = WORKFLOW_COMMAND.findall(text)
    assert len(found) >= 2
    for command in found:
        words = shlex.split(command.replace("$", ""))
        assert status([*words[1:], "--help"]) == 0, command
        capsys.readouterr()
