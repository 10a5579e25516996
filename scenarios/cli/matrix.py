"""`hitless matrix`: every release plan under every strategy, behind routers and on personas."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from orchestrator.errors import OrchestratorError
from orchestrator.routers.capabilities import Capabilities
from orchestrator.routers.registry import capabilities_of
from scenarios.cli.interrupts import run_interruptibly
from scenarios.cli.options import (
    BaselineOption,
    DatabaseLogOption,
    DatabaseOption,
    JsonOption,
    OutOption,
    PersonasOption,
    PlatformOption,
    RateOption,
    ReplicasOption,
    RoutersOption,
    RowsOption,
    SeedOption,
    SetOption,
    SettleOption,
    StrategiesOption,
)
from scenarios.cli.questions.expectation import surprise
from scenarios.cli.running import progress_console, run_one
from scenarios.errors import LoadError
from scenarios.evidence.progress import Silence
from scenarios.exit_status import ExitStatus
from scenarios.reports.github import MOST, annotation
from scenarios.reports.matrix import (
    MatrixRow,
    matrix_limits,
    matrix_markdown,
    matrix_row,
    matrix_table,
)
from scenarios.review.publishing import add_to_step_summary, annotate
from scenarios.runner.environment import Environment, environment
from scenarios.runner.router import need_router, why_incapable
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
    database_log: DatabaseLogOption = None,
    platform: PlatformOption = "local",
    strategy: StrategiesOption = None,
    router: RoutersOption = None,
    persona: PersonasOption = None,
    setting: SetOption = None,
    out: OutOption = Path("runs"),
    as_json: JsonOption = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the table as Markdown on standard output.")
    ] = False,
) -> int:
    """Run every plan under every strategy (behind each router, on each persona); print one table.

    The exit status is 0 if each cell has the declared result: plans that must pass do pass, and
    negative controls fail with the declared cause. A cell whose router cannot do what its scenario
    asks for is not run, and says so.
    """
    changes = Changes(
        replicas=replicas,
        rate=rate,
        existing_rows=existing_rows,
        baseline=baseline,
        settle=settle,
        database=database,
        database_log=database_log,
        settings=tuple(setting or ()),
        platform=platform,
    )
    experiments = [
        msgspec.structs.replace(changes, router=where, persona=one).experiment(plan, how, seed)
        for plan in (scenarios or PLANS)
        for where in (router or (None,))
        for one in (persona or (None,))
        for how in (strategy or STRATEGY_NAMES)
    ]
    console = progress_console(as_json=as_json or markdown)
    cells = run_interruptibly(_matrix(experiments, database, out, console))
    return show_matrix(console, cells, as_json=as_json, markdown=markdown)


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One cell of the matrix.

    Attributes:
        row: the result.
        surprise: how the result differs from the declared one.
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
        for words in matrix_limits(rows):
            console.print(Text(words, "dim"))
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
                "error", f"hitless: {cell.row.scenario}, {cell.row.where}", cell.surprise or ""
            )
            for cell in surprises[:MOST]
        ],
        console.file,
    )


async def _matrix(
    experiments: Sequence[Experiment], database: str | None, out: Path, console: Console
) -> list[Cell]:
    for experiment in experiments:  # a mistake is found before the first run, not amid them
        if experiment.platform == "local" and why_incapable(experiment) is None:
            await need_router(experiment, keep=False)
    cells: list[Cell] = []
    async with environment(database) as place:
        for number, experiment in enumerate(experiments, start=1):
            cells.append(await _cell(experiment, place, out))
            console.print(Text(f"{number:>2} of {len(experiments)}  {_said(cells[-1].row)}"))
    return cells


async def _cell(experiment: Experiment, place: Environment, out: Path) -> Cell:
    """Run one cell; what its router cannot do, and what is not as declared."""
    scenario, kind = experiment.scenario, experiment.scenario.router.kind
    close_idle = scenario.policy.termination.close_idle
    limits = limits_of(capabilities_of(kind), experiment.strategy, close_idle=close_idle)
    place_in_table = MatrixRow(
        scenario=scenario.name,
        strategy=experiment.strategy,
        persona=scenario.policy.persona,
        router=kind,
        limits=limits,
        verdict="error",
    )
    if (why := why_incapable(experiment)) is not None:
        row = msgspec.structs.replace(place_in_table, verdict="not run", error=why)
        return Cell(row=row, surprise=None)
    try:
        verdict, folder = await run_one(experiment, place, out, Silence())
    except (OrchestratorError, LoadError) as error:
        row = msgspec.structs.replace(place_in_table, error=str(error))
        return Cell(row=row, surprise=str(error))
    return Cell(
        row=matrix_row(verdict, str(folder), limits=limits),
        surprise=surprise(scenario.expect, verdict),
    )


def _said(row: MatrixRow) -> str:
    name = f"{row.scenario} under {row.where}: {row.verdict}"
    if row.error is not None:
        return f"{name}, {row.error}"
    cause = f" ({row.cause})" if row.cause else ""
    return f"{name}, failed {row.failed:,} of {row.planned:,} requests{cause}"


def limits_of(can: Capabilities, strategy: str, *, close_idle: bool = True) -> tuple[str, ...]:
    """PURE: what a router cannot do of what a rollout relies on.

    Args:
        can: what it can do.
        strategy: that of the rollout.
        close_idle: that of `policy.termination`.
    """
    needs = {*_ALWAYS, *_BY_STRATEGY.get(strategy, ()), *(() if close_idle else ("keeps_idle",))}
    return tuple(words for name, words in can.gaps().items() if name in needs)


_ALWAYS = ("own_health", "drain_waits", "reload_keeps_connections", "reasons")
_BY_STRATEGY = {"blue-green": ("atomic_switch",), "canary": ("weights",)}
