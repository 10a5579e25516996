"""The control run: what fails if the same version is deployed again, under the same traffic?"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
from rich.console import Console
from rich.text import Text

from scenarios.cli.running import progress, run_and_review
from scenarios.evidence.progress import Progress
from scenarios.reports.words import clean, control_text
from scenarios.runner.environment import Environment
from scenarios.scenario.control_run import control_of
from scenarios.scenario.experiment import Experiment


def control_experiment(experiment: Experiment) -> Experiment:
    """The control run of an experiment: see `scenarios.scenario.control_run`.

    Raises:
        UsageError: its release deploys nothing.
    """
    scenario = control_of(experiment.scenario)
    loaded = replace(experiment.loaded, scenario=scenario)
    return replace(experiment, loaded=loaded, hold=False, role="control")


async def controlled(
    experiment: Experiment,
    place: Environment,
    out: Path,
    watcher: Callable[[Experiment], Progress],
) -> Experiment:
    """Carry out the control run; the experiment is then judged beside it.

    Args:
        experiment: the release.
        place: where it runs.
        out: where the folder of the control run goes.
        watcher: makes what is told how a run goes.

    Raises:
        UsageError: the release deploys nothing.
        EnvironmentFailure: the run could not begin, or something that it stands on broke.
    """
    control = control_experiment(experiment)
    judgement, folder = await run_and_review(control, place, out, watcher(control))
    found = judgement.as_control
    if found is None:
        raise RuntimeError("the control run was not judged as one")
    return replace(experiment, control=msgspec.structs.replace(found, folder=str(folder)))


async def controlled_and_told(
    experiment: Experiment, place: Environment, out: Path, console: Console, *, no_live: bool
) -> Experiment:
    """Do the same as `controlled`, and say on the console what is done and what it found."""
    first = experiment.scenario.release.serving
    console.rule(Text(f"Control run: version {clean(first)} is deployed again"))
    found = await controlled(
        experiment, place, out, lambda one: progress(console, one, no_live=no_live)
    )
    if found.control is not None:
        console.print(Text(control_text(found.control)))
    console.rule("The release")
    return found
