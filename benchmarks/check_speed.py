"""How long `hitless check` takes: cold, and when nothing changed, beside runs of the same plan.

    python -m benchmarks.check_speed [--only PLAN ...] [--rounds 3]

Each command is a process of its own. Cold means an empty cache. The third column is one
`hitless run` of the same plan under one strategy, since that is what somebody would do instead,
once for each strategy. A line says how busy the machine was.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import CORES, how_busy, moment

PLANS = ("big-bang", "code-first", "with-default", "expand-contract")


def seconds(arguments: list[str], cache: Path) -> float:
    """How long a command of ours takes.

    Raises:
        SystemExit: it did not end with a verdict.
    """
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "hitless", *arguments],
        env={**os.environ, "HITLESS_CACHE": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(arguments)} ended with {done.returncode}: {done.stderr}")
    return time.monotonic() - began


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
                cold.append(seconds(["check", plan], Path(folder)))
                warm.append(seconds(["check", plan], Path(folder)))
        row = [f"{statistics.median(one):.1f} s" for one in (cold, warm)]
        if not arguments.no_run:
            with tempfile.TemporaryDirectory() as folder:
                run = seconds(["run", plan, "--no-live", "--out", folder], Path(folder))
            row += [f"{run:.1f} s", f"{statistics.median(cold) / (4 * run):.2f}"]
        print(f"| `{plan}` | {' | '.join(row)} |", flush=True)
    print(f"\n{len(CORES)} cores; {how_busy(before, 0.0)}")


if __name__ == "__main__":
    main()
