"""Runs `squawk` on the SQL of a release's migrations, if it is installed."""

import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from orchestrator.errors import EnvironmentFailure
from orchestrator.processes import Processes
from scenarios.check.lint import LintFinding, table_of
from scenarios.runner.checking.sources import repository_path

EXTRA = "pip install 'hitless[lint]'"


class _Reported(msgspec.Struct, frozen=True):
    """A finding in squawk's own JSON; its lines count from 0."""

    file: str
    line: int
    rule_name: str
    message: str


def squawk_program() -> str | None:
    """The program beside our interpreter, else the one on PATH; None if there is none."""
    beside = Path(sys.executable).parent / "squawk"
    return str(beside) if beside.is_file() else shutil.which("squawk")


async def lint(
    processes: Processes, files: Mapping[str, Path], folder: Path
) -> tuple[LintFinding, ...]:
    """What squawk says of these migrations; those that are no SQL are left out.

    Args:
        processes: owns its process.
        files: the file of each migration.
        folder: for its log.

    Raises:
        EnvironmentFailure: it is not installed, or it does not do its work.
    """
    program = squawk_program()
    if program is None:
        raise EnvironmentFailure(f"squawk is not installed: {EXTRA}")
    named = {str(path): change for change, path in files.items() if path.suffix == ".sql"}
    if not named:
        return ()
    child = await processes.start(
        [program, "--reporter", "Json", *named],
        name="squawk",
        log=folder / "squawk.log",
        # In GitHub Actions it would print annotations, too.
        env={"GITHUB_ACTIONS": ""},
        dialogue=True,
    )
    try:
        text = await child.stdout.read()
        await child.wait()
    finally:
        await child.stop(1.0)
    try:
        found = msgspec.json.decode(text, type=tuple[_Reported, ...])
    except msgspec.DecodeError as error:
        raise EnvironmentFailure(f"squawk did not print JSON: {child.last_lines(1)}") from error
    return tuple(_findings(found, named))


def _findings(found: Iterable[_Reported], named: Mapping[str, str]) -> Iterable[LintFinding]:
    texts = {path: Path(path).read_text(encoding="utf-8", errors="replace") for path in named}
    for one in found:
        yield LintFinding(
            rule=one.rule_name,
            change=named.get(one.file, one.file),
            file=repository_path(Path(one.file)),
            line=one.line + 1,
            message=one.message,
            table=table_of(texts[one.file], one.line + 1) if one.file in texts else None,
        )
