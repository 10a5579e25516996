"""How long `hitless check` takes: cold, and when nothing changed, beside runs of the same plan.

    python -m benchmarks.check_speed [--only PLAN ...] [--rounds 3]

Each command is a process of its own. Cold means an empty cache. The third column is one
`hitless run` of the same plan under one strategy, since that is what somebody would do instead,
once for each strategy. Processor time, of all processes of a command, says more than seconds where
the machine is busy. A line says how busy it was.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.machine import CORES, how_busy, moment

PLANS = ("big-bang", "code-first", "with-default", "expand-contract")


class Cost(NamedTuple):
    """What a command took, in seconds, and in seconds of the processors."""

    seconds: float
    processor: float


def cost(arguments: list[str], cache: Path) -> Cost:
    """What a command of ours takes.

    Raises:
        SystemExit: it did not end with a verdict.
    """
    began, used = time.monotonic(), _used()
    done = subprocess.run(
        [sys.executable, "-m", "hitless", *arguments],
        env={**os.environ, "HITLESS_CACHE": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(arguments)} ended with {done.returncode}: {done.stderr}")
    return Cost(time.monotonic() - began, _used() - used)


def _used() -> float:
    """The processor time of all children that have ended, and of theirs."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def _median(costs: list[Cost]) -> str:
    middle = sorted(costs)[len(costs) // 2]
    return f"{middle.seconds:.1f} s ({middle.processor:.1f} s of the processors)"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.check_speed")
    parser.add_argument("--only", nargs="+", default=PLANS, metavar="PLAN")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-run", action="store_true", help="leave the third column out")
    arguments = parser.parse_args()
    before = moment()
    print("| plan | cold | nothing changed | one run | cold : four runs |")
    print("|---|---|---|---|---|")
    for plan in arguments.only:
        cold, warm = [], []
        for _ in range(arguments.rounds):
            with tempfile.TemporaryDirectory() as folder:
                cold.append(cost(["check", plan], Path(folder)))
                warm.append(cost(["check", plan], Path(folder)))
        row = [_median(one) for one in (cold, warm)]
        if not arguments.no_run:
            with tempfile.TemporaryDirectory() as folder:
                run = cost(["run", plan, "--no-live", "--out", folder], Path(folder))
            middle = sorted(cold)[len(cold) // 2]
            row += [_median([run]), f"{middle.seconds / (4 * run.seconds):.2f}"]
        print(f"| `{plan}` | {' | '.join(row)} |", flush=True)
    print(f"\n{len(CORES)} cores; {how_busy(before, 0.0)}")


if __name__ == "__main__":
    main()
