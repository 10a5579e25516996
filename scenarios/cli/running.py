"""What commands that run experiments share: the folder, the progress, the verdict."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple, TypeGuard

from rich.console import Console
from rich.text import Text

from orchestrator.rollout_control import RolloutControl
from scenarios.cli.console import output
from scenarios.cli.files import new_folder
from scenarios.cli.keyboard import Key, can_hear, listening
from scenarios.errors import UsageError
from scenarios.evidence.progress import PlannedStep, Progress, RunHeader
from scenarios.evidence.run_status import RunStatus
from scenarios.reports.live.dashboard import Dashboard
from scenarios.reports.live.plain import PlainProgress
from scenarios.reports.live.status import with_state
from scenarios.review import review, write_reports
from scenarios.runner.cluster.on_cluster import run_on_cluster
from scenarios.runner.environment import Environment
from scenarios.runner.manifest import leaving_settings, request_handling
from scenarios.runner.operator_commands import COMMANDS, OperatorCommands
from scenarios.runner.pauses import ahead, pauses_of
from scenarios.runner.programs import check_programs
from scenarios.runner.release import command_name, commands_without_lock_timeout
from scenarios.runner.router import need_router
from scenarios.runner.run import run
from scenarios.scenario.experiment import Experiment
from scenarios.scenario.platform_spec import DEPLOYMENT
from scenarios.scenario.spec import ReleaseStep
from scenarios.simulation.run import run_simulated
from scenarios.verdict import Judgement, Verdict

BEAT_SECONDS = 0.2
"""How often a display hears that time passes."""

KEYS = {"p": "pause", "r": "resume", "P": "promote", "a": "abort", "q": "quit"}
LEGEND = "   ".join(f"{letter} {word}" for letter, word in KEYS.items())


def _has_keys(watcher: Progress) -> TypeGuard[Dashboard]:
    return isinstance(watcher, Dashboard) and can_hear()


def _keys(operator: OperatorCommands, dashboard: Dashboard) -> dict[str, Key]:
    """What each key does; what comes of it is said on the dashboard."""

    def command(word: str) -> Key:
        return Key(word, lambda: dashboard.say(operator.execute_and_tell(word)))

    command_keys = {letter: command(word) for letter, word in KEYS.items() if word in COMMANDS}
    return {**command_keys, "q": Key("quit", _quit)}


def _quit() -> None:
    """Do what Ctrl-C does."""
    os.kill(os.getpid(), signal.SIGINT)


class Reviewed(NamedTuple):
    """A finished run.

    Attributes:
        judgement: what it means, and what shows it.
        folder: where its evidence and its reports are.
    """

    judgement: Judgement
    folder: Path


async def run_one(
    experiment: Experiment,
    place: Environment,
    out: Path,
    watcher: Progress,
) -> tuple[Verdict, Path]:
    """Do the same as `run_and_review`, where the verdict is enough."""
    judgement, folder = await run_and_review(experiment, place, out, watcher)
    return judgement.verdict, folder


async def run_and_review(
    experiment: Experiment,
    place: Environment,
    out: Path,
    watcher: Progress,
) -> Reviewed:
    """Run an experiment in a new folder under `out`, reach its verdict, and write its reports.

    Raises:
        UsageError: no folder can be made there, or its router cannot be used.
        StorageError: the machine refuses the folder.
        EnvironmentFailure: the run could not begin, or something that it stands on broke.
    """
    if experiment.platform == "simulated":
        if place.keep:
            raise UsageError("--keep has no meaning with --platform simulated")
        folder = new_folder(out, experiment.scenario.name, experiment.strategy)
        with watcher as looking_on:
            await run_simulated(experiment, folder, looking_on)
            return Reviewed(await judged(folder, looking_on), folder)
    if not experiment.on_cluster:
        check_programs(experiment.loaded)
        await need_router(experiment, keep=place.keep)
    folder = new_folder(out, experiment.scenario.name, experiment.strategy)
    operator = OperatorCommands()
    if isinstance(watcher, Dashboard | PlainProgress):
        operator.describe_by(_describer(experiment, watcher))
    steered = experiment.strategy != DEPLOYMENT  # nobody steers the cluster's own controllers
    keys = listening(_keys(operator, watcher)) if steered and _has_keys(watcher) else nullcontext()
    carry_out = run_on_cluster if experiment.on_cluster else run
    with keys, watcher as looking_on:
        async with passing_time(looking_on):
            await carry_out(experiment, place, folder, looking_on, operator)
            return Reviewed(await judged(folder, looking_on), folder)


def _describer(
    experiment: Experiment, view: Dashboard | PlainProgress
) -> Callable[[RolloutControl], RunStatus]:
    """What says the status of a run, from what its view knows of it."""
    pauses = pauses_of(experiment.scenario.policy, experiment.strategy)

    def describe(control: RolloutControl) -> RunStatus:
        new = control.deploying
        share = 0.0 if new is None else 100 * view.state.wanted.get(new, 0.0)
        release = RunStatus(
            release=control.status(),
            waits_for=control.waiting,
            next_pauses=()
            if new is None
            else ahead(pauses, share, pausing=view.state.is_doing("pause")),
        )
        return with_state(release, view.state)

    return describe


async def judged(folder: Path, watcher: Progress) -> Judgement:
    """Judge a run and write its reports, in a thread: the display goes on meanwhile."""

    def work() -> Judgement:
        judgement = review(folder)
        write_reports(folder, judgement)
        return judgement

    watcher.on_stage("judging what was recorded")
    return await asyncio.to_thread(work)


@asynccontextmanager
async def passing_time(watcher: Progress) -> AsyncIterator[None]:
    """Tell a display inside the block that time passes."""

    async def tell() -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            watcher.on_wait()

    beat = asyncio.create_task(tell(), name="time for the display")
    try:
        yield
    finally:
        beat.cancel()


def progress_console(*, as_json: bool) -> Console:
    """Where people look: not on standard output, where that is for JSON."""
    return output(stderr=as_json)


def progress(console: Console, experiment: Experiment, *, no_live: bool) -> Progress:
    """The dashboard, or plain lines where there is no terminal for one."""
    scenario = experiment.scenario
    for warning in commands_without_lock_timeout(experiment.loaded):
        console.print(Text(f"warning: {warning}", "yellow"))
    header = RunHeader(
        scenario=scenario.name,
        strategy=experiment.strategy,
        seed=experiment.seed,
        replicas=scenario.policy.replicas,
        rate=scenario.traffic.asked_rate,
        users=scenario.traffic.users,
        steps=tuple(_planned(step) for step in scenario.release.steps),
        persona=scenario.policy.persona,
        termination=leaving_settings(scenario.policy),
        handling=request_handling(scenario),
        predicted=experiment.platform == "simulated",
    )
    # Virtual time passes too fast to be looked at.
    steered = not experiment.on_cluster
    return view_of(console, header, no_live=no_live or header.predicted, steered=steered)


def view_of(
    console: Console, header: RunHeader, *, no_live: bool, steered: bool = False
) -> Progress:
    """What shows a run: the dashboard, or plain lines where there is no terminal for one.

    Args:
        console: where people look.
        header: what is run.
        no_live: whether plain lines are wanted.
        steered: whether keys steer the run; somebody else's deployment has none.
    """
    if no_live or not console.is_terminal or console.is_dumb_terminal:
        return PlainProgress(console, header)
    return Dashboard(console, header, keys=LEGEND if steered and can_hear() else "")


def _planned(step: ReleaseStep) -> PlannedStep:
    if step.undo:
        return PlannedStep(verb="undo", text="undo")
    if step.deploy or step.services:
        services = [f"{name} {version}" for name, version in step.services.items()]
        both = [step.deploy, *services] if step.deploy else services
        return PlannedStep(verb="deploy", text=f"deploy {' and '.join(both)}")
    direction = "migrate" if step.migrate else "migrate down"
    return PlannedStep(verb="migrate", text=f"{direction} {_short(step)}")


def _short(step: ReleaseStep) -> str:
    migration = step.migrate or step.migrate_down or ""
    if isinstance(migration, tuple):
        return command_name(migration)
    folder = migration.rpartition("/")[2]
    return f"{folder} to {step.through}" if step.through else folder
