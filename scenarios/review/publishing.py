"""A run's reports: the files for people and machines that every run leaves beside its evidence."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

from scenarios.errors import UsageError
from scenarios.evidence.run_folder import RunFolder, write
from scenarios.reports.github import annotations
from scenarios.reports.junit import junit
from scenarios.reports.markdown import LIMIT_BYTES, summary
from scenarios.reports.page.report import html_report
from scenarios.reports.page.stories import pack
from scenarios.reports.prometheus import metrics
from scenarios.verdict import Judgement, Verdict


def write_reports(folder: Path, judgement: Judgement) -> None:
    """Write `report.html`, `junit.xml`, `summary.md` and `metrics.prom` into a run's folder.

    Raises:
        StorageError: a file cannot be written.
    """
    run, verdict, around = RunFolder(folder), judgement.verdict, judgement.around
    page = html_report(
        verdict,
        around.timeline.events,
        judgement.ticks,
        str(folder),
        stories=pack((*judgement.failed, *judgement.slow), verdict.origin_ns),
        locks=around.waits,
    )
    write(run.report, page.encode())
    write(run.junit, junit(verdict))
    write(run.summary, summary(verdict, str(folder)).encode())
    write(run.metrics, metrics(verdict))


def write_junit(path: Path | None, verdict: Verdict) -> None:
    """Write JUnit XML where the user wants it too; nowhere if that is None.

    Raises:
        StorageError: it cannot be written there.
    """
    if path is not None:
        write(path, junit(verdict))


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
