"""The time limit of a drain that would have let the requests end that the drain cut."""

from hypothesis import given
from hypothesis import strategies as st

from scenarios.evidence.leaving import LeavingSettings
from scenarios.verdict.causes.drain import CAUSE, DRAIN, advise_drain
from scenarios.verdict.causes.failure import Failure
from scenarios.verdict.timeline import Timeline
from tests.support import evidence as make

CUT = "hitless; error=connection_terminated; next-hop=a-1"
SECOND = 1_000_000_000


def cut(sent: float, limit: float) -> Failure:
    """A request that was sent before the drain of a-1 at 3.0, and cut when its time was up."""
    old = {"version": "a", "replicas": ("a-1",)}
    events = [
        make.event(3.0, "drain", "started", 1, **old),
        make.event(3.0 + limit, "drain", "completed", 1, detail={"cut": 1}, **old),
    ]
    outcome = make.request(1, sent, status=502, proxy_status=CUT, endpoint="GET /slow")
    return Failure.join(outcome, None, Timeline(events))


def test_the_drain_is_as_long_as_such_requests_take() -> None:
    """A request that was sent 0.5 s before the drain, and takes 2 s, needs a drain of 1.5 s."""
    (advice,) = advise_drain([cut(2.5, 0.4)], {"GET /slow": 2 * SECOND}, 0.4)
    assert (advice.setting, advice.cause, advice.covers) == (DRAIN, CAUSE, 1)
    assert advice.value is not None
    assert 1.5 <= advice.value <= 1.6
    assert "requests like them took up to 2.00 s" in advice.sentence


def test_where_none_succeeded_no_number_is_advised() -> None:
    """Nobody knows how long a request takes that never succeeded; the advice says so."""
    (advice,) = advise_drain([cut(2.5, 0.4)], {"GET /fast": SECOND}, 0.4)
    assert advice.value is None
    assert "no request to GET /slow succeeded" in advice.sentence


@given(st.floats(2.0, 3.0), st.floats(0.1, 5.0), st.integers(1, 100 * SECOND))
def test_the_advised_drain_is_longer_than_the_runs(sent: float, limit: float, took: int) -> None:
    """Whatever others took, the drain that cut the request was too short."""
    (advice,) = advise_drain([cut(sent, limit)], {"GET /slow": took}, limit)
    assert advice.value is not None
    assert advice.value > limit - 1e-6
    assert advice.value * SECOND > (sent - 3.0) * SECOND + took - 1000


def test_a_run_without_such_requests_has_no_such_advice() -> None:
    """Where no drain cut a request, no drain is advised."""
    assert advise_drain([], {}, 30.0) == ()
    assert make.clean().asked(termination=LeavingSettings()).judge().advice == ()
