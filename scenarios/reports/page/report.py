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
from scenarios.reports.page import sections
from scenarios.reports.page.drawing import COLOURS, LEFT, LETTER, WIDTH, Drawing, draw
from scenarios.reports.page.frame import NOTHING, asset, bullets, page, table
from scenarios.reports.page.markup import Html
from scenarios.reports.page.stories import FIELDS, Stories
from scenarios.reports.story import ABOUT
from scenarios.verdict.model import Cause, Downtime, FailedRequest, Verdict

ALL_VIOLATIONS = 200
SHOWN_WINDOWS = 50
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
            _downtime(verdict),
            _causes(verdict),
            _stories(stories),
            sections.slow(verdict, _cause),
            sections.locks(verdict),
            sections.rescued(verdict),
            sections.replica_ends(verdict),
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
        ("downtime", words.least_downtime(verdict), verdict.availability.text, requests.failed),
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


def _downtime(verdict: Verdict) -> Html:
    if not verdict.downtime:
        return NOTHING
    windows = (*verdict.downtime, *verdict.downtime_by_endpoint)
    rows = [_window_row(window) for window in windows[:SHOWN_WINDOWS]]
    head = ("requests", "start", "lasted at least", "at most", "peak failure rate", "failed")
    hidden = len(windows) - len(rows)
    more = (
        Html('<p class="soft">and {:,} more in verdict.json</p>').format(hidden)
        if hidden > 0
        else ""
    )
    caption = (
        "Periods of failures, by the planned times of the requests. The upper bound reaches from "
        "the last success before a period to the first success after it."
    )
    return Html("<section><h2>Downtime</h2>{}{}</section>").format(table(head, rows, caption), more)


def _window_row(window: Downtime) -> tuple[str, ...]:
    of = "all" if window.endpoint is None else f"{window.endpoint}, {window.connection}"
    upper = "unknown" if window.seconds_upper is None else words.duration(window.seconds_upper)
    return (
        of,
        words.instant(window.start),
        words.duration(window.seconds_lower),
        upper,
        words.share(window.peak_error_ratio),
        f"{window.failed:,} of {window.requests:,}",
    )


def _causes(verdict: Verdict) -> Html:
    if not verdict.causes:
        return NOTHING
    return Html("<section><h2>Why requests failed</h2>{}</section>").format(
        Html().join((_cause(cause, number) for number, cause in enumerate(verdict.causes)))
    )


def _stories(stories: Stories | None) -> Html:
    """The frame of the table of failed and slow requests; the script fills it."""
    if stories is None or not stories.rows:
        return NOTHING
    told = len(stories.rows)
    shown = (
        f"The table has all {told:,} of them"
        if told == stories.total
        else f"The table has {told:,} of {stories.total:,}, spread evenly over the time of each "
        "cause; requests.ndjson has the rest"
    )
    options = Html().join(Html("<option>{}</option>").format(cause) for cause in stories.causes())
    return (
        Html(
            '<section id="stories"><h2>Each failed or slow request</h2>'
            '<p class="soft">{}. Open a request to see what the client, the balancer and the '
            "rollout's journal recorded about it.</p><noscript><p>This table needs JavaScript. The "
            "first requests of each cause are listed above.</p></noscript>"
            '<div class="tools" hidden><label>cause <select id="story-cause"><option value="">any'
            "</option>{}</select></label>"
            '<label>containing <input id="story-text" type="search" placeholder="request, replica, '
            'step, …" size="26"></label>'
            '<button type="button" id="story-back" aria-label="earlier requests">←</button>'
            '<button type="button" id="story-on" aria-label="later requests">→</button>'
            '<span id="story-count" role="status" class="soft"></span></div>'
            '<div class="wide"><table hidden><thead><tr>'
        ).format(shown, options)
        + Html().join(
            Html('<th scope="col">{}</th>').format(name)
            for name in (
                "request",
                "planned",
                "latency",
                "endpoint",
                "result",
                "replica",
                "during",
                "cause",
            )
        )
        + Html('</tr></thead><tbody id="story-rows"></tbody></table></div></section>')
    )


def _cause(cause: Cause, number: int) -> Html:
    evidence = cause.evidence
    facts = {
        "note": evidence.note,
        "replicas": words.counted(evidence.replicas, 12),
        "versions": words.counted(evidence.versions),
        "endpoints": words.counted(evidence.endpoints),
        "connections": words.counted(evidence.connections),
        "during": words.counted(evidence.steps, 8),
        "schema": words.counted(evidence.schemas),
        "from, to": f"{words.instant(evidence.first)}, {words.instant(evidence.last)}",
        "possibly also": words.counted(evidence.contributing),
        "request ids": words.some(evidence.requests, cause.count),
    }
    known = Html().join(
        Html("<dt>{}</dt><dd>{}</dd>").format(name, text) for name, text in facts.items() if text
    )
    head = (
        "request",
        "planned",
        "latency",
        "endpoint",
        "result",
        "replica",
        "during",
        "schema",
    )
    rows = [_example_row(example) for example in evidence.examples]
    return Html(
        "<details{}><summary><b>{:,}</b>"
        "<code>{}</code> {} "
        '<span class="soft">({})</span></summary><div><dl>{}</dl>'
        "{}</div></details>"
    ).format(
        " open" if number == 0 else "",
        cause.count,
        cause.cause,
        cause.title,
        cause.confidence,
        known,
        table(head, rows, "The first of these requests"),
    )


def _example_row(example: FailedRequest) -> tuple[str, ...]:
    got = (
        example.status and f"HTTP {example.status}",
        example.error,
        example.sqlstate and f"SQLSTATE {example.sqlstate}",
        example.problem,
        example.proxy_status,
        example.error_detail,
    )
    return (
        example.request_id,
        words.instant(example.at),
        words.duration(example.seconds),
        f"{example.endpoint} ({example.connection})",
        "; ".join(str(part) for part in got if part),
        example.replica or words.MISSING,
        example.step,
        example.schema or words.MISSING,
    )


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
    return Html("<section><h2>What would have covered failed requests</h2>{}</section>").format(
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
