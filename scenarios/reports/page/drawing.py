"""The timeline of a report as SVG: phases, verbs, replicas, traffic and latency over one axis.

What lies in a group of class `zoom` is only ever stretched along the axis by the report's script;
names and numbers are outside of those groups, so that they stay readable.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from scenarios.evidence.event import Event
from scenarios.evidence.locks import LockWait
from scenarios.evidence.tick import Tick
from scenarios.reports import words
from scenarios.reports.page.lanes import (
    Lane,
    Span,
    TrafficColumn,
    bounds,
    lock_lanes,
    merge,
    replica_lanes,
    verb_lanes,
    versions_of,
)
from scenarios.reports.page.markup import Html
from scenarios.verdict.model import Downtime, Verdict
from scenarios.verdict.timeline import Timeline


def instants(start: float, end: float, most: int) -> Iterator[tuple[float, str]]:
    """Round instants of a span, as the script of the page has them, and how they are written.

    Args:
        start: where the span begins, in seconds.
        end: where it ends.
        most: about how many are wanted.
    """
    rough = max(end - start, 1e-3) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(one for one in (power, 2 * power, 5 * power, 10 * power) if one >= rough)
    digits = max(0, -math.floor(math.log10(step)))
    for number in range(math.ceil(start / step), math.floor(end / step) + 1):
        yield number * step, f"{number * step:.{digits}f} s"


class Size(NamedTuple):
    """The proportions of a drawing, in units of its view box.

    Attributes:
        name: tells its parts from those of another drawing on the same page.
        left: where the axis begins, behind the names of the lanes.
        width: of the axis.
        letters: how many letters of a name fit before the axis.
        marks: how many instants the axis names.
    """

    name: str
    left: int
    width: int
    letters: int
    marks: int


SCREEN = Size("", 118, 1000, 18, 8)
PHONE = Size("-phone", 66, 280, 10, 5)
"""Of a phone's width, so that its letters are as large as those of the text around it."""

LEFT, WIDTH = SCREEN.left, SCREEN.width
RIGHT = 14
LANE = 17
BAR = 12
CHART = 96
GAP = 12
LETTER = 6.2


class Label(NamedTuple):
    """A name within a bar, shown only where the bar is wide enough for it."""

    start: float
    end: float
    y: int
    text: str


class Drawing(NamedTuple):
    """The timeline, and what its script needs to know.

    Attributes:
        svg: the drawing.
        start: where the axis begins, in seconds of the run.
        end: where it ends.
        floor: where the charts end, from above.
        columns: the traffic.
        spans: everything that can be named at an instant.
        labels: the names within bars.
        versions: the versions in the order of their colours.
    """

    svg: Html
    start: float
    end: float
    floor: int
    columns: list[TrafficColumn]
    spans: list[Span]
    labels: list[Label]
    versions: list[str]


def draw(
    verdict: Verdict,
    events: Iterable[Event],
    ticks: Iterable[Tick],
    locks: Iterable[LockWait] = (),
    size: Size = SCREEN,
) -> Drawing:
    """Draw the timeline of a run in a size."""
    timeline = Timeline(events)
    columns = merge(sorted(ticks, key=lambda tick: tick.at_ns), verdict.origin_ns)
    start, end = bounds(verdict, timeline, columns)
    versions = versions_of(verdict, timeline)
    lanes = [
        *verb_lanes(verdict, timeline, end),
        *lock_lanes(locks, verdict.origin_ns),
        *replica_lanes(verdict, timeline, versions, end),
    ]
    canvas = _Canvas(start, end, size)
    for lane in lanes:
        canvas.lane(lane)
    canvas.traffic(columns, verdict.downtime)
    canvas.latency(columns)
    spans = [span for lane in lanes for span in lane.spans if span.end > start]
    return Drawing(canvas.svg(), start, end, canvas.floor, columns, spans, canvas.labels, versions)


class _Canvas:
    """Draws from the top down."""

    def __init__(self, start: float, end: float, size: Size) -> None:
        self.floor = 4
        self._size = size
        self._start, self._end = start, end
        self.labels: list[Label] = []
        self._moving: list[Html] = []
        self._still: list[Html] = []

    def lane(self, lane: Lane) -> None:
        """A row of bars with its name before it."""
        self._name(lane.name, self.floor + LANE / 2 + 4)
        for span in lane.spans:
            x, width = self._x(span.start), self._x(span.end) - self._x(span.start)
            if span.style == "died":
                x, width = x - 1, 5
            elif not span.style.startswith("life"):
                self.labels.append(Label(span.start, span.end, self.floor + 12, span.name))
            lasted = f", {words.duration(span.end - span.start)}" if span.end > span.start else ""
            self._moving.append(
                Html(
                    '<rect class="{}" x="{:.2f}" y="{:.1f}" '
                    'width="{:.2f}" height="{}"><title>{}{}'
                    "</title></rect>"
                ).format(
                    span.style,
                    x,
                    self.floor + (LANE - BAR) / 2,
                    max(width, 0.6),
                    BAR,
                    span.name,
                    lasted,
                )
            )
        self.floor += LANE

    def traffic(self, columns: list[TrafficColumn], downtime: Sequence[Downtime]) -> None:
        """Answers a second, the failed ones on top; behind them the downtime windows."""
        top, base = self._chart("answers/s")
        highest = max(((c.ok + c.failed) / c.seconds for c in columns), default=0.0) or 1.0
        self._scale(top, base, f"{highest:,.0f}", "0")
        for window in downtime:
            x, until = self._x(window.start), self._x(window.end_lower)
            self._moving.insert(  # behind everything else
                0,
                Html(
                    '<rect class="down" x="{:.2f}" y="0" width="{:.2f}" '
                    'height="{}"><title>downtime of at least '
                    "{}</title></rect>"
                ).format(x, max(until - x, 1), base, words.duration(window.seconds_lower)),
            )
        for column in columns:
            x = self._x(column.start)
            width = self._x(column.start + column.seconds) - x
            ok = column.ok / column.seconds / highest * CHART
            failed = column.failed / column.seconds / highest * CHART
            for style, y, height in (
                ("ok", base - ok, ok),
                ("bad", base - ok - max(failed, 2), max(failed, 2) if column.failed else 0.0),
            ):
                if height:
                    self._moving.append(
                        Html(
                            '<rect class="{}" x="{:.2f}" y="{:.2f}" width="{:.2f}" '
                            'height="{:.2f}"/>'
                        ).format(style, x, y, width, height)
                    )

    def latency(self, columns: list[TrafficColumn]) -> None:
        """Median and 99th percentile on a logarithmic scale."""
        top, base = self._chart("latency", "log scale")
        values = [value for c in columns for value in (c.p50, c.p99) if value]
        if not values:
            return
        low = 10 ** math.floor(math.log10(min(values)))
        high = max(10 ** math.ceil(math.log10(max(values))), low * 10)
        self._scale(top, base, words.duration(high), words.duration(low))

        def y(value: float) -> float:
            share = math.log10(max(value, low) / low) / math.log10(high / low)
            return base - share * CHART

        for style in ("p50", "p99"):
            for part in _unbroken(columns, style):
                line = " ".join(f"{self._x(at):.2f},{y(value):.2f}" for at, value in part)
                self._moving.append(
                    Html('<polyline class="line {}" points="{}"/>').format(style, line)
                )

    def svg(self) -> Html:
        """The whole drawing."""
        left, width, name = self._size.left, self._size.width, self._size.name
        right, height = left + width, self.floor + 36
        return Html(
            '<svg viewBox="0 0 {} {}" role="img" '
            'aria-labelledby="timeline-title{} timeline-text{}" '
            'xmlns="http://www.w3.org/2000/svg">'
            '<title id="timeline-title{}">Timeline of the run</title>'
            '<desc id="timeline-text{}">Phases, steps and verbs of the release, the life of each '
            "replica, answers per second with failures, and latency, over the same time axis. "
            "The tables below say the same in words.</desc>"
            '<defs><clipPath id="area{}"><rect x="{}" y="0" width="{}" '
            'height="{}"/></clipPath></defs>'
            '<g class="axis" id="axis{}">{}</g>'
            '<g clip-path="url(#area{})"><g class="zoom">{}</g>'
            '<g class="labels" id="labels{}">{}</g></g>'
            "{}"
            '<text class="unit" x="{}" y="{}" text-anchor="middle">{}</text>'
            '<line class="cursor" x1="0" x2="0" y1="0" y2="{}"/></svg>'
        ).format(
            right + RIGHT,
            height,
            *[name] * 5,
            left,
            width,
            self.floor,
            name,
            self._axis(),
            name,
            Html().join(self._moving),
            name,
            self._names(),
            Html().join(self._still),
            left + width / 2,
            self.floor + 30,
            "seconds since the first request",
            self.floor,
        )

    def _axis(self) -> Html:
        """The axis for those who have no script; the script draws it again."""
        parts = []
        right = self._size.left + self._size.width
        for at, text in instants(self._start, self._end, self._size.marks):
            x = self._x(at)
            # The last one would be cut off at the edge.
            anchor = "end" if x + LETTER * len(text) / 2 > right + RIGHT else "middle"
            parts.append(
                Html(
                    '<line class="grid" x1="{:.1f}" x2="{:.1f}" y1="0" y2="{}"/>'
                    '<text x="{:.1f}" y="{}" text-anchor="{}">{}</text>'
                ).format(x, x, self.floor, x, self.floor + 14, anchor, text)
            )
        return Html().join(parts)

    def _names(self) -> Html:
        """The names within bars, where there is room; the script draws them again."""
        return Html().join(
            Html('<text class="in" x="{:.1f}" y="{}">{}</text>').format(
                self._x(label.start) + 4, label.y, label.text
            )
            for label in self.labels
            if self._x(label.end) - self._x(label.start) > LETTER * len(label.text) + 8
        )

    def _chart(self, name: str, about: str = "") -> tuple[int, int]:
        top = self.floor + GAP
        base = top + CHART
        self.floor = base + 2
        self._name(name, top + CHART / 2)
        if about:
            self._name(about, top + CHART / 2 + 13, "about")
        self._still.append(
            Html('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
                self._size.left, self._size.left + self._size.width, base, base
            )
        )
        return top, base

    def _scale(self, top: int, base: int, high: str, low: str) -> None:
        for y, text in ((top + 9, high), (base - 1, low)):
            self._still.append(
                Html('<text x="{}" y="{}" text-anchor="end">{}</text>').format(
                    self._size.left - 6, y, text
                )
            )

    def _name(self, name: str, y: float, style: str = "name") -> None:
        most = self._size.letters
        shown = name if len(name) <= most else f"{name[: most - 1]}…"
        self._still.append(
            Html('<text class="{}" x="2" y="{:.1f}">{}</text>').format(style, y, shown)
        )

    def _x(self, at: float) -> float:
        share = (at - self._start) / (self._end - self._start)
        return self._size.left + share * self._size.width


def _unbroken(columns: list[TrafficColumn], name: str) -> Iterable[list[tuple[float, float]]]:
    """The stretches of a line; where nothing was answered there is no line."""
    part: list[tuple[float, float]] = []
    for column in columns:
        value = column.p50 if name == "p50" else column.p99
        if value is None:
            if part:
                yield part
            part = []
        else:
            part.append((column.start + column.seconds / 2, value))
    if part:
        yield part
