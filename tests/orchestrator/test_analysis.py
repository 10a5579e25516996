"""The judge says what the samples say, with the number and the limit."""

from collections.abc import Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as some
from scipy import stats

from orchestrator.analysis import Finding, fisher, judge, mann_whitney, percentile
from orchestrator.policy import Criteria
from orchestrator.request_statistics import Latency, RequestCounts

BOUNDS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512)
CRITERIA = Criteria()


def counted(requests: int, failed: int, bucket: int = 1, seconds: float = 0.0015) -> RequestCounts:
    """So many requests, whose responses all took the same."""
    counts = [0] * (len(BOUNDS) + 1)
    counts[bucket] = requests
    return RequestCounts(requests, failed, Latency(BOUNDS, tuple(counts), requests * seconds))


@some.composite
def counts(draw: some.DrawFn) -> RequestCounts:
    requests = draw(some.integers(0, 3000))
    return counted(requests, draw(some.integers(0, requests)), draw(some.integers(0, 10)))


@pytest.mark.parametrize(
    ("canary", "other", "finding"),
    [
        ((200, 0), (1000, 0), Finding.PASS),
        ((200, 1), (1000, 0), Finding.PASS),  # half a percent is tolerated
        ((200, 10), (1000, 0), Finding.FAIL),
        ((200, 10), (1000, 48), Finding.PASS),
        ((50, 2), (1000, 0), Finding.FAIL),
        ((50, 1), (1000, 0), Finding.PASS),  # it may be chance: p = 0.048
        ((49, 0), (1000, 0), Finding.INCONCLUSIVE),
        ((0, 0), (1000, 0), Finding.INCONCLUSIVE),
        ((3, 3), (1000, 0), Finding.FAIL),
        ((200, 200), (49, 0), Finding.INCONCLUSIVE),  # compared with what?
    ],
)
def test_failures(canary: tuple[int, int], other: tuple[int, int], finding: Finding) -> None:
    """More failures than chance and tolerance explain are a fail; too few requests are no pass."""
    judgement = judge(counted(*canary), counted(*other), CRITERIA)
    assert judgement.finding is finding, judgement.reason
    assert f"{canary[1]} of {canary[0]} requests to the canary failed" in judgement.reason


@pytest.mark.parametrize(
    ("canary", "other", "finding"),
    [
        ((8, 0.3), (1, 0.0015), Finding.FAIL),
        ((3, 0.006), (1, 0.0015), Finding.PASS),  # certain, and nobody notices 4 ms
        ((8, 0.200), (8, 0.190), Finding.PASS),
        ((1, 0.0015), (8, 0.3), Finding.PASS),  # faster is fine
    ],
)
def test_latency(canary: tuple[int, float], other: tuple[int, float], finding: Finding) -> None:
    """A slower canary is a fail only when the difference is certain and large enough to matter."""
    here, there = counted(100, 0, *canary), counted(1000, 0, *other)
    judgement = judge(here, there, CRITERIA)
    assert judgement.finding is finding, judgement.reason
    assert f"{canary[1] * 1e3:.1f} ms on average (the limit is" in judgement.reason


@pytest.mark.parametrize(
    ("limits", "finding", "reason"),
    [
        ({"max_failure_rate": 0.03}, Finding.FAIL, "5.00%; max_failure_rate is 3.00%"),
        ({"max_failure_rate": 0.06}, Finding.PASS, "max_failure_rate is 6.00%"),
        ({"max_p99_seconds": 0.1}, Finding.FAIL, "at most 0.256 s (max_p99_seconds is 0.1 s)"),
        ({"max_p99_seconds": 0.2}, Finding.PASS, "max_p99_seconds is 0.2 s"),
    ],
)
def test_fixed_limits(limits: dict[str, float], finding: Finding, reason: str) -> None:
    """Fixed limits count whatever the others do."""
    same = counted(400, 20, 8, 0.2)
    judgement = judge(same, same, Criteria(**limits))  # type: ignore[arg-type]
    assert judgement.finding is finding
    assert reason in judgement.reason


def test_only_latency_is_fleeting() -> None:
    """A fail for latency alone may pass by itself; one for failures does not."""
    slow, quick = counted(200, 0, 8, 0.3), counted(1000, 0, 1, 0.0015)
    assert judge(slow, quick, CRITERIA)[::2] == (Finding.FAIL, True)
    assert judge(slow, slow, Criteria(max_p99_seconds=0.1))[::2] == (Finding.FAIL, True)
    assert judge(counted(200, 50, 8, 0.3), quick, CRITERIA)[::2] == (Finding.FAIL, False)
    limit = Criteria(max_failure_rate=0.01, failure_tolerance=1.0)
    assert judge(counted(200, 50, 8, 0.3), quick, limit)[::2] == (Finding.FAIL, False)
    assert judge(quick, quick, CRITERIA)[::2] == (Finding.PASS, False)


@pytest.mark.parametrize(
    ("canary", "other", "loose", "strict"),
    [
        (counted(49, 0), counted(1000, 0), {"minimum_requests": 49}, {"minimum_requests": 50}),
        # One of fifty against none of a thousand is chance in 48 of 1000 cases.
        (counted(50, 1), counted(1000, 0), {"significance": 0.01}, {"significance": 0.05}),
        (
            *(counted(200, 10), counted(1000, 0)),
            {"failure_tolerance": 0.05},
            {"failure_tolerance": 0.01},
        ),
        # 200 ms against 100 ms.
        (
            *(counted(200, 0, 8, 0.2), counted(1000, 0, 7, 0.1)),
            {"latency_tolerance": 1.1, "latency_tolerance_seconds": 0.0},
            {"latency_tolerance": 0.9, "latency_tolerance_seconds": 0.0},
        ),
        (
            *(counted(200, 0, 8, 0.2), counted(1000, 0, 7, 0.1)),
            {"latency_tolerance": 0.0, "latency_tolerance_seconds": 0.11},
            {"latency_tolerance": 0.0, "latency_tolerance_seconds": 0.09},
        ),
        # Every request to it is slower than every other one: the chance of that is 1.
        (
            *(counted(200, 0, 9, 0.5), counted(1000, 0, 7, 0.1)),
            {"latency_effect": 1.0},
            {"latency_effect": 0.99},
        ),
    ],
)
def test_each_criterion_decides(
    canary: RequestCounts, other: RequestCounts, loose: dict[str, float], strict: dict[str, float]
) -> None:
    """Each criterion, moved alone over what was seen, turns a pass into something else."""
    assert judge(canary, other, Criteria(**loose)).finding is Finding.PASS  # type: ignore[arg-type]
    assert judge(canary, other, Criteria(**strict)).finding is not Finding.PASS  # type: ignore[arg-type]


@given(counts(), counts(), some.integers(0, 200), some.floats(0, 1))
def test_never_a_pass_by_pretence(
    canary: RequestCounts, other: RequestCounts, minimum: int, tolerance: float
) -> None:
    """A pass has its samples, and more failures never turn a fail into anything else."""
    criteria = Criteria(minimum_requests=minimum, failure_tolerance=tolerance)
    finding = judge(canary, other, criteria).finding
    if finding is Finding.PASS:
        assert min(canary.requests, other.requests) >= max(minimum, 1)
    if canary.failed < canary.requests and finding is Finding.FAIL:
        worse = canary._replace(failed=canary.failed + 1)
        assert judge(worse, other, criteria).finding is Finding.FAIL


@given(counts(), counts(), some.integers(0, 200), some.integers(0, 500))
def test_an_early_fail_would_have_been_one(
    canary: RequestCounts, other: RequestCounts, minimum: int, more: int
) -> None:
    """A fail before the sample is full stays one if all the requests that lack succeed."""
    criteria = Criteria(minimum_requests=minimum, latency_effect=1.0)
    assume(judge(canary, other, criteria).finding is Finding.FAIL)
    full = max(canary.requests, min(minimum, canary.requests + more))
    later = judge(canary._replace(requests=full), other, criteria)
    assert later.finding is Finding.FAIL


@given(some.integers(1, 300), some.integers(1, 3000), some.data())
def test_the_exact_test_is_fishers(requests: int, other: int, data: some.DataObject) -> None:
    """Its chance is the one that SciPy gives."""
    failed = data.draw(some.integers(0, requests))
    other_failed = data.draw(some.integers(0, other))
    table = [[failed, requests - failed], [other_failed, other - other_failed]]
    wanted = stats.fisher_exact(table, alternative="greater").pvalue
    found = fisher(failed, requests, other_failed, other)
    assert found == pytest.approx(wanted, rel=1e-6, abs=1e-12)


buckets = some.lists(some.integers(0, 30), min_size=6, max_size=6)


@given(buckets, buckets)
def test_the_rank_test_is_mann_and_whitneys(first: list[int], second: list[int]) -> None:
    """Its chance and its effect are those that SciPy gives for the same values."""
    ranks = mann_whitney(first, second)
    here, there = values(first), values(second)
    assume(here)
    assume(there)
    assume(len({*here, *there}) > 1)
    wanted = stats.mannwhitneyu(here, there, alternative="greater", method="asymptotic")
    assert ranks.chance == pytest.approx(wanted.pvalue, rel=1e-6, abs=1e-12)
    assert ranks.effect == pytest.approx(wanted.statistic / (len(here) * len(there)))


def values(counts: Sequence[int]) -> list[int]:
    return [bucket for bucket, count in enumerate(counts) for _ in range(count)]


def test_samples_that_say_nothing() -> None:
    """Empty and constant samples are no difference."""
    assert mann_whitney([0, 0], [3, 0]) == (1.0, 0.5)
    assert mann_whitney([0, 3], [0, 3]) == (1.0, 0.5)
    assert fisher(0, 10, 0, 10) == 1.0


def test_percentiles() -> None:
    """A percentile is the upper bound of its bucket, and infinite past the last one."""
    latency = Latency((0.1, 0.2), (98, 1, 1), 1.0)
    assert [percentile(latency, share) for share in (0.98, 0.99, 1.0)] == [0.1, 0.2, float("inf")]


def test_latency_is_compared_only_at_the_same_time() -> None:
    """Where the canary has all traffic, an earlier sample says nothing of its latency."""
    slow, quick = counted(1000, 0, 8, 0.3), counted(1000, 0)
    assert judge(slow, quick, CRITERIA).finding is Finding.FAIL
    assert judge(slow, quick, CRITERIA, together=False).finding is Finding.PASS
    assert judge(counted(1000, 200), quick, CRITERIA, together=False).finding is Finding.FAIL


def test_harm_to_the_stable_replicas_stops_a_canary_that_looks_well() -> None:
    """The canary has no failure; the others fail since it began, and never did before."""
    seen = judge(counted(200, 0), counted(225, 61), CRITERIA, calm=counted(300, 0))
    assert seen.finding is Finding.FAIL
    assert seen.reason.startswith("the stable replicas are harmed: 61 of 225 requests to them")
    assert "0 of 300 before it" in seen.reason


def test_no_limit_comes_from_a_sample_that_the_canary_may_have_spoilt() -> None:
    """Failures of the others in the canary's time do not raise what the canary may fail."""
    spoilt = counted(225, 61)
    seen = judge(counted(200, 20), spoilt, CRITERIA, calm=counted(300, 0))
    assert seen.finding is Finding.FAIL
    little = judge(counted(200, 20), spoilt, CRITERIA, calm=counted(0, 0))
    assert "27" not in little.reason.partition("the limit is ")[2].partition("%")[0]


def test_stable_replicas_that_fail_as_they_always_did_stop_no_canary() -> None:
    """A failure rate that was there before the canary is not its harm."""
    seen = judge(counted(300, 6), counted(300, 6), CRITERIA, calm=counted(300, 6))
    assert seen.finding is not Finding.FAIL
