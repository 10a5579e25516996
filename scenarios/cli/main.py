"""The command line.

Its exit statuses are those of `scenarios.exit_status`.
"""

import sys
from collections.abc import Mapping, Sequence

import typer

from orchestrator.errors import OrchestratorError, ProcessError
from scenarios.cli.compare import compare_command
from scenarios.cli.ctl import ctl_command
from scenarios.cli.demo import demo_command
from scenarios.cli.explain import explain_command
from scenarios.cli.help import root, with_epilogs
from scenarios.cli.init import init_command
from scenarios.cli.interrupts import InterruptedRunError
from scenarios.cli.listing import list_command
from scenarios.cli.matrix import matrix_command
from scenarios.cli.probe import probe_command
from scenarios.cli.report import report_command
from scenarios.cli.run import run_command
from scenarios.cli.schema import schema_command
from scenarios.cli.watch import watch_command
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
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="`hitless COMMAND --help` shows examples. The folder `docs/` has a tutorial.",
)
app.callback()(root)

app.command("run")(run_command)
app.command("matrix")(matrix_command)
app.command("demo", short_help="Deploy one release twice: a plan that breaks it, and a safe plan.")(
    demo_command
)
app.command("ctl", short_help="Pause, promote, abort or undo the release of a run.")(ctl_command)
app.command("list")(list_command)
app.command("report", short_help="Compute the verdict and the reports of a run again.")(
    report_command
)
app.command("compare")(compare_command)
app.command("watch", short_help="Send traffic while any command deploys, and judge.")(watch_command)
app.command("probe", short_help="Find out how a server starts and stops.")(probe_command)
app.command("init", short_help="Write a scenario file for your own application.")(init_command)
app.command("schema", short_help="Print the JSON Schema of a published format.")(schema_command)
app.command("explain")(explain_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script `hitless`."""
    sys.exit(status(arguments))


def status(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; returns its exit status."""
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
