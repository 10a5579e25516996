"""The command line.

Exit status: 0 pass, 1 the verdict is fail, 2 usage or a bad scenario, 3 the run is invalid, 4 the
environment failed, 130 interrupted.
"""

import sys
from collections.abc import Mapping, Sequence

import typer

from orchestrator.errors import OrchestratorError
from orchestrator.processes import ProcessError
from scenarios.cli.compare import compare_command
from scenarios.cli.ctl import ctl_command
from scenarios.cli.demo import demo_command
from scenarios.cli.explain import explain_command
from scenarios.cli.help import root, with_epilogs
from scenarios.cli.init import init_command
from scenarios.cli.interrupts import EXIT_STATUS as INTERRUPTED
from scenarios.cli.interrupts import InterruptedRunError
from scenarios.cli.listing import list_command
from scenarios.cli.matrix import matrix_command
from scenarios.cli.report import report_command
from scenarios.cli.run import run_command
from scenarios.cli.schema import schema_command
from scenarios.cli.watch import watch_command
from scenarios.errors import EvidenceError, LoadError, ScenarioError, UsageError

USAGE, INVALID, ENVIRONMENT = 2, 3, 4

# The base of what typer's parser raises; it comes from click, or from typer's own copy of it.
_ParserError: type[Exception] = typer.BadParameter.__mro__[1]

_STATUS_OF: Mapping[type[Exception], int] = {
    _ParserError: USAGE,
    UsageError: USAGE,
    ScenarioError: USAGE,
    EvidenceError: USAGE,
    OrchestratorError: ENVIRONMENT,
    ProcessError: ENVIRONMENT,
    LoadError: ENVIRONMENT,
    InterruptedRunError: INTERRUPTED,
}

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="`hitless COMMAND --help` has examples; `docs/` has a tutorial.",
)
app.callback()(root)

app.command("run")(run_command)
app.command("matrix")(matrix_command)
app.command("demo", short_help="One release that breaks, and one that does not.")(demo_command)
app.command("ctl", short_help="Pause, promote, abort or undo a run under way.")(ctl_command)
app.command("list")(list_command)
app.command("report", short_help="The verdict and reports of a run, anew.")(report_command)
app.command("compare")(compare_command)
app.command("watch", short_help="The same evidence around any deploy command.")(watch_command)
app.command("init", short_help="A scenario file for your own application.")(init_command)
app.command("schema", short_help="The JSON Schema of the published formats.")(schema_command)
app.command("explain")(explain_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script `hitless`."""
    sys.exit(status(arguments))


def status(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments say; returns the exit status."""
    command = typer.main.get_command(app)
    with_epilogs(command)
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
