"""The reports for CI systems and browsers tell the facts, and are not broken by what they tell."""

import io
import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import msgspec
import pytest
from rich.console import Console

from scenarios.evidence.event import Event
from scenarios.evidence.locks import DatabaseSession, LockWait
from scenarios.evidence.tick import Tick
from scenarios.reports.github import annotations
from scenarios.reports.junit import junit
from scenarios.reports.markdown import LIMIT_BYTES, code, escape, summary
from scenarios.reports.matrix import comparison
from scenarios.reports.page.comparison import Compared, compare_report
from scenarios.reports.page.lanes import MOST_POINTS, merge
from scenarios.reports.page.report import html_report
from scenarios.reports.sentence import summary_of
from scenarios.reports.terminal import verdict_view
from scenarios.verdict import Verdict
from tests.support import evidence as make
from tests.support.evidence import Evidence

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """Reads a page, and complains about tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.links: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["script"], ["style"]):
            self.words.append(data)


@pytest.fixture(scope="session")
def report(broken: Evidence, failed: Verdict) -> str:
    """The report of the broken run."""
    return html_report(failed, broken.events, broken.ticks, "runs/x")


def test_report_tells_the_facts(report: str, failed: Verdict) -> None:
    """Verdict, why, causes with evidence, data, limits and the command are in the page."""
    page = Page(report)
    text = " ".join(" ".join(page.words).split())
    assert text.index("FAIL") < text.index("Timeline")
    why = summary_of(failed)
    for sentence in (why.sentence, why.safe_way, *failed.limits, failed.replay, "runs/x"):
        assert " ".join(sentence.split()) in text
    for cause in failed.causes:
        assert cause.cause in text
        assert cause.evidence.requests[0] in text
    assert "found" in text
    assert "u0@example.com" in text
    assert re.search(r"<b>[\d.]+&nbsp;ms</b>", report)
    assert '<td data-label="phase">rollout</td>' in report
    assert '<td data-label="phase">teardown</td>' not in report


def test_report_takes_nothing_as_markup(report: str) -> None:
    """Hostile text in a response is shown and never run."""
    page = Page(report)
    assert page.tags.count("script") == 3
    assert "<script>alert" not in report
    assert any("<script>alert('x')</script>" in words for words in page.words)
    assert "\x1b" not in report
    assert "\x07" not in report


def test_report_needs_no_network(report: str) -> None:
    """Nothing in the file points elsewhere, and its policy forbids to load anything."""
    links = Page(report).links
    assert [link for link in links if not link.startswith("#")] == ["data:,"]
    assert set(re.findall(r"https?://[^\"'\s<]+", report)) == {"http://www.w3.org/2000/svg"}
    assert "@import" not in report
    assert "default-src 'none'" in report


def test_report_draws_every_replica_and_failure(report: str) -> None:
    """Each replica has its lane, each version its colour, and failures are drawn in theirs."""
    for name in ("a-1", "b-2", "phase", "step", "verb", "answers/s", "latency"):
        assert f">{name}</text>" in report
    assert 'class="life v0 serving"' in report
    assert 'class="life v1 starting"' in report
    assert 'class="verb migrate"' in report
    assert 'class="down"' in report


def test_report_shows_locks() -> None:
    """Waits for locks have a lane for whom they waited for, and a table that names it."""
    migrator = DatabaseSession(
        pid=7, application="hitless-migrator", query="ALTER TABLE subscriptions"
    )
    waits = [
        LockWait(
            at_ns=make.at(2.1 + number / 100),
            end_ns=make.at(3.4),
            gone_ns=make.at(3.41),
            waiter=DatabaseSession(pid=20 + number, application="a-1"),
            mode="RowExclusiveLock",
            kind="relation",
            relation="subscriptions",
            chain=(migrator,),
        )
        for number in range(3)
    ]
    run = make.clean()
    verdict = run.judge(lock_waits=waits)
    text = html_report(verdict, run.events, run.ticks, locks=waits)
    assert "3 waited for hitless-migrator: RowExclusiveLock on subscriptions" in text
    assert ">for hitless-migra…</text>" in text
    assert text.count('class="lock"') == 2, "on a screen and on a phone"
    assert "ALTER TABLE subscriptions" in text
    assert html_report(verdict, run.events, run.ticks).count('class="lock"') == 0


def test_report_of_a_run_without_anything() -> None:
    """A run that was over before it began still has a report that says so."""
    run = make.clean().but(outcomes=[], events=[], ticks=[], mails=[], before=None, after=None)
    text = " ".join(Page(html_report(run.judge(), [], [])).words)
    assert "INVALID" in text
    assert "no request was made" in text


def test_views_name_a_handful_of_requests() -> None:
    """However many requests a verdict lists, views for people show the first few."""
    outcomes = [make.request(n, 2 + n / 1000, status=500) for n in range(1200)]
    run = make.clean().but(outcomes=outcomes)
    verdict = run.judge()
    compared = Compared(folder="x", verdict=verdict, events=run.events, ticks=run.ticks)
    out = io.StringIO()
    for view in (verdict_view(verdict), comparison([verdict, verdict])):
        Console(file=out, width=100).print(view)
    page = html_report(verdict, run.events, run.ticks)
    for text in (
        *(out.getvalue(), page, compare_report([compared, compared])),
        *(junit(verdict).decode(), summary(verdict), "\n".join(annotations(verdict))),
    ):
        assert len(set(re.findall(r"s7-\d{6}-1", text))) <= 15  # and the slowest five
    assert "s7-000009-1 and 1,190 more" in page


@pytest.mark.parametrize("word", ["pass", "fail", "invalid"])
def test_each_view_shows_a_doubt(word: str) -> None:
    """On the screen, in the page, in both formats of CI, and in Markdown, whatever the verdict."""
    doubt = "step 2 (alembic) changed nothing at all"
    run = make.clean()
    verdict = msgspec.structs.replace(run.judge(), verdict=word, doubts=(doubt,))
    out = io.StringIO()
    Console(file=out, width=200).print(verdict_view(verdict))
    for text in (
        *(out.getvalue(), html_report(verdict, run.events, run.ticks), summary(verdict)),
        "\n".join(annotations(verdict)),
        *((junit(verdict).decode(),) if word != "invalid" else ()),
    ):
        assert doubt in " ".join(text.split()).replace("\\", "")


def test_report_of_a_long_run_stays_small(failed: Verdict) -> None:
    """Hours of ticks and hundreds of replicas do not make a file that no browser opens."""
    ticks = [
        Tick(at_ns=make.at(n / 4), seconds=0.25, ok=100, failed=n % 2, p99_seconds=0.01)
        for n in range(1, 40_000)
    ]
    events = [
        Event(at_ns=make.at(n), verb="start", state=state, number=n, replicas=(f"a-{n}",))
        for n in range(400)
        for state in ("started", "completed")
    ]
    text = html_report(failed, events, ticks)
    assert len(text) < 2_000_000
    columns = merge(ticks, make.START)
    assert len(columns) <= MOST_POINTS
    assert sum(column.failed for column in columns) == sum(tick.failed for tick in ticks)


def suite_of(verdict: Verdict) -> ET.Element:
    return ET.fromstring(junit(verdict))[0]  # noqa: S314 - what we wrote ourselves


def test_junit_of_a_failure(failed: Verdict) -> None:
    """A failed objective is a failed test case, with causes and the command in its text."""
    suite = suite_of(failed)
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    assert suite.get("tests") == str(len(cases))
    assert suite.get("failures") == str(
        sum(len(case.findall("failure")) for case in cases.values())
    )
    text = cases["no request fails"].findtext("failure") or ""
    assert "sqlstate:23502" in text
    assert failed.replay in text
    assert cases["the release ends as expected (completed)"].find("failure") is None
    stored = cases["stored: every acknowledged row exists exactly once"]
    assert "u0@example.com" in (stored.findtext("failure") or "")


def test_junit_of_other_verdicts(passed: Verdict, invalid: Verdict) -> None:
    """A pass has no failure, an invalid run is an error, and what was not checked is skipped."""
    suite = suite_of(passed)
    assert (suite.get("failures"), suite.get("errors"), suite.get("skipped")) == ("0", "0", "0")
    suite = suite_of(invalid)
    assert suite.get("errors") == "1"
    unchecked = make.clean().but(before=None, after=None).judge()
    assert suite_of(unchecked).get("skipped") == "1"


def test_summary(failed: Verdict, passed: Verdict) -> None:
    """The step summary has the verdict, why, the causes, the limits and the command."""
    text = summary(failed, "artifact")
    assert text.startswith("## ❌ FAIL: expand-contract · rolling")
    told = summary_of(failed)
    assert f"**{escape(told.sentence)}**" in text
    assert escape(told.safe_way) in text
    assert "sqlstate:23502" in text
    assert code(failed.replay) in text
    assert "`artifact`" in text
    assert "<script>" not in text.replace("\\<script\\>", "")
    assert summary(passed).startswith("## ✅ PASS")
    assert "100 %" not in summary(passed)
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(len(re.findall(r"(?<!\\)\|", line)) in (3, 6, 7) for line in tables)


def test_summary_keeps_within_its_limit(failed: Verdict) -> None:
    """GitHub refuses a summary over 1,024 KiB as a whole, so it is cut before that."""
    long = msgspec.structs.replace(failed, reasons=("é" * 2_000_000,))
    assert len(summary(long).encode()) <= LIMIT_BYTES + 100


def test_code_with_backticks() -> None:
    """Inline code holds any number of backticks."""
    assert code("a`b") == "``a`b``"
    assert code("`a`") == "`` `a` ``"
