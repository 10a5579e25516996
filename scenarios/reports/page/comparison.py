"""Runs side by side as one HTML page: their numbers in one table, their traffic on one axis."""

import math
from collections.abc import Sequence

import msgspec

from scenarios.evidence.event import Event
from scenarios.evidence.tick import Tick
from scenarios.reports import words
from scenarios.reports.matrix import FACTS
from scenarios.reports.page.drawing import Column, escape, merge
from scenarios.reports.page.frame import page
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
    heads = "".join(
        f'<th scope="col"><span class="badge {run.verdict.verdict}">'
        f"{run.verdict.verdict.upper()}</span> {escape(_name(run))}</th>"
        for run in runs
    )
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        f"{''.join(_cell(show(run.verdict)) for run in runs)}</tr>"
        for name, show in FACTS
    )
    return page(
        title,
        f"<header><h1>{escape(title)}</h1></header><main>"
        f'<div class="wide"><table><caption>What users experienced in each run</caption><thead>'
        f"<tr><td></td>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
        "<section><h2>Answers per second</h2>"
        '<p class="legend"><span><i style="background:var(--ok)"></i>succeeded</span>'
        '<span><i style="background:var(--bad)"></i>failed</span>'
        '<span><i style="background:var(--idle)"></i>the release</span></p>'
        f'{_charts(runs)}<p class="soft">The axis shows seconds since the rollout of each run '
        "began. All charts have the same scale.</p></section></main>"
        f"<footer>{''.join(_where(run) for run in runs)}</footer>",
    )


def _name(run: Compared) -> str:
    return f"{run.verdict.scenario} · {run.verdict.strategy}"


def _cell(text: str) -> str:
    return f"<td>{'<br>'.join(escape(line) for line in text.splitlines())}</td>"


def _where(run: Compared) -> str:
    return (
        f"<p>{escape(_name(run))}: <code>{escape(run.folder)}</code>, "
        f"run again: <code>{escape(run.verdict.replay)}</code></p>"
    )


def _charts(runs: Sequence[Compared]) -> str:
    """One chart a run, each over the same axis and to the same height."""
    columns = [_columns(run) for run in runs]
    every = [column for some in columns for column in some]
    if not every:
        return "<p>No traffic was recorded.</p>"
    start = min(column.start for column in every)
    end = max(column.start + column.seconds for column in every)
    highest = max((c.ok + c.failed) / c.seconds for c in every) or 1.0
    return "".join(
        _chart(run, some, (start, end), highest) for run, some in zip(runs, columns, strict=True)
    )


def _zero(run: Compared) -> int:
    """When the rollout began; the run itself, if the journal does not say."""
    for event in run.events:
        if event.verb == "release" and event.state == "started":
            return event.at_ns
    return run.verdict.origin_ns


def _columns(run: Compared) -> list[Column]:
    return merge(sorted(run.ticks, key=lambda tick: tick.at_ns), _zero(run))


def _chart(
    run: Compared, columns: Sequence[Column], span: tuple[float, float], highest: float
) -> str:
    start, end = span

    def x(at: float) -> float:
        return LEFT + (at - start) / (end - start) * WIDTH

    def bar(style: str, column: Column, low: float, number: float) -> str:
        height = number / column.seconds / highest * HEIGHT
        y = HEIGHT - low / column.seconds / highest * HEIGHT - height
        width = x(column.start + column.seconds) - x(column.start)
        return (
            f'<rect class="{style}" x="{x(column.start):.2f}" y="{y:.2f}" width="{width:.2f}" '
            f'height="{max(height, 1.5):.2f}"/>'
        )

    parts = []
    seconds = Timeline(run.events).release_seconds
    if seconds is not None:
        parts.append(
            f'<rect class="phase" x="{x(0):.2f}" y="0" width="{x(seconds) - x(0):.2f}" '
            f'height="{HEIGHT}"><title>the release, {words.duration(seconds)}</title></rect>'
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
            f'<text x="{x(at):.1f}" y="{HEIGHT + 14}" text-anchor="middle">{at:g} s</text>'
        )
    failed = f"requests failed: {run.verdict.requests.failed:,}"
    inside = "".join(parts)
    return (
        f"<figure><figcaption>{escape(_name(run))}: {failed}</figcaption>"
        f'<svg viewBox="0 0 {LEFT + WIDTH + 30} {HEIGHT + FOOT}" role="img" '
        f'aria-label="Answers per second of {escape(_name(run))}; {failed}">'
        f'<text x="{LEFT - 6}" y="10" text-anchor="end">{highest:,.0f}</text>'
        f'<text x="{LEFT - 6}" y="{HEIGHT}" text-anchor="end">0</text>{inside}</svg></figure>'
    )


def _step(span: float) -> float:
    """The round number of seconds between two marks of the axis."""
    rough = max(span, 1e-3) / MARKS
    power = 10.0 ** math.floor(math.log10(rough))
    return next(base * power for base in (1, 2, 5, 10) if base * power >= rough)
