"""Runs side by side as one HTML page: their numbers in one table, their traffic on one axis."""

import math
from collections.abc import Sequence

import msgspec

from scenarios.evidence.event import Event
from scenarios.evidence.tick import Tick
from scenarios.reports import words
from scenarios.reports.matrix import FACTS
from scenarios.reports.page.frame import page
from scenarios.reports.page.lanes import TrafficColumn, merge
from scenarios.reports.page.markup import Html
from scenarios.verdict.model import Verdict
from scenarios.verdict.timeline import Timeline

WIDTH = 1000
LEFT = 60
HEIGHT = 90
FOOT = 20
MARKS = 10


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """One of the runs.

    Attributes:
        folder: where its evidence is.
        verdict: what it means.
        events: its journal.
        ticks: the load generator's account.
    """

    folder: str
    verdict: Verdict
    events: tuple[Event, ...]
    ticks: tuple[Tick, ...]


def compare_report(runs: Sequence[Compared]) -> str:
    """The page; the first instant of each run's rollout is the zero of its axis."""
    title = f"hitless: {len(runs)} runs compared"
    heads = Html().join(
        Html('<th scope="col"><span class="badge {}">{}</span> {}</th>').format(
            run.verdict.verdict, run.verdict.verdict.upper(), _name(run)
        )
        for run in runs
    )
    rows = Html().join(
        Html('<tr><th scope="row">{}</th>{}</tr>').format(
            name, Html().join(_cell(show(run.verdict)) for run in runs)
        )
        for name, show in FACTS
    )
    return page(
        title,
        Html(
            "<header><h1>{}</h1></header><main>"
            '<div class="wide"><table><caption>What users experienced in each run</caption><thead>'
            "<tr><td></td>{}</tr></thead><tbody>{}</tbody></table></div>"
            "<section><h2>Answers per second</h2>"
            '<p class="legend"><span><i style="background:var(--ok)"></i>succeeded</span>'
            '<span><i style="background:var(--bad)"></i>failed</span>'
            '<span><i style="background:var(--idle)"></i>the release</span></p>'
            '{}<p class="soft">The axis shows seconds since the rollout of each run '
            "began. All charts have the same scale.</p></section></main>"
            "<footer>{}</footer>"
        ).format(title, heads, rows, _charts(runs), Html().join(_where(run) for run in runs)),
    )


def _name(run: Compared) -> str:
    return " · ".join(words.run_name(run.verdict)[: 3 if run.verdict.predicted else 2])


def _cell(text: str) -> Html:
    return Html("<td>{}</td>").format(Html("<br>").join(line for line in text.splitlines()))


def _where(run: Compared) -> Html:
    return Html("<p>{}: <code>{}</code>, run again: <code>{}</code></p>").format(
        _name(run), run.folder, run.verdict.replay
    )


def _charts(runs: Sequence[Compared]) -> Html:
    """One chart a run, each over the same axis and to the same height."""
    columns = [_columns(run) for run in runs]
    every = [column for some in columns for column in some]
    if not every:
        return Html("<p>No traffic was recorded.</p>")
    start = min(column.start for column in every)
    end = max(column.start + column.seconds for column in every)
    highest = max((c.ok + c.failed) / c.seconds for c in every) or 1.0
    return Html().join(
        _chart(run, some, (start, end), highest) for run, some in zip(runs, columns, strict=True)
    )


def _zero(run: Compared) -> int:
    """When the rollout began; the run itself, if the journal does not say."""
    for event in run.events:
        if event.verb == "release" and event.state == "started":
            return event.at_ns
    return run.verdict.origin_ns


def _columns(run: Compared) -> list[TrafficColumn]:
    return merge(sorted(run.ticks, key=lambda tick: tick.at_ns), _zero(run))


def _chart(
    run: Compared, columns: Sequence[TrafficColumn], span: tuple[float, float], highest: float
) -> Html:
    start, end = span

    def x(at: float) -> float:
        return LEFT + (at - start) / (end - start) * WIDTH

    def bar(style: str, column: TrafficColumn, low: float, number: float) -> Html:
        height = number / column.seconds / highest * HEIGHT
        y = HEIGHT - low / column.seconds / highest * HEIGHT - height
        width = x(column.start + column.seconds) - x(column.start)
        return Html(
            '<rect class="{}" x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}"/>'
        ).format(style, x(column.start), y, width, max(height, 1.5))

    parts = []
    seconds = Timeline(run.events).release_seconds
    if seconds is not None:
        parts.append(
            Html(
                '<rect class="phase" x="{:.2f}" y="0" width="{:.2f}" '
                'height="{}"><title>the release, {}</title></rect>'
            ).format(x(0), x(seconds) - x(0), HEIGHT, words.duration(seconds))
        )
    for column in columns:
        if column.ok:
            parts.append(bar("ok", column, 0, column.ok))
        if column.failed:
            parts.append(bar("bad", column, column.ok, column.failed))
    step = _step(end - start)
    for number in range(math.ceil(start / step), math.floor(end / step) + 1):
        at = number * step
        parts.append(
            Html('<text x="{:.1f}" y="{}" text-anchor="middle">{:g} s</text>').format(
                x(at), HEIGHT + 14, at
            )
        )
    failed = f"requests failed: {run.verdict.requests.failed:,}"
    inside = Html().join(parts)
    return Html(
        "<figure><figcaption>{}: {}</figcaption>"
        '<svg viewBox="0 0 {} {}" role="img" '
        'aria-label="Answers per second of {}; {}">'
        '<text x="{}" y="10" text-anchor="end">{:,.0f}</text>'
        '<text x="{}" y="{}" text-anchor="end">0</text>{}</svg></figure>'
    ).format(
        _name(run),
        failed,
        LEFT + WIDTH + 30,
        HEIGHT + FOOT,
        _name(run),
        failed,
        LEFT - 6,
        highest,
        LEFT - 6,
        HEIGHT,
        inside,
    )


def _step(span: float) -> float:
    """The round number of seconds between two marks of the axis."""
    rough = max(span, 1e-3) / MARKS
    power = 10.0 ** math.floor(math.log10(rough))
    return next(base * power for base in (1, 2, 5, 10) if base * power >= rough)
