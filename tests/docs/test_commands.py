"""Every command in the documentation does what is said beside it.

A fenced block of the kind `console` is a session: lines that begin with `$ ` are run, in order and
in one folder a page; `$ echo $?` shows the exit status of the command before, which is 0 where
nothing is said. Other lines are output: each must be found in what the command printed, in order,
whatever its numbers and spaces; `…` stands for any lines. A block whose first line ends in `soak`
takes long and is left to `make soak`, with all blocks of its page. A block that names a file behind
its language, such as `toml scenario.toml`, is that file.

The README's commands are not run here, only checked to be ones that exist.
"""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from scenarios.cli.main import status

ROOT = Path(__file__).parents[2]
PAGES = sorted(path.relative_to(ROOT) for path in ROOT.glob("docs/**/*.md"))
README = Path("README.md")
BLOCK = re.compile(r"^```(\w+)(?: +(\S+))?\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


@dataclass
class Command:
    text: str
    output: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Block:
    soak: bool
    commands: list[Command]


@dataclass(frozen=True)
class File:
    name: str
    text: str


def blocks(page: Path) -> list[Block]:
    """The sessions of a page."""
    return [part for part in parts(page) if isinstance(part, Block)]


def parts(page: Path) -> list[Block | File]:
    """The sessions and files of a page, in order."""
    found: list[Block | File] = []
    for language, kind, text in BLOCK.findall((ROOT / page).read_text()):
        if language != "console":
            if kind:
                found.append(File(kind, text))
            continue
        assert kind in ("", "soak"), f"{page}: console {kind}"
        commands: list[Command] = []
        for line in text.splitlines():
            if commands and commands[-1].text.endswith("\\"):
                commands[-1].text += f"\n{line}"
            elif line.startswith("$ "):
                commands.append(Command(line[2:]))
            elif line.strip():
                commands[-1].output.append(line)
        found.append(Block(kind == "soak", commands))
    return found


def plain(text: str) -> str:
    """A line without its numbers and spaces, so that another run's fits."""
    return " ".join(re.sub(r"\d[\d,.:]*", "#", text).split())


class Reader:
    """Somebody who follows a page, in a folder of their own.

    Attributes:
        page: which.
        home: the folder; it has the project's examples.
        status: of the last command.
        last: that command, and what it printed.
    """

    def __init__(self, page: Path, folder: Path) -> None:
        self.page = page
        self.home = folder / "home"
        self.home.mkdir()
        self.status, self.last = 0, ""
        tools = folder / "bin"
        tools.mkdir()
        for name, arguments in (("hitless", ' -m hitless "$@"'), ("python", ' "$@"')):
            tool = tools / name
            tool.write_text(f"#!/bin/sh\nexec {shlex.quote(sys.executable)}{arguments}\n")
            tool.chmod(0o755)
        for name in ("examples", "docs", "benchmarks"):
            if (ROOT / name).exists():
                (self.home / name).symlink_to(ROOT / name)
        outside = ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY")
        self._environ = {
            **{name: value for name, value in os.environ.items() if name not in outside},
            "PATH": f"{tools}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "80",
            "HOME": str(self.home),
        }

    def follow(self, *, soak: bool) -> None:
        """Do all that the page says."""
        for part in parts(self.page):
            if isinstance(part, File):
                (self.home / part.name).write_text(part.text)
            elif soak or not part.soak:
                for command in part.commands:
                    self._do(command)
                assert self.status == 0, f"{self.page}: status {self.status} of: {self.last}"

    def _do(self, command: Command) -> None:
        if command.text == "echo $?":
            assert command.output == [str(self.status)], f"{self.page}: status of: {self.last}"
            self.status = 0
            return
        assert self.status == 0, f"{self.page}: status {self.status} of: {self.last}"
        done = subprocess.run(
            ["bash", "-c", command.text],
            cwd=self.home,
            env=self._environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=600,
        )
        self.status, self.last = done.returncode, f"{command.text}\n{done.stdout}"
        printed = iter([plain(line) for line in done.stdout.splitlines()])
        for line in command.output:
            wanted = plain(line.removesuffix("…"))
            if not wanted:
                continue
            found = any(wanted in other for other in printed)  # goes on where it found the last
            assert found, f"{self.page}: {line!r} not in: {self.last}"


QUICK = [page for page in PAGES if any(not block.soak for block in blocks(page))]
SLOW = [page for page in PAGES if any(block.soak for block in blocks(page))]


@pytest.mark.parametrize("page", QUICK, ids=str)
def test_quick_commands(page: Path, tmp_path: Path) -> None:
    """What takes no time is run with every `make test`."""
    Reader(page, tmp_path).follow(soak=False)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", SLOW, ids=str)
def test_all_commands(page: Path, tmp_path: Path) -> None:
    """All of a page, in order, as a reader would."""
    Reader(page, tmp_path).follow(soak=True)


def test_commands_of_the_readme_exist(capsys: pytest.CaptureFixture[str]) -> None:
    """The README shows no command, and no option, that this program does not have."""
    for block in blocks(README):
        for command in block.commands:
            words = shlex.split(command.text.replace("\\\n", " "), comments=True)
            if words[:1] in (["hitless"], [".venv/bin/hitless"]):
                assert status([*words[1:], "--help"]) == 0, command.text
                capsys.readouterr()


@pytest.mark.parametrize("page", [*PAGES, README], ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    """A link to a file of the project leads to one."""
    for target in LINK.findall((ROOT / page).read_text()):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert ((ROOT / page).parent / target).exists(), target
