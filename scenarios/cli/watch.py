"""`hitless watch`: the evidence and the verdict around any deployment."""

import asyncio
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from scenarios.cli.conclusion import conclude
from scenarios.cli.files import check_junit, new_folder
from scenarios.cli.interrupts import run_interruptibly
from scenarios.cli.options import JsonOption, JunitOption, NoLiveOption, OutOption, VerboseOption
from scenarios.cli.running import judged, passing_time, progress_console, view_of
from scenarios.errors import UsageError
from scenarios.evidence.manifest import Objectives
from scenarios.evidence.progress import PlannedStep, RunHeader
from scenarios.runner.watch import STRATEGY, Watch, target_of, visits, watch
from scenarios.scenario.overrides import at_rate
from scenarios.scenario.reader import load
from scenarios.scenario.spec import PhasesSpec
from scenarios.traffic.settings import TrafficSettings
from scenarios.verdict import Judgement

_SEEDS = 1_000_000
_RATE = 20.0

UrlOption = Annotated[str, typer.Option(help="The URL that users request: http://host:port/path.")]
CommandArgument = Annotated[
    list[str] | None,
    typer.Argument(help="The deploy command, after `--`. Without it, watch until Ctrl-C."),
]
ScenarioOption = Annotated[
    str | None,
    typer.Option(help="Use the traffic, phases and objectives of this scenario."),
]
ExpectOption = Annotated[
    list[int] | None,
    typer.Option(help="An HTTP status that counts as success. May be repeated. [200]"),
]
RateOption = Annotated[
    float | None, typer.Option(help="The number of user journeys that start per second.")
]
BaselineOption = Annotated[
    float | None, typer.Option(min=0, help="Seconds of traffic before the command.")
]
SettleOption = Annotated[
    float | None, typer.Option(min=0, help="Seconds of traffic after the command.")
]
SeedOption = Annotated[
    int | None,
    typer.Option(min=0, help="The seed of the random numbers. Default: a new one for each run."),
]


def watch_command(  # noqa: PLR0917 - typer wants each flag as a parameter
    url: UrlOption,
    command: CommandArgument = None,
    scenario: ScenarioOption = None,
    expect: ExpectOption = None,
    rate: RateOption = None,
    baseline: BaselineOption = None,
    settle: SettleOption = None,
    seed: SeedOption = None,
    out: OutOption = Path("runs"),
    junit: JunitOption = None,
    as_json: JsonOption = False,
    no_live: NoLiveOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Send traffic to a URL while any command deploys, and judge the result.

    The command may be anything that deploys: a script, kubectl, kamal, docker compose. Its output
    goes to command.log in the run's folder. If the command fails, the verdict is fail. Here
    hitless controls only the traffic, so it derives causes from the responses alone.
    """
    target = target_of(url)
    traffic = TrafficSettings(rate=_RATE, journeys=visits(target.path, tuple(expect or (200,))))
    phases, objectives = PhasesSpec(), Objectives()
    if scenario is not None:
        if expect:
            raise UsageError("--expect cannot be combined with --scenario, whose steps define it")
        loaded = load(scenario)
        traffic = loaded.scenario.traffic
        phases, objectives = loaded.scenario.phases, loaded.scenario.objectives
    if rate is not None:
        traffic = at_rate(traffic, rate)
    # A service that outlives the run must not meet the same users again.
    number = int(time.time() * 10) % _SEEDS if seed is None else seed
    about = Watch(
        name=f"watch {target.host}",
        target=target,
        command=tuple(command or ()),
        traffic=traffic,
        phases=PhasesSpec(
            baseline_seconds=phases.baseline_seconds if baseline is None else baseline,
            settle_seconds=phases.settle_seconds if settle is None else settle,
        ),
        objectives=objectives,
        seed=number,
        replay=_replay(
            command or (),
            url=url,
            scenario=scenario,
            expect=expect,
            rate=rate,
            baseline=baseline,
            settle=settle,
            seed=seed,
        ),
    )
    check_junit(junit)
    folder = new_folder(out, about.name, STRATEGY)
    console = progress_console(as_json=as_json)
    header = RunHeader(
        scenario=about.name,
        strategy=STRATEGY,
        seed=number,
        replicas=1,
        rate=traffic.asked_rate,
        users=traffic.users,
        steps=(PlannedStep(verb="release", text=f"release {shlex.join(about.command)}"),)
        if about.command
        else (),
    )
    stop = asyncio.Event()

    async def work() -> Judgement:
        with view_of(console, header, no_live=no_live) as view:
            async with passing_time(view):
                await watch(about, folder, view, stop)
                return await judged(folder, view)

    ended = run_interruptibly(work(), instead=None if about.command else stop.set)
    verdict = ended.verdict
    return conclude(console, verdict, folder, as_json=as_json, junit=junit, verbose=verbose)


def _replay(command: Sequence[str], **flags: object) -> str:
    """The command that watches the same again."""
    words = ["hitless", "watch"]
    for name, given in flags.items():
        for value in given if isinstance(given, list) else [given]:
            if value is not None:
                text = f"{value:g}" if isinstance(value, float) else str(value)
                words += [f"--{name}", text]
    return shlex.join([*words, "--", *command] if command else words)
