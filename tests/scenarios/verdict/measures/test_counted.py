"""Requests that were only counted weigh as much as those that are known one by one."""

from array import array
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.evidence.counted import SLOT_NS, CountedRequests, rounded
from scenarios.evidence.scratch import MemoryScratch
from scenarios.verdict.measures.budget import windowed
from scenarios.verdict.measures.counted import with_counted
from scenarios.verdict.measures.durations import Durations
from scenarios.verdict.measures.slo import Ordered, count_slots, downtime_windows, merge_gap_ns

SHARES = (0.5, 0.99, 0.999)


@given(
    st.lists(st.integers(0, 10**10), max_size=40),
    st.dictionaries(st.integers(0, 10**10), st.integers(1, 50), max_size=40),
)
def test_percentiles_count_each_of_them(single: list[int], counts: dict[int, int]) -> None:
    """Percentiles of counted durations are those of the same durations one by one."""
    some, all_of_them = Durations(MemoryScratch()), Durations(MemoryScratch())
    some.add(single)
    some.add_counted(counts)
    all_of_them.add([*single, *Counter(counts).elements()])
    assert len(some) == len(all_of_them)
    assert some.largest == all_of_them.largest
    found = Durations.percentiles([some], SHARES)
    assert found == Durations.percentiles([all_of_them], SHARES)


def worst(requests: Ordered, length_ns: int) -> float:
    """The worst availability of any stretch of this length that begins with an item."""
    found = 1.0
    rows = list(zip(requests.planned, requests.failed, requests.weights or (), strict=True))
    for begin in requests.planned:
        if begin + length_ns <= requests.planned[-1]:
            inside = [one for one in rows if begin <= one[0] < begin + length_ns]
            bad = sum(weight for _, failed, weight in inside if failed)
            found = min(found, 1 - bad / sum(weight for _, _, weight in inside))
    return found


@given(
    st.lists(
        st.tuples(st.integers(1, 400_000_000), st.booleans(), st.integers(1, 30)),
        min_size=1,
        max_size=60,
    )
)
def test_weights_stand_for_as_many_requests(items: list[tuple[int, bool, int]]) -> None:
    """An item with a weight has the same part in outages and windows as so many single requests."""
    planned = array("q")
    at = 0
    for gap, _, _ in items:
        at += gap
        planned.append(at)
    failed = bytes(int(bad) for _, bad, _ in items)
    weights = [1 if bad else weight for _, bad, weight in items]
    weighed = Ordered(planned, failed, weights)
    rows = [
        (at, bad)
        for at, bad, weight in zip(planned, failed, weights, strict=True)
        for _ in range(weight)
    ]
    single = Ordered([at for at, _ in rows], bytes(bad for _, bad in rows))
    assert weighed.total == len(single.planned) == single.total
    assert weighed.gap_ns == single.gap_ns
    gap = merge_gap_ns(single)
    assert merge_gap_ns(weighed) == gap
    for one, other in zip(
        downtime_windows(weighed, gap), downtime_windows(single, gap), strict=True
    ):
        assert one._replace(peak=0) == other._replace(peak=0)
        assert one.peak <= other.peak + 1e-9
    for window in windowed(weighed, (0.5, 2.0)):
        assert window.worst == pytest.approx(worst(weighed, round(window.seconds * 1e9)))


def test_a_peak_is_not_invented() -> None:
    """Ten failures spread over a slot of a thousand good requests are no outage of all of them."""
    line = CountedRequests(
        at_ns=0,
        phase="rollout",
        journey="look",
        step=1,
        endpoint="GET /",
        connection="reused",
        version="a",
        status=200,
        expected=(200,),
        counts=(1000,) * 10,
        latencies={1000: 10_000},
    )
    bad = [5 * SLOT_NS + n * SLOT_NS // 10 for n in range(10)]
    found = with_counted(Ordered(array("q", bad), b"\1" * 10), [line])
    assert found.total == 10_010
    (window,) = downtime_windows(found, merge_gap_ns(found))
    assert (window.failed, window.peak) == (10, pytest.approx(0.1))
    assert window.requests == pytest.approx(910, abs=15)
    slots = count_slots(found, SLOT_NS)
    # Slots begin with the first item, which need not be where a tenth of a second begins.
    assert (slots.bad + slots.good, slots.no_data) == (10, 0)
    assert slots.bad in (1, 2)


@given(st.integers(0, 10**12))
def test_rounding_loses_less_than_two_percent(nanoseconds: int) -> None:
    """A latency is rounded down, and hardly so."""
    assert rounded(nanoseconds) <= nanoseconds <= rounded(nanoseconds) * 1.016
