"""From a router's log line to the record: clocks and names."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.routers.exchange import LogEntry, Names, exchange_of
from orchestrator.routers.managed import integers

ENTRY = LogEntry(
    at_ns=1_000,
    resolution_ns=10,
    request_id="r-1",
    method="GET",
    path="/",
    status=200,
    backend="127.0.0.1:1",
    attempts=1,
    end="complete",
)


@given(offset=st.integers(-(2**62), 2**62), error=st.integers(0, 2**40))
def test_the_stamp_is_of_the_monotonic_clock(offset: int, error: int) -> None:
    """A stamp moves by the clocks' difference, and is as exact as its log and the clocks are."""
    found = exchange_of(ENTRY, Names(), offset_ns=offset, error_ns=error)
    assert found.at_ns == 1_000 - offset
    assert found.resolution_ns == 10 + error


def test_a_port_that_is_used_again_is_another_replica() -> None:
    """An address stands for the replica that had it at that time."""
    names = Names()
    names.add("127.0.0.1:1", 500, "a-1", "a")
    names.add("127.0.0.1:1", 2_000, "b-2", "b")
    assert names.find("127.0.0.1:1", 1_999) == ("a-1", "a")
    assert names.find("127.0.0.1:1", 2_000) == ("b-2", "b")
    assert names.find("127.0.0.1:1", 1) == ("a-1", "a")
    assert names.find("127.0.0.1:2", 1) is None
    found = exchange_of(ENTRY, names, offset_ns=0)
    assert (found.backend, found.version) == ("a-1", "a")


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1e6), max_size=8), st.integers(1, 10_000))
def test_whole_weights_keep_who_gets_something(weights: dict[str, float], most: int) -> None:
    """A weight above 0 stays above 0, 0 stays 0, the largest is the most, and order is kept."""
    found = integers(weights, most)
    assert found.keys() == weights.keys()
    assert all((found[name] > 0) == (weights[name] > 0) for name in weights)
    assert max(found.values(), default=most) in (most, 0)
    ordered = sorted(weights, key=lambda name: weights[name])
    assert [found[name] for name in ordered] == sorted(found.values())
