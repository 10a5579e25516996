"""What users get, over time: availability, latency and traffic, with their axes."""

import math
from collections.abc import Sequence

from rich.text import Text

from scenarios.evidence.locks import LockWait
from scenarios.reports import words
from scenarios.reports.live.fitting import fit_clauses
from scenarios.reports.live.state import LiveState, Point, waited_for
from scenarios.verdict.measures.slo import percent_down

LEVELS = "▁▂▃▄▅▆▇█"
INDENT = 11
TICK_COLUMNS = 10
"""So many columns of a chart lie between two times of its axis."""


def charts(state: LiveState, width: int, rows: int) -> list[Text]:
    """What the users get: availability, latency and traffic, each as a number and over time."""
    last = state.last
    total = last.ok + last.failed
    if not total:
        now = Text("no answer in the last second", "bold yellow" if state.points else "dim")
    elif last.failed:
        now = Text(f"{percent_down(last.ok / total)} in the last second", "bold red")
    else:
        now = Text(f"{last.ok} of {total} in the last second", "bold green")
    columns = state.columns(width - INDENT)
    latency = Text(f"p50 {words.duration(last.p50)}   p99 {words.duration(last.p99)}")
    slowest = max((column.p99 or 0.0 for column in columns), default=0.0)
    if slowest:
        latency.append("   chart: p99", "dim")
    rate = total / last.seconds if last.seconds else 0.0
    traffic = Text(f"{rate:,.0f}/s   {state.in_flight:,} under way")
    if state.undispatched:
        traffic.append(f"   {state.undispatched:,} not sent", "bold yellow")
    rates = [(one.ok + one.failed) / one.seconds if one.seconds else 0.0 for one in columns]
    lines = [
        _named("available", now),
        *_bars([_level(one) for one in columns], rows, [_colour(one) for one in columns], "100 %"),
        _named("overall", Text(state.availability)),
        _named("latency", latency),
        *_bars(
            _scaled([one.p99 or 0.0 for one in columns]), rows, "magenta", words.duration(slowest)
        ),
        _named("traffic", traffic),
    ]
    if rows > 1:
        top = f"{max(rates, default=0.0):,.0f}/s"
        lines += [*_bars(_scaled(rates), rows, "blue", top), _phases(state, columns)]
    lines += [
        _clock(state, columns),
        _named("split", _split(state)),
        _named("schema", _schema(state)),
    ]
    return [fit_clauses(line, width, INDENT) for line in [*lines, *locks(state)]]


def locks(state: LiveState) -> list[Text]:
    """Who waits for whom now, else the longest wait so far; nothing if nobody ever waited."""
    return [] if state.longest is None else [_named("locks", _locks(state, state.longest))]


def _clock(state: LiveState, columns: Sequence[Point]) -> Text:
    """The axis of time, which all charts share."""
    return _marks(
        [
            (index, words.clock((columns[index].at_ns - state.began_ns) / 1e9))
            for index in range(0, len(columns), TICK_COLUMNS)
        ]
    )


def _phases(state: LiveState, columns: Sequence[Point]) -> Text:
    """Where each phase began."""
    marks: dict[int, str] = {}  # a phase that ended before there was traffic has no column
    for name, at_ns in state.phases:
        index = next((i for i, one in enumerate(columns) if one.at_ns >= at_ns), None)
        if index is not None:
            marks[index] = f"╷{name}"
    return _marks(sorted(marks.items()))


def _marks(marks: Sequence[tuple[int, str]]) -> Text:
    """Short texts, each at its column; one that would touch the one before is left out."""
    line = " " * INDENT
    for index, text in marks:
        if index + INDENT >= len(line.rstrip()) + (1 if line.strip() else 0):
            line = line.ljust(index + INDENT) + text
    return Text(line, "dim")


def _split(state: LiveState) -> Text:
    """Each version's share of the last second's answers, and the share that it should have."""
    actual, wanted = state.shares, state.wanted
    line = Text()
    for version in sorted({*actual, *wanted}):
        line.append(f"{words.clean(version)} ", "bold cyan")
        line.append(words.share(actual.get(version, 0.0)), "cyan")
        line.append(f" ({words.share(wanted.get(version, 0.0))} by weight)   ", "dim")
    return line or Text("no answers yet", "dim")


def _schema(state: LiveState) -> Text:
    """The migrations so far, and the one under way."""
    done = state.migrations
    if not done:
        return Text("no migration yet", "dim")
    number = f"{len(done)} migration{'' if len(done) == 1 else 's'}, last "
    return Text.assemble((number, "dim"), words.clean(done[-1]))


def _locks(state: LiveState, longest: LockWait) -> Text:
    if state.waits:
        oldest = min(state.waits, key=lambda wait: wait.at_ns)
        number = len(state.waits)
        text = f"{number} wait{'s' if number == 1 else ''} for {waited_for(oldest)}"
        return Text(f"{words.clean(text)}, for {words.duration(oldest.seconds)}", "bold yellow")
    text = f"longest wait {words.duration(longest.seconds)}, for {waited_for(longest)}"
    return Text(words.clean(text), "dim")


def _named(name: str, text: Text) -> Text:
    return Text.assemble((name.ljust(INDENT), "bold"), text)


def _level(column: Point) -> float:
    """How much of a stretch succeeded; even one failure in a thousand takes off a visible step."""
    total = column.ok + column.failed
    if not total:
        return 0.0
    return 1.0 if not column.failed else min(column.ok / total, 0.85)


def _colour(column: Point) -> str:
    return "green" if not column.failed else "red"


def _scaled(values: Sequence[float]) -> list[float]:
    top = max(values, default=0.0)
    return [value / top if top else 0.0 for value in values]


def _bars(values: Sequence[float], rows: int, style: str | Sequence[str], top: str) -> list[Text]:
    """A bar for each value from 0 to 1, so many lines high, in eighths of a line.

    Before them is an axis, from 0 to the text `top`.
    """
    steps = len(LEVELS)
    lines = []
    for row in reversed(range(rows)):
        label = top if row == rows - 1 else "0" if row == 0 else ""
        line = Text(f"{label:>{INDENT - 2}} {'┤' if label else '│'}", "dim")
        for index, value in enumerate(values):
            eighths = math.ceil(value * rows * steps) - row * steps
            letter = " " if eighths <= 0 else LEVELS[min(eighths, steps) - 1]
            line.append(letter, style if isinstance(style, str) else style[index])
        lines.append(line)
    return lines
