"""Clean releases: how many findings the verdict makes where there is nothing to find.

    python -m benchmarks.clean_runs --out DIR [--clean 50] [--canaries 20] [--first 1]

A release that breaks nothing is run again and again, with another seed each time: the newsletter
through compatible steps under rolling and blue-green, and a service without a database under
rolling. Then good versions are deployed as canaries; each must be promoted. All runs are short and
small, so that fifty of them take about ten minutes; `--first` gives the first seed, so that they
can also be made in pieces, one after the other.

A finding is a cause, an objective that was missed, damaged data, a replica that did not stop as
asked, or a canary that was taken back. A run that says of itself that it says nothing (*invalid*,
such as on a machine that others use) is no clean run; it is told and counted apart.

Exit status 1 if anything was found, or if a canary was not promoted.
"""

import argparse
import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from scenarios.cli.running import run_one
from scenarios.evidence.progress import Silence
from scenarios.runner.environment import environment
from scenarios.scenario.overrides import Changes
from scenarios.verdict import Verdict

SMALL = Changes(replicas=2, rate=40, baseline=1, settle=0.5)
ROWS = Changes(replicas=2, rate=40, baseline=1, settle=0.5, existing_rows=500)


class Kind(NamedTuple):
    """One kind of run."""

    scenario: str
    strategy: str
    changes: Changes


CLEAN = (
    Kind("expand-contract", "rolling", ROWS),
    Kind("good", "rolling", SMALL),
    Kind("with-default", "blue-green", ROWS),
    Kind("expand-contract", "blue-green", ROWS),
    Kind("good", "blue-green", SMALL),
)
CANARIES = (Kind("good", "canary", SMALL), Kind("expand-contract", "canary", ROWS))


def findings(verdict: Verdict, *, canary: bool) -> Iterator[str]:
    """What a verdict found, one word or two for each."""
    for cause in verdict.causes:
        yield f"{cause.cause} ({cause.count:,})"
    for cause in verdict.slow_causes:
        yield f"{cause.cause} ({cause.count:,} slow)"
    for check in verdict.checks:
        if check.held is False:
            yield f"objective {check.check}"
    for end in verdict.replica_ends:
        if end.way != "stopped":
            yield f"replica {end.way}"
    if canary and verdict.rollout.outcome != "completed":
        yield f"canary {verdict.rollout.outcome}: {verdict.rollout.reason}"


class Counted(NamedTuple):
    """What came of some runs."""

    said: int
    invalid: int
    found: Counter[str]


async def run(kinds: tuple[Kind, ...], seeds: range, out: Path, *, canary: bool) -> Counted:
    """Run each kind in turn, one seed after the other, on one database server."""
    said = invalid = 0
    found: Counter[str] = Counter()
    async with environment() as place:
        for seed in seeds:
            kind = kinds[seed % len(kinds)]
            experiment = kind.changes.experiment(kind.scenario, kind.strategy, seed)
            verdict, folder = await run_one(experiment, place, out, Silence())
            mine = list(findings(verdict, canary=canary))
            nothing = verdict.verdict == "invalid"
            said, invalid = said + (not nothing), invalid + nothing
            if not nothing:
                found.update(mine)
            why = "; ".join((*verdict.reasons, *verdict.doubts)) if nothing else ", ".join(mine)
            print(
                f"{kind.scenario:<16}{kind.strategy:<11} seed {seed:<4}{verdict.verdict:<8}"
                f"{verdict.requests.ok:>5} of {verdict.requests.planned:,} ok  "
                f"{verdict.rollout.outcome:<12}load {os.getloadavg()[0]:>4.1f}  "
                f"{why or 'no finding'}  {folder.name}",
                flush=True,
            )
    return Counted(said, invalid, found)


def told(name: str, counted: Counted) -> bool:
    """Print what was found; whether that was nothing."""
    found = ", ".join(f"{what} in {number}" for what, number in counted.found.most_common())
    print(
        f"{name}: {counted.said} runs, {counted.found.total()} findings"
        + (f": {found}" if found else "")
        + (f"; {counted.invalid} more runs said nothing of the release" * (counted.invalid > 0))
    )
    return not counted.found


def main() -> int:
    """Run and count."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, required=True, help="where the runs are kept")
    parser.add_argument("--clean", type=int, default=50, help="how many clean releases")
    parser.add_argument("--canaries", type=int, default=20, help="how many canaries")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    given = parser.parse_args()
    good = True
    for name, kinds, number, canary in (
        ("clean releases", CLEAN, given.clean, False),
        ("good canaries", CANARIES, given.canaries, True),
    ):
        if number:
            seeds = range(given.first, given.first + number)
            good &= told(name, asyncio.run(run(kinds, seeds, given.out, canary=canary)))
    return int(not good)


if __name__ == "__main__":
    raise SystemExit(main())
