"""`hitless demo`: one deployment that breaks, and the same release, planned well."""

import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.text import Text

from scenarios.cli.interrupts import run_interruptibly
from scenarios.cli.machine_words import machine_words
from scenarios.cli.measuring import measured
from scenarios.cli.options import (
    AutoRateOption,
    JsonOption,
    NoLiveOption,
    OutOption,
    VerboseOption,
)
from scenarios.cli.program import program
from scenarios.cli.questions.expectation import surprise
from scenarios.cli.running import progress, progress_console, run_one
from scenarios.exit_status import ExitStatus
from scenarios.reports.matrix import comparison
from scenarios.reports.terminal import print_verdict
from scenarios.runner.environment import environment
from scenarios.scenario.experiment import Experiment
from scenarios.scenario.overrides import AUTO, Changes
from scenarios.verdict import Verdict

DEMO = (("big-bang", "rolling"), ("expand-contract", "rolling"))


def demo_command(
    rate: AutoRateOption = AUTO,
    out: OutOption = Path("runs"),
    no_live: NoLiveOption = False,
    verbose: VerboseOption = False,
    as_json: JsonOption = False,
) -> int:
    """Deploy one release twice: with a plan that breaks it, and with a safe plan.

    The machine is measured first, and both plans get the traffic that it carries.
    """
    console = progress_console(as_json=as_json)
    changes = Changes().with_rate(rate)
    experiments: list[Experiment] = []

    async def work() -> list[tuple[Verdict, Path]]:
        async with environment() as place:
            (first, how), *_ = DEMO
            asked = changes.experiment(first, how, 1)
            fitting = await measured(changes, asked, place, out, console)
            experiments.extend(fitting.experiment(name, how, 1) for name, how in DEMO)
            done = []
            for experiment in experiments:
                console.rule(
                    f"{experiment.scenario.name} · {experiment.strategy}: "
                    f"{experiment.scenario.title}"
                )
                watcher = progress(console, experiment, no_live=no_live)
                verdict, folder = await run_one(experiment, place, out, watcher)
                print_verdict(console, verdict, str(folder), verbose=verbose, program=program())
                done.append((verdict, folder))
            return done

    done = run_interruptibly(work())
    return show_demo(console, experiments, done, as_json=as_json)


def show_demo(
    console: Console,
    experiments: Sequence[Experiment],
    done: Sequence[tuple[Verdict, Path]],
    *,
    as_json: bool,
) -> ExitStatus:
    """Print both runs side by side and what is not as declared; returns the exit status.

    INVALID if a run says nothing, else FAIL if one has another result than its scenario declares,
    else PASS.
    """
    console.rule("The same release, twice")
    console.print(comparison([verdict for verdict, _ in done]))
    surprises = [
        text
        for experiment, (verdict, _) in zip(experiments, done, strict=True)
        if (text := surprise(experiment.scenario.expect, verdict)) is not None
    ]
    invalid = [(verdict, folder) for verdict, folder in done if verdict.verdict == "invalid"]
    for text in surprises:
        # A run that says nothing is no failure: neither of the plan nor of whoever tries it.
        console.print(Text(text, "yellow" if invalid else "red"), soft_wrap=True)
    for text in dict.fromkeys(machine_words(*one) for one in invalid):
        console.print(Text(text, "yellow"), soft_wrap=True)
    if as_json:
        verdicts = msgspec.json.encode([verdict for verdict, _ in done])
        sys.stdout.buffer.write(msgspec.json.format(verdicts, indent=2) + b"\n")
    if invalid:
        return ExitStatus.INVALID
    return ExitStatus.FAIL if surprises else ExitStatus.PASS
