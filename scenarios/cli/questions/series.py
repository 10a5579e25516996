"""Several runs for one question: how often a rollout goes wrong, or whether a cause is one."""

import sys
from pathlib import Path

import msgspec
from rich.console import Console
from rich.text import Text

from scenarios.cli.measuring import measured
from scenarios.cli.program import program
from scenarios.cli.questions.control_run import controlled_and_told
from scenarios.cli.questions.counterfactual import Tried, experiments, tried
from scenarios.cli.running import progress, run_one
from scenarios.exit_status import ExitStatus
from scenarios.reports.matrix import comparison
from scenarios.reports.terminal import print_verdict
from scenarios.runner.environment import environment
from scenarios.scenario.overrides import Changes
from scenarios.verdict import Verdict
from scenarios.verdict.measures.slo import failure_rate_upper, percent_up


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """Several runs of one release, with one seed each.

    Attributes:
        runs: the number of runs.
        good: how many passed.
        bad: how many failed.
        invalid: how many were invalid; they do not count in the sample.
        bad_rollout_upper_95: the upper bound of the probability that such a rollout goes wrong
            (Clopper-Pearson, one-sided, 95 %), with the rollout as the sample.
        folders: the folder of each run.
        verdicts: the verdict of each run.
    """

    runs: int
    good: int
    bad: int
    invalid: int
    bad_rollout_upper_95: float
    folders: tuple[str, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def sentence(self) -> str:
        """The bound as a sentence."""
        sample = self.good + self.bad
        left_out = f"; {self.invalid} more were invalid" if self.invalid else ""
        if not sample:
            which = "the run was" if self.runs == 1 else f"all {self.runs} runs were"
            return f"{which} invalid, so nothing is known about this release"
        return (
            f"{self.bad} of {sample} rollouts failed{left_out}: fewer than "
            f"{percent_up(self.bad_rollout_upper_95)} of such rollouts fail (95 % confidence)"
        )

    @property
    def exit_status(self) -> ExitStatus:
        """FAIL if a run failed, else INVALID if a run was invalid, else PASS."""
        if self.bad:
            return ExitStatus.FAIL
        return ExitStatus.INVALID if self.invalid else ExitStatus.PASS


def series_of(runs: list[tuple[Verdict, Path]]) -> Series:
    """Sum up runs."""
    words = [verdict.verdict for verdict, _ in runs]
    good, bad = words.count("pass"), words.count("fail")
    return Series(
        runs=len(runs),
        good=good,
        bad=bad,
        invalid=words.count("invalid"),
        bad_rollout_upper_95=failure_rate_upper(bad, good + bad),
        folders=tuple(str(folder) for _, folder in runs),
        verdicts=tuple(verdict for verdict, _ in runs),
    )


async def run_series(  # noqa: PLR0917 - what to run, and where to show it
    changes: Changes,
    reference: str,
    strategy: str,
    seed: int,
    runs: int,
    out: Path,
    console: Console,
) -> list[tuple[Verdict, Path]]:
    """Run the experiment as many times as `runs` says, each with another seed."""
    done = []
    async with environment(changes.database) as place:
        first = changes.experiment(reference, strategy, seed)
        changes = await measured(changes, first, place, out, console)
        for number in range(runs):
            experiment = changes.experiment(reference, strategy, seed + number)
            console.rule(f"run {number + 1} of {runs}, seed {experiment.seed}")
            if changes.control:
                experiment = await controlled_and_told(
                    experiment, place, out, console, no_live=True
                )
            watcher = progress(console, experiment, no_live=True)
            verdict, folder = await run_one(experiment, place, out, watcher)
            why = "" if verdict.verdict == "pass" else ": " + "; ".join(verdict.reasons)
            console.print(Text(f"{verdict.verdict}{why}"))
            done.append((verdict, folder))
    return done


def show_series(console: Console, series: Series, *, as_json: bool) -> int:
    """Print it; returns the exit status."""
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(series), indent=2) + b"\n")
    else:
        console.rule("Together")
        console.print(Text(series.sentence))
    return series.exit_status


async def try_counterfactual(  # noqa: PLR0917 - what to run, and where to show it
    changes: Changes,
    reference: str,
    strategy: str,
    seed: int,
    out: Path,
    console: Console,
) -> tuple[Verdict, Verdict | None, Tried | None]:
    """Run the experiment, repeat it with the suspected mechanism changed, and compare both."""
    experiment = changes.experiment(reference, strategy, seed)
    async with environment(changes.database) as place:
        changes = await measured(changes, experiment, place, out, console)
        experiment = changes.experiment(reference, strategy, seed)
        verdict, folder = await run_one(
            experiment, place, out, progress(console, experiment, no_live=True)
        )
        print_verdict(console, verdict, str(folder), program=program())
        causes = experiments(
            experiment, verdict, lambda name: changes.experiment(name, strategy, seed)
        )
        other, result = None, None
        for cause, found in causes:
            if found is None:
                said = f"There is no experiment for the cause {cause.cause} ({cause.title})."
                console.print(Text(said))
                continue
            console.rule(f"The same run with {found.changed}")
            other, _ = await run_one(
                found.experiment, place, out, progress(console, found.experiment, no_live=True)
            )
            result = tried(found, verdict, other)
            console.print(comparison([verdict, other]))
            console.print(Text(result.sentence, "bold"))
            if result.effective:
                break
    if not (verdict.causes or verdict.slow_causes):
        console.print(Text("No request failed or was slow, so there is no cause to test."))
    return verdict, other, result


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """A run and its counterfactual.

    Attributes:
        verdict: of the run as it was asked for.
        counterfactual: of the one with the suspected mechanism changed; absent if there was no
            cause to be tested.
        tried: what came of it.
    """

    verdict: Verdict
    counterfactual: Verdict | None
    tried: Tried | None


def show_counterfactual(
    verdict: Verdict, other: Verdict | None, result: Tried | None, *, as_json: bool
) -> int:
    """Print the JSON where it is asked for; returns the exit status of the run as asked for."""
    if as_json:
        pair = Pair(verdict=verdict, counterfactual=other, tried=result)
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(pair), indent=2) + b"\n")
    return verdict.exit_status
