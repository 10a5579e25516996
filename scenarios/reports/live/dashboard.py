"""The live dashboard: a run on one screen while it happens."""

import math
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from scenarios.evidence.event import Event
from scenarios.evidence.locks import LockWait
from scenarios.evidence.progress import ReplicaView, RunHeader
from scenarios.evidence.tick import Tick
from scenarios.reports import words
from scenarios.reports.live.state import (
    Countdown,
    LiveState,
    Point,
    ReplicaLine,
    waited_for,
)
from scenarios.verdict.measures.slo import percent_down
from scenarios.verdict.timeline import describe

REDRAW_SECONDS = 0.2
QUIET_SECONDS = 0.5
"""Without a tick for so long, events and replicas draw the screen; else the next tick does."""
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
LEVELS = "▁▂▃▄▅▆▇█"
WIDE = 120
TALL = 40
MAX_ROWS = 8
INDENT = 11
STATE_STYLE = {
    "starting": "cyan",
    "new": "cyan",
    "up": "green",
    "draining": "yellow",
    "stopping": "yellow",
    "down": "red",
    "died": "bold red",
    "removed": "dim",
}


Shown = tuple[str, int, Callable[[ReplicaLine], str], int]
LEFT = ("version", "state")
COLUMNS: Sequence[Shown] = (
    ("version", 8, lambda line: line.version, 8),
    ("state", 8, lambda line: line.state, 1),
    ("ready", 7, lambda line: _after(line.ready_after), 5),
    ("weight", 6, lambda line: _known(line.weight), 3),
    ("under way", 9, lambda line: _known(line.in_flight), 2),
    ("answered", 8, lambda line: f"{line.answered:,}", 4),
    ("restarts", 8, lambda line: str(line.restarts), 7),
    ("age", 7, lambda line: "" if line.age is None else words.clock(line.age), 6),
)
"""Name, width, what it shows, and how soon it is left out on a narrow screen: the highest first."""


def _after(seconds: float | None) -> str:
    return "not yet" if seconds is None else words.duration(seconds)


def _known(value: float | None) -> str:
    return words.MISSING if value is None else f"{value:,g}"


class Dashboard:
    """Shows a run on the whole screen, at most five times a second.

    It draws when it is told something, or that time has passed, and never by itself. So it needs
    neither a thread nor a timer.
    """

    def __init__(
        self,
        console: Console,
        header: RunHeader,
        *,
        keys: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a dashboard.

        Args:
            console: where it is drawn.
            header: what is known before the run.
            keys: what can be pressed, shown in the last line.
            clock: seconds, only to limit how often it is drawn.
        """
        self.state = LiveState(header)
        self._keys = keys
        self._said = ""
        self._clock = clock
        self._drawn = float("-inf")
        self._stage_began = clock()
        self._live = Live(self, console=console, auto_refresh=False, screen=True)

    def __enter__(self) -> Self:
        self._live.__enter__()
        self._redraw()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.__exit__(kind, error, traceback)

    def on_probe(self, version: str, line: str) -> None:
        """One line of the probe of a version's server, before the run."""
        self.state.phase = f"probe of {version}: {line}"
        self._redraw(0.0)

    def on_stage(self, text: str) -> None:
        """What is done now, before there is traffic or after it."""
        self.state.stage = text
        self._stage_began = self._clock()
        self._redraw(0.0)

    def on_wait(self) -> None:
        """Time has passed: let the spinner and its seconds move on while nothing else does."""
        self.state.stage_seconds = self._clock() - self._stage_began
        if self.state.stage is not None:
            self._redraw(0.0)

    def on_tick(self, tick: Tick) -> None:
        """The load generator's account of the last fraction of a second."""
        self.state.tick(tick)
        self._redraw()

    def on_event(self, event: Event) -> None:
        """One line of the journal."""
        self.state.event(event)
        self._redraw(QUIET_SECONDS)

    def on_replicas(self, replicas: Sequence[ReplicaView]) -> None:
        """All replicas as they are now."""
        self.state.replicas = tuple(replicas)
        self._redraw(QUIET_SECONDS)

    def on_waits(self, waits: Sequence[LockWait]) -> None:
        """All sessions of the database that wait for a lock now."""
        self.state.wait(waits)
        self._redraw(QUIET_SECONDS)

    def say(self, text: str) -> None:
        """Show a line beside the keys until the next one."""
        self._said = text
        self._redraw(0.0)

    def _redraw(self, least: float = REDRAW_SECONDS) -> None:
        now = self._clock()
        if now - self._drawn >= least and self._live.is_started:
            self._drawn = now
            self._live.refresh()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, height = options.max_width, options.height or console.height
        foot = "   ".join(part for part in (self._said, self._keys) if part)
        yield from screen(self.state, width, height, foot)


def screen(state: LiveState, width: int, height: int, keys: str = "") -> Sequence[Text | Table]:
    """The parts of the dashboard for a screen of this size, at most `height` lines in all."""
    head = _header(state, width)
    room = height - len(head) - 1 - bool(keys)
    foot = [_fit(Text(keys, "dim"), width)] if keys else []
    if width >= WIDE:
        half = width // 2
        rows = min(max((room - 9) // 3, 1), MAX_ROWS)
        charts = _charts(state, half - 2, rows)[:room]
        return [*head, _beside(charts, _details(state, width - half, room), half, width), *foot]
    rows = 1 if height < TALL else 4
    charts = _charts(state, width, rows)
    details = _details(state, width, room - len(charts) - 1)
    return [*[*head, *charts, Text(), *details][: height - len(foot)], *foot]


def _details(state: LiveState, width: int, room: int) -> list[Text]:
    """Replicas, failures and journal in so many lines; the journal gives way first."""
    causes = _causes(state, width)
    lines = [*_replicas(state, max(room - len(causes) - 1, 2), width), Text(), *causes]
    left = room - len(lines) - 1
    if left > 0:
        lines += [Text(), *_journal(state, left, width)]
    return lines[:room]


def _beside(left: Sequence[Text], right: Sequence[Text], half: int, width: int) -> Table:
    grid = Table.grid()
    grid.add_column(width=half, no_wrap=True, overflow="ellipsis")
    grid.add_column(width=width - half, no_wrap=True, overflow="ellipsis")
    for index in range(max(len(left), len(right))):
        grid.add_row(
            left[index] if index < len(left) else Text(),
            right[index] if index < len(right) else Text(),
        )
    return grid


def _header(state: LiveState, width: int) -> list[Text]:
    header = state.header
    traffic = words.rate_text(header.rate, header.users)
    name = Text.assemble(
        ("hitless ", "bold"),
        (f" {words.clean(header.scenario)} · {words.clean(header.strategy)}", "bold cyan"),
        (f"  seed {header.seed} · {header.replicas} replicas · {traffic}", "dim"),
    )
    platform = words.platform_text(header)
    step = state.step
    total = len(header.steps)
    where = Text.assemble((state.phase, "bold")) if state.stage is None else _stage(state)
    if step is not None:
        where.append(f"  step {step[0]} of {total}: ", "dim").append(words.clean(step[1]))
    doing = state.doing
    if doing is not None:
        where.append("  now: ", "dim").append(words.clean(doing.text), "bold")
    return [
        _ends(name, Text(words.clock(state.elapsed), "bold"), width),
        *([_fit(Text(platform, "dim"), width)] if platform else []),
        _fit(where, width) if doing is None else _ends(where, _countdown(doing), width),
        Text("─" * width, "dim"),
    ]


def _stage(state: LiveState) -> Text:
    """What is done before there is traffic or after it, with something that moves."""
    frame = SPINNER[int(state.stage_seconds / REDRAW_SECONDS) % len(SPINNER)]
    seconds = f"  {state.stage_seconds:.0f} s"
    return Text.assemble((f"{frame} ", "cyan"), (state.stage or "", "bold"), (seconds, "dim"))


def _countdown(doing: Countdown) -> Text:
    """How long it has taken, and how long it will or may still take."""
    if doing.lasts is not None:
        left = max(doing.lasts - doing.seconds, 0.0)
        return Text(f"{words.duration(left)} left of {words.duration(doing.lasts)}", "yellow")
    if doing.at_most is not None:
        left = max(doing.at_most - doing.seconds, 0.0)
        return Text(f"for {words.duration(doing.seconds)}, gives up in {left:.0f} s", "yellow")
    return Text(f"for {words.duration(doing.seconds)}", "dim")


def _charts(state: LiveState, width: int, rows: int) -> list[Text]:
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
        latency.append(f"   chart: p99, up to {words.duration(slowest)}", "dim")
    rate = total / last.seconds if last.seconds else 0.0
    traffic = Text(f"{rate:,.0f}/s   {state.in_flight:,} under way")
    if state.undispatched:
        traffic.append(f"   {state.undispatched:,} not sent", "bold yellow")
    counts = [float(column.ok + column.failed) for column in columns]
    lines = [
        _named("available", now),
        *_bars([_level(column) for column in columns], rows, [_colour(c) for c in columns]),
        _named("overall", Text(state.availability)),
        _named("latency", latency),
        *_bars(_scaled([column.p99 or 0.0 for column in columns]), rows, "magenta"),
        _named("traffic", traffic),
    ]
    if rows > 1:
        lines += _bars(_scaled(counts), rows, "blue")
    lines += [_named("split", _split(state)), _named("schema", _schema(state))]
    if state.longest is not None:
        lines.append(_named("locks", _locks(state, state.longest)))
    return [_fit(line, width) for line in lines]


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
    """Who waits for whom now, else the longest wait so far."""
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


def _bars(values: Sequence[float], rows: int, style: str | Sequence[str]) -> list[Text]:
    """A bar for each value from 0 to 1, so many lines high, in eighths of a line."""
    steps = len(LEVELS)
    lines = []
    for row in reversed(range(rows)):
        line = Text(" " * INDENT)
        for index, value in enumerate(values):
            eighths = math.ceil(value * rows * steps) - row * steps
            letter = " " if eighths <= 0 else LEVELS[min(eighths, steps) - 1]
            line.append(letter, style if isinstance(style, str) else style[index])
        lines.append(line)
    return lines


def _replicas(state: LiveState, room: int, width: int) -> list[Text]:
    """The table of replicas; on a narrow screen the columns that tell least are left out."""
    every = state.lines
    shown = every[: max(room - 1, 0)]
    id_width = min(max([7, *(len(line.id) for line in every)]), 20)
    columns = _fitting(id_width, width)
    lines = [Text("replica".ljust(id_width), "bold")]
    for name, size, _, _ in columns:
        lines[0].append(f"  {name:>{size}}" if name not in LEFT else f"  {name:{size}}")
    for replica in shown:
        line = Text(words.clean(replica.id)[:id_width].ljust(id_width))
        for name, size, show, _ in columns:
            text = words.clean(show(replica))[:size]
            style = STATE_STYLE.get(replica.state, "") if name == "state" else ""
            line.append("  ").append(text.ljust(size) if name in LEFT else text.rjust(size), style)
        lines.append(line)
    hidden = len(every) - len(shown)
    if hidden:
        lines[-1] = Text(f"and {hidden + 1} more", "dim")
    return lines


def _fitting(id_width: int, width: int) -> list[Shown]:
    columns = sorted(COLUMNS, key=lambda column: column[3])
    while columns and id_width + sum(column[1] + 2 for column in columns) > width:
        columns.pop()
    return [column for column in COLUMNS if column in columns]


def _causes(state: LiveState, width: int) -> list[Text]:
    if not state.failures:
        return [Text("no failures", "dim")]
    lines = [Text("failures", "bold")]
    for cause, count in sorted(state.failures.items(), key=lambda item: (-item[1], item[0]))[:5]:
        line = Text(f"{count:>7,}  ", "bold red")
        line.append(words.clean(cause), "bold").append(f"  {words.cause_words(cause)}")
        lines.append(_fit(line, width))
    return lines


def _journal(state: LiveState, room: int, width: int) -> list[Text]:
    """The last events that ended, newest last."""
    ended = [e for e in state.journal if e.state != "started" and e.verb != "phase"]
    lines = []
    for event in ended[-room:] if room > 0 else []:
        when = (event.at_ns - state.began_ns) / 1e9
        line = Text(f"{words.clock(when):>6}  ", "dim")
        line.append(words.clean(describe(event)), "red" if event.state == "failed" else "")
        if event.seconds is not None:
            line.append(f"  {words.duration(event.seconds)}", "dim")
        if event.error:
            line.append(f"  {words.clean(event.error)}", "red")
        lines.append(_fit(line, width))
    return lines


def _ends(left: Text, right: Text, width: int) -> Text:
    """Two texts at the two ends of a line."""
    left.truncate(max(width - right.cell_len - 1, 0), overflow="ellipsis")
    left.pad_right(max(width - left.cell_len - right.cell_len, 0))
    return left.append_text(right)


def _fit(text: Text, width: int) -> Text:
    text.truncate(width, overflow="ellipsis")
    return text
