"""How long the verdict and the reports of a long run take, and how a browser opens the report.

    python -m benchmarks.report [--requests 100000 500000 ...] [--failed 20000] [--against 41f70b2]

For each number of requests it makes the folder of such a run (600 bytes a request, in TMPDIR), and
judges it and writes its reports in a process of its own: with this code, and with that of an older
commit on the same folder. Then it opens the page in a headless Chromium five times.

The goals: at most a quarter of the time of 41f70b2, and at most 1 GiB of memory. The promises: a
page below 8 MB that opens in under 3 s. The exit status is 1 if one of all these is missed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.long_run import LongRun
from scenarios.evidence.run_folder import RunFolder
from tests.support.browser import browser, chromium

REPOSITORY = Path(__file__).parents[1]
BASELINE = "41f70b2"
MOST_BYTES, MOST_SECONDS = 8_000_000, 3.0
MOST_SHARE, MOST_MEMORY = 0.25, 1 << 30
EVERY_SECONDS = 0.2

NOW = """
from scenarios.review import review, write_reports
def judged(folder):
    judgement = review(folder)
    return judgement, judgement.verdict
"""
BEFORE = """
from scenarios.report import reach_verdict
from scenarios.reporting import write_reports
def judged(folder):
    verdict = reach_verdict(folder)
    return verdict, verdict
"""
MEASURED = """
import json, resource, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
began = time.monotonic()
found, verdict = judged(folder)
middle = time.monotonic()
write_reports(folder, found)
end = time.monotonic()
used, copies = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
print(json.dumps({
    "judged": middle - began,
    "written": end - middle,
    "cpu": used.ru_utime + used.ru_stime + copies.ru_utime + copies.ru_stime,
    "memory": used.ru_maxrss * 1024,
    "verdict": verdict.verdict,
    "failed": verdict.requests.failed,
}))
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement.

    Attributes:
        judged: seconds until the verdict.
        written: seconds from there until all reports were written.
        cpu: processor time of all of it, in seconds, with the imports and all its processes.
        memory: the most that was resident, in bytes: of the process itself, or of all its processes
            together, whichever is more.
        verdict: what came out.
        failed: how many requests failed.
        others: how much of the machine's processors other processes used meanwhile.
    """

    judged: float
    written: float
    cpu: float
    memory: int
    verdict: str
    failed: int
    others: float

    @property
    def seconds(self) -> float:
        """Verdict and reports."""
        return self.judged + self.written

    def row(self, code: str, requests: int) -> str:
        """A row of the table."""
        return (
            f"| {requests:,} | {code} | {self.judged:.1f} s | {self.written:.1f} s | "
            f"{self.seconds:.1f} s | {self.cpu:.1f} s | {self.memory / 1e6:.0f} MB | "
            f"{self.others * 100:.0f} % |"
        )


HEAD = """\
| Requests | Code | Verdict | Reports | Together | Processor time | Memory | Used by others |
|---|---|---|---|---|---|---|---|"""


def processor_times() -> tuple[float, float]:
    """How long all processors were busy, and how long they were there, in seconds."""
    with Path("/proc/stat").open(encoding="ascii") as file:
        ticks = [int(one) for one in file.readline().split()[1:9]]
    second = os.sysconf("SC_CLK_TCK")
    return (sum(ticks) - ticks[3] - ticks[4]) / second, sum(ticks) / second


def resident(process: int) -> int:
    """The memory of a process and of those that it has started; what they share counts once."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii")
        found = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii")
    except OSError:  # it has just ended
        return 0
    own = next((line.split()[1] for line in found.splitlines() if line.startswith("Pss:")), "0")
    return int(own) * 1024 + sum(resident(int(child)) for child in children.split())


def measure(code: str, where: Path, folder: Path) -> Measured:
    """Judge a folder and write its reports, with the code of a tree.

    Args:
        code: defines `judged` and `write_reports`.
        where: the tree.
        folder: the run's.
    """
    busy, whole = processor_times()
    together = 0
    with subprocess.Popen(
        [sys.executable, "-P", "-c", code + MEASURED, str(folder)],
        env={**os.environ, "PYTHONPATH": str(where), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=where,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        while process.poll() is None:
            together = max(together, resident(process.pid))
            with suppress(subprocess.TimeoutExpired):
                process.wait(EVERY_SECONDS)
        told = process.stdout.read() if process.stdout else ""
    if process.returncode:
        sys.exit(process.returncode)
    busy_since, whole_since = processor_times()
    found = json.loads(told)
    found["memory"] = max(found["memory"], together)
    others = max(0.0, busy_since - busy - found["cpu"]) / max(whole_since - whole, 1e-9)
    return Measured(**found, others=others)


@contextmanager
def tree_of(commit: str) -> Iterator[Path]:
    """The tree of a commit of this repository, for a while."""
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name) / "tree"
        tree.mkdir()
        archive = subprocess.run(
            ["git", "archive", commit], cwd=REPOSITORY, stdout=subprocess.PIPE, check=True
        )
        subprocess.run(["tar", "-x", "-C", str(tree)], input=archive.stdout, check=True)
        yield tree


def for_an_older_reader(folder: Path, copy: Path) -> Path:
    """The same evidence, with a manifest that names no objective: older code refuses newer ones."""
    copy.mkdir()
    for file in folder.glob("*.ndjson"):
        os.link(file, copy / file.name)
    manifest = json.loads(RunFolder(folder).manifest.read_bytes())
    RunFolder(copy).manifest.write_text(json.dumps({**manifest, "objectives": {}}))
    return copy


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


def show_page(report: Path) -> bool:
    """Print how large the page is and how fast it opens; whether it keeps its promises."""
    size = report.stat().st_size
    seconds, asked_for, complaints = opened(report)
    median = statistics.median(seconds)
    print(f"report.html {size / 1e6:.2f} MB (promise: below {MOST_BYTES / 1e6:.0f})")
    print(f"opened in {median:.2f} s (promise: below {MOST_SECONDS:g}); all: {seconds}")
    print(f"addresses asked for: {len(asked_for)}, complaints: {len(complaints)}")
    return size < MOST_BYTES and median < MOST_SECONDS and not complaints


def compare(number: int, failed: int, older: tuple[str, Path] | None, *, page: bool) -> bool:
    """Measure with one size of a run; print it, and whether the promises hold."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        folder.mkdir()
        LongRun(number, failed).write(folder)
        now = measure(NOW, REPOSITORY, folder)
        print(now.row("this", number), flush=True)
        kept = now.memory <= MOST_MEMORY
        if older is not None:
            commit, tree = older
            copy = for_an_older_reader(folder, Path(name) / "older")
            before = measure(BEFORE, tree, copy)
            print(before.row(commit, number))
            share = now.seconds / before.seconds
            print(
                f"  {share:.2f} of the time and {now.cpu / before.cpu:.2f} of the processor time "
                f"(goal: {MOST_SHARE:g}); verdicts: {now.verdict}, {before.verdict}; "
                f"failed: {now.failed:,}, {before.failed:,}",
                flush=True,
            )
            kept &= share <= MOST_SHARE and now.failed == before.failed
        if page:
            kept &= show_page(RunFolder(folder).report)
        return kept


def main() -> None:
    """Make, measure, and say whether the promises hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--requests", type=int, nargs="+", default=[500_000])
    parser.add_argument("--failed", type=int, default=20_000, help="about so many of them")
    parser.add_argument("--against", default=BASELINE, metavar="COMMIT")
    parser.add_argument("--alone", action="store_true", help="do not run the older code")
    parser.add_argument("--no-page", action="store_true", help="do not open the report")
    asked = parser.parse_args()
    print(HEAD, flush=True)
    with tree_of(asked.against) as tree:
        older = None if asked.alone else (asked.against, tree)
        kept = [
            compare(number, min(asked.failed, number // 25), older, page=not asked.no_page)
            for number in asked.requests
        ]
    sys.exit(not all(kept))


if __name__ == "__main__":
    main()
