"""The judge says what the counts say, with the number and the limit."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from orchestrator.analysis import Finding, judge
from orchestrator.platform import Count


@some.composite
def counts(draw: some.DrawFn) -> Count:
    requests = draw(some.integers(0, 5000))
    return Count(requests, draw(some.integers(0, requests)))


@pytest.mark.parametrize(
    ("canary", "stable", "finding"),
    [
        (Count(100, 0), Count(1000, 0), Finding.PASS),
        (Count(100, 1), Count(1000, 0), Finding.PASS),
        (Count(100, 2), Count(1000, 0), Finding.FAIL),
        (Count(100, 10), Count(1000, 95), Finding.PASS),
        (Count(19, 0), Count(1000, 0), Finding.INCONCLUSIVE),
        (Count(0, 0), Count(1000, 0), Finding.INCONCLUSIVE),
        (Count(3, 3), Count(1000, 0), Finding.FAIL),
        (Count(20, 0), Count(0, 0), Finding.PASS),
    ],
)
def test_cases(canary: Count, stable: Count, finding: Finding) -> None:
    """The limit is the stable rate plus the tolerance; too few requests are inconclusive."""
    judgement = judge(canary, stable, minimum=20, tolerance=0.01)
    assert judgement.finding is finding
    assert f"{canary.failed} of {canary.requests} requests" in judgement.reason
    assert "the limit is" in judgement.reason


@given(counts(), counts(), some.integers(0, 200), some.floats(0, 1))
def test_never_a_pass_by_pretence(
    canary: Count, stable: Count, minimum: int, tolerance: float
) -> None:
    """A pass always has its sample, and more failures never turn a fail into anything else."""
    finding = judge(canary, stable, minimum=minimum, tolerance=tolerance).finding
    if finding is Finding.PASS:
        assert canary.requests >= max(minimum, 1)
    if canary.failed < canary.requests and finding is Finding.FAIL:
        worse = Count(canary.requests, canary.failed + 1)
        assert judge(worse, stable, minimum=minimum, tolerance=tolerance).finding is Finding.FAIL


@given(counts(), counts(), some.integers(0, 200), some.floats(0, 1), some.integers(0, 500))
def test_an_early_fail_would_have_been_one(
    canary: Count, stable: Count, minimum: int, tolerance: float, more: int
) -> None:
    """A fail before the sample is full stays one if all the requests that lack succeed."""
    if judge(canary, stable, minimum=minimum, tolerance=tolerance).finding is Finding.FAIL:
        full = Count(max(canary.requests, min(minimum, canary.requests + more)), canary.failed)
        later = judge(full, stable, minimum=minimum, tolerance=tolerance)
        assert later.finding is Finding.FAIL
