"""Exact tests on counts, held to SciPy's."""

import hypothesis.strategies as some
from hypothesis import given
from scipy import stats

from scenarios.verdict.measures.exact_test import Counts, fisher_greater, holm

COUNTS = some.builds(Counts, some.integers(0, 60), some.integers(0, 60))


@given(COUNTS, COUNTS)
def test_the_exact_test_is_fishers(inside: Counts, outside: Counts) -> None:
    """The p-value is that of SciPy's one-sided exact test."""
    wanted = stats.fisher_exact([list(inside), list(outside)], alternative="greater").pvalue
    assert abs(fisher_greater(inside, outside) - wanted) < 1e-9


def test_large_counts_neither_overflow_nor_reach_below_zero() -> None:
    """A long run has millions of requests."""
    chance = fisher_greater(Counts(2_000, 10), Counts(0, 5_000_000))
    assert 0 <= chance < 1e-300


@given(some.lists(some.floats(0, 1), max_size=8), some.floats(0, 1))
def test_holm_rejects_no_less_than_bonferroni_and_no_more_than_each_alone(
    chances: list[float], level: float
) -> None:
    """Holm's procedure lies between Bonferroni's correction and none."""
    for chance, rejected in zip(chances, holm(chances, level), strict=True):
        if chance <= level / len(chances):
            assert rejected
        if rejected:
            assert chance <= level


def test_holm_steps_down() -> None:
    """Once the smallest is rejected, one test fewer is corrected for."""
    assert holm([0.03, 0.02, 0.9], 0.05) == [False, False, False]
    assert holm([0.02, 0.01, 0.9], 0.05) == [True, True, False]
