"""The live dashboard: a run on one screen while it happens."""

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
from scenarios.reports import cause_words, words
from scenarios.reports.live.charts import charts, locks
from scenarios.reports.live.fitting import ends, fit
from scenarios.reports.live.fleet import replicas
from scenarios.reports.live.state import Countdown, LiveState
from scenarios.verdict.timeline import describe

REDRAW_SECONDS = 0.2
QUIET_SECONDS = 0.5
"""Without a tick for so long, events and replicas draw the screen; else the next tick does."""
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
WIDE = 120
LEFT_PERCENT = 45
FIXED_LINES = 10
"""The lines of the charts that are no bars."""
PLAN = {"done": ("✓", "green"), "now": ("▸", "bold"), "ahead": ("·", "dim")}
TALL = 40
MAX_ROWS = 8


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
        *parts, last = screen(self.state, width, height, foot)
        yield from parts
        # The keys stay in the last line, whatever there is to show above them.
        lines = sum(part.row_count if isinstance(part, Table) else 1 for part in parts)
        yield from (Text() for _ in range(height - lines - 1 if foot else 0))
        yield last


def screen(state: LiveState, width: int, height: int, keys: str = "") -> Sequence[Text | Table]:
    """The parts of the dashboard for a screen of this size, at most `height` lines in all."""
    head = _header(state, width)
    room = height - len(head) - bool(keys)
    foot = [fit(Text(keys, "dim"), width)] if keys else []
    if width >= WIDE:
        left = width * LEFT_PERCENT // 100
        rows = min(max((room - FIXED_LINES) // 3, 1), MAX_ROWS)
        shown = charts(state, left - 2, rows) if state.points else _before(state, left - 2)
        plan = _plan(state, width - left) if state.points else []
        beside = [*plan, *_details(state, width - left, room - len(plan))]
        return [*head, _beside(shown[:room], beside[:room], left, width), *foot]
    rows = 1 if height < TALL else 4
    shown = charts(state, width, rows) if state.points else _before(state, width)
    if state.points and height >= TALL:
        shown += [Text(), *_plan(state, width)]
    details = _details(state, width, room - len(shown) - 1)
    return [*[*head, *shown, Text(), *details][: height - len(foot)], *foot]


def _before(state: LiveState, width: int) -> list[Text]:
    """What will happen, while there is no traffic yet."""
    header = state.header
    lines = [
        Text("What comes", "bold"),
        Text(f"  {header.replicas} replicas start behind the router"),
        Text(f"  {words.rate_text(header.rate, header.users)}, from one phase to the next:"),
        Text("  baseline → rollout → settle", "cyan"),
        Text(),
        *_plan(state, width),
        Text("  then the verdict, from what was recorded", "dim"),
        *locks(state),
    ]
    return [fit(line, width) for line in lines]


def _plan(state: LiveState, width: int) -> list[Text]:
    """The steps of the release: what is done, what is under way, and what is ahead."""
    if not state.plan:
        return []
    lines = [Text("release", "bold")]
    for number, (when, text) in enumerate(state.plan, 1):
        mark, style = PLAN[when]
        lines.append(fit(Text(f"  {mark} {number} {words.clean(text)}", style), width))
    return [*lines, Text()]


def _details(state: LiveState, width: int, room: int) -> list[Text]:
    """Replicas, failures and journal in so many lines; the journal gives way first."""
    causes = _causes(state, width)
    lines: list[Text] = []
    if state.lines:
        lines = [*replicas(state, max(room - len(causes) - 1, 2), width), Text()]
    if state.points:
        lines += causes
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
        ends(name, Text(words.clock(state.elapsed), "bold"), width),
        *([fit(Text(platform, "dim"), width)] if platform else []),
        fit(where, width) if doing is None else ends(where, _countdown(doing), width),
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


def _causes(state: LiveState, width: int) -> list[Text]:
    if not state.failures:
        return [Text("no failures", "dim")]
    lines = [Text("failures", "bold")]
    for cause, count in sorted(state.failures.items(), key=lambda item: (-item[1], item[0]))[:5]:
        meaning, space, code = cause_words.id_text(cause).rpartition("  ")
        number = (f"{count:>7,}  ", "bold red")
        line = Text.assemble(number, (meaning, "bold"), (space + code, "dim"))
        lines.append(fit(line, width))
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
        lines.append(fit(line, width))
    return lines
