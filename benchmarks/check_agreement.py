"""Whether `hitless check` predicts what `hitless run` observes: the cells of plans and strategies.

    python -m benchmarks.check_agreement [--only PLAN ...] [--strategies rolling ...] [--out DIR]

Each plan is checked once, and run under each strategy. A plan is the name of a built-in scenario or
the path of a file. A cell agrees if

- the check says `safe` and the run `pass`, or the check says `unsafe` and the run `fail`,
- each cause of the run is predicted, and, if the check says `unsafe`, a predicted one was observed,
- the release ends as predicted; a canary that fails may be taken back instead.

Causes of a busy machine (`MACHINE`) are set aside, and named with their reasons: a check has no
load, so it cannot foresee them, and they say nothing about the release. If a run has such causes,
or says of itself that it says nothing, it is made once more. Where the check says that nobody
serves for a moment, what requests in flight meet then (`STOPPING`) is the same moment seen
otherwise. Exit status 1 if a cell does not agree.
"""

import argparse
import contextlib
import io
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from scenarios.check.check_report import CheckReport
from scenarios.check.safety import NO_BACKEND, Safety
from scenarios.cli.main import status
from scenarios.verdict import Verdict, decode

PLANS = ("big-bang", "code-first", "with-default", "expand-contract")
STRATEGIES = ("naive", "rolling", "blue-green", "canary")
HEAD = """\
| plan | strategy | predicted | observed | set aside | ends: predicted / observed | agree |
|---|---|---|---|---|---|---|"""
SIZE = ("--rate", "60", "--existing-rows", "500")
"""The traffic and the rows of the four plans; the runs of other scenarios are as they say."""

PATIENT = ("--set", "objectives.schedule_lag_p99_seconds=2")
"""Users may come late on a busy machine: that is no matter of versions and schemas."""


MACHINE: Mapping[str, str] = {
    "machine:starved": "others used the machine, as its samples show",
    "harness:descriptors": "the load generator had no descriptor left",
    "harness:ports": "the load generator had no port left",
    "harness:undispatched": "the load generator could not send in time",
    "pool_exhausted": "requests waited too long for a connection that other requests used",
    "statement_timeout": "the database did not answer in time",
    "transport:timeout": "there was no answer in time",
    "transport:connect_timeout": "there was no connection in time",
    "balancer:http_response_timeout": "there was no answer in time",
    "balancer:connection_timeout": "there was no connection in time",
    "lifecycle:unresponsive": "a replica answered nobody, not even its health checks",
}
"""Causes of the machine: each is a matter of time under load. What the application, its driver or
the database said is never among them."""

_CUT = "replicas are stopped, and nobody serves yet"
STOPPING: Mapping[str, str] = dict.fromkeys(
    (
        *("lifecycle:undrained", "lifecycle:stopped", "lifecycle:drain_exceeded"),
        *("lifecycle:not_ready", "balancer:connection_refused", "balancer:connection_terminated"),
        *("balancer:http_response_incomplete", "transport:reset", "transport:eof"),
        "transport:reused_connection",
    ),
    _CUT,
)
"""What requests in flight meet when the last replica of all stops. It is set aside only where the
check says that this moment exists (`no_backend`)."""

CONTRASTS = frozenset({"mixed_fleet:version", "lifecycle:warming"})
"""Causes that a run finds by comparing replicas. A check tells the same answers by their status."""


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
    def causes(self) -> Mapping[str, int | None]:
        """The causes of the run, each with the number of its requests; the most frequent first.

        A broken promise about data, and a changed answer, have no number.
        """
        found: dict[str, int | None] = {}
        for one in self.observed.causes:
            found[one.cause] = (found.get(one.cause) or 0) + one.count
        told = {one for one in self.observed.cause_ids if one.startswith(("data:", "answer"))}
        return found | dict.fromkeys(sorted(told - set(found)))

    @property
    def aside(self) -> Mapping[str, str]:
        """The causes of the run that are set aside, each with the reason."""
        nobody = NO_BACKEND in self.predicted.causes
        reasons = MACHINE | STOPPING if nobody else MACHINE
        return {one: reasons[one] for one in self.causes if one in reasons}

    @property
    def of_machine(self) -> bool:
        """Whether the machine had a part in the run."""
        return any(one in MACHINE for one in self.causes)

    @property
    def of_release(self) -> tuple[str, ...]:
        """The causes of the run that are the release's."""
        return tuple(one for one in self.causes if one not in self.aside)

    @property
    def disagreements(self) -> tuple[str, ...]:
        """In what the run is not as predicted, one sentence each."""
        return tuple(self._disagreements())

    def _disagreements(self) -> Iterator[str]:
        predicted, observed = self.predicted, self.observed
        wanted = "pass" if predicted.safe else "fail"
        # Requests that the machine made fail are no `pass`, either.
        if observed.verdict != wanted and not (predicted.safe and self.of_machine):
            yield f"the run's verdict is {observed.verdict}, not {wanted}"
        foreseen = [self._names(one) <= set(predicted.causes) for one in self.of_release]
        for cause, known in zip(self.of_release, foreseen, strict=True):
            if not known:
                yield f"{cause} is not predicted"
        if not predicted.safe and not any(foreseen):
            yield "no predicted cause was observed"
        ends = (predicted.outcome, *(("rolled_back",) * (self.strategy == "canary")))
        # A canary that fails is taken back: that is the judge's doing, and not the schema's.
        allowed = ends if not predicted.safe else ends[:1]
        if observed.rollout.outcome not in allowed:
            yield f"the release ends with {observed.rollout.outcome}, not {predicted.outcome}"

    def _names(self, cause: str) -> frozenset[str]:
        """What a check calls a cause of the run."""
        if cause not in CONTRASTS:
            return frozenset({cause})
        same = [one for one in self.observed.causes if one.cause == cause]
        return frozenset(
            f"status:{request.status}" for one in same for request in one.evidence.examples
        )

    @property
    def row(self) -> str:
        """A line of the table."""
        predicted = self.predicted
        wanted = "safe" if predicted.safe else _list(predicted.causes)
        counted = {
            one: one if count is None else f"{one} ({count:,})"
            for one, count in self.causes.items()
        }
        seen = _list(counted[one] for one in self.of_release) or "nothing fails"
        aside = _list(f"{counted[one]}: {reason}" for one, reason in self.aside.items())
        ends = f"{predicted.outcome} / {self.observed.rollout.outcome}"
        wrong = "; ".join(self.disagreements)
        agree = f"**no**: {wrong}" if wrong else "yes"
        cells = (self.plan, self.strategy, wanted, seen, aside or "nothing", ends, agree)
        return f"| {' | '.join(cells)} |"


def _list(words: Iterable[str]) -> str:
    return ", ".join(words)


def predicted(plan: str) -> CheckReport:
    """What the check says of a plan.

    Raises:
        SystemExit: the check failed.
    """
    out = io.StringIO()
    raw = io.BytesIO()
    out.buffer = raw  # type: ignore[misc]  # the command writes bytes
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()) as said:
        code = status(["check", plan, "--json"])
    if code not in (0, 1):
        raise SystemExit(f"hitless check {plan} ended with {code}: {said.getvalue()}")
    return msgspec.json.decode(raw.getvalue(), type=CheckReport)


def tried(plan: str, strategy: str, safety: Safety, out: Path) -> Cell:
    """Make the run of a cell; once more if the machine had a part in it.

    Raises:
        SystemExit: the run failed.
    """
    cell = Cell(plan, strategy, safety, _observed(plan, strategy, out))
    if cell.observed.verdict == "invalid" or cell.of_machine:
        cell = Cell(plan, strategy, safety, _observed(plan, strategy, out))
    return cell


def _observed(plan: str, strategy: str, out: Path) -> Verdict:
    folder = Path(tempfile.mkdtemp(prefix=f"{Path(plan).stem}-{strategy}-", dir=out))
    size = SIZE if plan in PLANS else ()
    arguments = ["run", plan, "--strategy", strategy, "--out", str(folder), *size, *PATIENT]
    quiet = io.StringIO()
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        code = status([*arguments, "--no-live"])
    if code not in (0, 1, 3):
        raise SystemExit(f"hitless {' '.join(arguments)} ended with {code}: {quiet.getvalue()}")
    (run,) = folder.iterdir()
    return decode((run / "verdict.json").read_bytes())


def cells(plans: Sequence[str], strategies: Sequence[str], out: Path) -> Iterator[Cell]:
    """Check each plan, and run it under each strategy."""
    for plan in plans:
        report = predicted(plan)
        for strategy in strategies:
            yield tried(plan, strategy, report.strategies[strategy], out)


def main() -> int:
    """Print the table; return the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.check_agreement")
    parser.add_argument("--only", nargs="+", default=PLANS, metavar="PLAN")
    parser.add_argument("--strategies", nargs="+", default=STRATEGIES, metavar="STRATEGY")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as own:
        out = arguments.out or Path(own)
        out.mkdir(parents=True, exist_ok=True)
        bad = 0
        print(HEAD)
        for cell in cells(arguments.only, arguments.strategies, out):
            print(cell.row, flush=True)
            bad += bool(cell.disagreements)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
