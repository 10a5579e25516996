"""The report: one HTML file that opens anywhere, with no network, and prints.

Everything is in the file: style, script, drawing and data. The script only adds zoom and hover;
without it everything can still be read.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from scenarios.evidence.event import Event
from scenarios.evidence.locks import LockWait
from scenarios.evidence.tick import Tick
from scenarios.reports import words
from scenarios.reports.cause_words import short
from scenarios.reports.page import failures, sections
from scenarios.reports.page.drawing import LEFT, LETTER, PHONE, WIDTH, Drawing, draw
from scenarios.reports.page.frame import asset, bullets, page, table, to_copy
from scenarios.reports.page.lanes import COLOURS
from scenarios.reports.page.markup import Html
from scenarios.reports.page.stories import FIELDS, Stories
from scenarios.reports.sentence import beside, summary_of
from scenarios.reports.story import ABOUT
from scenarios.verdict.model import Verdict

ALL_VIOLATIONS = 200
_UNIT = re.compile(r"(?<=\d) (?=%|(?:µs|ms|s|min|h|d)\b)")
"""The space between a number and its unit, at which no line should end."""


def html_report(
    verdict: Verdict,
    events: Iterable[Event],
    ticks: Iterable[Tick],
    folder: str | None = None,
    *,
    stories: Stories | None = None,
    locks: Iterable[LockWait] = (),
) -> str:
    """The report of a run.

    Args:
        verdict: what it means.
        events: its journal.
        ticks: the load generator's account.
        folder: where the evidence is.
        stories: of the failed and slow requests.
        locks: the waits for locks of the database.
    """
    drawing = draw(verdict, events := tuple(events), ticks := tuple(ticks), locks := tuple(locks))
    phone = draw(verdict, events, ticks, locks, PHONE)
    title = f"{verdict.verdict.upper()}: {' · '.join(words.run_name(verdict))}"
    parts = _parts(verdict, (drawing, phone), stories, folder)
    body = Html().join(
        (
            _head(verdict),
            _navigation(parts),
            Html("<main>"),
            _facts(verdict),
            *(part.html for part in parts),
            _foot(verdict, folder),
        )
    )
    return page(
        title,
        body,
        Html(
            '<script type="application/json" id="data">{}</script>'
            "<script>{}</script><script>{}</script>"
        ).format(
            _json(drawing, stories, _cause_names(verdict)), asset("report.js"), asset("stories.js")
        ),
    )


class _Part(NamedTuple):
    """A part of the page that the navigation leads to.

    Attributes:
        anchor: its id.
        name: its name in the navigation.
        html: what it says; empty if it has nothing to say.
    """

    anchor: str
    name: str
    html: Html


def _parts(
    verdict: Verdict,
    drawings: tuple[Drawing, Drawing],
    stories: Stories | None,
    folder: str | None,
) -> list[_Part]:
    """The parts in the order in which they are read; those that say nothing are left out."""
    locked = verdict.locks.blockers or verdict.locks.deadlocks or verdict.locks.gave_way
    rest = (
        () if locked else (sections.locks(verdict),),
        (sections.rescued(verdict),),
        (sections.replica_ends(verdict),),
        (sections.probed(verdict),),
        (sections.users(verdict),),
        (_limits(verdict),),
    )
    parts = (
        _Part("why", "Why", failures.why(verdict, folder)),
        _Part("time", "Timeline", _timeline(*drawings)),
        _Part("down", "Downtime", failures.downtime(verdict)),
        _Part("jobs", "Jobs", sections.jobs(verdict)),
        _Part("services", "Services", sections.services(verdict)),
        _Part("cache", "Cache", sections.cache(verdict)),
        _Part("pooler", "Pooler", sections.pooler(verdict)),
        _Part("data", "Data", _data(verdict)),
        _Part("latency", "Latency", _latency(verdict)),
        _Part("slow", "Slow", failures.slow(verdict)),
        _Part("locks", "Locks", sections.locks(verdict) if locked else Html("")),
        _Part("control", "Control run", sections.control(verdict)),
        _Part("requests", "Requests", failures.stories(stories, _cause_names(verdict))),
        _Part("rest", "More", _rest([one for some in rest for one in some])),
    )
    return [
        part._replace(html=Html('<div id="part-{}">{}</div>').format(part.anchor, part.html))
        for part in parts
        if part.html
    ]


def _rest(found: list[Html]) -> Html:
    """What few people look for, folded."""
    told = Html().join(one for one in found if one)
    return Html(
        '<details class="rest"><summary>More: users, replicas, and what this run could not '
        "detect</summary><div>{}</div></details>"
    ).format(told)


def _navigation(parts: list[_Part]) -> Html:
    links = Html().join(
        Html('<a href="#part-{}">{}</a>').format(part.anchor, part.name) for part in parts
    )
    return Html(
        '<nav aria-label="Parts of this page">{}<a href="#again">Run again</a></nav>'
    ).format(links)


def _cause_names(verdict: Verdict) -> dict[str, str]:
    """The causes of failed and slow requests in few words, by their ids."""
    return {one.cause: short(one) for one in (*verdict.slow_causes, *verdict.causes)}


def _json(drawing: Drawing, stories: Stories | None, causes: dict[str, str]) -> Html:
    data = {
        "left": LEFT,
        "width": WIDTH,
        "from": drawing.start,
        "to": drawing.end,
        "floor": drawing.floor,
        "points": [tuple(column) for column in drawing.columns],
        "letter": LETTER,
        "labels": [(a, b, y, words.clean(text)) for a, b, y, text in drawing.labels],
        "spans": [(span.start, span.end, words.clean(span.name)) for span in drawing.spans],
        "fields": FIELDS,
        "about": ABOUT,
        "stories": stories,
        "causes": causes,
    }
    # In a script element only `<` could end the data (HTML Living Standard, 4.12.1.3).
    return Html(msgspec.json.encode(data).decode().replace("<", "\\u003c"))


def _head(verdict: Verdict) -> Html:
    platform, protocol = words.platform_text(verdict), words.protocol_text(verdict)
    doubts = bullets(verdict.doubts, "reasons doubts") if verdict.doubts else ""
    summary = summary_of(verdict)
    also = beside(verdict, summary)
    safe = Html('<p class="safe">{}</p>').format(summary.safe_way) if summary.safe_way else ""
    return Html(
        '<header><h1><span class="badge {}">{}</span>'
        "{}</h1>"
        '<p class="sentence">{}</p>{}'
        '<p class="soft">{} · seed {} · {} '
        "replicas · {} · "
        "{:,} existing rows · "
        "platform {} · router {}{}</p>{}"
        "{}{}</header>"
    ).format(
        verdict.verdict,
        verdict.verdict.upper(),
        " · ".join(words.run_name(verdict)),
        summary.sentence,
        safe,
        words.moment(verdict.started_at),
        verdict.seed,
        verdict.replicas,
        words.traffic_text(verdict.rate, verdict.users.stayed),
        verdict.existing_rows,
        verdict.platform,
        verdict.router,
        f" · {protocol}" if protocol else "",
        Html('<p class="soft">{}</p>').format(platform) if platform else "",
        bullets(also, "reasons") if also else "",
        doubts,
    )


def _facts(verdict: Verdict) -> Html:
    requests = verdict.requests
    violations = verdict.integrity.violation_count
    facts = (
        ("requests failed", f"{requests.failed:,}", words.requests_text(verdict), requests.failed),
        (
            "downtime",
            words.least_downtime(verdict),
            verdict.availability.text,
            requests.failed,
        ),
        ("data", _data_word(verdict), words.integrity_text(verdict), violations),
        (
            "p99 latency",
            words.duration(verdict.latency.p99),
            words.latency_text(verdict.latency),
            0,
        ),
        (
            "release",
            words.duration(verdict.rollout.seconds),
            words.release_text(verdict),
            verdict.rollout.outcome != verdict.rollout.expected,
        ),
    )
    cards = Html().join(
        Html('<div class="fact"><span>{}</span><b{}>{}</b><span>{}</span></div>').format(
            name, " class=bad" if bad else "", _together(value), text
        )
        for name, value, text, bad in facts
    )
    return Html('<section class="facts" aria-label="Key numbers">{}</section>').format(cards)


def _together(value: str) -> Html:
    """A value, whose units stay with their numbers."""
    return Html(_UNIT.sub("&nbsp;", str(Html.escape(value))))


def _data_word(verdict: Verdict) -> str:
    return {"held": "intact", "violated": f"{verdict.integrity.violation_count:,} wrong"}.get(
        verdict.integrity.status, "unknown"
    )


def _timeline(drawing: Drawing, phone: Drawing) -> Html:
    versions = Html().join(
        Html('<span><i style="background:var(--v{})"></i>{}</span>').format(
            index % COLOURS, version
        )
        for index, version in enumerate(drawing.versions)
    )
    colours = (
        ("--verb", "steps and verbs of the rollout"),
        ("--migrate", "migrations"),
        ("--lock", "lock waits"),
        ("--ok", "succeeded"),
        ("--bad", "failed"),
        ("--p50", "median latency (p50)"),
        ("--p99", "99th percentile (p99)"),
    )
    rest = Html().join(
        Html('<span><i style="background:var({})"></i>{}</span>').format(colour, name)
        for colour, name in colours
    )
    buttons = Html().join(
        Html('<button type="button" data-act="{}" aria-label="{}">{}</button>').format(
            act, label, sign
        )
        for act, label, sign in (
            ("in", "zoom in", "+"),
            ("out", "zoom out", "\N{MINUS SIGN}"),
            ("left", "earlier", "←"),
            ("right", "later", "→"),
            ("all", "the whole run", "all"),
        )
    )
    return Html(
        "<section><h2>Timeline</h2>"
        '<div class="tools">{}</div><p class="legend">{}{}</p>'
        '<div id="timeline" tabindex="0" aria-label="Timeline; plus, minus and arrows zoom and '
        'move">{}<div id="tip" role="status"></div></div><div class="phone">{}</div>'
        '<p class="soft">A replica is drawn pale while it is starting, ready, draining or '
        'stopping. Latency has a logarithmic scale. <span class="tools">Drag to zoom in; '
        "double-click to see the whole run.</span></p></section>"
    ).format(buttons, versions, rest, drawing.svg, phone.svg)


def _data(verdict: Verdict) -> Html:
    integrity = verdict.integrity
    rows = [
        (
            invariant.title,
            f"{invariant.checked:,}",
            f"{invariant.violations:,}" if invariant.violations else "none",
        )
        for invariant in integrity.invariants
    ]
    promises = table(("promise", "checked", "violations"), rows, "") if rows else ""
    broken = [
        (v.invariant, v.subject, v.expected, v.found, " ".join(v.requests), " ".join(v.replicas))
        for v in integrity.violations[:ALL_VIOLATIONS]
    ]
    head = ("promise", "subject", "expected", "found", "requests", "answered by")
    found = table(head, broken, "The first violations of each promise") if broken else ""
    return Html("<section><h2>Data</h2><p>{}</p>{}{}</section>").format(
        words.integrity_text(verdict), promises, found
    )


def _latency(verdict: Verdict) -> Html:
    phases = [
        (
            phase.name,
            f"{phase.requests.planned:,}",
            f"{phase.requests.failed:,}",
            words.duration(phase.latency.p50),
            words.duration(phase.latency.p99),
            words.duration(phase.latency.max),
        )
        for phase in verdict.phases
        if phase.requests.planned
    ]
    slow = [
        (
            request.request_id,
            request.endpoint,
            words.instant(request.at),
            words.duration(request.seconds),
            "ok" if request.ok else "failed",
            request.replica or words.MISSING,
            request.step,
        )
        for request in verdict.latency.slowest
    ]
    shares = [(s.version, f"{s.requests:,}", f"{s.failed:,}") for s in verdict.versions]
    slow_head = ("request", "endpoint", "planned", "latency", "result", "replica", "during")
    return Html(
        '<section><h2>Latency and phases</h2>{}{}{}<p class="soft">Load generator: {}</p></section>'
    ).format(
        table(("phase", "requests", "failed", "p50", "p99", "max"), phases, ""),
        table(("version", "answered", "failed"), shares, ""),
        table(slow_head, slow, "The slowest requests"),
        words.harness_text(verdict),
    )


def _limits(verdict: Verdict) -> Html:
    limits = bullets(verdict.limits, "")
    return Html("<section><h2>What this run could not detect</h2>{}</section>").format(limits)


def _foot(verdict: Verdict, folder: str | None) -> Html:
    where = "" if folder is None else to_copy("Evidence:", folder)
    return Html(
        '</main><footer id="again">{}{}<p>hitless {}; verdict.json schema {}</p></footer>'
    ).format(to_copy("Run again:", verdict.replay), where, verdict.hitless, verdict.schema)
