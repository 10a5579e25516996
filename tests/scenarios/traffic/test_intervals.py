"""What a tick says is what happened, and the first sight of a cause is the right one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.evidence.outcome import Outcome
from scenarios.traffic.intervals import Interval, IntervalCounter, first_sight, merge


def outcome(**fields: object) -> Outcome:
    base: dict[str, object] = {
        "request_id": "s7-000000-1",
        "journey": "health",
        "endpoint": "GET /",
        "connection": "new",
        "planned_ns": 0,
        "done_ns": 1_000_000,
        "expected": (200,),
    }
    return Outcome(**(base | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"error": "reset"}, "transport:reset"),
        (
            {"status": 503, "proxy_status": 'hitless; error=destination_unavailable; details="x"'},
            "no_backend",
        ),
        (
            {"status": 502, "proxy_status": "edge, hitless; error=connection_refused"},
            "balancer:connection_refused",
        ),
        ({"status": 500, "sqlstate": "23502"}, "sqlstate:23502"),
        ({"status": 500, "proxy_status": "hitless; received-status=500"}, "status:500"),
        ({"status": 404}, "status:404"),
    ],
)
def test_a_cause_at_first_sight(fields: dict[str, object], cause: str) -> None:
    """Transport, then the proxy's word, then the database's, then the status."""
    assert first_sight(outcome(**fields)) == cause


def test_a_tick_tells_good_from_bad() -> None:
    """Good, failed and undispatched are counted apart, and counting begins anew after a tick."""
    counter = IntervalCounter(at_ns=0, cpu_ns=0)
    counter.planned(10)
    counter.planned(30)
    counter.planned(None)
    counter.ended(outcome(status=200, served_by="a-1"))
    counter.ended(outcome(status=404, served_by="a-1", done_ns=3_000_000))
    counter.ended(outcome(error="undispatched"))
    tick = counter.tick(at_ns=2_000_000_000, cpu_ns=500_000_000, in_flight=4).tick
    assert (tick.seconds, tick.cpu, tick.in_flight) == (2.0, 0.25, 4)
    assert (tick.planned, tick.ok, tick.failed, tick.undispatched) == (3, 1, 1, 1)
    assert tick.p50_seconds == pytest.approx(0.001, rel=0.001)
    assert tick.p99_seconds == pytest.approx(0.003, rel=0.001)
    assert tick.schedule_lag_p99_seconds == 30e-9
    assert (tick.failures, tick.served_by) == ({"status:404": 1}, {"a-1": 2})
    again = counter.tick(at_ns=3_000_000_000, cpu_ns=600_000_000, in_flight=0).tick
    assert (again.planned, again.failures, again.cpu) == (0, {}, 0.1)


@given(
    latencies=st.lists(st.lists(st.integers(0, 10**12), max_size=20), min_size=1, max_size=4),
)
def test_merged_intervals_are_those_of_one_process(latencies: list[list[int]]) -> None:
    """What several processes counted, merged, is what one would have counted."""

    def interval(values: list[int]) -> Interval:
        counter = IntervalCounter(at_ns=0, cpu_ns=0)
        for value in values:
            counter.planned(value // 2)
            status = 200 if value % 3 else 404
            counter.ended(outcome(status=status, served_by=f"a-{value % 2}", done_ns=value))
        return counter.tick(at_ns=10**9, cpu_ns=0, in_flight=3)

    merged = merge([interval(each) for each in latencies], at_ns=10**9, seconds=1.0, in_flight=3)
    assert merged == interval([value for each in latencies for value in each])
