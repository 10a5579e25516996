"""A run's reports: the files for people and machines that every run leaves beside its evidence."""

import os
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

from scenarios.errors import UsageError
from scenarios.evidence import folder as files
from scenarios.evidence.event import read_events
from scenarios.evidence.exchange import Exchange
from scenarios.evidence.locks import read_locks
from scenarios.evidence.mail import read_mails
from scenarios.evidence.manifest import read_manifest
from scenarios.evidence.ndjson import read_lines
from scenarios.evidence.outcome import read_outcomes
from scenarios.evidence.tick import read_ticks
from scenarios.reports.github import annotations
from scenarios.reports.junit import junit
from scenarios.reports.markdown import LIMIT_BYTES, summary
from scenarios.reports.page.report import html_report
from scenarios.reports.page.stories import Stories, bad_of, tell
from scenarios.reports.prometheus import metrics
from scenarios.review import surroundings_of
from scenarios.verdict import Verdict
from scenarios.verdict.timeline import Timeline


def write_reports(folder: Path, verdict: Verdict) -> None:
    """Write `report.html`, `junit.xml`, `summary.md` and `metrics.prom` into a run's folder.

    Raises:
        EvidenceError: the evidence is damaged.
        OSError: a file cannot be written.
    """
    page = html_report(
        verdict,
        read_events(folder / files.EVENTS),
        read_ticks(folder / files.TICKS),
        str(folder),
        stories=_stories(folder, verdict),
        locks=read_locks(folder / files.LOCKS) if (folder / files.LOCKS).is_file() else (),
    )
    (folder / files.REPORT).write_text(page, encoding="utf-8")
    (folder / files.JUNIT).write_bytes(junit(verdict))
    (folder / files.SUMMARY).write_text(summary(verdict, str(folder)), encoding="utf-8")
    (folder / files.METRICS).write_bytes(metrics(verdict))


def _stories(folder: Path, verdict: Verdict) -> Stories:
    """What the evidence says of each bad request; without any, its files are not read again."""
    if not verdict.requests.failed + verdict.requests.slow:
        return Stories()
    manifest = read_manifest(folder / files.MANIFEST)
    around = surroundings_of(folder, manifest, Timeline(read_events(folder / files.EVENTS)))
    outcomes = around.reading(read_outcomes(folder / files.REQUESTS))
    bad = bad_of(outcomes, manifest.objectives.latency_seconds)
    deque(around.skew.reading(read_mails(folder / files.MAILS)), maxlen=0)  # to their end
    ids = {outcome.request_id for outcome in bad}
    log = folder / files.ACCESS_LOG
    lines = read_lines(log, Exchange) if log.is_file() else ()
    return tell(
        bad,
        {line.request_id: line for line in lines if line.request_id in ids},
        around,
        verdict.origin_ns,
    )


def write_junit(path: Path | None, verdict: Verdict) -> None:
    """Write JUnit XML where the user wants it too; nowhere if that is None.

    Raises:
        UsageError: it cannot be written there.
    """
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(junit(verdict))
    except OSError as error:
        raise UsageError(f"--junit {path}: {error.strerror}") from error


def tell_github(
    verdict: Verdict, folder: Path, log: IO[str], environ: Mapping[str, str] = os.environ
) -> None:
    """Add to the step summary and annotate the log, where GitHub Actions runs us.

    Raises:
        UsageError: the summary's file cannot be written.
    """
    add_to_step_summary(summary(verdict, str(folder)), environ)
    annotate(annotations(verdict), log, environ)


def annotate(lines: Iterable[str], log: IO[str], environ: Mapping[str, str] = os.environ) -> None:
    """Print workflow commands, where somebody reads them."""
    if environ.get("GITHUB_ACTIONS") == "true":
        log.writelines(f"{line}\n" for line in lines)
        log.flush()


def add_to_step_summary(text: str, environ: Mapping[str, str] = os.environ) -> None:
    """Append to the file that `GITHUB_STEP_SUMMARY` names, if that is set and the text still fits.

    A step's summary over 1,024 KiB is refused as a whole, so what does not fit is left out.

    Raises:
        UsageError: the file cannot be written.
    """
    path = environ.get("GITHUB_STEP_SUMMARY")
    if not path:
        return
    try:
        with Path(path).open("ab") as file:
            data = text.encode() + b"\n"
            if file.tell() + len(data) <= LIMIT_BYTES + 1000:
                file.write(data)
    except OSError as error:
        raise UsageError(f"GITHUB_STEP_SUMMARY={path}: {error.strerror}") from error
