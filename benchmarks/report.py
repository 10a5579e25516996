"""How large the report of a long run is, how fast it is written, and how fast a browser opens it.

    python -m benchmarks.report [--requests 500000] [--failed 20000]

It makes the evidence of such a run, judges it, writes its reports, and opens the page in a headless
Chromium five times; the median counts. Promises: below 8 MB, opened in under 3 s.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from scenarios.evidence.event import Event
from scenarios.evidence.exchange import ExchangeRecord
from scenarios.evidence.manifest import Manifest
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.run_folder import RecordFile, RunFolder
from scenarios.evidence.tick import Tick
from scenarios.review import review, write_reports
from tests.support.browser import browser, chromium

SECOND = 10**9
START = 5_000 * SECOND
T = TypeVar("T", bound=msgspec.Struct)
RATE = 1000
MOST_BYTES, MOST_SECONDS = 8_000_000, 3.0


def requests(number: int, failed: int) -> Iterator[tuple[Outcome, ExchangeRecord]]:
    """Requests a millisecond apart, of which some fail, in stretches and for several reasons."""
    every = number // max(failed, 1)
    for index in range(number):
        planned = START + index * SECOND // RATE
        name = f"s1-{index:07}-1"
        bad = failed and index % every == 0
        kind = index // every % 3 if bad else -1
        done = planned + 4_000_000 + index % 997 * 10_000
        status = {-1: 200, 0: 500, 1: 404, 2: 503}[kind]
        replica = f"{'a' if index < number // 2 else 'b'}-{1 + index % 3}"
        yield (
            Outcome(
                request_id=name,
                journey="subscribe",
                endpoint="POST /subscriptions" if index % 3 else "GET /subscriptions/confirm",
                connection="reused" if index % 4 else "new",
                planned_ns=planned,
                sent_ns=planned + 200_000,
                first_byte_ns=done - 1000,
                done_ns=done,
                expected=(200,),
                status=status,
                served_by=None if kind == 2 else replica,
                sqlstate="23502" if kind == 0 else None,
                proxy_status="hitless; error=destination_unavailable" if kind == 2 else None,
                subject=f"u{index}@example.com",
            ),
            ExchangeRecord(
                at_ns=planned + 400_000,
                request_id=name,
                status=status,
                backend=None if kind == 2 else replica,
                attempts=1,
                end="complete",
                wait_ns=1000,
                total_ns=3_000_000,
            ),
        )


def make(folder: Path, number: int, failed: int) -> None:
    """Write the evidence of such a run."""

    def lines(file: RecordFile[T], items: Iterator[T]) -> None:
        with file.recorder() as recorder:
            for item in items:
                recorder.write(item)

    run = RunFolder(folder)
    seconds = number / RATE
    manifest = Manifest(
        scenario="benchmark",
        strategy="rolling",
        platform="local",
        router="hitless",
        seed=1,
        replicas=3,
        rate=float(RATE),
        existing_rows=0,
        versions=("a", "b"),
        outcome="completed",
        replay="python -m benchmarks.report",
        hitless="benchmark",
        started_at="2026-01-01T00:00:00+00:00",
    )
    run.write_manifest(manifest)
    lines(run.requests, (outcome for outcome, _ in requests(number, failed)))
    lines(run.exchanges, (exchange for _, exchange in requests(number, failed)))
    lines(run.mails, iter(()))
    lines(
        run.ticks,
        (
            Tick(
                at_ns=START + index * SECOND // 4,
                seconds=0.25,
                planned=RATE // 4,
                ok=RATE // 4 - (failed > 0),
                failed=int(failed > 0),
                p50_seconds=0.004,
                p99_seconds=0.012 + index % 7 / 1000,
                schedule_lag_p99_seconds=0.001,
            )
            for index in range(1, int(seconds * 4))
        ),
    )
    events = [("phase", "baseline", 0.0), ("phase", "rollout", seconds / 4)]
    lines(
        run.events,
        (
            Event(
                at_ns=START + int(at * SECOND),
                verb=verb,
                state="started",
                number=index,
                detail={"name": name},
            )
            for index, (verb, name, at) in enumerate(events)
        ),
    )


def opened(path: Path) -> tuple[list[float], list[str], list[str]]:
    """How many seconds it takes to load, five times; what it asked for and complained of."""
    program = chromium()
    if program is None:
        sys.exit("there is no chromium on this machine")
    with browser(program) as page:
        seconds = []
        for _ in range(5):
            page.open(path.as_uri())
            load = "performance.getEntriesByType('navigation')[0].loadEventEnd / 1000"
            seconds.append(page.run(load))
        return seconds, sorted(set(page.requests)), page.complaints


def main() -> None:
    """Make, measure, and say whether the promises hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=500_000)
    parser.add_argument("--failed", type=int, default=20_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, asked.requests, asked.failed)
        began = time.monotonic()
        judgement = review(folder)
        judged = time.monotonic()
        write_reports(folder, judgement)
        written = time.monotonic()
        report = RunFolder(folder).report
        size = report.stat().st_size
        seconds, asked_for, complaints = opened(report)
    verdict = judgement.verdict
    median = statistics.median(seconds)
    print(f"requests {verdict.requests.planned:,}, failed {verdict.requests.failed:,}")
    print(f"judged in {judged - began:.1f} s, reports written in {written - judged:.1f} s")
    print(f"report.html {size / 1e6:.2f} MB (promise: below {MOST_BYTES / 1e6:.0f})")
    print(f"opened in {median:.2f} s (promise: below {MOST_SECONDS:g}); all: {seconds}")
    print(f"addresses asked for: {len(asked_for)}, complaints: {len(complaints)}")
    sys.exit(not (size < MOST_BYTES and median < MOST_SECONDS and not complaints))


if __name__ == "__main__":
    main()
