"""`hitless sweep`: vary settings of a simulated release, and show what they cost."""

import multiprocessing
import os
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from orchestrator.errors import EnvironmentFailure
from scenarios.cli.console import output
from scenarios.cli.files import check_file, write_file
from scenarios.cli.options import (
    BaselineOption,
    JsonOption,
    PersonaOption,
    RateOption,
    ReplicasOption,
    ScenarioArgument,
    SeedOption,
    SetOption,
    SettleOption,
    StrategyOption,
)
from scenarios.errors import InterruptedRunError, ScenarioError, UsageError
from scenarios.reports.sweep import SweepPoint, sweep_notes, sweep_of, sweep_plot, sweep_table
from scenarios.scenario.overrides import Changes
from scenarios.simulation.model import model_of
from scenarios.simulation.sweep import (
    Task,
    carry_out_all,
    combinations,
    knob,
    points_of,
)

MOST_RUNS = 100_000
_TOLD = 10


def sweep_command(  # noqa: PLR0917 - typer wants each flag as a parameter
    scenario: ScenarioArgument = "expand-contract",
    vary: Annotated[
        list[str] | None,
        typer.Option(
            "--vary",
            metavar="KEY=VALUES",
            help="Vary a setting: a list such as policy.max_surge=1,25%, or a range such as "
            "policy.termination.pre_stop_seconds=0..5:1. May be repeated.",
        ),
    ] = None,
    random: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Draw N combinations instead of trying all."),
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, metavar="N", help="Simulate each combination with N seeds.")
    ] = 1,
    strategy: StrategyOption = "rolling",
    replicas: ReplicasOption = None,
    rate: RateOption = None,
    seed: SeedOption = 1,
    baseline: BaselineOption = None,
    settle: SettleOption = None,
    persona: PersonaOption = None,
    settings: SetOption = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="The number of processes. Default: one per core.")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="tcp://HOST:PORT",
            help="Simulate on this Dask cluster instead (pip install 'hitless[dask]').",
        ),
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a plot as SVG.")] = None,
    as_json: JsonOption = False,
) -> int:
    """Simulate one release with many combinations of settings, and show the frontier.

    The frontier are the combinations than which no other one is better in everything: in the time
    of the release, in failed requests and in extra capacity. For each setting with numbers it says
    which is the smallest value that loses nothing.
    """
    console = output(stderr=as_json)
    changes = Changes(
        platform="simulated",
        replicas=replicas,
        baseline=baseline,
        settle=settle,
        settings=tuple(settings or ()),
        persona=persona,
        rate=rate,
    )
    check_file("--plot", plot)
    tasks = _tasks(changes, scenario, strategy, seed, seeds, vary or [], random)
    found = []
    with _executor(scheduler, workers) as executor:
        for pair in _carried_out(tasks, executor):
            found.append(pair)
            done = len(found)
            if done == len(tasks) or done * _TOLD // len(tasks) > (done - 1) * _TOLD // len(tasks):
                console.print(f"{done:,} of {len(tasks):,} simulated runs")
    sweep = sweep_of(scenario, strategy, points_of(found))
    if plot is not None:
        write_file("--plot", plot, sweep_plot(sweep))
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(sweep), indent=2) + b"\n")
        return 0
    console.print(sweep_table(sweep))
    for note in sweep_notes(sweep):
        console.print(note)
    return 0


def _tasks(  # noqa: PLR0917 - the flags that decide what is simulated
    changes: Changes,
    scenario: str,
    strategy: str,
    seed: int,
    seeds: int,
    vary: list[str],
    draws: int | None,
) -> list[Task]:
    """All runs of the sweep; a mistake in one of them is found before the first one."""
    if not vary:
        raise UsageError(
            "--vary: say at least one setting, such as --vary policy.max_surge=1,25%,50%"
        )
    tasks: list[Task] = []
    for number, chosen in enumerate(combinations([knob(one) for one in vary], draws, seed)):
        given = (*changes.settings, *(f"{key}={value}" for key, value in chosen.items()))
        changed = msgspec.structs.replace(changes, settings=given)
        for further in range(seeds):
            if len(tasks) == MOST_RUNS:
                raise UsageError(f"--vary: these are more than {MOST_RUNS:,} runs; use --random N")
            try:
                experiment = changed.experiment(scenario, strategy, seed + further)
            except ScenarioError as error:
                raise _of_vary(error, chosen, vary) from error
            slow_ns = round(experiment.scenario.objectives.latency_seconds * 1e9)
            tasks.append(Task(number, chosen, model_of(experiment).run, slow_ns))
    return tasks


def _of_vary(error: ScenarioError, chosen: Mapping[str, object], vary: list[str]) -> ScenarioError:
    """The same error; a setting that is varied is named by the flag that varies it."""
    text = str(error)
    for (key, value), flag in zip(chosen.items(), vary, strict=True):
        text = text.replace(f"--set {key}={value}: ", f"--vary {flag}: ", 1)
    return ScenarioError(text)


def _carried_out(tasks: list[Task], executor: Executor) -> Iterator[tuple[int, SweepPoint]]:
    try:
        yield from carry_out_all(tasks, executor)
    except KeyboardInterrupt as error:
        raise InterruptedRunError("interrupted by SIGINT; what was begun has ended") from error
    except BrokenProcessPool as error:
        raise EnvironmentFailure(f"a process that simulates was ended: {error}") from error


@contextmanager
def _executor(scheduler: str | None, workers: int | None) -> Iterator[Executor]:
    """What simulates: processes on this machine, or a Dask cluster.

    Raises:
        UsageError: Dask is not installed.
        EnvironmentFailure: nobody answers at that address.
    """
    if scheduler is None:
        # A process that is forked would inherit the threads' locks of this one.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers or os.cpu_count() or 1, mp_context=context) as pool:
            yield pool
        return
    if workers is not None:
        raise UsageError("--workers cannot be combined with --scheduler: the cluster has its own")
    try:
        distributed: Any = import_module("distributed")
    except ImportError as error:
        raise UsageError("--scheduler needs Dask: pip install 'hitless[dask]'") from error
    try:
        client = distributed.Client(scheduler, timeout="10s")
    except (OSError, ValueError) as error:
        raise EnvironmentFailure(f"--scheduler {scheduler}: {error}") from error
    with client:
        yield client.get_executor(retries=3, pure=False)
