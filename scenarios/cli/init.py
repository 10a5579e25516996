"""`hitless init`: a scenario file for one's own application."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from scenarios.errors import UsageError
from scenarios.scenario.first_file import Answers, first_file
from scenarios.scenario.reader import load

FileArgument = Annotated[Path, typer.Argument(help="The file to write.")]
NameOption = Annotated[
    str | None, typer.Option(help="What runs are called; absent: the folder's name.")
]
OldOption = Annotated[
    str | None,
    typer.Option(help="The command of the version that serves, such as 'node server.js'."),
]
NewOption = Annotated[
    str | None, typer.Option(help="The command of the new version; absent: the same.")
]
OldCwdOption = Annotated[str | None, typer.Option(help="The directory of the old version.")]
NewCwdOption = Annotated[str | None, typer.Option(help="The directory of the new version.")]
HealthOption = Annotated[str | None, typer.Option("--health", help="The path of its health check.")]
VisitOption = Annotated[
    list[str] | None, typer.Option(help="A path that users ask for; may be repeated.")
]
PostgresOption = Annotated[
    bool | None, typer.Option("--postgres/--no-postgres", help="Whether it uses Postgres.")
]
BaseOption = Annotated[
    str | None, typer.Option(help="The command that makes the old version's schema.")
]
MigrateOption = Annotated[
    str | None, typer.Option(help="The command that migrates to the new version's schema.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")]


def init_command(  # noqa: PLR0917 - typer wants each flag as a parameter
    file: FileArgument = Path("scenario.toml"),
    name: NameOption = None,
    old: OldOption = None,
    new: NewOption = None,
    old_cwd: OldCwdOption = None,
    new_cwd: NewCwdOption = None,
    health: HealthOption = None,
    visit: VisitOption = None,
    postgres: PostgresOption = None,
    base: BaseOption = None,
    migrate: MigrateOption = None,
    force: ForceOption = False,
) -> int:
    """Write a scenario file for an application of your own.

    What no flag says is asked, where there is a terminal to ask at. The file runs as it is, and its
    comments say what else there is. A command may hold placeholders such as {port}; HOST and PORT
    are in its environment in any case.
    """
    if file.suffix != ".toml":
        raise UsageError(f"{file}: a scenario file's name ends in .toml")
    if file.exists() and not force:
        raise UsageError(f"{file} is there already; --force overwrites it")
    ask = _Questions(asks=sys.stdin.isatty())
    old_words = ask.command("--old", "The command of the version that serves", old)
    answers = Answers(
        name=name or file.resolve().parent.name or "own",
        old=old_words,
        new=ask.command("--new", "The command of the new version", new, shlex.join(old_words)),
        old_cwd=ask.text("The directory of the old version", old_cwd, "."),
        new_cwd=ask.text("The directory of the new version", new_cwd, "."),
        health_path=_path("--health", ask.text("The path of its health check", health, "/")),
        visits=[
            _path("--visit", path)
            for path in (visit or ask.text("Paths that users ask for", None, "/").split())
        ],
        has_database=ask.yes("Does it use Postgres?", postgres, bool(base or migrate)),
        base=_words("--base", base or ""),
        migrate=_words("--migrate", migrate or ""),
    )
    if postgres is False and (base or migrate):
        raise UsageError("--base and --migrate need a database; leave --no-postgres out")
    before = file.read_bytes() if file.exists() else None
    try:
        file.write_text(first_file(answers), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error
    try:
        load(str(file) if "/" in str(file) else f"./{file}")
    except BaseException:
        # An answer made it a file that nobody could run, so it is not left there.
        if before is None:
            file.unlink()
        else:
            file.write_bytes(before)
        raise
    sys.stdout.write(f"Wrote {file}. Run it with: hitless run {shlex.quote(str(file))}\n")
    return 0


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
            raise UsageError(f"{flag} is needed where there is no terminal to ask at")
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
        raise UsageError(f"{flag} {text!r}: a path begins with /")
    return text
