"""The live views show what happens, within the screen, and not more often than they should."""

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from scenarios.evidence.locks import DatabaseSession, LockWait
from scenarios.evidence.tick import Tick
from scenarios.reports.live.dashboard import Dashboard
from scenarios.reports.live.fitting import fit_clauses
from scenarios.reports.live.plain import PlainProgress
from scenarios.reports.live.state import LiveState
from tests.support.live_run import HEADER, SECOND, START, event, feed, tick


def drawn(width: int, height: int) -> list[str]:
    """The dashboard's last screen as lines."""
    out = io.StringIO()
    console = Console(file=out, width=width, height=height, force_terminal=True, color_system=None)
    with Dashboard(console, HEADER) as view:
        feed(view)
    with console.capture() as capture:
        console.print(view)
    return capture.get().splitlines()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50), (80, 50), (200, 24), (60, 15)])
def test_dashboard_fits(width: int, height: int) -> None:
    """Whatever the screen, it is neither too wide nor too high."""
    lines = drawn(width, height)
    assert len(lines) <= height
    assert max(len(line) for line in lines) <= width


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50)])
def test_dashboard_shows_what_happens(width: int, height: int) -> None:
    """Scenario, phase, step, verb, availability, replicas and causes in words are shown."""
    text = "\n".join(drawn(width, height))
    assert "big-bang [red] · rolling" in text
    assert "rollout" in text
    assert "step 2 of 4: deploy bridge" in text
    assert "now: drain a-1" in text
    assert "for 500 ms, gives up in 30 s" in text
    assert "(0 % by weight)   bridge" in text
    assert "1 migration, last 0002.expand" in text
    assert "in the last second" in text
    assert "488 of 500 succeeded (97.60 %)" in text
    assert "a-1" in text
    assert "draining" in text
    assert "12  not-null violation  [sqlstate:23502]" in text
    assert "exit status 1 [b]" in text
    assert "\x1b[31m" not in text


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (200, 50), (60, 15)])
@pytest.mark.parametrize("begun", [False, True])
def test_the_keys_stay_in_the_last_line(width: int, height: int, begun: bool) -> None:  # noqa: FBT001
    """Whatever there is to show, what can be pressed is told in the same place."""
    out = io.StringIO()
    console = Console(file=out, width=width, height=height, force_terminal=True, color_system=None)
    with Dashboard(console, HEADER, keys="p pause") as view:
        if begun:
            feed(view)
    with console.capture() as capture:
        console.print(view)
    lines = capture.get().splitlines()
    assert lines[-1].startswith("p pause")
    assert len(lines) == height


def test_dashboard_draws_at_most_five_times_a_second() -> None:
    """However many events come, the screen is drawn at most every 0.2 s."""
    now = 0.0
    out = io.StringIO()
    console = Console(file=out, width=80, height=24, force_terminal=True)
    with Dashboard(console, HEADER, clock=lambda: now) as view:
        before = out.getvalue().count("hitless")
        for number in range(1000):
            now = number / 1000
            view.on_tick(tick(now))
            view.on_event(event(now, "weigh", "started", number))
        assert out.getvalue().count("hitless") - before <= 5


def test_screen_is_given_back_after_an_error() -> None:
    """An exception in the run leaves the terminal as it was."""
    out = io.StringIO()
    console = Console(file=out, width=80, height=24, force_terminal=True)
    with pytest.raises(RuntimeError, match="boom"), Dashboard(console, HEADER):
        raise RuntimeError("boom")
    assert out.getvalue().endswith("\x1b[?25h\x1b[?1049l")


def test_plain_lines() -> None:
    """A pipe gets a line for each phase, each ended verb and each second with failures."""
    out = io.StringIO()
    with PlainProgress(Console(file=out, width=80), HEADER) as view:
        feed(view)
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("big-bang [red] · rolling, seed 7")
    assert [line.split("s  ", 1)[1] for line in lines[1:]] == [
        "phase setup",
        "phase baseline",
        "phase rollout",
        "migrate 0002.expand  400 ms",
        "start bridge-4  failed: exit status 1 [b]",
        "failed 12 of 100 requests: not-null violation  [sqlstate:23502] (12)",
    ]
    assert "\x1b" not in out.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 120, 160, 200])
def test_the_table_of_replicas_fits(width: int) -> None:
    """However narrow the screen, a replica's state is shown, and with room everything else."""
    text = "\n".join(drawn(width, 50))
    assert "state" in text
    assert ("waits for" in text) == (width >= 60)
    assert ("restarts" in text) == (width == 200)


def test_the_table_of_replicas_has_every_column() -> None:
    """Of each replica: version, state, readiness, weight, requests, answers, restarts and age."""
    out = io.StringIO()
    console = Console(file=out, width=200, height=50, force_terminal=True, color_system=None)
    about = {"version": "bridge", "replicas": ("bridge-4",)}
    with Dashboard(console, HEADER) as view:
        feed(view)
        view.on_event(event(3.0, "wait_ready", "completed", 7, **about))
        view.on_event(event(4.6, "weigh", "started", 8))
        with console.capture() as capture:
            console.print(view)
    lines = capture.get().splitlines()
    head = next(line for line in lines if "restarts" in line)
    row = next(line for line in lines if line[90:].lstrip().startswith("bridge-4"))
    old = next(line for line in lines if line[90:].lstrip().startswith("a-1"))
    names = ["replica", "version", "state", "ready", "weight", "under way", "answered", "restarts"]
    assert re.split(r"  +", head[90:].strip()) == [*names, "age", "waits for"]
    assert re.split(r"  +", row[90:].strip()) == [
        *("bridge-4", "bridge", "up", "400 ms", "1", "3", "188", "0", "0:02"),
    ]
    assert re.split(r"  +", old[90:].strip())[:7] == [
        *("a-1", "a", "draining", "not yet", "0", "1", "300"),
    ]


@given(st.text(max_size=60), st.integers(1, 70))
def test_a_text_that_does_not_fit_ends_with_a_clause(text: str, width: int) -> None:
    """Nothing is wider than its room, what fits is whole, and no number is cut in two."""
    assert fit_clauses(Text(text), width).cell_len <= width
    said = Text("overall    2,285 of 3,244 succeeded (70.43 %); failure rate below 32 % (95 %)")
    assert fit_clauses(said.copy(), 50, 11).plain == "overall    2,285 of 3,244 succeeded (70.43 %)"
    assert fit_clauses(said.copy(), 80, 11).plain == said.plain
    assert fit_clauses(said.copy(), 14, 11).plain == "overall    2,…"


def test_the_charts_say_what_users_get() -> None:
    """Answers of the last second, latency, rate, what is under way and what was not sent."""

    def said(*ticks: Tick) -> str:
        console = Console(file=io.StringIO(), width=160, height=50, force_terminal=True)
        with Dashboard(console, HEADER) as view:
            for one in ticks:
                view.on_tick(one)
            with console.capture() as capture:
                console.print(view)
        return " ".join(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capture.get()).split())

    nothing = said(Tick(at_ns=START, seconds=0.25))
    assert "no answer in the last second" in nothing
    assert "no answers yet" in nothing
    assert "no migration yet" in nothing
    assert "no failures" in nothing
    good = said(*(tick(number / 4) for number in range(4)))
    assert "200 of 200 in the last second" in good
    assert "p50 4.00 ms p99 12.0 ms chart: p99" in good
    assert "200/s 2 under way" in good
    assert "not sent" not in good
    late = said(tick(0.0, failed=1), tick(0.25, undispatched=9))
    assert "99.00 % in the last second" in late
    assert "9 not sent" in late


@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 50), (120, 32), (200, 50)])
def test_the_charts_have_axes(width: int, height: int) -> None:
    """Each chart says what its top is, in its unit; all share one axis of time."""
    lines = drawn(width, height)
    assert [line.split("┤")[0].strip() for line in lines if "┤" in line and " 0 ┤" not in line] == [
        *("100 %", "12.0 ms"),
        *(["200/s"] if height > 24 else []),
    ]
    assert sum(line.strip().startswith("0:00      0:02") for line in lines) == 1
    assert any("╷baseline" in line for line in lines) == (height > 24)


@pytest.mark.parametrize(("width", "height"), [(80, 50), (120, 32), (200, 50)])
def test_the_release_shows_what_is_ahead(width: int, height: int) -> None:
    """Each step is done, under way, or ahead; a completed release has them all behind it."""
    text = "\n".join(drawn(width, height))
    for step in ("✓ 1 migrate expand", "▸ 2 deploy bridge", "· 3 migrate contract", "· 4 deploy b"):
        assert step in text
    state = LiveState(HEADER)
    state.event(event(0.0, "release", "started", 1))
    state.event(event(1.0, "migrate", "started", 2))
    assert [when for when, _ in state.plan] == ["now", "ahead", "ahead", "ahead"]
    state.event(event(2.0, "release", "failed", 1))
    assert state.plan[0][0] == "now"
    state.event(event(3.0, "release", "completed", 1))
    assert {when for when, _ in state.plan} == {"done"}


def test_the_first_screen_says_what_comes() -> None:
    """Before there is traffic, it shows the plan, and the replicas that start."""
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True)
    with Dashboard(console, HEADER) as view:
        view.on_stage("starting Postgres")
        view.on_event(event(1.0, "start", "started", 1, version="a", replicas=("a-1",)))
        with console.capture() as capture:
            console.print(view)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capture.get())
    assert "3 replicas start behind the router" in text
    assert "· 4 deploy b" in text
    assert "its process" in text
    assert "available" not in text


def test_what_lasts_a_known_time_counts_down() -> None:
    """A soak says how much of it is left, and the keys and what came of them are the last line."""
    console = Console(file=io.StringIO(), width=120, height=30, force_terminal=True)
    with Dashboard(console, HEADER, keys="p pause") as view:
        view.on_event(event(1.0, "soak", "started", 1, detail={"lasts_seconds": 5.0}))
        view.on_event(event(3.0, "hook", "noted", 2))
        view.say("paused")
        with console.capture() as capture:
            console.print(view)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capture.get())
    assert "3.00 s left of 5.00 s" in text
    assert text.rstrip().splitlines()[-1].strip() == "paused   p pause"


def wait(when: float, seconds: float) -> LockWait:
    return LockWait(
        at_ns=START + round(when * SECOND),
        end_ns=START + round((when + seconds) * SECOND),
        gone_ns=START + round((when + seconds) * SECOND),
        waiter=DatabaseSession(pid=1, application="a-1"),
        mode="RowExclusiveLock",
        kind="relation",
        relation="subscriptions",
        chain=(DatabaseSession(pid=2, application="report [b]"),),
    )


def test_a_probe_before_the_run_is_shown() -> None:
    """Each experiment is a line in a pipe, and the last one stands where the phase does."""
    out, console = io.StringIO(), Console(file=io.StringIO(), width=80, force_terminal=True)
    with PlainProgress(Console(file=out, width=80), HEADER) as plain:
        plain.on_probe("b", "GET in flight: delivered")
    assert "probe of b: GET in flight: delivered\n" in out.getvalue()
    with Dashboard(console, HEADER) as view:
        view.on_probe("b", "GET in flight: delivered")
        with console.capture() as now:
            console.print(view)
    assert "probe of b: GET in flight: delivered" in now.get()


def test_a_long_silence_is_broken() -> None:
    """Where nothing happens for five seconds, a line says what goes on, and for how long."""
    out, now = io.StringIO(), [0.0]
    with PlainProgress(Console(file=out, width=80), HEADER, lambda: now[0]) as plain:
        plain.on_stage("starting Postgres")
        for now[0] in (2.0, 4.0, 6.0, 7.0, 11.0):
            plain.on_wait()
    assert [line.strip() for line in out.getvalue().splitlines()[-3:]] == [
        "starting Postgres",
        "starting Postgres: not over yet, for 6.00 s",
        "starting Postgres: not over yet, for 11.0 s",
    ]


def test_waits_for_locks_are_shown() -> None:
    """Who waits for whom is on the dashboard at once, and a long wait is a line in a pipe."""
    out, console = io.StringIO(), Console(file=io.StringIO(), width=80, force_terminal=True)
    with PlainProgress(Console(file=out, width=80), HEADER) as plain:
        for seconds in (0.1, 0.7, 0.9):
            plain.on_waits([wait(1.0, seconds)])
        plain.on_waits([])
    assert out.getvalue().count("waits for a lock of report [b] (RowExclusiveLock on") == 1
    with Dashboard(console, HEADER) as view:
        view.on_waits([wait(1.0, 0.25), wait(1.1, 0.15)])
        with console.capture() as now:
            console.print(view)
        assert "2 wait for report [b] (RowExclusiveLock on subscriptions), for 250 ms" in now.get()
        view.on_waits([])
        view.say("paused: nothing more begins")
        with console.capture() as after:
            console.print(view)
    assert "longest wait 250 ms, for report [b]" in after.get()
    assert "paused: nothing more begins" in after.get()
