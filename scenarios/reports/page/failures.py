"""Sections of the report on failed and slow requests: when, why, and each one by itself."""

import shlex
from collections.abc import Mapping

from scenarios.reports import cause_words, words
from scenarios.reports.page.frame import NOTHING, bullets, table, to_copy
from scenarios.reports.page.markup import Html
from scenarios.reports.page.stories import Stories
from scenarios.verdict.model import Cause, Downtime, FailedRequest, Verdict

SHOWN_WINDOWS = 50


def downtime(verdict: Verdict) -> Html:
    """The periods of failures."""
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


def why(verdict: Verdict, folder: str | None) -> Html:
    """Why requests failed: the first failure as it was seen, each cause, and what would help."""
    if not verdict.causes:
        return _advice(verdict)
    causes = Html().join(
        _cause(cause, number, told=number > 0) for number, cause in enumerate(verdict.causes)
    )
    return Html("<section><h2>Why requests failed</h2>{}{}{}</section>").format(
        _first(verdict, folder), causes, _advice(verdict)
    )


def _first(verdict: Verdict, folder: str | None) -> Html:
    """The first failed request, its response, and what the logs say of its cause."""
    main = verdict.causes[0]
    example = next(iter(main.evidence.examples), None)
    if example is None:
        return NOTHING
    note = Html('<p class="logs">{}</p>').format(main.evidence.note) if main.evidence.note else ""
    explain = (
        ""
        if folder is None
        else to_copy(
            "In a terminal:", shlex.join(["hitless", "explain", folder, example.request_id])
        )
    )
    return Html(
        '<div class="first"><p><b>The first of them</b> at {}: {} got <b>{}</b>{} '
        '(<a href="#{}">{}</a>)</p>{}{}</div>'
    ).format(
        words.instant(example.at),
        example.endpoint,
        _got(example),
        "" if example.replica is None else f" from {example.replica}",
        example.request_id,
        example.request_id,
        note,
        explain,
    )


def _advice(verdict: Verdict) -> Html:
    if not verdict.advice:
        return NOTHING
    return Html("<h3>Settings that would have prevented failures</h3>{}").format(
        bullets([one.sentence for one in verdict.advice], "")
    )


def slow(verdict: Verdict) -> Html:
    """Why requests took longer than their objective."""
    if not verdict.slow_causes:
        return NOTHING
    causes = Html().join(_cause(cause, number) for number, cause in enumerate(verdict.slow_causes))
    return Html("<section><h2>Why requests were slow</h2>{}</section>").format(causes)


def stories(stories: Stories | None, names: Mapping[str, str]) -> Html:
    """The frame of the table of failed and slow requests; the script fills it.

    Args:
        stories: what the script shows.
        names: the causes in few words, by their ids.
    """
    if stories is None or not stories.rows:
        return NOTHING
    told = len(stories.rows)
    shown = (
        f"The table has all {told:,} of them"
        if told == stories.total
        else f"The table has {told:,} of {stories.total:,}, spread evenly over the time of each "
        "cause; requests.ndjson has the rest"
    )
    options = Html().join(
        Html('<option value="{}">{}</option>').format(cause, names.get(cause, cause))
        for cause in stories.causes()
    )
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


def _cause(cause: Cause, number: int, *, told: bool = True) -> Html:
    """One cause, folded unless it is the first; its note unless that is told above it."""
    evidence = cause.evidence
    facts = {
        "note": evidence.note if told else None,
        "replicas": words.counted(evidence.replicas, 12),
        "versions": words.counted(evidence.versions),
        "endpoints": words.counted(evidence.endpoints),
        "connections": words.counted(evidence.connections),
        "during": words.counted(evidence.steps, 8),
        "schema": words.counted(evidence.schemas),
        "from, to": f"{words.instant(evidence.first)}, {words.instant(evidence.last)}",
        "possibly also": words.counted(evidence.contributing),
        "do not count": cause_words.excused_text(cause) if cause.excused else "",
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
        "{} <code>{}</code> "
        '<span class="soft">{}</span></summary><div><dl>{}</dl>'
        "{}</div></details>"
    ).format(
        " open" if number == 0 else "",
        cause.count,
        cause_words.in_words(cause),
        cause.cause,
        "" if cause.confidence == "certain" else f"({cause.confidence})",
        known,
        table(head, rows, "The first of these requests"),
    )


def _got(example: FailedRequest) -> str:
    """What the client got."""
    got = (
        example.problem,
        example.error and example.error.replace("_", " "),
        example.error_detail,
        example.status and f"HTTP {example.status}",
        example.sqlstate and f"SQLSTATE {example.sqlstate}",
        example.proxy_status,
    )
    return "; ".join(str(part) for part in got if part)


def _example_row(example: FailedRequest) -> tuple[str, ...]:
    return (
        example.request_id,
        words.instant(example.at),
        words.duration(example.seconds),
        f"{example.endpoint} ({example.connection})",
        _got(example),
        example.replica or words.MISSING,
        example.step,
        example.schema or words.MISSING,
    )
