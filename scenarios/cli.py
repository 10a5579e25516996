"""The command line.

Exit status: 0 pass, 1 the verdict is fail, 2 usage or a bad scenario, 3 the run is invalid, 4 the
environment failed, 130 interrupted.
"""

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Self

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.errors import OrchestratorError
from orchestrator.processes import ProcessError
from scenarios import harness
from scenarios.environment import Environment, environment
from scenarios.evidence.event import Event
from scenarios.evidence.folder import create_run_folder
from scenarios.evidence.ndjson import EvidenceError
from scenarios.evidence.tick import Tick
from scenarios.expectation import surprise
from scenarios.harness import STRATEGY_NAMES, Experiment
from scenarios.interrupts import EXIT_STATUS as INTERRUPTED
from scenarios.interrupts import InterruptedRunError, run_interruptibly
from scenarios.load import LoadError
from scenarios.loading import ScenarioError, builtin_names, load
from scenarios.overrides import Changes, UsageError
from scenarios.report import reach_verdict
from scenarios.spec import ReleaseStep
from scenarios.verdict import Verdict, encode
from scenarios.views.dashboard import Dashboard
from scenarios.views.live import Progress, ReplicaView, RunHeader
from scenarios.views.matrix import MatrixRow, comparison, matrix_row, matrix_table
from scenarios.views.plain import PlainProgress
from scenarios.views.terminal import print_verdict

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

PLANS = ("big-bang", "code-first", "with-default", "expand-contract")
DEMO = (("big-bang", "rolling"), ("expand-contract", "rolling"))


app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Will this deployment drop anything? A release under traffic, and a verdict.",
)

ScenarioArgument = Annotated[
    str, typer.Argument(help="A built-in scenario (see `hitless list`), or the path of a file.")
]
StrategyOption = Annotated[str, typer.Option(help=f"One of: {', '.join(STRATEGY_NAMES)}.")]
ReplicasOption = Annotated[int | None, typer.Option(min=1, help="How many replicas serve.")]
RateOption = Annotated[float | None, typer.Option(help="Arrivals a second.")]
RowsOption = Annotated[
    int | None, typer.Option(min=0, help="Rows that are in the database before the run.")
]
SeedOption = Annotated[int, typer.Option(min=0, help="The seed of all randomness.")]
BaselineOption = Annotated[
    float | None, typer.Option(min=0, help="Seconds of traffic before the release.")
]
SettleOption = Annotated[
    float | None, typer.Option(min=0, help="Seconds of traffic after the release.")
]
DatabaseOption = Annotated[
    str | None,
    typer.Option(help="The URL of a Postgres server to use instead of an embedded one."),
]
OutOption = Annotated[Path, typer.Option(help="Where the folders of runs go.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
NoLiveOption = Annotated[bool, typer.Option("--no-live", help="Plain lines, no dashboard.")]


@app.command("run")
def run_command(  # noqa: PLR0917 - typer wants each flag as a parameter
    scenario: ScenarioArgument = "expand-contract",
    strategy: StrategyOption = "rolling",
    replicas: ReplicasOption = None,
    rate: RateOption = None,
    existing_rows: RowsOption = None,
    seed: SeedOption = 1,
    baseline: BaselineOption = None,
    settle: SettleOption = None,
    database: DatabaseOption = None,
    out: OutOption = Path("runs"),
    as_json: JsonOption = False,
    no_live: NoLiveOption = False,
) -> int:
    """Run one experiment: live dashboard, verdict, report."""
    changes = Changes(
        replicas=replicas,
        rate=rate,
        existing_rows=existing_rows,
        baseline=baseline,
        settle=settle,
        database=database,
    )
    experiment = changes.experiment(scenario, strategy, seed)
    console = _progress_console(as_json=as_json)

    async def work() -> tuple[Verdict, Path]:
        async with environment(database) as place:
            return await _one(
                experiment, place, out, _watcher(console, experiment, no_live=no_live)
            )

    verdict, folder = run_interruptibly(work())
    if as_json:
        sys.stdout.buffer.write(encode(verdict))
    else:
        print_verdict(console, verdict, str(folder))
    return verdict.exit_status


@app.command("matrix")
def matrix_command(  # noqa: PLR0917 - typer wants each flag as a parameter
    scenarios: Annotated[
        list[str] | None, typer.Argument(help="Scenarios; without any, the four release plans.")
    ] = None,
    replicas: ReplicasOption = None,
    rate: RateOption = None,
    existing_rows: RowsOption = None,
    seed: SeedOption = 1,
    baseline: BaselineOption = None,
    settle: SettleOption = None,
    database: DatabaseOption = None,
    out: OutOption = Path("runs"),
    as_json: JsonOption = False,
) -> int:
    """Run every release plan under every strategy: one table.

    The exit status is 0 when each cell came out as its scenario declares: those that must pass do,
    and the negative controls fail, with the cause that was declared.
    """
    changes = Changes(
        replicas=replicas,
        rate=rate,
        existing_rows=existing_rows,
        baseline=baseline,
        settle=settle,
        database=database,
    )
    experiments = [
        changes.experiment(scenario, strategy, seed)
        for scenario in (scenarios or PLANS)
        for strategy in STRATEGY_NAMES
    ]
    console = _progress_console(as_json=as_json)
    cells = run_interruptibly(_matrix(experiments, database, out, console))
    rows = [cell.row for cell in cells]
    surprises = [cell for cell in cells if cell.surprise is not None]
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(cells), indent=2) + b"\n")
    else:
        console.print(matrix_table(rows))
    for cell in surprises:
        console.print(
            Text(f"{cell.row.scenario} under {cell.row.strategy}: {cell.surprise}", "red")
        )
    if not surprises:
        console.print(f"All {len(cells)} cells came out as their scenarios declare.")
    if any(row.verdict == "error" for row in rows):
        return ENVIRONMENT
    if any(row.verdict == "invalid" for row in rows):
        return INVALID
    return 1 if surprises else 0


@app.command("demo")
def demo_command(out: OutOption = Path("runs"), no_live: NoLiveOption = False) -> int:
    """See one deployment break, and the same release, planned well, not break."""
    console = Console()
    changes = Changes()
    experiments = [changes.experiment(scenario, strategy, 1) for scenario, strategy in DEMO]

    async def work() -> list[tuple[Verdict, Path]]:
        async with environment() as place:
            done = []
            for experiment in experiments:
                console.rule(
                    f"{experiment.scenario.name} · {experiment.strategy}: "
                    f"{experiment.scenario.title}"
                )
                watcher = _watcher(console, experiment, no_live=no_live)
                verdict, folder = await _one(experiment, place, out, watcher)
                print_verdict(console, verdict, str(folder))
                done.append((verdict, folder))
            return done

    done = run_interruptibly(work())
    console.rule("The same release, twice")
    console.print(comparison([verdict for verdict, _ in done]))
    surprises = [
        text
        for experiment, (verdict, _) in zip(experiments, done, strict=True)
        if (text := surprise(experiment.scenario.expect, verdict)) is not None
    ]
    for text in surprises:
        console.print(Text(text, "red"))
    return 1 if surprises else 0


@app.command("list")
def list_command(as_json: JsonOption = False) -> int:
    """The built-in scenarios, and what each of them teaches."""
    scenarios = [load(name).scenario for name in builtin_names()]
    if as_json:
        rows = [
            {
                "name": scenario.name,
                "title": scenario.title,
                "teaches": scenario.teaches,
                "fails_with": scenario.expect.fails_with,
                "outcome": scenario.expect.outcome,
            }
            for scenario in scenarios
        ]
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(rows), indent=2) + b"\n")
        return 0
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 1, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for scenario in scenarios:
        table.add_row(
            Text(scenario.name),
            Text.assemble((scenario.title, "bold"), "\n", scenario.teaches),
        )
    console = Console()
    console.print(table)
    console.print(
        f"Strategies: {', '.join(STRATEGY_NAMES)}. "
        "Run one with: hitless run SCENARIO --strategy STRATEGY"
    )
    return 0


@app.command("report")
def report_command(
    folder: Annotated[Path, typer.Argument(help="The folder of a run.")],
    as_json: JsonOption = False,
) -> int:
    """Reach the verdict of a run again, from its evidence alone."""
    verdict = reach_verdict(folder)
    if as_json:
        sys.stdout.buffer.write(encode(verdict))
    else:
        print_verdict(Console(), verdict, str(folder))
    return verdict.exit_status


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One cell of the matrix.

    Attributes:
        row: what came out.
        surprise: what is not as the scenario declares.
    """

    row: MatrixRow
    surprise: str | None


async def _matrix(
    experiments: Sequence[Experiment], database: str | None, out: Path, console: Console
) -> list[Cell]:
    cells: list[Cell] = []
    async with environment(database) as place:
        for number, experiment in enumerate(experiments, start=1):
            name = f"{experiment.scenario.name} under {experiment.strategy}"
            try:
                verdict, folder = await _one(experiment, place, out, _Silence())
            except (OrchestratorError, LoadError) as error:
                row = MatrixRow(
                    scenario=experiment.scenario.name,
                    strategy=experiment.strategy,
                    verdict="error",
                    error=str(error),
                )
                cells.append(Cell(row=row, surprise=str(error)))
            else:
                unexpected = surprise(experiment.scenario.expect, verdict)
                row = matrix_row(verdict, str(folder))
                cells.append(Cell(row=row, surprise=unexpected))
            console.print(
                Text(
                    f"{number:>2} of {len(experiments)}  {name}: {row.verdict}, "
                    f"{row.failed:,} of {row.planned:,} failed"
                    + (f" ({row.cause})" if row.cause else "")
                )
            )
    return cells


async def _one(
    experiment: Experiment,
    place: Environment,
    out: Path,
    watcher: Progress,
) -> tuple[Verdict, Path]:
    try:
        folder = create_run_folder(
            out,
            datetime.now().astimezone(),
            experiment.scenario.name,
            experiment.strategy,
        )
    except OSError as error:
        raise UsageError(f"--out {out}: {error.strerror}") from error
    with watcher as looking_on:
        await harness.run(experiment, place, folder, looking_on)
    return reach_verdict(folder), folder


class _Silence:
    """A watcher that says nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def on_event(self, event: Event) -> None:
        pass

    def on_tick(self, tick: Tick) -> None:
        pass

    def on_replicas(self, replicas: Sequence[ReplicaView]) -> None:
        pass


def _progress_console(*, as_json: bool) -> Console:
    return Console(stderr=as_json)


def _watcher(console: Console, experiment: Experiment, *, no_live: bool) -> Progress:
    scenario = experiment.scenario
    header = RunHeader(
        scenario=scenario.name,
        strategy=experiment.strategy,
        seed=experiment.seed,
        replicas=scenario.policy.replicas,
        rate=scenario.traffic.rate,
        steps=tuple(
            f"deploy {step.deploy}" if step.deploy else f"migrate {_short(step)}"
            for step in scenario.release.steps
        ),
    )
    if no_live or not console.is_terminal or console.is_dumb_terminal:
        return PlainProgress(console, header)
    return Dashboard(console, header)


def _short(step: ReleaseStep) -> str:
    folder = (step.migrate or "").rpartition("/")[2]
    return f"{folder} to {step.through}" if step.through else folder


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script `hitless`."""
    sys.exit(status(arguments))


def status(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments say; returns the exit status."""
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


if __name__ == "__main__":
    main()
