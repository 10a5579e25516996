"""The command line.

Its exit statuses are those of `scenarios.exit_status`.
"""

import sys
from collections.abc import Mapping, Sequence

import typer

from orchestrator.errors import OrchestratorError, ProcessError
from scenarios.cli.commands import CommandGroup
from scenarios.cli.help import root
from scenarios.cli.interrupts import InterruptedRunError
from scenarios.errors import EvidenceError, LoadError, ScenarioError, UsageError
from scenarios.exit_status import ExitStatus

# The base of what typer's parser raises; it comes from click, or from typer's own copy of it.
_ParserError: type[Exception] = typer.BadParameter.__mro__[1]

_STATUS_OF: Mapping[type[Exception], ExitStatus] = {
    _ParserError: ExitStatus.USAGE,
    UsageError: ExitStatus.USAGE,
    ScenarioError: ExitStatus.USAGE,
    EvidenceError: ExitStatus.USAGE,
    OrchestratorError: ExitStatus.ENVIRONMENT,
    ProcessError: ExitStatus.ENVIRONMENT,
    LoadError: ExitStatus.ENVIRONMENT,
    InterruptedRunError: ExitStatus.INTERRUPTED,
}

app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="`hitless COMMAND --help` shows examples. The folder `docs/` has a tutorial.",
)
app.callback()(root)


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script `hitless`."""
    sys.exit(status(arguments))


def status(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; returns its exit status."""
    command = typer.main.get_command(app)
    try:
        result = command.main(
            args=None if arguments is None else list(arguments),
            prog_name="hitless",
            standalone_mode=False,
        )
    except typer.Exit as leaving:
        return leaving.exit_code
    except tuple(_STATUS_OF) as error:
        message = getattr(error, "format_message", error.__str__)()
        print(f"hitless: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201 - a message
        return next(code for kind, code in _STATUS_OF.items() if isinstance(error, kind))
    return result if isinstance(result, int) else 0
