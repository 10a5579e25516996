"""The plans ask the right thing at the right time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.probe.answer_reader import AnswerReader
from scenarios.probe.plans import (
    EXPERIMENTS,
    IN_FLIGHT_SECONDS,
    LEAST_SLOW_SECONDS,
    SLOW_SECONDS,
    ProbeRoutes,
    Send,
    Signal,
    Slow,
    StreamExperiment,
    get,
    post,
    upgrade,
)

ROUTES = ProbeRoutes(
    get="/",
    health="/health",
    slow=Slow("/slow?t={seconds}"),
    upload="/upload",
    stream=StreamExperiment("/stream?n={chunks}"),
    websocket="/ws",
)


def test_every_experiment_has_a_plan() -> None:
    """Where everything can be asked, nothing is left out."""
    plans = {name: make(ROUTES, 15.0) for name, make in EXPERIMENTS.items()}
    assert all(plan is not None and plan.name == name for name, plan in plans.items())


@given(taken=st.floats(LEAST_SLOW_SECONDS, 30.0))
def test_the_signal_comes_in_the_middle_of_a_slow_request(taken: float) -> None:
    """However long a given path takes, it is asked before the signal and not answered by then."""
    routes = ProbeRoutes(get="/", health="/", slow=Slow("/report", seconds=taken))
    for make in EXPERIMENTS.values():
        plan = make(routes, 15.0)
        for step in plan.steps if plan else ():
            if isinstance(step, Send) and step.connection == "slow":
                assert step.at < 0 < step.at + taken
            if isinstance(step, Signal):
                assert 0 <= step.at < taken


@given(watch=st.floats(3.0, 600.0))
def test_each_plan_begins_before_the_first_signal(watch: float) -> None:
    """The first signal is at 0, and what is in flight then was sent before."""
    for make in EXPERIMENTS.values():
        plan = make(ROUTES, watch)
        assert plan is not None
        assert min(step.at for step in plan.steps if isinstance(step, Signal)) == 0.0
        assert plan.begins <= 0.0
        assert plan.watch_seconds == watch


@given(watch=st.floats(3.0, 600.0))
def test_no_experiment_takes_longer_than_its_watch(watch: float) -> None:
    """So ten of them beside one another take the watch, and the time that ten starts take."""
    for make in EXPERIMENTS.values():
        plan = make(ROUTES, watch)
        assert plan is not None
        assert -plan.begins <= IN_FLIGHT_SECONDS
        assert max(step.at for step in plan.steps) < 3.0


def test_what_is_in_flight_ends_before_any_known_limit_of_a_server() -> None:
    """The shortest known limit is three seconds: what ends just then may be cut or served."""
    plan = EXPERIMENTS["in_flight"](ROUTES, 15.0)
    assert plan is not None
    assert SLOW_SECONDS + plan.begins <= 2.5


def test_a_path_that_cannot_be_told_how_long_is_not_used_for_a_minute() -> None:
    """A path of five seconds says nothing about a limit of a minute; one of two minutes does."""
    five = ProbeRoutes(get="/", health="/", slow=Slow("/report", seconds=5.0))
    long = ProbeRoutes(get="/", health="/", slow=Slow("/report", seconds=120.0))
    assert EXPERIMENTS["long_request"](five, 15.0) is None
    assert EXPERIMENTS["long_request"](long, 15.0) is not None


@pytest.mark.parametrize(
    ("endless", "made"), [(None, (True, True)), (True, (False, True)), (False, (True, False))]
)
def test_a_stream_is_used_for_what_it_is(*, endless: bool | None, made: tuple[bool, bool]) -> None:
    """A stream that never ends is not one that must be complete, and the other way round."""
    routes = ProbeRoutes(get="/", health="/", stream=StreamExperiment("/events", endless=endless))
    plans = [EXPERIMENTS[name](routes, 15.0) for name in ("stream", "endless_stream")]
    assert tuple(plan is not None for plan in plans) == made


def test_what_is_sent_is_http() -> None:
    """The requests are requests: a head that ends, with a host, and the body's length."""
    for request in (get("/x"), post("/x"), post("/x", expect=True), upgrade("/x")):
        head, end, rest = request.partition(b"\r\n\r\n")
        assert (end, rest) == (b"\r\n\r\n", b"")
        assert head.split(b"\r\n")[0].split(b" ")[1:] == [b"/x", b"HTTP/1.1"]
        assert b"\r\nHost: " in head
    assert Slow("/s?t={seconds}").path(SLOW_SECONDS) == "/s?t=5"
    assert StreamExperiment("/s?n={chunks}").path(0) == "/s?n=0"
    assert AnswerReader().answers == []
