"""What a tick says is what happened, and the first sight of a cause is the right one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.evidence.outcome import Outcome
from scenarios.traffic.tally import Tally, first_sight, quantile


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
    tally = Tally(at_ns=0, cpu_ns=0)
    tally.planned(10)
    tally.planned(30)
    tally.planned(None)
    tally.ended(outcome(status=200, served_by="a-1"))
    tally.ended(outcome(status=404, served_by="a-1", done_ns=3_000_000))
    tally.ended(outcome(error="undispatched"))
    tick = tally.tick(at_ns=2_000_000_000, cpu_ns=500_000_000, in_flight=4)
    assert (tick.seconds, tick.cpu, tick.in_flight) == (2.0, 0.25, 4)
    assert (tick.planned, tick.ok, tick.failed, tick.undispatched) == (3, 1, 1, 1)
    assert (tick.p50_seconds, tick.p99_seconds) == (0.001, 0.003)
    assert tick.schedule_lag_p99_seconds == 30e-9
    assert (tick.failures, tick.served_by) == ({"status:404": 1}, {"a-1": 2})
    again = tally.tick(at_ns=3_000_000_000, cpu_ns=600_000_000, in_flight=0)
    assert (again.planned, again.failures, again.cpu) == (0, {}, 0.1)


@given(values=st.lists(st.integers(0, 10**12), min_size=1), share=st.floats(0.01, 1.0))
def test_a_quantile_is_the_nearest_rank(values: list[int], share: float) -> None:
    """At least `share` of the values are at or below it, and it is the smallest such value."""
    ordered = sorted(values)
    found = quantile(ordered, share)
    assert found is not None
    at_or_below = sum(value / 1e9 <= found for value in ordered)
    below = sum(value / 1e9 < found for value in ordered)
    assert at_or_below >= share * len(ordered) - 1e-9
    assert below < share * len(ordered) + 1e-9
