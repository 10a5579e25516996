"""The command line.

Its exit statuses are those of `scenarios.exit_status`.
"""

import errno
import os
import sys
from collections.abc import Mapping, Sequence

import typer

from orchestrator.errors import OrchestratorError, ProcessError
from scenarios.cli.commands import CommandGroup
from scenarios.cli.help import root
from scenarios.errors import (
    EvidenceError,
    InterruptedRunError,
    LoadError,
    ScenarioError,
    StorageError,
    UsageError,
)
from scenarios.exit_status import ExitStatus

# The base of what typer's parser raises; it comes from click, or from typer's own copy of it.
_ParserError: type[Exception] = typer.BadParameter.__mro__[1]

_STATUS_OF: Mapping[type[Exception], ExitStatus] = {
    _ParserError: ExitStatus.USAGE,
    UsageError: ExitStatus.USAGE,
    ScenarioError: ExitStatus.USAGE,
    StorageError: ExitStatus.ENVIRONMENT,  # before its base, which the files of a run raise
    EvidenceError: ExitStatus.USAGE,
    OrchestratorError: ExitStatus.ENVIRONMENT,
    ProcessError: ExitStatus.ENVIRONMENT,
    LoadError: ExitStatus.ENVIRONMENT,
    OSError: ExitStatus.ENVIRONMENT,
    InterruptedRunError: ExitStatus.INTERRUPTED,
}

_LONG = 200
"""So many characters of a path are shown."""

app = typer.Typer(
    cls=CommandGroup,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="`hitless COMMAND --help` shows examples, and `hitless help exit-status` the exit "
    "statuses. The folder `docs/` has a tutorial.",
)
app.callback()(root)


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script `hitless`."""
    _fill_closed_streams()
    if sys.stdout is None:
        code = _report(OSError(errno.EBADF, "standard output is closed"))
        sys.exit(code)
    code = status(arguments)
    try:
        sys.stdout.flush()
    except OSError as error:
        code = _report(error)
    sys.exit(code)


def _fill_closed_streams() -> None:
    """Let no file that a run opens get the number of a standard stream that is closed (`>&-`).

    Programs that a run starts would write into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def status(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; returns its exit status.

    Without any argument, the help is printed.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    asks_for_completion = "_HITLESS_COMPLETE" in os.environ
    command = typer.main.get_command(app)
    try:
        result = command.main(
            args=words or ([] if asks_for_completion else ["--help"]),
            prog_name="hitless",
            standalone_mode=False,
        )
    except typer.Exit as leaving:
        return leaving.exit_code
    except typer.Abort:
        print("hitless: interrupted", file=sys.stderr)  # noqa: T201 - a message
        return ExitStatus.INTERRUPTED
    except SystemExit as leaving:
        # The parser's own answer to a closed standard output, which has the status of a failure.
        if isinstance(leaving.__context__, BrokenPipeError):
            return _report(leaving.__context__)
        raise
    except tuple(_STATUS_OF) as error:
        return _report(error)
    return result if isinstance(result, int) else 0


def _report(error: Exception) -> int:
    """Print an error as one line; returns its exit status."""
    if isinstance(error, BrokenPipeError):
        # Whatever is still buffered for it has nowhere to go, and must not be tried at the exit.
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 1)
        os.close(devnull)
    message = getattr(error, "format_message", error.__str__)()
    if isinstance(error, OSError):
        message = _environment_words(error)
    print(f"hitless: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201 - a message
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return ExitStatus.USAGE  # nobody but the user names files so
    return next(code for kind, code in _STATUS_OF.items() if isinstance(error, kind))


def _environment_words(error: OSError) -> str:
    """What the machine refused, and for which file."""
    if error.errno == errno.EPIPE:
        return "standard output was closed before everything was written to it"
    why = error.strerror or str(error) or type(error).__name__
    if error.filename is None and error.errno == errno.ENOSPC:
        return f"standard output: {why}"  # all other files are named where they are written
    if error.filename is None:
        return f"the machine refused it: {why}"
    where = error.filename if isinstance(error.filename, str) else os.fsdecode(error.filename)
    return f"{where if len(where) <= _LONG else where[:_LONG] + '…'}: {why}"
