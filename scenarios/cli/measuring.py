"""Choosing the traffic by what the machine carries, before a run (`--rate auto`)."""

from collections.abc import Callable
from pathlib import Path

import msgspec
from rich.console import Console
from rich.text import Text

from scenarios.cli.files import new_folder
from scenarios.cli.waiting import waiting
from scenarios.errors import UsageError
from scenarios.evidence.progress import Silence
from scenarios.runner.capacity import measure, suited, try_out
from scenarios.runner.cluster.on_cluster import run_on_cluster
from scenarios.runner.environment import Environment
from scenarios.runner.programs import check_programs
from scenarios.runner.router import need_router
from scenarios.scenario.experiment import Experiment
from scenarios.scenario.overrides import Changes


class _Stages(Silence):
    """Shows only what is done now."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def on_stage(self, text: str) -> None:
        """Show it."""
        self._tell(text)


_KEYS = ("rate", "profile", "arrivals_path")


def with_auto_rate(changes: Changes, experiment: Experiment) -> Changes:
    """The changes, with the machine to be measured if neither a flag nor the scenario says a rate.

    Where no arrivals come at a constant rate, there is none to choose.
    """
    loaded, traffic = experiment.loaded, experiment.scenario.traffic
    said = changes.rate is not None or any(loaded.sets("traffic", key) for key in _KEYS)
    constant = traffic.asked_rate and traffic.arrivals != "recorded" and not traffic.profile
    wanted = (changes.auto_rate or not said) and bool(constant)
    return msgspec.structs.replace(changes, auto_rate=wanted)


async def measured(
    changes: Changes, experiment: Experiment, place: Environment, out: Path, console: Console
) -> Changes:
    """The changes with the rate and the replicas that suit this machine, which is told.

    Without `auto_rate` nothing is measured and nothing changes.

    Raises:
        ScenarioError: the first version answers something else than the scenario expects.
        EnvironmentFailure: the machine carries too little, or the first version does not come up.
    """
    if not changes.auto_rate:
        return changes
    if experiment.on_cluster:
        raise UsageError("no machine can be measured for a cluster; give the arrivals with --rate")
    check_programs(experiment.loaded)
    await need_router(experiment, keep=place.keep)
    folder = new_folder(out, experiment.scenario.name, "measuring")
    with waiting(console) as tell:
        capacity = await measure(experiment, place, folder, tell)
    choice = suited(capacity, experiment.scenario)
    console.print(Text(choice.sentence), soft_wrap=True)
    return msgspec.structs.replace(
        changes,
        auto_rate=False,
        rate=choice.rate,
        replicas=changes.replicas
        if choice.replicas == experiment.scenario.policy.replicas
        else choice.replicas,
    )


async def tried_out(
    experiment: Experiment, place: Environment, out: Path, console: Console
) -> None:
    """Start the first version, try each journey once, and say that it worked.

    Raises:
        ScenarioError: the first version answers something else than the scenario expects.
        EnvironmentFailure: it does not become ready or does not answer.
    """
    scenario = experiment.scenario
    if not experiment.on_cluster:
        check_programs(experiment.loaded)
        await need_router(experiment, keep=place.keep)
    folder = new_folder(out, scenario.name, "dry-run")
    with waiting(console) as tell:
        if experiment.on_cluster:
            await run_on_cluster(experiment, place, folder, _Stages(tell), only_begin=True)
        else:
            await try_out(experiment, place, folder, tell)
    journeys = [one for one in scenario.traffic.journeys if one.steps]
    number = "1 journey" if len(journeys) == 1 else f"{len(journeys)} journeys"
    coroutines = len(scenario.traffic.journeys) - len(journeys)
    left_out = f" ({coroutines} of coroutines were not tried)" if coroutines else ""
    console.print(
        Text(
            f"{scenario.name}: version {scenario.release.serving} starts, and {number} got the "
            f"expected responses{left_out}. Nothing was deployed."
        ),
        soft_wrap=True,
    )
