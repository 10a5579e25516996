"""`hitless matrix`: every release plan under every strategy."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from orchestrator.errors import OrchestratorError
from scenarios.cli.interrupts import run_interruptibly
from scenarios.cli.options import (
    BaselineOption,
    DatabaseOption,
    JsonOption,
    OutOption,
    PersonasOption,
    RateOption,
    ReplicasOption,
    RowsOption,
    SeedOption,
    SettleOption,
)
from scenarios.cli.questions.expectation import surprise
from scenarios.cli.running import Silence, progress_console, run_one
from scenarios.errors import LoadError
from scenarios.exit_status import ExitStatus
from scenarios.reports.github import MOST, annotation
from scenarios.reports.matrix import MatrixRow, matrix_markdown, matrix_row, matrix_table
from scenarios.review.publishing import add_to_step_summary, annotate
from scenarios.runner.environment import environment
from scenarios.scenario.experiment import STRATEGY_NAMES, Experiment
from scenarios.scenario.overrides import Changes

PLANS = ("big-bang", "code-first", "with-default", "expand-contract")


def matrix_command(  # noqa: PLR0917 - typer wants each flag as a parameter
    scenarios: Annotated[
        list[str] | None,
        typer.Argument(help="The scenarios to run. Default: the four release plans."),
    ] = None,
    replicas: ReplicasOption = None,
    rate: RateOption = None,
    existing_rows: RowsOption = None,
    seed: SeedOption = 1,
    baseline: BaselineOption = None,
    settle: SettleOption = None,
    database: DatabaseOption = None,
    persona: PersonasOption = None,
    out: OutOption = Path("runs"),
    as_json: JsonOption = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the table as Markdown on standard output.")
    ] = False,
) -> int:
    """Run every release plan under every strategy (on every persona), and print one table.

    The exit status is 0 if each cell has the declared result: plans that must pass do pass, and
    negative controls fail with the declared cause.
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
        msgspec.structs.replace(changes, persona=one).experiment(scenario, strategy, seed)
        for scenario in (scenarios or PLANS)
        for one in (persona or (None,))
        for strategy in STRATEGY_NAMES
    ]
    console = progress_console(as_json=as_json or markdown)
    cells = run_interruptibly(_matrix(experiments, database, out, console))
    return show_matrix(console, cells, as_json=as_json, markdown=markdown)


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One cell of the matrix.

    Attributes:
        row: what came out.
        surprise: what is not as the scenario declares.
    """

    row: MatrixRow
    surprise: str | None


def show_matrix(
    console: Console, cells: Sequence[Cell], *, as_json: bool, markdown: bool
) -> ExitStatus:
    """Print the table and what is not as declared; returns the exit status.

    ENVIRONMENT if a run could not be made, else INVALID if one says nothing, else FAIL if one has
    another result than its scenario declares, else PASS.
    """
    rows = [cell.row for cell in cells]
    surprises = [cell for cell in cells if cell.surprise is not None]
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(cells), indent=2) + b"\n")
    elif markdown:
        sys.stdout.write(matrix_markdown(rows))
    else:
        console.print(matrix_table(rows))
    for cell in surprises:
        console.print(Text(f"{cell.row.scenario} under {cell.row.where}: {cell.surprise}", "red"))
    if not surprises:
        console.print(f"All {len(cells)} cells have the result that their scenario declares.")
    _tell_github(cells, console)
    if any(row.verdict == "error" for row in rows):
        return ExitStatus.ENVIRONMENT
    if any(row.verdict == "invalid" for row in rows):
        return ExitStatus.INVALID
    return ExitStatus.FAIL if surprises else ExitStatus.PASS


def _tell_github(cells: Sequence[Cell], console: Console) -> None:
    """The table as a step summary, and what nobody declared as annotations."""
    surprises = [cell for cell in cells if cell.surprise is not None]
    add_to_step_summary(f"## hitless matrix\n\n{matrix_markdown([cell.row for cell in cells])}")
    annotate(
        [
            annotation(
                "error", f"hitless: {cell.row.scenario}, {cell.row.strategy}", cell.surprise or ""
            )
            for cell in surprises[:MOST]
        ],
        console.file,
    )


async def _matrix(
    experiments: Sequence[Experiment], database: str | None, out: Path, console: Console
) -> list[Cell]:
    cells: list[Cell] = []
    async with environment(database) as place:
        for number, experiment in enumerate(experiments, start=1):
            persona = experiment.scenario.policy.persona
            name = f"{experiment.scenario.name} under {experiment.strategy}"
            name += f" on {persona}" if persona else ""
            try:
                verdict, folder = await run_one(experiment, place, out, Silence())
            except (OrchestratorError, LoadError) as error:
                row = MatrixRow(
                    scenario=experiment.scenario.name,
                    strategy=experiment.strategy,
                    persona=experiment.scenario.policy.persona,
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
                    f"failed {row.failed:,} of {row.planned:,} requests"
                    + (f" ({row.cause})" if row.cause else "")
                )
            )
    return cells
