"""How long a stopped replica still got requests, and the setting that would have covered them."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from scenarios.evidence.backend import BackendChange
from scenarios.evidence.exchange import ExchangeRecord
from scenarios.evidence.leaving import LeavingSettings
from scenarios.verdict.causes.undrained import (
    CAUSE,
    CLOSE_IDLE,
    LAG,
    ORDER,
    PRE_STOP,
    SERVER,
    LateRequest,
    advise,
    lag_for,
    pre_stop_for,
)
from tests.support import evidence as make

KUBERNETES = LeavingSettings(order="together", close_idle=False)
lags = st.lists(st.floats(0, 60), min_size=1)


def stopped(
    lag: float, *, reused: bool = False, told: float | None = 3.3, **more: int | bool
) -> make.Evidence:
    """A run in which a-1 got its stop signal at 3.2, and one request was sent `lag` later."""
    old = {"version": "a", "replicas": ("a-1",)}
    departure = {
        "began_ns": make.at(3.1),
        "stop_asked_ns": make.at(3.2),
        **({} if told is None else {"router_told_ns": make.at(told)}),
        **more,
    }
    events = [one for one in make.clean().events if one.verb not in ("drain", "stop")]
    events += [
        make.event(3.1, "stop", "started", 12, **old),
        make.event(3.9, "stop", "completed", 12, detail={"departures": {"a-1": departure}}, **old),
    ]
    run = make.clean().but(events=events).asked(persona="kubernetes", termination=KUBERNETES)
    sent = 3.2 + lag
    bad = next(i for i, one in enumerate(run.outcomes) if one.planned_ns >= make.at(max(sent, 3.2)))
    asked = run.outcomes[bad]
    run = run.with_request(
        bad,
        status=502,
        served_by="a-1",
        subject=None,
        proxy_status="hitless; error=connection_refused; next-hop=a-1",
    )
    line = ExchangeRecord(
        at_ns=make.at(sent), request_id=asked.request_id, backend="a-1", status=502, wait_ns=0,
        reused=reused,
    )  # fmt: skip
    return run.but(access_log=[line])


def test_a_request_to_a_stopped_replica_has_its_lag() -> None:
    """The cause, its sentence and its example say how long after the stop signal it was sent."""
    verdict = stopped(0.31).judge()
    cause = next(one for one in verdict.causes if one.cause == CAUSE)
    assert cause.evidence.undrained is not None
    assert cause.evidence.undrained.longest_seconds == 0.31
    assert cause.evidence.undrained.replicas == {"a-1": 0.31}
    assert cause.evidence.examples[0].lag_seconds == 0.31
    assert "0.31 s later (a-1 for 0.31 s)" in (cause.evidence.note or "")


def test_one_late_request_does_not_come_before_an_empty_fleet() -> None:
    """The order to stop took the fleet out, and not the request that met a stopped replica."""
    refused = 'hitless; error=destination_unavailable; details="no backend is up"'
    gone = {"status": 503, "served_by": None, "proxy_status": refused}
    down = BackendChange(at_ns=make.at(3.25), id="a-1", change="down", reason="refused")
    run = stopped(0.01).failing(3.6, 3.9, **gone)
    causes = run.judge(backend_changes=[down]).causes
    assert [one.cause for one in causes] == ["no_backend", CAUSE]
    assert causes[0].count > causes[1].count == 1


def test_a_router_that_nobody_told_says_when_it_noticed() -> None:
    """With `checks-only`, the cause says after how long the router's own checks noticed."""
    run = stopped(0.31, told=None, router_noticed_ns=make.at(3.85))
    cause = next(one for one in run.judge().causes if one.cause == CAUSE)
    assert cause.evidence.undrained is not None
    assert cause.evidence.undrained.noticed == {"a-1": 0.65}
    assert "whose own checks noticed the end of a-1 after 0.65 s" in (cause.evidence.note or "")


def test_a_router_without_checks_is_said_to_be_blind() -> None:
    """With `checks-only`, a router that cannot notice by itself is named as such."""
    run = stopped(0.31, told=None, router_checks=False)
    cause = next(one for one in run.judge().causes if one.cause == CAUSE)
    assert cause.evidence.undrained is not None
    assert cause.evidence.undrained.blind
    assert "which has no checks of its own" in (cause.evidence.note or "")


def test_the_least_pre_stop_is_advised() -> None:
    """The verdict names the first tenth of a second that is later than the last request."""
    (advice,) = stopped(0.31).judge().advice
    assert (advice.setting, advice.value, advice.covers) == (PRE_STOP, 0.4, 1)
    assert stopped(0.31).judge().persona == "kubernetes"


def test_the_advice_waits_for_the_router() -> None:
    """Where health checks took the replica out early, the preStop covers the news as well."""
    (advice,) = stopped(0.31, told=4.0).judge().advice
    assert (advice.setting, advice.value) == (PRE_STOP, 0.9)


def test_a_kept_idle_connection_is_not_covered_by_a_pre_stop() -> None:
    """A router that uses idle connections after it knew is told to close them instead."""
    (advice,) = stopped(0.31, reused=True, told=3.3).judge().advice
    assert (advice.setting, advice.value) == (CLOSE_IDLE, None)


def test_a_clean_run_has_no_advice() -> None:
    """Where no request met a stopped replica, nothing is advised."""
    assert make.clean().asked(termination=KUBERNETES).judge().advice == ()


@given(lags, st.floats(0, 60))
def test_the_advised_pre_stop_covers_every_request(lags: list[float], current: float) -> None:
    """With it, each failed request of the run is sent before the stop signal, by at most 0.1 s."""
    (advice,) = advise(
        [LateRequest(one) for one in lags],
        LeavingSettings(order="together", pre_stop_seconds=current),
    )
    assert advice.value is not None
    later = advice.value - current
    assert all(lag < later + 1e-6 for lag in lags)
    assert later - max(lags) <= 0.1 + 1e-6
    assert advice.covers == len(lags)


def test_a_shorter_lag_is_the_other_way() -> None:
    """The router sent the first of them 2.34 s after the decision: a lag of 2.3 s covers all."""
    how = LeavingSettings(order="together", pre_stop_seconds=2.0)
    (advice,) = advise([LateRequest(0.9), LateRequest(0.34)], how)
    assert [(one.setting, one.value) for one in advice.instead] == [
        (LAG, 2.3),
        (ORDER, "drain-first"),
    ]
    assert "a deregistration lag of at most 2.3 s" in advice.sentence


def test_where_no_lag_is_short_enough_none_is_advised() -> None:
    """Without a preStop, a request that came at once is covered by no lag."""
    (advice,) = advise([LateRequest(0.04)], KUBERNETES)
    assert [one.setting for one in advice.instead] == [ORDER]
    assert "lag of at most" not in advice.sentence


def test_a_pre_stop_that_the_grace_period_has_no_room_for_is_not_advised() -> None:
    """Where the replica would be killed first, a shorter lag is advised, or drain-first."""
    how = LeavingSettings(
        order="together", pre_stop_seconds=2.0, grace_seconds=5.0, grace_includes_pre_stop=True
    )
    (advice,) = advise([LateRequest(3.1), LateRequest(0.34)], how)
    assert (advice.setting, advice.value) == (LAG, 2.3)
    assert "does not fit into the grace period of 5 s" in advice.sentence
    how = msgspec.structs.replace(how, pre_stop_seconds=0.0)
    (advice,) = advise([LateRequest(5.1), LateRequest(0.04)], how)
    assert (advice.setting, advice.value) == (ORDER, None)


def test_the_advice_names_what_other_seeds_need() -> None:
    """Lags are drawn from the seed, so the advice also says what the longest of them needs."""
    how = LeavingSettings(order="together", deregistration_lag_seconds=(0.0, 1.0))
    assert "a preStop of 1.1 s covers these too" in advise([LateRequest(0.3)], how)[0].sentence
    how = LeavingSettings(order="together", deregistration_lag_seconds=(0.0, 0.3))
    assert "Other seeds" not in advise([LateRequest(0.35)], how)[0].sentence


@given(lags, st.floats(0, 60))
def test_the_advised_lag_covers_every_request(lags: list[float], current: float) -> None:
    """With it, the router knew before it sent the first of the requests."""
    lag = lag_for(current, lags)
    assert 0 <= lag <= current + min(lags) + 1e-6
    assert current + min(lags) - lag <= 0.1 + 1e-6


@given(lags, st.floats(0, 60), st.floats(0, 60))
def test_a_later_request_never_needs_less(lags: list[float], current: float, more: float) -> None:
    """The advice grows with the lags."""
    assert pre_stop_for(current, [*lags, more]) >= pre_stop_for(current, lags)


@given(
    st.lists(st.builds(LateRequest, st.floats(-5, 5), st.booleans()), max_size=20), st.booleans()
)
def test_every_request_is_covered_by_one_advice(requests: list[LateRequest], close: bool) -> None:  # noqa: FBT001 - drawn
    """Whatever the order, each failed request is counted by exactly one advice."""
    for order in ("together", "drain-first", "stop-first", "checks-only"):
        found = advise(requests, LeavingSettings(order=order, close_idle=close))  # type: ignore[arg-type]
        assert sum(one.covers for one in found) == len(requests)
        assert len({one.setting for one in found}) == len(found)


def test_where_no_pre_stop_helps_the_advice_says_so() -> None:
    """Nobody tells the router, or the server cuts its requests: the other setting is named."""
    for order in ("stop-first", "checks-only"):
        (advice,) = advise([LateRequest(0.5)], LeavingSettings(order=order))  # type: ignore[arg-type]
        assert (advice.setting, advice.value) == (ORDER, None)
        assert "no preStop" in advice.sentence
    (advice,) = advise([LateRequest(-0.5)], KUBERNETES)
    assert (advice.setting, advice.value) == (SERVER, None)
    assert "no preStop" in advice.sentence
