"""Schedules are fixed by the seed alone."""

from itertools import islice, pairwise

from hypothesis import given
from hypothesis import strategies as st

from scenarios.traffic.arrivals import constant, poisson
from scenarios.traffic.stream import Stream

rates = st.floats(min_value=0.01, max_value=100_000)
seeds = st.integers(min_value=0, max_value=2**70)


@given(rate=rates, seed=seeds)
def test_arrivals_never_go_back(rate: float, seed: int) -> None:
    """Offsets are whole nanoseconds from 0 on, each one at or after the one before."""
    for offsets in (poisson(rate, seed), constant(rate)):
        first = list(islice(offsets, 200))
        assert first[0] >= 0
        assert all(isinstance(offset, int) for offset in first)
        assert all(earlier <= later for earlier, later in pairwise(first))


@given(rate=rates, seed=seeds)
def test_the_same_seed_plans_the_same_arrivals(rate: float, seed: int) -> None:
    """Two schedules of one seed are equal; those of another seed are not."""
    first = list(islice(poisson(rate, seed), 50))
    assert first == list(islice(poisson(rate, seed), 50))
    assert first != list(islice(poisson(rate, seed + 1), 50))


@given(seed=seeds)
def test_poisson_arrivals_keep_the_rate(seed: int) -> None:
    """10,000 arrivals at 200 a second take 50 s, within six standard deviations."""
    last = next(islice(poisson(200.0, seed), 9_999, None))
    assert abs(last / 1e9 - 50.0) < 6 * 0.5


def test_poisson_gaps_are_exponential() -> None:
    """The gaps have no memory: their shares beyond 1, 2 and 3 means are e^-1, e^-2 and e^-3."""
    offsets = list(islice(poisson(1000.0, 7), 50_001))
    gaps = [later - earlier for earlier, later in pairwise(offsets)]
    for means, share in ((1, 0.3679), (2, 0.1353), (3, 0.0498)):
        beyond = sum(gap > means * 1_000_000 for gap in gaps) / len(gaps)
        assert abs(beyond - share) < 0.01


def test_equal_gaps_do_not_drift() -> None:
    """The millionth arrival at 3 a second is where arithmetic puts it, to the nanosecond."""
    assert next(islice(constant(3.0), 1_000_000, None)) == 1_000_000 * 10**9 // 3


@given(keys=st.lists(st.integers(), min_size=1, max_size=4))
def test_a_stream_follows_from_its_keys(keys: list[int]) -> None:
    """Numbers are in [0, 1), the same for the same keys, and others for other keys."""
    stream, same, other = Stream(*keys), Stream(*keys), Stream(*keys, 0)
    numbers = [stream.uniform() for _ in range(20)]
    assert all(0 <= number < 1 for number in numbers)
    assert numbers == [same.uniform() for _ in range(20)]
    assert numbers != [other.uniform() for _ in range(20)]


def test_streams_of_neighbouring_keys_are_independent() -> None:
    """The first numbers of 10,000 streams with consecutive keys fill [0, 1) evenly."""
    tenths = [0] * 10
    for number in range(10_000):
        tenths[int(Stream(7, number).uniform() * 10)] += 1
    assert all(850 < count < 1150 for count in tenths)  # five standard deviations
