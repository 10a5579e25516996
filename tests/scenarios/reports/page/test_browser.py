"""The report in a real browser: everything is drawn, nothing is fetched, and keys are enough."""

import base64
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from scenarios.evidence.exchange import ExchangeRecord
from scenarios.reports.cause_words import short
from scenarios.reports.page.comparison import Compared, compare_report
from scenarios.reports.page.report import html_report
from scenarios.reports.page.stories import MOST_STORIES, Stories, pack
from scenarios.reports.sentence import summary_of
from scenarios.reports.words import duration
from scenarios.verdict import Verdict
from tests.support import evidence as make
from tests.support.browser import Page
from tests.support.evidence import Evidence


def stories_of(evidence: Evidence, most: int = MOST_STORIES) -> Stories:
    """The stories of a run, with a line of the balancer for every other request."""
    bad = [one for one in evidence.outcomes if not one.ok or one.slower_than(1.0)]
    exchanges = [
        ExchangeRecord(
            at_ns=outcome.planned_ns + 400_000,
            request_id=outcome.request_id,
            status=outcome.status,
            backend=outcome.served_by,
            version="a",
            attempts=1,
            end="complete",
            wait_ns=2000,
            connect_ns=300_000,
            first_byte_ns=2_000_000,
            total_ns=2_100_000,
        )
        for outcome in bad[::2]
    ]
    judgement = evidence.but(access_log=exchanges).judgement()
    requests = (*judgement.failed, *judgement.slow)
    return pack(requests, judgement.verdict.origin_ns, most)


@pytest.fixture(scope="module")
def report(broken: Evidence, failed: Verdict) -> str:
    """The report of the broken run, with its stories."""
    return html_report(failed, broken.events, broken.ticks, "runs/x", stories=stories_of(broken))


@pytest.fixture
def page(tab: Page, report: str, tmp_path: Path) -> Iterator[Page]:
    """The report, opened; it must neither fetch nor complain of anything."""
    path = tmp_path / "report.html"
    path.write_text(report)
    tab.requests.clear()
    tab.complaints.clear()
    tab.size(1200, 900)
    tab.media()
    tab.open(path.as_uri())
    yield tab
    assert [address for address in tab.requests if not address.startswith("data:")] == [
        path.as_uri()
    ]
    assert tab.complaints == []


def scale(page: Page) -> float:
    transform = page.run("document.querySelector('.zoom').getAttribute('transform')")
    return float(transform.partition("scale(")[2].split()[0])


def test_everything_is_drawn(page: Page) -> None:
    """Lanes, traffic, failures, latency and the axis are there, with a size, in light and dark."""
    for style in (".phase", ".verb", ".life", ".ok", ".line.p99", "#axis text", ".down"):
        box = f"document.querySelector('#timeline {style}').getBoundingClientRect()"
        assert page.run(f"{box}.width") > 0, style
    light = page.run("getComputedStyle(document.body).backgroundColor")
    page.media(dark=True)
    assert page.run("getComputedStyle(document.body).backgroundColor") != light
    assert page.run("document.documentElement.scrollWidth <= innerWidth")


def test_keys_zoom_and_move(page: Page) -> None:
    """With the timeline in focus plus, minus, arrows and 0 zoom and move; Tab gets there."""
    page.run("document.querySelector('[data-act=all]').focus()")
    page.press("Tab")
    assert page.run("document.activeElement.id") == "timeline"
    page.press("+")
    page.press("+")
    assert scale(page) == pytest.approx(4.0)
    before = page.run("document.querySelector('.zoom').getAttribute('transform')")
    page.press("ArrowRight")
    assert page.run("document.querySelector('.zoom').getAttribute('transform')") != before
    page.press("0")
    assert scale(page) == pytest.approx(1.0)


def test_hovering_tells(page: Page) -> None:
    """Hovering says what was under way at that instant."""
    page.run(
        "(() => { const svg = document.querySelector('#timeline svg'), "
        "b = svg.getBoundingClientRect(); svg.dispatchEvent(new PointerEvent('pointermove', "
        "{clientX: b.left + b.width * 0.6, clientY: b.top + 20})) })()"
    )
    told = page.run("document.getElementById('tip').textContent")
    assert "answers/s" in told
    assert "serving" in told


def test_a_request_tells_its_story(page: Page, failed: Verdict) -> None:
    """A failed request opens to what client, balancer and journal say, and to its time."""
    rows = "document.querySelectorAll('#story-rows > tr')"
    assert page.run(f"{rows}.length") == 25
    first = failed.causes[0].evidence.requests[0]
    page.run(
        f"(() => {{ const t = document.getElementById('story-text'); t.value = '{first}'; "
        "t.dispatchEvent(new Event('input')) })()"
    )
    assert page.run(f"{rows}.length") == 1
    page.run("document.querySelector('#story-rows .link').focus()")
    page.press("Enter")
    assert page.run("document.activeElement.getAttribute('aria-expanded')") == "true"
    story = page.run("document.querySelector('.story').innerText")
    for words in (
        "client: POST /subscriptions is due (subscribe)",
        "client: sent on a",
        "balancer: the request arrives",
        "balancer: gives it to a-1 (version a) on a new connection",
        "client: HTTP 500",
        "SQLSTATE 23502",
        "sqlstate:23502",
    ):
        assert words in story
    page.run("document.querySelector('.story button').click()")
    assert scale(page) > 1
    assert page.run("document.querySelectorAll('#axis .mark').length") == 1
    page.run("document.activeElement.blur()")


def test_stories_can_be_filtered_by_cause(page: Page, failed: Verdict) -> None:
    """Choosing a cause, by its words, leaves its requests, and the count says how many."""
    for cause in failed.causes:
        page.run(
            "(() => { const s = document.getElementById('story-cause'); "
            f"s.value = {json.dumps(cause.cause)}; s.dispatchEvent(new Event('change')) }})()"
        )
        text = page.run("document.getElementById('story-count').textContent")
        assert text.endswith(f"of {cause.count}")
        told = page.run("document.querySelector('#story-rows td:last-child').innerText")
        assert told == f"{short(cause)} {cause.cause}"
        chosen = "document.getElementById('story-cause').selectedOptions[0].textContent"
        assert page.run(chosen) == short(cause)


def test_durations_read_alike_everywhere(page: Page) -> None:
    """The script of the page words a duration as the rest of the report does."""
    lengths = [0, 9.4e-7, 1e-6, 41.2e-6, 9.996e-4, 1e-3, 0.0412, 0.09996, 0.9, 0.9996, 1, 1.93]
    lengths += [10, 12.34, 99.96, 100, 100.4, 123, 119.6, 3599.6, 3600, 31500, 86_399, 86_400, 1e6]
    shown = page.run(f"{json.dumps([None, *lengths])}.map(window.hitless.duration)")
    assert shown == [duration(seconds) for seconds in (None, *lengths)]


def test_print_shows_everything(page: Page) -> None:
    """On paper there are no buttons, and every cause is open."""
    page.run("window.dispatchEvent(new Event('beforeprint'))")
    page.media("print")
    assert page.run("[...document.querySelectorAll('details')].every((d) => d.open)")
    assert page.run("getComputedStyle(document.querySelector('.tools')).display") == "none"


def test_print_takes_two_pages(page: Page) -> None:
    """On A4 the page takes two sheets: what happened and why, the timeline, data and latency."""
    printed = page.send("Page.printToPDF", printBackground=True, preferCSSPageSize=True)["data"]
    assert len(re.findall(rb"/Type /Page\b", base64.b64decode(printed))) <= 2
    page.media("print")
    for part, shown in (("why", True), ("time", True), ("data", True), ("requests", False)):
        box = f"document.getElementById('part-{part}').getBoundingClientRect()"
        assert (page.run(f"{box}.height") > 0) is shown, part


@pytest.mark.parametrize("dark", ["dark", "light"])
def test_a_phone_shows_all_of_it(page: Page, dark: str) -> None:
    """At 390 px nothing is cut off, few rows are shown as cards, and the chart can be read."""
    page.size(390, 844)
    page.media(dark=dark == "dark")
    assert page.run("document.documentElement.scrollWidth") <= 390
    letters = (
        "(() => { const t = document.querySelector('.phone text'), b = t.getBoundingClientRect(); "
        "return b.height })()"
    )
    assert page.run(letters) >= 9
    assert page.run("getComputedStyle(document.getElementById('timeline')).display") == "none"
    cell = "document.querySelector('#story-rows td')"
    assert page.run(f"getComputedStyle({cell}, '::before').content") == '"request"'
    assert page.run(f"{cell}.getBoundingClientRect().width") > 250
    page.run("document.getElementById('story-text').dispatchEvent(new Event('input'))")
    assert page.run("document.querySelectorAll('#story-rows > tr').length") == 8


def test_a_link_leads_to_a_single_failure(page: Page, failed: Verdict) -> None:
    """`#ID` opens that request, whatever was filtered; opening one makes such an address."""
    last = failed.causes[-1].evidence.requests[-1]
    page.run(
        "(() => { const t = document.getElementById('story-text'); t.value = 'nothing of it'; "
        "t.dispatchEvent(new Event('input')) })()"
    )
    page.run(f"location.hash = {json.dumps(last)}")
    page.wait("document.querySelector('.story') !== null")
    assert page.run("document.querySelector('.story').previousSibling.innerText").startswith(last)
    assert page.run("document.querySelector('.story').getBoundingClientRect().top") < 900
    first = page.run("document.querySelector('#story-rows .link').dataset.id")
    page.run("document.querySelector('#story-rows .link').click()")
    assert page.run("location.hash") == f"#{first}"
    page.run("history.replaceState(null, '', '#')")


def test_commands_can_be_copied(page: Page, failed: Verdict) -> None:
    """The button beside a command copies the whole command."""
    page.run("navigator.clipboard.writeText = async (text) => { window.hitless.copied = text }")
    page.run("document.querySelector('#again [data-copy]').click()")
    page.wait("window.hitless.copied !== undefined")
    assert page.run("window.hitless.copied") == failed.replay
    assert page.run("document.querySelectorAll('[data-copy][hidden]').length") == 0


def test_the_sentence_comes_first_and_the_parts_can_be_reached(page: Page, failed: Verdict) -> None:
    """The causal sentence and the safe way come before all numbers; links lead to every part."""
    summary = summary_of(failed)
    text = page.run("document.querySelector('header').innerText")
    assert summary.sentence in text
    assert text.index(summary.sentence) < text.index("replicas")
    links = page.run("[...document.querySelectorAll('nav a')].map((a) => a.getAttribute('href'))")
    assert {"#part-why", "#part-time", "#part-data", "#part-rest", "#again"} <= set(links)
    assert page.run(f"{json.dumps(links)}.every((l) => document.querySelector(l) !== null)")


def test_a_screen_reader_has_names_for_everything(page: Page) -> None:
    """Every control has a name, tables have headers, and headings go down one level at a time."""
    nodes = page.send("Accessibility.getFullAXTree")["nodes"]
    named = {"button", "textbox", "searchbox", "combobox", "image", "link", "DisclosureTriangle"}
    for node in nodes:
        if not node.get("ignored") and node.get("role", {}).get("value") in named:
            assert node.get("name", {}).get("value"), node
    levels = page.run("[...document.querySelectorAll('h1,h2,h3')].map((h) => +h.tagName[1])")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert page.run("[...document.querySelectorAll('table')].every((t) => t.querySelector('th'))")
    assert page.run("document.documentElement.lang") == "en"


def test_stories_are_spread_over_causes(broken: Evidence, failed: Verdict) -> None:
    """When not all can be told, each cause has some, in order of time."""
    few = stories_of(broken, most=12)
    assert few.total == failed.requests.failed
    assert len(few.rows) <= 12
    assert set(few.causes()) == {cause.cause for cause in failed.causes}
    times = [row.at for row in few.rows]
    assert times == sorted(times)
    everything = stories_of(broken)
    assert len(everything.rows) == everything.total
    assert {row.id for row in few.rows} <= {row.id for row in everything.rows}


def test_a_comparison_opens(tab: Page, broken: Evidence, tmp_path: Path) -> None:
    """The page of `hitless compare` draws every run, fetches nothing and complains of nothing."""
    runs = [
        Compared(folder="x", verdict=run.judge(), events=tuple(run.events), ticks=tuple(run.ticks))
        for run in (broken, make.clean())
    ]
    path = tmp_path / "compare.html"
    path.write_text(compare_report(runs))
    tab.requests.clear()
    tab.complaints.clear()
    tab.open(path.as_uri())
    charts = "[...document.querySelectorAll('figure svg .ok')]"
    assert tab.run(f"{charts}.length") > 40
    assert tab.run(f"{charts}.every((bar) => bar.getBoundingClientRect().height > 0)")
    assert [a for a in tab.requests if not a.startswith("data:")] == [path.as_uri()]
    assert tab.complaints == []


def test_slow_requests_are_told_of_too() -> None:
    """A request that succeeded late has its story, with why it was late."""
    run = make.clean()
    slow = run.outcomes[10]
    run = run.with_request(10, done_ns=slow.planned_ns + 3 * 10**9)
    stories = stories_of(run)
    assert [row.id for row in stories.rows] == [slow.request_id]
    assert stories.causes() == ["slow:outside"]
