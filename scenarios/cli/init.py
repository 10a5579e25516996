"""`hitless init`: a scenario file for one's own application."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from scenarios.cli.files import write_file
from scenarios.cli.program import program
from scenarios.errors import UsageError
from scenarios.scenario.drafts.source import draft_from
from scenarios.scenario.first_file import FirstFileAnswers, first_file
from scenarios.scenario.reader import load

FileArgument = Annotated[Path, typer.Argument(help="The file to write.")]
NameOption = Annotated[
    str | None,
    typer.Option(help="The name of the scenario. Default: the name of the current folder."),
]
OldOption = Annotated[
    str | None,
    typer.Option(help="The command that starts the old version, such as 'node server.js'."),
]
NewOption = Annotated[
    str | None,
    typer.Option(help="The command that starts the new version. Default: the same command."),
]
OldCwdOption = Annotated[str | None, typer.Option(help="The working directory of the old version.")]
NewCwdOption = Annotated[str | None, typer.Option(help="The working directory of the new version.")]
HealthOption = Annotated[str | None, typer.Option("--health", help="The health-check path.")]
VisitOption = Annotated[
    list[str] | None, typer.Option(help="A path that users request. May be repeated.")
]
FromOption = Annotated[
    Path | None,
    typer.Option(
        "--from",
        help="Make the journeys from this file: an OpenAPI 3 document (JSON or YAML), a recording "
        "of a browser (HAR), or an access log.",
    ),
]
PostgresOption = Annotated[
    bool | None,
    typer.Option("--postgres/--no-postgres", help="Whether the application uses Postgres."),
]
BaseOption = Annotated[
    str | None, typer.Option(help="The command that creates the schema of the old version.")
]
MigrateOption = Annotated[
    str | None,
    typer.Option(help="The command that migrates the schema for the new version."),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")]


def init_command(  # noqa: PLR0917 - typer wants each flag as a parameter
    file: FileArgument = Path("scenario.toml"),
    name: NameOption = None,
    old: OldOption = None,
    new: NewOption = None,
    old_cwd: OldCwdOption = None,
    new_cwd: NewCwdOption = None,
    health: HealthOption = None,
    visit: VisitOption = None,
    from_file: FromOption = None,
    postgres: PostgresOption = None,
    base: BaseOption = None,
    migrate: MigrateOption = None,
    force: ForceOption = False,
) -> int:
    """Write a scenario file for an application of your own.

    In a terminal, hitless asks for everything that no flag gives. The file works as written; its
    comments show further settings. A command may contain placeholders such as {port}; its
    environment always has HOST and PORT.
    """
    if file.suffix != ".toml":
        raise UsageError(f"{file}: the name of a scenario file must end in .toml")
    if file.is_dir():
        raise UsageError(f"{file}: this is a folder; expected the path of a file")
    if file.exists() and not force:
        raise UsageError(f"{file} already exists; --force overwrites it")
    if from_file is not None and visit:
        raise UsageError("--from and --visit exclude each other: both say what users request")
    draft = draft_from(from_file) if from_file is not None else None
    ask = _Questions(asks=sys.stdin.isatty())
    old_words = ask.command("--old", "The command that starts the old version", old)
    answers = FirstFileAnswers(
        name=name or file.absolute().parent.name or "own",
        old=old_words,
        new=ask.command(
            "--new", "The command that starts the new version", new, shlex.join(old_words)
        ),
        old_cwd=ask.text("The working directory of the old version", old_cwd, "."),
        new_cwd=ask.text("The working directory of the new version", new_cwd, "."),
        health_path=_path("--health", ask.text("The health-check path", health, "/")),
        visits=[] if draft else _visits(visit, ask),
        draft=draft,
        draft_file=from_file.name if from_file is not None else "",
        has_database=ask.yes("Does the application use Postgres?", postgres, bool(base or migrate)),
        base=_words("--base", base or ""),
        migrate=_words("--migrate", migrate or ""),
    )
    if postgres is False and (base or migrate):
        raise UsageError("--base and --migrate need a database; remove --no-postgres")
    before = file.read_bytes() if file.exists() else None
    write_file("", file, first_file(answers))
    try:
        load(str(file) if "/" in str(file) else f"./{file}")
    except BaseException:
        # An answer made it a file that nobody could run, so it is not left there.
        if before is None:
            file.unlink()
        else:
            file.write_bytes(before)
        raise
    if draft is not None:
        for note in draft.notes:
            sys.stdout.write(f"Note: {note}.\n")
    sys.stdout.write(f"Wrote {file}. Run it with: {program()} run {shlex.quote(str(file))}\n")
    return 0


def _visits(given: list[str] | None, ask: "_Questions") -> list[str]:
    paths = given or ask.text("Paths that users request", None, "/").split()
    return [_path("--visit", path) for path in paths]


class _Questions:
    """What flags left open."""

    def __init__(self, *, asks: bool) -> None:
        self._asks = asks

    def text(self, question: str, given: str | None, default: str) -> str:
        """A text, from the flag, the terminal, or the default."""
        if given is not None:
            return given
        return str(typer.prompt(question, default=default)) if self._asks else default

    def command(
        self, flag: str, question: str, given: str | None, default: str | None = None
    ) -> list[str]:
        """A command's words.

        Raises:
            UsageError: it is empty, or nobody can be asked.
        """
        if given is None and default is None and not self._asks:
            raise UsageError(f"{flag} is required when there is no terminal to ask in")
        text = given if given is not None else default or ""
        if given is None and self._asks:
            text = str(typer.prompt(question, default=default))
        words = _words(flag, text)
        if not words:
            raise UsageError(f"{flag}: expected a command, such as 'node server.js'")
        return words

    def yes(self, question: str, given: bool | None, default: bool) -> bool:  # noqa: FBT001 - an answer
        """Yes or no."""
        if given is not None:
            return given
        return typer.confirm(question, default=default) if self._asks else default


def _words(flag: str, text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{flag} {text!r}: {error}") from error


def _path(flag: str, text: str) -> str:
    if not text.startswith("/"):
        raise UsageError(f"{flag} {text!r}: a path must begin with /")
    return text
