"""Every run leaves its reports beside its evidence, and CI systems are told where they listen."""

import io
import json
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from scenarios.cli.main import status
from scenarios.errors import UsageError
from scenarios.evidence.run_folder import RunFolder
from scenarios.reports.github import MOST, annotation, annotations
from scenarios.reports.markdown import LIMIT_BYTES
from scenarios.reports.prometheus import metrics
from scenarios.reports.sentence import summary_of
from scenarios.review.publishing import add_to_step_summary, annotate, tell_github
from scenarios.verdict import Verdict, encode
from tests.support import evidence as make
from tests.support.evidence import Evidence


@pytest.fixture
def run_folder(broken: Evidence, tmp_path: Path) -> Path:
    """The folder of the broken run."""
    path: Path = broken.write(tmp_path / "run")
    return path


def test_report_writes_every_file(
    run_folder: Path, failed: Verdict, capsys: pytest.CaptureFixture[str]
) -> None:
    """`hitless report DIR --junit FILE` writes all reports from the evidence, byte for byte."""
    elsewhere = run_folder.parent / "junit.xml"
    arguments = ["report", str(run_folder), "--json", "--junit", str(elsewhere)]
    assert status(arguments) == 1
    assert capsys.readouterr().out.encode() == encode(failed)
    run = RunFolder(run_folder)
    paths = (run.verdict, run.report, run.junit, run.summary, run.metrics)
    first = {path: path.read_bytes() for path in paths}
    assert elsewhere.read_bytes() == first[run.junit]
    for path in paths:
        path.unlink()
    assert status(arguments) == 1
    assert {path: path.read_bytes() for path in paths} == first


def test_junit_that_cannot_be_written(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A `--junit` that names a folder is a mistake of one line, status 2."""
    assert status(["report", str(run_folder), "--junit", str(run_folder)]) == 2
    assert "--junit" in capsys.readouterr().err


def test_reports_that_cannot_be_written(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder in which a report cannot be written is one line, status 4."""
    report = RunFolder(run_folder).report
    report.mkdir()
    assert status(["report", str(run_folder)]) == 4
    assert capsys.readouterr().err == f"hitless: {report}: Is a directory\n"


def test_metrics(failed: Verdict, passed: Verdict) -> None:
    """The Prometheus text can be parsed, and has the verdict's numbers."""
    families = {f.name: f for f in text_string_to_metric_families(metrics(failed).decode())}
    words = {s.labels["verdict"]: s.value for s in families["hitless_verdict"].samples}
    assert words == {"pass": 0, "fail": 1, "invalid": 0}
    causes = {s.labels["cause"]: s.value for s in families["hitless_failures"].samples}
    assert causes == {cause.cause: cause.count for cause in failed.causes}
    outcomes = {s.labels["outcome"]: s.value for s in families["hitless_requests"].samples}
    assert outcomes["failed"] == failed.requests.failed
    (violations,) = families["hitless_integrity_violations"].samples
    assert violations.value == failed.integrity.violation_count
    assert "hitless_failures" not in metrics(passed).decode()


def test_annotations(failed: Verdict, passed: Verdict, invalid: Verdict) -> None:
    """A fail is annotated with why and its causes, and hostile text cannot add a command."""
    lines = annotations(failed)
    assert summary_of(failed).sentence in lines[0]
    assert 2 <= len(lines) <= MOST
    assert all(line.startswith("::error title=hitless fail%3A expand-contract") for line in lines)
    assert any("sqlstate:23502" in line for line in lines)
    assert annotations(passed) == []
    assert all(line.startswith("::warning ") for line in annotations(invalid))
    assert annotation("error", "a:b,c", "50 %\n::error::x") == (
        "::error title=a%3Ab%2Cc::50 %25·::error::x"
    )


def test_github_is_told(failed: Verdict, tmp_path: Path) -> None:
    """The step summary is appended to, the log annotated, and elsewhere nothing is said."""
    log, step = io.StringIO(), tmp_path / "summary.md"
    step.write_text("before\n")
    tell_github(
        failed,
        Path("runs/x"),
        log,
        {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(step)},
    )
    assert step.read_text().startswith("before\n## ❌ FAIL")
    assert log.getvalue().startswith("::error ")
    silent = io.StringIO()
    tell_github(failed, Path("runs/x"), silent, {})
    annotate(["::error::x"], silent, {"GITHUB_ACTIONS": "false"})
    assert silent.getvalue() == ""


def test_step_summary_keeps_within_its_limit(tmp_path: Path) -> None:
    """What would make the step's summary too large is left out rather than losing all of it."""
    step = tmp_path / "summary.md"
    environ = {"GITHUB_STEP_SUMMARY": str(step)}
    for _ in range(4):
        add_to_step_summary("x" * 400_000, environ)
    assert step.stat().st_size <= LIMIT_BYTES
    add_to_step_summary("small", environ)
    assert step.read_text().endswith("small\n")
    with pytest.raises(UsageError, match="GITHUB_STEP_SUMMARY"):
        add_to_step_summary("x", {"GITHUB_STEP_SUMMARY": str(tmp_path)})


def test_compare(broken: Evidence, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`hitless compare` puts runs side by side: in the terminal, as a page, as JSON."""
    one = broken.write(tmp_path / "one")
    other = make.clean().asked(strategy="canary").write(tmp_path / "other")
    html = tmp_path / "compare.html"
    assert status(["compare", str(one), str(other), "--html", str(html)]) == 0
    text = capsys.readouterr().out
    for word in ("rolling", "canary", "FAIL", "PASS", "none seen"):
        assert word in text
    page = html.read_text()
    assert page.count("<figure>") == 2
    assert page.count('class="ok"') > 40
    assert "http://" not in page
    assert "https://" not in page
    assert status(["compare", str(one), str(other), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["verdict"]["verdict"] for row in rows] == ["fail", "pass"]


def test_compare_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One run is no comparison, and a damaged verdict says how to write it anew."""
    RunFolder(tmp_path).verdict.write_text("{}")
    assert status(["compare", str(tmp_path)]) == 2
    assert "two runs or more" in capsys.readouterr().err
    assert status(["compare", str(tmp_path), str(tmp_path)]) == 2
    assert f"`hitless report {tmp_path}` rewrites it" in capsys.readouterr().err
