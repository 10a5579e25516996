"""The examples with workers, schedulers, streams, services and caches, run again and again.

    python -m benchmarks.beside_the_web [EXAMPLE…] [--runs 10] [--strategy NAME] [--broken]

Each repaired variant must pass every time, under each strategy; under `naive`, which drops
requests, its jobs and streams must be right. With `--broken`, each broken variant is run once, and
must fail with the cause that it declares. `queue-celery` and `cache` need `redis-server`. The exit
status is 1 if a run differs.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median

from scenarios.verdict import Verdict, decode

EXAMPLES = Path(__file__).parents[1] / "examples"
NAMES = ("queue-postgres", "queue-celery", "feed", "services", "cache")
STRATEGIES = ("rolling", "blue-green", "canary", "naive")
PATIENT = ("--set", "objectives.schedule_lag_p99_seconds=2")
"""A busy machine may delay the users; that is not what is measured here."""


def ran(scenario: Path, strategy: str, out: Path) -> Verdict | str:
    """Run a scenario; its verdict, or why there is none."""
    out.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-m", "hitless", "run", str(scenario), "--strategy", strategy]
    words += ["--no-live", "--out", str(out), *PATIENT]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    verdicts = sorted(out.glob("*/verdict.json"))
    if not verdicts:
        return " ".join(done.stderr.strip().splitlines()[-1:]) or f"status {done.returncode}"
    return decode(verdicts[-1].read_bytes())


def findings(verdict: Verdict, strategy: str) -> list[str]:
    """What is not as it should be in a run that should be clean."""
    found = [one.cause for one in verdict.jobs.causes] if verdict.jobs is not None else []
    if verdict.jobs is not None and verdict.jobs.unfinished:
        found.append("unfinished")
    if verdict.streams.missed:
        found.append("stream:missed")
    if strategy != "naive" and verdict.verdict != "pass":
        found += [one.cause for one in verdict.causes] or list(verdict.reasons)
    return found


def declared(scenario: Path) -> Mapping[str, list[str]]:
    """The causes with which a broken variant must fail, by strategy."""
    document = tomllib.loads(scenario.read_text(encoding="utf-8"))
    causes: Mapping[str, list[str]] = document["expect"]["fails_with"]
    return causes


def repaired(path: Path, strategy: str, runs: int, out: Path) -> tuple[bool, str]:
    """Run a repaired variant so many times; whether all were clean, and the figures."""
    clean = 0
    found: Counter[str] = Counter()
    jobs, stops, storms, gaps, seconds = [0, 0], [0.0], [0], [0.0], []
    for number in range(runs):
        verdict = ran(path, strategy, out / str(number))
        if isinstance(verdict, str):
            found[verdict] += 1
            continue
        wrong = findings(verdict, strategy)
        clean += not wrong
        found.update(wrong)
        seconds.append(verdict.seconds)
        if verdict.jobs is not None:
            jobs = [jobs[0] + verdict.jobs.asked, jobs[1] + verdict.jobs.ended]
            stops += [one.seconds for one in verdict.jobs.stops]
        storms.append(verdict.streams.peak or 0)
        gaps.append(verdict.streams.longest_gap or 0.0)
    said = f"{clean} of {runs} clean"
    if jobs[0]:
        said += f" · {jobs[1]:,} of {jobs[0]:,} jobs done · longest stop {max(stops):.2f} s"
    if max(storms):
        said += f" · storm of {max(storms)} a second · longest gap {max(gaps):.2f} s"
    if seconds:
        said += f" · a run of {median(seconds):.1f} s"
    return clean == runs, said + (f" · FOUND {dict(found)}" if found else "")


def broken(path: Path, strategy: str, out: Path) -> tuple[bool, str]:
    """Run a broken variant once; whether it failed as declared, and what the verdict names."""
    verdict = ran(path, strategy, out)
    if isinstance(verdict, str):
        return False, verdict
    named = {one.cause: one.count for one in verdict.causes}
    if verdict.jobs is not None:
        named |= {one.cause: one.count for one in verdict.jobs.causes}
    if verdict.streams.missed:
        named["stream:missed"] = verdict.streams.missed
    held = bool(set(named) & set(declared(path)[strategy])) and verdict.verdict == "fail"
    jobs = [] if verdict.jobs is None else verdict.jobs.causes
    examples = sum(len(one.examples) for one in jobs)
    said = ", ".join(f"{count} {cause}" for cause, count in named.items()) or verdict.verdict
    return held, said + (f" · {examples} jobs named" if examples else "")


def rows(asked: argparse.Namespace, out: Path) -> Iterator[tuple[str, bool, str]]:
    """Run what was asked for, one row after the other."""
    for name in asked.examples or NAMES:
        for path in sorted((EXAMPLES / name).glob("*.toml")):
            is_broken = path.stem.startswith("broken")
            if is_broken != asked.broken:
                continue
            for strategy in declared(path) if is_broken else STRATEGIES:
                if asked.strategy not in (None, strategy):
                    continue
                place = out / f"{name}-{path.stem}-{strategy}"
                held, said = (
                    broken(path, strategy, place)
                    if is_broken
                    else repaired(path, strategy, asked.runs, place)
                )
                yield f"{name}/{path.name} · {strategy}", held, said


def main() -> int:
    """Run the examples, and print a line for each of them."""
    # Whoever ends this ends the run that is under way, whose guardian ends the rest.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("examples", nargs="*", default=[], choices=[*NAMES, []])
    parser.add_argument("--runs", type=int, default=10, help="how often each repaired variant runs")
    parser.add_argument("--strategy", choices=STRATEGIES, help="only this strategy")
    parser.add_argument("--broken", action="store_true", help="run the broken variants instead")
    parser.add_argument("--out", type=Path, help="where the runs are kept")
    asked = parser.parse_args()
    different = 0
    with tempfile.TemporaryDirectory(prefix="beside-") as folder:
        for name, held, said in rows(asked, asked.out or Path(folder)):
            different += not held
            print(f"{name} · {said}{'' if held else ' · DIFFERS'}", flush=True)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
