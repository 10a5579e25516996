"""One request of each cause beside the raw lines of every log, so that a person can compare.

    python -m benchmarks.causes --out DIR [--cells CELL ...] [--seed 1]

It runs the sixteen cells of the matrix, small, and five runs with a fault. Then it draws one
request of every cause that was found, of failed requests and of slow ones, and prints its story as
`hitless explain` tells it, and below that what the logs have of it: the lines that hold its id or
that of the request which led to it, and those about its replica at that time. In the end it counts
each cause.

Exit status 1 if a failed request is unattributed, or if a story has another cause than the verdict.
"""

import argparse
import asyncio
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from scenarios.cli.main import status
from scenarios.cli.matrix import PLANS
from scenarios.cli.running import run_one
from scenarios.evidence.exchange import ExchangeRecord
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.progress import Silence
from scenarios.evidence.run_folder import RunFolder
from scenarios.review import explain
from scenarios.runner.environment import environment
from scenarios.scenario.experiment import STRATEGY_NAMES
from scenarios.scenario.overrides import Changes
from scenarios.verdict import Verdict
from scenarios.verdict.model import Cause

MATRIX = Changes(replicas=2, rate=60, existing_rows=2000, baseline=1, settle=0.5)
FAULTY = Changes(replicas=2, rate=40, existing_rows=500, baseline=0.5, settle=1.5)
MARGIN_NS = 100_000_000
MOST_LINES = 16


class Cell(NamedTuple):
    """One run.

    Attributes:
        scenario: what is released.
        strategy: how.
        changes: how small, and with which fault.
    """

    scenario: str
    strategy: str
    changes: Changes


def broken(
    strategy: str, *faults: str, settle: float = 1.5, settings: tuple[str, ...] = ()
) -> Cell:
    """A release that is fine by itself, with faults."""
    changes = msgspec.structs.replace(FAULTY, faults=faults, settle=settle, settings=settings)
    return Cell("with-default", strategy, changes)


CELLS: Mapping[str, Cell] = {
    **{f"{plan}/{name}": Cell(plan, name, MATRIX) for plan in PLANS for name in STRATEGY_NAMES},
    # What waits for the lock is in flight when its replica is killed.
    "kill": broken("blue-green", "block:1.5@0.2", "kill@1.2"),
    "freeze": broken(
        *("rolling", "freeze:14@0.1"),
        settle=16,
        settings=("traffic.timeout_seconds=5", "policy.drain_timeout_seconds=20"),
    ),
    "restart-postgres": broken("blue-green", "restart-postgres@0.2"),
    "crash-postgres": broken("blue-green", "crash-postgres@0.2"),
    "block": broken("blue-green", "block:2@0.2"),
}


class Ran(NamedTuple):
    """What came of a cell."""

    cell: str
    verdict: Verdict
    folder: Path


class Found(NamedTuple):
    """A request with a cause."""

    ran: Ran
    cause: str
    request_id: str


async def run(names: Iterable[str], out: Path, seed: int) -> list[Ran]:
    """Run the cells, one after the other; each has a server of its own, which a fault may hurt."""
    done = []
    for name in names:
        scenario, strategy, changes = CELLS[name]
        async with environment() as place:
            experiment = changes.experiment(scenario, strategy, seed)
            verdict, folder = await run_one(experiment, place, out, Silence())
        done.append(Ran(name, verdict, folder))
        requests = verdict.requests
        print(
            f"{name:<28}{verdict.verdict:<9}{requests.failed:>5} failed {requests.slow:>5} slow of "
            f"{requests.planned:,}; unattributed {verdict.unattributed}; {folder.name}",
            flush=True,
        )
    return done


def named(verdict: Verdict) -> Iterator[tuple[str, Cause]]:
    """The causes of a run, of failed requests and of slow ones, with names that tell them apart."""
    for cause in verdict.causes:
        yield cause.cause + (", unattributed" * (cause.confidence == "symptom")), cause
    for cause in verdict.slow_causes:
        yield f"{cause.cause}, slow", cause


def samples(done: Iterable[Ran], seed: int) -> dict[str, Found]:
    """One request of every cause, drawn from all that the verdicts list."""
    every: dict[str, list[Found]] = defaultdict(list)
    for ran in done:
        for name, cause in named(ran.verdict):
            every[name] += [Found(ran, cause.cause, one) for one in cause.evidence.requests]
    chance = random.Random(seed)  # noqa: S311 - reproduction, no secret
    return {cause: chance.choice(every[cause]) for cause in sorted(every)}


def tell(name: str, found: Found) -> bool:
    """Print a request's story and the raw lines; whether the story has the verdict's cause."""
    folder, request_id = found.ran.folder, found.request_id
    print(f"\n{'=' * 100}\n{name}: {request_id} in {found.ran.cell}, {folder.name}\n", flush=True)
    status(["explain", str(folder), request_id])
    for file, lines in raw(folder, request_id):
        print(f"\n--- {file}", *lines, sep="\n")
    told = explain(folder, request_id).cause
    if told != found.cause:
        print(f"\nthe story has another cause: {told}")
    return told == found.cause


def raw(folder: Path, request_id: str) -> Iterator[tuple[str, list[str]]]:
    """By file, the lines about a request: by its id, or by its replica and its time.

    Of many, those nearest to its end are taken.
    """
    run = RunFolder(folder)
    outcome = next(one for one in run.requests.read() if _is(one, request_id))
    asked = next((line for line in run.exchanges.read() if _is(line, request_id)), None)
    replica = outcome.served_by or (asked.backend if asked else None)
    ids = _words(request_id, outcome.cause_id)
    for path in (*sorted(folder.glob("*.ndjson")), *sorted(folder.glob("*.log"))):
        if path in (*(run.ticks.path, run.reads.path), *_rows(run)):
            continue  # they tell of no single request
        with path.open(encoding="utf-8", errors="replace") as file:
            lines = [line.strip() for line in file]
        wanted = [
            (0 if ids.search(line) else abs(_stamp(line).at_ns - outcome.done_ns), number)
            for number, line in enumerate(lines)
            if ids.search(line) or _concerns(run, path, line, replica, outcome)
        ]
        if wanted:
            shown = sorted(number for _, number in sorted(wanted)[:MOST_LINES])
            more = len(wanted) - len(shown)
            rest = [f"({more:,} more)"] if more else []
            yield path.name, [*(lines[number] for number in shown), *rest]


class _Stamped(msgspec.Struct, frozen=True):
    """A line of a log, as far as it says when, and about whom."""

    at_ns: int = 0
    end_ns: int = 0
    replicas: tuple[str, ...] = ()
    id: str = ""


def _stamp(line: str) -> _Stamped:
    try:
        return msgspec.json.decode(line, type=_Stamped)
    except msgspec.DecodeError:
        return _Stamped()  # somebody's plain words


def _concerns(run: RunFolder, path: Path, line: str, replica: str | None, outcome: Outcome) -> bool:
    """Whether a line is about the replica at the time of the request.

    The journal's lines and the balancer's about its backends are few, so they count at any time:
    those about the replica, or about nobody in particular, and all where no replica is known. Of
    Postgres, whatever was at that time counts.
    """
    stamped = _stamp(line)
    if not stamped.at_ns:
        return False
    begin = outcome.planned_ns - MARGIN_NS
    then = (
        stamped.at_ns <= outcome.done_ns + MARGIN_NS and (stamped.end_ns or stamped.at_ns) >= begin
    )
    about = replica is not None and _words(replica).search(line) is not None
    if path in (run.events.path, run.backend_changes.path):
        return about or replica is None or (not stamped.replicas and not stamped.id)
    if path in (run.server_lines.path, run.lock_waits.path):
        return then
    if path in (run.exchanges.path, run.requests.path, run.mails.path):
        return about and then
    return path.stem == replica and then


def _rows(run: RunFolder) -> tuple[Path, ...]:
    return run.subjects_before.path, run.subjects_after.path


def _words(*words: str | None) -> re.Pattern[str]:
    """Finds any of them as a word of its own: s1-000119-1 is no part of s1-000119-12."""
    return re.compile("|".join(rf"(?<![\w-]){re.escape(word)}(?![\w-])" for word in words if word))


def _is(line: Outcome | ExchangeRecord, request_id: str) -> bool:
    return line.request_id == request_id


def table(done: Iterable[Ran]) -> int:
    """Print how often each cause was found, and where; how many requests have none."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    left = 0
    for cell, verdict, _ in done:
        left += verdict.unattributed
        for name, cause in named(verdict):
            counts[name][cell] += cause.count
    print(f"\n{'=' * 100}\n{'cause':<34}{'requests':>9}  cells")
    for name, cells in sorted(counts.items()):
        where = ", ".join(f"{cell} {count:,}" for cell, count in cells.most_common())
        print(f"{name:<34}{cells.total():>9,}  {where}")
    print(f"unattributed: {left} (promise: 0)")
    return left


def main() -> int:
    """Run, draw, tell and count."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, required=True, help="where the runs are kept")
    parser.add_argument(
        "--cells", nargs="+", choices=CELLS, default=tuple(CELLS), metavar="CELL", help="which runs"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the runs and of the drawing")
    given = parser.parse_args()
    done = asyncio.run(run(given.cells, given.out, given.seed))
    agreed = [tell(name, found) for name, found in samples(done, given.seed).items()]
    return int(table(done) > 0 or not all(agreed))


if __name__ == "__main__":
    raise SystemExit(main())
