"""A histogram keeps three digits of every value, and forgets nothing else."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.traffic.histogram import Histogram


def exact_quantile(values: list[int], share: float) -> float:
    """The smallest value that at least `share` of them do not exceed, in seconds."""
    rank = next(rank for rank in range(1, len(values) + 1) if rank >= share * len(values))
    return sorted(values)[rank - 1] / 1e9


durations = st.lists(st.integers(0, 10**13), min_size=1)


def filled(values: list[int]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


@given(values=durations, share=st.floats(0.001, 1.0))
def test_a_quantile_is_within_a_thousandth_of_the_exact_one(
    values: list[int], share: float
) -> None:
    """Whatever was recorded, no quantile is above the exact one or 0.1 % below it."""
    exact = exact_quantile(values, share)
    (found,) = filled(values).quantiles([share])
    assert exact * (1 - 1 / 1024) - 1e-9 <= found <= exact


@given(one=durations, other=durations)
def test_adding_is_the_same_as_recording_all(one: list[int], other: list[int]) -> None:
    """Counts of two processes, added, are the counts of one that saw everything."""
    added, whole = filled(one), filled(one + other)
    sent = msgspec.json.encode(filled(other))
    added.add(msgspec.json.decode(sent, type=Histogram))
    assert added.spread() == whole.spread()
    assert added.count == whole.count


def test_memory_does_not_grow_with_the_run() -> None:
    """A hundred thousand values from a microsecond to ten seconds are some thousand counts."""
    histogram = filled([round(1_000 * 1.000161**step) for step in range(100_000)])
    assert histogram.count == 100_000
    assert len(histogram.counts) < 25_000


def test_nothing_has_no_spread() -> None:
    """Where nothing was recorded there is no number, not a zero."""
    assert Histogram().spread() is None
    with pytest.raises(ValueError, match="quantile of nothing"):
        Histogram().quantiles([0.5])
