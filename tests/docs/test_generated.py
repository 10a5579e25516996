"""What the documentation takes from the program is what the program says today."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from benchmarks import router_matrix
from benchmarks.server_page import page, read_record
from docs.generate import generated
from orchestrator.policy import HOOKED
from orchestrator.routers.registry import KINDS
from scenarios.cli.main import app, status

ROOT = Path(__file__).parents[2]
WORKFLOW_COMMAND = re.compile(r"- (?:run: )?(hitless (?:run|matrix|report|compare)\b[^\n|]*)")


@pytest.mark.parametrize(
    "name",
    [
        *("verdict.schema.json", "reference/scenario.md", "reference/routers.md"),
        *("reference/hazards.md", "personas.md"),
    ],
)
def test_generated_pages_are_up_to_date(name: str) -> None:
    """The published schema and the scenario file's reference say what the program does."""
    wanted = f"docs/{name} is out of date: run `python docs/generate.py`"
    assert (ROOT / "docs" / name).read_bytes() == generated()[name], wanted


def test_the_command_line_is_documented() -> None:
    """Its reference has every command and every option; how they are set is up to typer."""
    text = (ROOT / "docs" / "reference" / "cli.md").read_text()
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        _, found, section = text.partition(f"## `hitless {name}`\n")
        assert found, f"`hitless {name}` is missing: run `python docs/generate.py`"
        section = section.partition("\n## ")[0]
        for option in (one for parameter in command.params for one in parameter.opts):
            missing = f"`hitless {name} {option}` is missing: run `python docs/generate.py`"
            assert option in section, missing


def test_hooks_are_documented() -> None:
    """Each moment at which a hook can run, and each variable that it gets, is on the page."""
    text = (ROOT / "docs" / "concepts.md").read_text()
    section = text.partition("\n## Hooks\n")[2].partition("\n## ")[0]
    source = (ROOT / "orchestrator" / "verb_runner.py").read_text()
    variables = re.findall(r'"(HITLESS_[A-Z]+)":', source)
    assert len(variables) == 5
    for name in (*HOOKED, *variables):
        assert f"| `{name}` |" in section, name
    assert section.count("\n| `") == len(HOOKED) + len(variables)


def test_ci_examples_use_options_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    """Every command in the CI examples is one that this program understands."""
    text = (ROOT / "docs" / "ci.md").read_text()
    found = WORKFLOW_COMMAND.findall(text)
    assert len(found) >= 2
    for command in found:
        words = shlex.split(command.replace("$", ""))
        assert status([*words[1:], "--help"]) == 0, command
        capsys.readouterr()


def test_the_page_about_servers_is_that_of_its_record() -> None:
    """`docs/servers.md` says what was measured, and in the words of the code as it is."""
    record = read_record()
    assert record is not None
    assert page(record) == (ROOT / "docs" / "servers.md").read_text(encoding="utf-8")


def test_the_tables_about_routers_are_those_of_their_record() -> None:
    """`docs/routers.md` shows the cells that were measured, as they are in the record."""
    record = router_matrix.read_record()
    assert set(record) <= set(KINDS)
    assert record
    text = router_matrix.PAGE.read_text(encoding="utf-8")
    assert router_matrix.page(record, text) == text
