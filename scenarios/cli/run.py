"""`hitless run`: one experiment."""

from pathlib import Path

from rich.console import Console

from scenarios.cli.conclusion import conclude
from scenarios.cli.files import check_file
from scenarios.cli.interrupts import run_interruptibly
from scenarios.cli.measuring import measured, tried_out, with_auto_rate
from scenarios.cli.options import (
    AutoRateOption,
    BaselineOption,
    ContextOption,
    ControlOption,
    CounterfactualOption,
    DatabaseLogOption,
    DatabaseOption,
    DryRunOption,
    FaultOption,
    HoldOption,
    JsonOption,
    JunitOption,
    KeepOption,
    NoLiveOption,
    OutOption,
    PersonaOption,
    PlatformOption,
    RepeatOption,
    ReplicasOption,
    RouterOption,
    RowsOption,
    RunsOption,
    RunStrategyOption,
    ScenarioArgument,
    SeedOption,
    SetOption,
    SettleOption,
    VerboseOption,
)
from scenarios.cli.questions.control_run import controlled_and_told
from scenarios.cli.questions.series import (
    run_series,
    series_of,
    show_counterfactual,
    show_series,
    try_counterfactual,
)
from scenarios.cli.running import progress, progress_console, run_one
from scenarios.errors import UsageError
from scenarios.exit_status import ExitStatus
from scenarios.runner.environment import environment
from scenarios.scenario.experiment import Experiment
from scenarios.scenario.overrides import Changes
from scenarios.scenario.spec import Scenario
from scenarios.verdict import Verdict


def run_command(  # noqa: PLR0917 - typer wants each flag as a parameter
    scenario: ScenarioArgument = "expand-contract",
    strategy: RunStrategyOption = None,
    replicas: ReplicasOption = None,
    rate: AutoRateOption = None,
    existing_rows: RowsOption = None,
    seed: SeedOption = 1,
    baseline: BaselineOption = None,
    settle: SettleOption = None,
    database: DatabaseOption = None,
    database_log: DatabaseLogOption = None,
    platform: PlatformOption = "local",
    context: ContextOption = None,
    router: RouterOption = None,
    persona: PersonaOption = None,
    settings: SetOption = None,
    repeat: RepeatOption = 1,
    hold: HoldOption = False,
    keep: KeepOption = False,
    fault: FaultOption = None,
    runs: RunsOption = 1,
    counterfactual: CounterfactualOption = False,
    control: ControlOption = False,
    dry_run: DryRunOption = False,
    out: OutOption = Path("runs"),
    junit: JunitOption = None,
    as_json: JsonOption = False,
    no_live: NoLiveOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Deploy one release under traffic, show it live, and judge it.

    hitless starts the old version behind a load balancer, sends traffic, deploys the new version
    with the given strategy, and prints a verdict. All evidence goes to a new folder.
    """
    changes = Changes(
        replicas=replicas,
        existing_rows=existing_rows,
        baseline=baseline,
        settle=settle,
        database=database,
        database_log=database_log,
        settings=tuple(settings or ()),
        hold=hold,
        faults=tuple(fault or ()),
        repeat=repeat,
        router=router,
        persona=persona,
        control=control,
        platform=platform,
        context=context,
    ).with_rate(rate)
    experiment = changes.experiment(scenario, strategy, seed)
    strategy = experiment.strategy
    if experiment.on_cluster and (keep or counterfactual):
        raise UsageError("--keep and --counterfactual have no meaning on a cluster")
    check_file("--junit", junit)
    if keep:
        _check_kept(experiment.scenario)
    console = progress_console(as_json=as_json)
    if runs > 1 and (counterfactual or hold or junit):
        raise UsageError("--runs cannot be combined with --counterfactual, --hold or --junit")
    if control and counterfactual:
        raise UsageError("--control cannot be combined with --counterfactual")
    if dry_run:
        return _dry_run(experiment, changes, out, console)
    changes = with_auto_rate(changes, experiment)
    if runs > 1:
        many = run_series(changes, scenario, strategy, seed, runs, out, console)
        return show_series(console, series_of(run_interruptibly(many)), as_json=as_json)
    if counterfactual:
        both = try_counterfactual(changes, scenario, strategy, seed, out, console)
        return show_counterfactual(*run_interruptibly(both), as_json=as_json)

    async def work() -> tuple[Verdict, Path]:
        async with environment(database, keep=keep) as place:
            fitting = await measured(changes, experiment, place, out, console)
            judged = fitting.experiment(scenario, strategy, seed)
            if control:
                judged = await controlled_and_told(judged, place, out, console, no_live=no_live)
            return await run_one(judged, place, out, progress(console, judged, no_live=no_live))

    verdict, folder = run_interruptibly(work())
    return conclude(console, verdict, folder, as_json=as_json, junit=junit, verbose=verbose)


def _check_kept(scenario: Scenario) -> None:
    """Refuse to keep what a recovery would not know of."""
    for what, there in (
        ("application.processes", scenario.application.processes),
        ("services", scenario.services),
    ):
        if there:
            raise UsageError(
                f"--keep cannot be combined with {what}: no recovery would know of them"
            )


def _dry_run(experiment: Experiment, changes: Changes, out: Path, console: Console) -> ExitStatus:
    async def work() -> None:
        async with environment(changes.database) as place:
            await tried_out(experiment, place, out, console)

    run_interruptibly(work())
    return ExitStatus.PASS
