"""The report: one HTML file that opens anywhere, with no network, and prints.

Everything is in the file: style, script, drawing and data. The script only adds zoom and hover;
without it everything can still be read.
"""

from collections.abc import Iterable

import msgspec

from scenarios.evidence.event import Event
from scenarios.evidence.locks import LockWait
from scenarios.evidence.tick import Tick
from scenarios.reports import words
from scenarios.reports.page import failures, sections
from scenarios.reports.page.drawing import LEFT, LETTER, WIDTH, Drawing, draw
from scenarios.reports.page.frame import asset, bullets, page, table
from scenarios.reports.page.lanes import COLOURS
from scenarios.reports.page.markup import Html
from scenarios.reports.page.stories import FIELDS, Stories
from scenarios.reports.story import ABOUT
from scenarios.verdict.model import Verdict

ALL_VIOLATIONS = 200
NARROW = Html("&nbsp;%")


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
    drawing = draw(verdict, events, ticks, locks)
    title = f"{verdict.verdict.upper()}: {' · '.join(words.run_name(verdict))}"
    body = Html().join(
        (
            _head(verdict),
            _facts(verdict),
            _timeline(drawing),
            failures.downtime(verdict),
            failures.causes(verdict),
            sections.control(verdict),
            failures.stories(stories),
            failures.slow(verdict),
            sections.locks(verdict),
            sections.rescued(verdict),
            sections.replica_ends(verdict),
            sections.probed(verdict),
            sections.jobs(verdict),
            _data(verdict),
            _latency(verdict),
            sections.users(verdict),
            _advice(verdict),
            _limits(verdict),
            _foot(verdict, folder),
        )
    )
    return page(
        title,
        body,
        Html(
            '<script type="application/json" id="data">{}</script>'
            "<script>{}</script><script>{}</script>"
        ).format(_json(drawing, stories), asset("report.js"), asset("stories.js")),
    )


def _json(drawing: Drawing, stories: Stories | None) -> Html:
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
    }
    # In a script element only `<` could end the data (HTML Living Standard, 4.12.1.3).
    return Html(msgspec.json.encode(data).decode().replace("<", "\\u003c"))


def _head(verdict: Verdict) -> Html:
    platform = words.platform_text(verdict)
    doubts = bullets(verdict.doubts, "reasons doubts") if verdict.doubts else ""
    return Html(
        '<header><h1><span class="badge {}">{}</span>'
        "{}</h1>"
        '<p class="soft">{} · seed {} · {} '
        "replicas · {} · "
        "{:,} existing rows · "
        "{} · {}</p>{}"
        "{}{}</header><main>"
    ).format(
        verdict.verdict,
        verdict.verdict.upper(),
        " · ".join(words.run_name(verdict)),
        verdict.started_at,
        verdict.seed,
        verdict.replicas,
        words.traffic_text(verdict.rate, verdict.users.stayed),
        verdict.existing_rows,
        verdict.platform,
        verdict.router,
        Html('<p class="soft">{}</p>').format(platform) if platform else "",
        bullets(verdict.reasons, "reasons"),
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
            name, " class=bad" if bad else "", Html.escape(value).replace(" %", NARROW), text
        )
        for name, value, text, bad in facts
    )
    return Html('<section class="facts" aria-label="Key numbers">{}</section>').format(cards)


def _data_word(verdict: Verdict) -> str:
    return {"held": "intact", "violated": f"{verdict.integrity.violation_count:,} wrong"}.get(
        verdict.integrity.status, "unknown"
    )


def _timeline(drawing: Drawing) -> Html:
    versions = Html().join(
        Html('<span><i style="background:var(--v{})"></i>{}</span>').format(
            index % COLOURS, version
        )
        for index, version in enumerate(drawing.versions)
    )
    colours = (
        ("--ok", "succeeded"),
        ("--bad", "failed"),
        ("--p50", "p50"),
        ("--p99", "p99"),
        ("--migrate", "migrations"),
        ("--lock", "lock waits"),
        ("--v3", "steps and verbs of the rollout"),
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
        '<div class="tools">{}<span class="legend">{}{}</span></div>'
        '<div id="timeline" tabindex="0" aria-label="Timeline; plus, minus and arrows zoom and '
        'move">{}<div id="tip" role="status"></div></div>'
        '<p class="soft">A replica is drawn pale while it is starting, ready, draining or '
        "stopping. Drag to zoom in; double-click to see the whole run. Times are seconds since the "
        "first planned request.</p></section>"
    ).format(buttons, versions, rest, drawing.svg)


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


def _advice(verdict: Verdict) -> Html:
    if not verdict.advice:
        return Html("")
    advice = bullets([one.sentence for one in verdict.advice], "")
    return Html("<section><h2>Settings that would have prevented failures</h2>{}</section>").format(
        advice
    )


def _limits(verdict: Verdict) -> Html:
    limits = bullets(verdict.limits, "")
    return Html("<section><h2>What this run could not detect</h2>{}</section>").format(limits)


def _foot(verdict: Verdict, folder: str | None) -> Html:
    where = Html("<p>Evidence: <code>{}</code></p>").format(folder) if folder is not None else ""
    return Html(
        "</main><footer><p>Run again: <code>{}</code></p>{}"
        "<p>hitless {}; verdict.json schema {}</p></footer>"
    ).format(verdict.replay, where, verdict.hitless, verdict.schema)
