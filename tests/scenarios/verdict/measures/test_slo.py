"""The numbers of a verdict are right, by definition and by property."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import special, stats

from scenarios.verdict.measures import slo
from tests.support.by_rows.slo import Marks

requests = st.lists(st.tuples(st.integers(0, 20_000_000_000), st.booleans()), max_size=200)


def ordered(pairs: list[tuple[int, bool]]) -> slo.Ordered:
    marks = Marks()
    for planned, failed in pairs:
        marks.add(planned, failed=failed)
    return marks.ordered()


@pytest.mark.parametrize(
    ("failed", "total", "bound"),
    [
        (0, 3_000, 9.98e-4),
        (0, 30_000, 9.985e-5),
        (0, 59, 0.0495),
        (3, 30_000, 2.584e-4),
        (5, 5, 1.0),
        (0, 0, 1.0),
    ],
)
def test_known_bounds(failed: int, total: int, bound: float) -> None:
    """The bound agrees with published values of Clopper and Pearson's interval."""
    assert slo.failure_rate_upper(failed, total) == pytest.approx(bound, rel=2e-3)


@given(st.integers(1, 5_000).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))))
def test_bound_is_the_rate_at_which_so_few_failures_are_rare(case: tuple[int, int]) -> None:
    """At the bound itself, as few failures as seen have a probability of 5 %."""
    failed, total = case
    bound = slo.failure_rate_upper(failed, total)
    assert failed / total < bound <= 1
    assert stats.binom.cdf(failed, total, bound) == pytest.approx(0.05, abs=1e-6)


@given(
    st.integers(2, 10_000_000).flatmap(lambda n: st.tuples(st.integers(1, n - 1), st.just(n))),
    st.floats(0.5, 0.999),
)
@example((1, 10_000_000), 0.95)
@example((9_999_999, 10_000_000), 0.95)
@example((5_000_000, 10_000_000), 0.95)
def test_the_bound_is_the_one_that_scipy_finds(case: tuple[int, int], confidence: float) -> None:
    """Up to ten million requests, however many failed, the bound is that of SciPy's beta."""
    failed, total = case
    expected = special.betaincinv(failed + 1, total - failed, confidence)
    found = slo.failure_rate_upper(failed, total, confidence)
    assert found == pytest.approx(float(expected), rel=1e-9)


def test_a_clean_rollout_says_little_about_the_next() -> None:
    """Ten clean rollouts leave 26 % of bad ones possible, and 59 leave 5 %."""
    assert slo.bad_rollout_upper(10) == pytest.approx(0.26, abs=0.005)
    assert slo.bad_rollout_upper(59) == pytest.approx(0.05, abs=0.001)
    assert slo.bad_rollout_upper(1) == pytest.approx(0.95)


def test_smallest_outage() -> None:
    """At 200 requests a second an outage of 15 ms is seen, of one replica in four one of 60 ms."""
    assert slo.smallest_detectable_outage(2_001, 10.0) == pytest.approx(0.015)
    assert slo.smallest_detectable_outage(2_001, 10.0, share=0.25) == pytest.approx(0.06)
    assert slo.smallest_detectable_outage(1, 10.0) is None
    assert slo.smallest_detectable_outage(5, 0.0) is None


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=300), st.floats(0.001, 1.0))
def test_percentile_is_a_seen_value_that_enough_do_not_exceed(
    values: list[int], share: float
) -> None:
    """At least the share is at or below it, and of what lies below it there is less."""
    values.sort()
    found = slo.percentile(values, share)
    assert found in values
    assert sum(v <= found for v in values) >= share * len(values) - 1e-6
    assert sum(v < found for v in values) < share * len(values)


def test_percentile_of_a_hundred() -> None:
    """The 99th percentile of 1 to 100 is 99, and not 100 by a rounding error."""
    assert slo.percentile(range(1, 101), 0.99) == 99
    assert slo.percentile(range(1, 1001), 0.999) == 999
    assert slo.percentile([], 0.5) is None


@given(requests, st.integers(1, 3_000_000_000))
def test_windows_cover_exactly_the_failures(pairs: list[tuple[int, bool]], gap_ns: int) -> None:
    """Each failure is in one window, each window begins and ends with one, and none overlap."""
    sequence = ordered(pairs)
    windows = slo.downtime_windows(sequence, gap_ns)
    assert sum(window.failed for window in windows) == sum(sequence.failed)
    failures = [p for p, failed in zip(sequence.planned, sequence.failed, strict=True) if failed]
    for window in windows:
        assert window.first_ns in failures
        assert window.last_ns in failures
        assert window.failed <= window.requests
        assert 0 < window.peak <= 1
        if window.before_ns is not None:
            assert window.before_ns <= window.first_ns
        if window.after_ns is not None:
            assert window.after_ns >= window.last_ns
    for one, other in pairwise(windows):
        assert other.first_ns - one.last_ns >= gap_ns
        assert one.after_ns is not None


@given(requests, st.randoms(use_true_random=False))
def test_order_of_arrival_does_not_matter(pairs: list[tuple[int, bool]], random: object) -> None:
    """The same requests in another order have the same windows and slots."""
    shuffled = list(pairs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = ordered(pairs), ordered(shuffled)
    assert slo.downtime_windows(one, 10**9) == slo.downtime_windows(other, 10**9)
    assert slo.count_slots(one, 10**8) == slo.count_slots(other, 10**8)


def test_bounds_of_an_outage() -> None:
    """An outage lasts from first to last failure at least, from success to success at most."""
    pairs = [(n * 10_000_000, 30 <= n < 80) for n in range(200)]
    (window,) = slo.downtime_windows(ordered(pairs), 10**9)
    assert (window.first_ns, window.last_ns) == (300_000_000, 790_000_000)
    assert (window.before_ns, window.after_ns) == (290_000_000, 800_000_000)
    assert (window.failed, window.requests, window.peak) == (50, 50, 1.0)


def test_partial_outage_has_a_lower_peak() -> None:
    """With every fourth request failing, at most three of ten in a row do."""
    pairs = [(n * 10_000_000, 100 <= n < 200 and n % 4 == 0) for n in range(300)]
    (window,) = slo.downtime_windows(ordered(pairs), 10**9)
    assert window.peak == pytest.approx(0.3)


def test_two_outages_with_success_between_stay_two() -> None:
    """Failures further apart than the gap, with successes between them, are two windows."""
    pairs = [(n * 10_000_000, n in (100, 400)) for n in range(600)]
    assert len(slo.downtime_windows(ordered(pairs), 10**9)) == 2


def test_failures_with_nothing_between_are_one_window() -> None:
    """Nothing shows that the service was back: rare requests that all fail are one outage."""
    pairs = [(0, False), (10 * 10**9, True), (20 * 10**9, True), (30 * 10**9, False)]
    (window,) = slo.downtime_windows(ordered(pairs), 10**9)
    assert window.failed == 2


def test_an_outage_at_the_edge_has_an_open_bound() -> None:
    """Without a success before or after there is no such bound, rather than a made-up one."""
    (window,) = slo.downtime_windows(ordered([(0, True), (10, True)]), 10**9)
    assert (window.before_ns, window.after_ns) == (None, None)


@given(requests)
def test_slots_add_up(pairs: list[tuple[int, bool]]) -> None:
    """Good, bad and empty slots together are the whole time."""
    sequence = ordered(pairs)
    slots = slo.count_slots(sequence, 10**8)
    assert sum(slots) == (sequence.span_ns // 10**8 + 1 if pairs else 0)
    assert (slots.bad > 0) == any(sequence.failed)


def test_nobody_looked() -> None:
    """A slot without a request is no data, neither good nor bad."""
    slots = slo.count_slots(ordered([(0, False), (950_000_000, True)]), 10**8)
    assert slots == slo.SlotCount(good=1, bad=1, no_data=8)


@given(st.integers(1, 10**7).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_never_says_a_hundred_per_cent(case: tuple[int, int]) -> None:
    """No number of requests shows an availability of 100 %."""
    ok, total = case
    text = slo.availability_text(ok, total)
    assert f"{ok:,} of {total:,} succeeded" in text
    assert "(100" not in text
    assert "below 0 %" not in text
    if ok:
        assert " 100 %" not in text


def test_availability_text() -> None:
    """The text gives the counts, and the bound rounded up."""
    assert slo.availability_text(4_812, 4_812) == (
        "4,812 of 4,812 succeeded; failure rate below 0.063 % (95 % confidence)"
    )
    assert "(99.93 %)" in slo.availability_text(4_809, 4_812)
    assert "(99.9995 %)" in slo.availability_text(199_999, 200_000)
    assert slo.availability_text(0, 0) == "no request was made"
