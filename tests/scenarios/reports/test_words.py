"""Numbers read as people expect them, and outside text cannot drive a terminal."""

import io

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from scenarios.evidence.leaving import LeavingSettings, RequestHandling
from scenarios.evidence.progress import RunHeader
from scenarios.reports import words
from scenarios.reports.live.dashboard import screen
from scenarios.reports.live.plain import PlainProgress
from scenarios.reports.live.state import LiveState
from scenarios.reports.markdown import summary
from scenarios.reports.page.report import html_report
from scenarios.reports.terminal import verdict_view
from scenarios.verdict import Verdict
from scenarios.verdict.model import Users, WorstUser


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0, "0 s"),
        (0.000_000_4, "0.400 µs"),
        (0.000_412, "412 µs"),
        (0.004_123, "4.12 ms"),
        (0.0513, "51.3 ms"),
        (0.099_999_9, "100 ms"),
        (1.926, "1.93 s"),
        (12.34, "12.3 s"),
        (99.94, "99.9 s"),
        (123.4, "2 min 3 s"),
        (3599.9, "1 h"),
        (7199, "2 h"),
        (31_558, "8 h 46 min"),
        (84_600, "23 h 30 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    """A short duration has three digits and its unit, a long one its two largest units."""
    assert words.duration(seconds) == text


@given(st.text())
def test_clean_text_is_printable(text: str) -> None:
    """No control character survives, an escape sequence least of all."""
    assert words.clean(text).isprintable()
    assert len(words.clean(text)) == len(text)


def test_clocks() -> None:
    """Elapsed time reads like a clock."""
    assert [words.clock(s) for s in (0, 7.9, 67, 3723)] == ["0:00", "0:07", "1:07", "1:02:03"]


def test_counted() -> None:
    """Of many names the first few are shown, and the rest is counted."""
    names = {f"a-{n}": 10 - n for n in range(6)}
    assert words.counted(names) == "a-0 (10), a-1 (9), a-2 (8), a-3 (7) and 2 more"


@pytest.mark.parametrize(
    ("rate", "users", "text", "headline"),
    [
        (50.0, 0, "50 arrivals/s", "50/s"),
        (0.0, 0, "0 arrivals/s", "0/s"),
        (0.0, 1, "1 user who stays", "1 user who stays"),
        (50.0, 1200, "50 arrivals/s and 1,200 users who stay", "50/s"),
    ],
)
def test_who_comes(rate: float, users: int, text: str, headline: str) -> None:
    """Arrivals are told unless there are none, and users who stay if there are any."""
    assert words.traffic_text(rate, users) == text
    assert words.rate_text(rate, users) == headline


def test_what_users_saw() -> None:
    """An uptime below all never looks like all, and who saw least is named."""
    worst = WorstUser(user="s1-u000003", uptime=0.75, down_seconds=1.0)
    users = Users(staying=True, users=20, uptime=0.999999, worst=worst)
    text = words.users_text(users)
    for fact in ("20 users", "99.9999 %", "s1-u000003", "75.00 %"):
        assert fact in text
    whole = Users(
        staying=True, users=20, uptime=1.0, worst=WorstUser(user="a", uptime=1.0, down_seconds=0.0)
    )
    assert words.users_text(whole) == "20 users who stayed had service for all of their time"
    assert "unknown" in words.users_text(Users(staying=True))


KUBERNETES = LeavingSettings(
    order="together", deregistration_lag_seconds=(0.0, 1.0), close_idle=False
)
UNKIND = RequestHandling(retry=False, passive_checks=False, active_checks=False, reuse_post=True)


def header(**fields: object) -> RunHeader:
    asked: dict[str, object] = {
        "scenario": "x",
        "strategy": "rolling",
        "seed": 1,
        "replicas": 3,
        "rate": 50.0,
        **fields,
    }
    return msgspec.convert(asked, RunHeader, from_attributes=True)


@pytest.mark.parametrize(
    ("run", "text"),
    [
        (header(), ""),
        (header(termination=LeavingSettings(), handling=RequestHandling()), ""),
        (
            header(persona="kubernetes", termination=KUBERNETES, handling=UNKIND),
            (
                "kubernetes: order together, router told 0 to 1 s late, preStop 0 s; balancer: "
                "no retry, no passive checks, no active checks, POST on kept connections"
            ),
        ),
        (
            header(persona="kubernetes", termination=KUBERNETES),
            "kubernetes: order together, router told 0 to 1 s late, preStop 0 s",
        ),
        (
            header(termination=LeavingSettings(order="checks-only", pre_stop_seconds=2.5)),
            "order checks-only, router never told, preStop 2.5 s",
        ),
        (
            header(persona="ecs", termination=LeavingSettings()),
            "ecs: order drain-first, router told at once, preStop 0 s",
        ),
        (header(handling=RequestHandling(retry=False)), "balancer: no retry"),
    ],
)
def test_how_replicas_leave_is_one_line(run: RunHeader, text: str) -> None:
    """The platform, its order, lag and preStop are named, and what the balancer does without."""
    assert words.platform_text(run) == text


def test_every_view_names_the_platform(failed: Verdict) -> None:
    """The terminal, Markdown and the page show that line; the page's headline has the persona."""
    verdict = msgspec.structs.replace(
        failed, persona="kubernetes", termination=KUBERNETES, handling=UNKIND
    )
    line = words.platform_text(verdict)
    out = io.StringIO()
    Console(file=out, width=200).print(verdict_view(verdict))
    assert line in out.getvalue()
    assert line in summary(verdict)
    page = html_report(verdict, [], [])
    assert line in page
    assert "persona kubernetes, preStop 0 s</h1>" in page
    assert "persona kubernetes, preStop 0 s</title>" in page
    out = io.StringIO()
    run = header(persona="kubernetes", termination=KUBERNETES, handling=UNKIND)
    with PlainProgress(Console(file=out), run):
        assert line in out.getvalue()
    (shown,) = (
        one.plain
        for one in screen(LiveState(run), 200, 40)
        if isinstance(one, Text) and line in one
    )
    assert shown.startswith("kubernetes")
