"""`hitless check`: which versions of a release can live on which schema, tried before a rollout."""

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from scenarios.check.check_report import CheckedSuggestion, CheckReport, check_report
from scenarios.check.reachable import reachable
from scenarios.check.release_plan import ReleasePlan
from scenarios.check.state_graph import mermaid, text
from scenarios.check.trial_plan import WantedTrials
from scenarios.cli.check_outputs import CheckOutputs, HtmlOption, SarifOption
from scenarios.cli.console import output
from scenarios.cli.interrupts import run_interruptibly
from scenarios.cli.options import (
    DatabaseOption,
    JsonOption,
    JunitOption,
    RowsOption,
    ScenarioArgument,
    SetOption,
    StrategyOption,
)
from scenarios.errors import UsageError, near
from scenarios.exit_status import ExitStatus
from scenarios.runner.checking.check_run import Checked, check_release, with_fewer_rows
from scenarios.runner.checking.planned_release import planned_release
from scenarios.runner.checking.result_cache import cache_folder
from scenarios.runner.checking.sources import repository_path
from scenarios.runner.checking.squawk import EXTRA, squawk_program
from scenarios.runner.checking.suggesting import check_suggestible, write_suggestion
from scenarios.runner.checking.two_refs import TwoRefs, checked_out
from scenarios.runner.environment import Environment, environment
from scenarios.scenario.overrides import Changes
from scenarios.scenario.reader import Loaded

_GRAPHS = {"text": text, "mermaid": mermaid}

GraphOption = Annotated[
    str | None,
    typer.Option(
        "--graph",
        metavar="FORMAT",
        help="Print the states that the release can reach, as `text` or `mermaid`; try nothing.",
    ),
]
AllOption = Annotated[
    bool, typer.Option("--all", help="Try each version on each schema, also where it never lives.")
]
WaysBackOption = Annotated[
    bool,
    typer.Option("--ways-back", help="Demand that each version can return at each moment."),
]
MigratorsOption = Annotated[
    bool,
    typer.Option(
        "--migrators",
        help="Also try the migration tool of each step: three at once, and killed in the middle.",
    ),
]
LocksOption = Annotated[
    int | None,
    typer.Option(
        "--locks",
        metavar="ROWS",
        min=1,
        help="Also measure the locks of each migration, with this many existing rows and fewer.",
    ),
]
LintOption = Annotated[
    bool,
    typer.Option(
        "--lint",
        help="Also let squawk read the migrations, and say which findings the trials confirm.",
    ),
]
RowsInProductionOption = Annotated[
    int | None,
    typer.Option("--at-rows", metavar="ROWS", min=1, help="With --locks: extrapolate to this."),
]
OldOption = Annotated[
    str | None,
    typer.Option(
        "--old",
        metavar="REF",
        help="With --new: take the version before the release, and its schema, from this commit.",
    ),
]
NewOption = Annotated[
    str | None,
    typer.Option(
        "--new",
        metavar="REF",
        help="With --old: take all other versions, and the migrations, from this commit.",
    ),
]
InstallOption = Annotated[
    str | None,
    typer.Option(
        "--install",
        metavar="COMMAND",
        help="With --old and --new: run this command line in each checked-out folder first.",
    ),
]
SuggestOption = Annotated[
    Path | None,
    typer.Option(
        "--suggest",
        metavar="FOLDER",
        help="Write the expand-contract version of hazardous yoyo migrations to this folder, and "
        "check it.",
    ),
]
CacheOption = Annotated[
    bool, typer.Option(help="Use the results of earlier checks of the same files.")
]


def check_command(  # noqa: PLR0917 - typer wants each flag as a parameter
    scenario: ScenarioArgument = "expand-contract",
    strategy: StrategyOption = "rolling",
    graph: GraphOption = None,
    everything: AllOption = False,
    ways_back: WaysBackOption = False,
    migrators: MigratorsOption = False,
    locks: LocksOption = None,
    at_rows: RowsInProductionOption = None,
    lint: LintOption = False,
    old: OldOption = None,
    new: NewOption = None,
    install: InstallOption = None,
    suggest: SuggestOption = None,
    existing_rows: RowsOption = None,
    settings: SetOption = None,
    cache: CacheOption = True,
    database: DatabaseOption = None,
    junit_file: JunitOption = None,
    sarif: SarifOption = None,
    html: HtmlOption = None,
    as_json: JsonOption = False,
) -> int:
    """Find out which versions can live on which schema, before anything is deployed.

    It starts each version on each schema that it can meet under any strategy, with warm and with
    fresh connections, and plays each journey of the scenario once. Then it says which strategies
    are safe, what fails first elsewhere, and at which moment which version can no longer return.
    There is no load and no balancer: see `hitless run` for what happens under traffic.

    Exit status 0 says that nothing fails under the chosen strategy.
    """
    if lint and squawk_program() is None:
        raise UsageError(f"--lint needs squawk: {EXTRA}")
    if at_rows is not None and locks is None:
        raise UsageError("--at-rows needs --locks ROWS: the rows to measure with")
    if graph is not None and graph not in _GRAPHS:
        raise UsageError(f"--graph {graph}: {near(graph, _GRAPHS)}")
    refs = _refs(old, new, install)
    changes = Changes(
        existing_rows=existing_rows, settings=tuple(settings or ()), database=database
    )
    outputs = CheckOutputs(junit=junit_file, sarif=sarif, html=html, json=as_json, at_rows=at_rows)
    outputs.check()
    loaded = changes.experiment(scenario, strategy, 1).loaded
    database_of = loaded.scenario.database
    if locks is not None and (database_of is None or database_of.rows is None):
        raise UsageError(f"--locks: scenario {scenario} has no [database.rows]")
    if graph is not None:
        plan = run_interruptibly(_plan(loaded, refs))
        sys.stdout.write(_GRAPHS[graph](reachable(plan, strategy)))
        return ExitStatus.PASS
    progress = output(stderr=True, highlight=False)

    def tell(line: str) -> None:
        progress.print(line, style="dim", soft_wrap=True, markup=False)

    if suggest is not None:
        check_suggestible(loaded, suggest)
    loaded = with_fewer_rows(loaded, existing_rows)
    # Another server may be another version of Postgres, and checked-out folders have other names
    # each time: such results are not kept.
    folder = cache_folder() if cache and database is None and refs is None else None

    wanted = WantedTrials(
        everything=everything, migrators=migrators, locks_at=locks, lint=lint, effects=True
    )

    async def work() -> CheckReport:
        async with environment(database) as place, _from(loaded, refs, place, tell) as used:
            checked = await check_release(used, place, wanted=wanted, cache=folder, tell=tell)
            report = _judged(used, checked, strategy, ways_back=ways_back)
            if suggest is None:
                return report
            found = await _suggested(used, place, checked, report, suggest, tell)
            return msgspec.structs.replace(report, suggestion=found)

    report = run_interruptibly(work())
    outputs.write(report)
    return ExitStatus.PASS if report.passed else ExitStatus.FAIL


def _judged(loaded: Loaded, checked: Checked, strategy: str, *, ways_back: bool) -> CheckReport:
    expect = loaded.scenario.expect
    return check_report(
        checked.release.plan,
        checked.observed,
        strategy=strategy,
        expected=expect.outcomes.get(strategy, expect.outcome),
        with_ways_back=ways_back,
        trials=checked.trials,
        cached=checked.cached,
        lint=checked.lint,
        same_answers=loaded.scenario.objectives.same_answers,
        sources=checked.sources,
        steps=checked.steps,
        file=repository_path(loaded.path),
    )


async def _suggested(  # noqa: PLR0917 - a check, where it was, and where to write
    loaded: Loaded,
    place: Environment,
    checked: Checked,
    report: CheckReport,
    folder: Path,
    tell: Callable[[str], None],
) -> CheckedSuggestion:
    """Write the safe version of the migrations, and check it."""
    made = await write_suggestion(loaded, place, checked, report.findings, folder)
    if made is None or not made.steps:
        left = ("no hazard was observed",) if made is None else made.suggestion.left
        return CheckedSuggestion(folder=str(folder), migrations=(), steps=(), left=left)
    tell(f"the suggestion is in {folder}; it is checked now")
    wanted = WantedTrials(effects=True)
    again = await check_release(made.loaded, place, wanted=wanted, cache=None, tell=tell)
    safe = _judged(made.loaded, again, report.strategy, ways_back=False)
    return CheckedSuggestion(
        folder=str(folder),
        migrations=tuple(one.name for one in made.suggestion.migrations),
        steps=made.steps,
        left=made.suggestion.left,
        safe=tuple(name for name, one in safe.strategies.items() if one.safe),
        failures=tuple(one.what for one in safe.chosen.hazards),
        findings=safe.findings,
    )


async def _plan(loaded: Loaded, refs: TwoRefs | None) -> ReleasePlan:
    async with environment() as place, _from(loaded, refs, place, lambda _: None) as used:
        release = await planned_release(used, place.processes, place.private / "migrations.log")
        return release.plan


def _refs(old: str | None, new: str | None, install: str | None) -> TwoRefs | None:
    if old is None and new is None:
        if install is not None:
            raise UsageError("--install needs --old REF and --new REF")
        return None
    if old is None or new is None:
        given, missing = ("--new", "--old") if old is None else ("--old", "--new")
        raise UsageError(f"{given} needs {missing} REF: the commit of the other version")
    return TwoRefs(old=old, new=new, install=install)


@asynccontextmanager
async def _from(
    loaded: Loaded, refs: TwoRefs | None, place: Environment, tell: Callable[[str], None]
) -> AsyncIterator[Loaded]:
    """The scenario; its versions come from two commits, if there are any."""
    if refs is None:
        yield loaded
        return
    async with checked_out(loaded, refs, place.processes, tell) as used:
        yield used
