"""Whether `hitless check` predicts what `hitless run` observes: the cells of plans and strategies.

    python -m benchmarks.check_agreement [--only PLAN ...] [--strategies rolling ...] [--out DIR]

Each plan is checked once, and run under each strategy. A cell agrees if it is predicted safe and no
request failed, or if it is predicted unsafe and a predicted cause is among those of the run. A run
on a busy machine can have more causes, which no check foresees; the table shows them all. The end
of the release must be the predicted one. Exit status 1 if a cell does not agree. A run that says of
itself that it says nothing is made once more.
"""

import argparse
import contextlib
import io
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from scenarios.check.check_report import CheckReport
from scenarios.check.safety import Safety
from scenarios.cli.main import status
from scenarios.verdict import Verdict, decode

PLANS = ("big-bang", "code-first", "with-default", "expand-contract")
STRATEGIES = ("naive", "rolling", "blue-green", "canary")
SIZE = ("--rate", "60", "--existing-rows", "500", "--no-live")


class Cell(NamedTuple):
    """One plan under one strategy.

    Attributes:
        plan: the scenario.
        strategy: the strategy.
        predicted: what the check says of it.
        observed: what the run found.
    """

    plan: str
    strategy: str
    predicted: Safety
    observed: Verdict

    @property
    def causes(self) -> tuple[str, ...]:
        """The causes of failed requests and broken promises, the most frequent one first."""
        observed = self.observed
        return tuple(
            dict.fromkeys(
                (
                    *(one.cause for one in observed.causes if one.count),
                    *(one for one in observed.cause_ids if one.startswith(("data:", "answer"))),
                )
            )
        )

    @property
    def agrees(self) -> bool:
        """Whether the run observed what was predicted."""
        predicted, observed = self.predicted, self.observed
        if predicted.safe:
            return not self.causes and predicted.outcome == observed.rollout.outcome
        # A canary that fails is taken back: that is the judge's doing, and not the schema's.
        ends = observed.rollout.outcome in (predicted.outcome, "rolled_back")
        return bool(set(self.causes) & set(predicted.causes)) and ends

    @property
    def row(self) -> str:
        """A line of the table."""
        wanted = "safe" if self.predicted.safe else ", ".join(self.predicted.causes)
        counts = {one.cause: one.count for one in self.observed.causes if one.count}
        seen = ", ".join(f"{one} ({counts.get(one, '')})" for one in self.causes) or "nothing fails"
        ends = f"{self.predicted.outcome} / {self.observed.rollout.outcome}"
        mark = "yes" if self.agrees else "**no**"
        return f"| {self.plan} | {self.strategy} | {wanted} | {seen} | {ends} | {mark} |"


def predicted(plan: str) -> CheckReport:
    """What the check says of a plan.

    Raises:
        SystemExit: the check failed.
    """
    out = io.StringIO()
    raw = io.BytesIO()
    out.buffer = raw  # type: ignore[misc] - the command writes bytes
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()) as said:
        code = status(["check", plan, "--json"])
    if code not in (0, 1):
        raise SystemExit(f"hitless check {plan} ended with {code}: {said.getvalue()}")
    return msgspec.json.decode(raw.getvalue(), type=CheckReport)


def observed(plan: str, strategy: str, out: Path, size: Sequence[str] = SIZE) -> Verdict:
    """What a run finds; made twice if the first one says nothing.

    Raises:
        SystemExit: the run failed.
    """
    for attempt in (1, 2):
        folder = out / f"{Path(plan).stem}-{strategy}-{attempt}"
        folder.mkdir(parents=True)
        quiet = io.StringIO()
        with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            code = status(["run", plan, "--strategy", strategy, "--out", str(folder), *size])
        if code not in (0, 1, 3):
            raise SystemExit(f"hitless run {plan} --strategy {strategy} ended with {code}")
        (run,) = folder.iterdir()
        verdict = decode((run / "verdict.json").read_bytes())
        if verdict.verdict != "invalid":
            break
    return verdict


def cells(plans: Sequence[str], strategies: Sequence[str], out: Path) -> Iterator[Cell]:
    """Check each plan, and run it under each strategy."""
    for plan in plans:
        report = predicted(plan)
        for strategy in strategies:
            yield Cell(plan, strategy, report.strategies[strategy], observed(plan, strategy, out))


def main() -> int:
    """Print the table; return the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.check_agreement")
    parser.add_argument("--only", nargs="+", default=PLANS, metavar="PLAN")
    parser.add_argument("--strategies", nargs="+", default=STRATEGIES, metavar="STRATEGY")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as own:
        out = arguments.out or Path(own)
        bad = 0
        print("| plan | strategy | predicted | observed | ends: predicted / observed | agree |")
        print("|---|---|---|---|---|---|")
        for cell in cells(arguments.only, arguments.strategies, out):
            print(cell.row, flush=True)
            bad += not cell.agrees
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
