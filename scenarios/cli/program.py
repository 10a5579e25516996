"""How somebody starts this program where they are, so that a printed command can be copied.

After `make`, the program is `.venv/bin/hitless`, and `hitless` alone is a command only in a shell
that has activated that environment. What is recorded of a run always says `hitless`: its evidence
may be read elsewhere.
"""

import os
import shlex
import shutil
import sys
from pathlib import Path

NAME = "hitless"


def program() -> str:
    """The words that start this program from the current folder, quoted for a shell."""
    try:
        here = Path.cwd()
    except OSError:  # the folder is gone
        here = Path("/")
    return program_of(sys.argv[0], shutil.which(NAME), sys.executable, here)


def program_of(started: str, found: str | None, python: str, here: Path) -> str:
    """The words for a program that was started in some way.

    Args:
        started: the file that runs: the console script, or `__main__.py` of `python -m hitless`.
        found: what a shell finds on its PATH as `hitless`, if anything.
        python: the interpreter.
        here: the current folder; a file below it is named from there.
    """
    file = Path(started)
    if file.name == NAME and (found is None or not _same(file, Path(found))):
        return _shown(file, here)
    if file.parts[-2:] == (NAME, "__main__.py") and found is None:
        return f"{_shown(Path(python), here)} -m {NAME}"
    return NAME


def as_typed(command: str) -> str:
    """A command that begins with `hitless`, as it can be typed here."""
    first, space, rest = command.partition(" ")
    return f"{program()}{space}{rest}" if first == NAME else command


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _shown(file: Path, here: Path) -> str:
    path = Path(os.path.abspath(here / file))  # noqa: PTH100 - a link is shown as it is
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))
