"""`hitless demo`: one deployment that breaks, and the same release, planned well."""

import sys
from pathlib import Path

import msgspec
from rich.text import Text

from scenarios.cli.interrupts import run_interruptibly
from scenarios.cli.options import (
    JsonOption,
    NoLiveOption,
    OutOption,
)
from scenarios.cli.questions.expectation import surprise
from scenarios.cli.running import progress, progress_console, run_one
from scenarios.reports.matrix import comparison
from scenarios.reports.terminal import print_verdict
from scenarios.runner.environment import environment
from scenarios.scenario.overrides import Changes
from scenarios.verdict import Verdict

DEMO = (("big-bang", "rolling"), ("expand-contract", "rolling"))


def demo_command(
    out: OutOption = Path("runs"), no_live: NoLiveOption = False, as_json: JsonOption = False
) -> int:
    """Deploy one release twice: with a plan that breaks it, and with a safe plan."""
    console = progress_console(as_json=as_json)
    changes = Changes()
    experiments = [changes.experiment(scenario, strategy, 1) for scenario, strategy in DEMO]

    async def work() -> list[tuple[Verdict, Path]]:
        async with environment() as place:
            done = []
            for experiment in experiments:
                console.rule(
                    f"{experiment.scenario.name} · {experiment.strategy}: "
                    f"{experiment.scenario.title}"
                )
                watcher = progress(console, experiment, no_live=no_live)
                verdict, folder = await run_one(experiment, place, out, watcher)
                print_verdict(console, verdict, str(folder))
                done.append((verdict, folder))
            return done

    done = run_interruptibly(work())
    console.rule("The same release, twice")
    console.print(comparison([verdict for verdict, _ in done]))
    surprises = [
        text
        for experiment, (verdict, _) in zip(experiments, done, strict=True)
        if (text := surprise(experiment.scenario.expect, verdict)) is not None
    ]
    for text in surprises:
        console.print(Text(text, "red"))
    if as_json:
        verdicts = msgspec.json.encode([verdict for verdict, _ in done])
        sys.stdout.buffer.write(msgspec.json.format(verdicts, indent=2) + b"\n")
    return 1 if surprises else 0
