"""Schedules are fixed by the seed alone."""

from itertools import count, islice, pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.traffic.errors import PlanError
from scenarios.traffic.plan import Plan
from scenarios.traffic.schedule.arrivals import constant, poisson, profiled, recorded, schedule
from scenarios.traffic.schedule.stream import Stream
from scenarios.traffic.settings import RatePoint

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


def points(*pairs: tuple[float, float]) -> list[RatePoint]:
    return [RatePoint(at_seconds=at, rate=rate) for at, rate in pairs]


def test_a_ramp_is_as_steep_as_it_is_asked_to_be() -> None:
    """From 0 to 100 a second in 10 s: the n-th arrival is at sqrt(n / 5), and 500 come."""
    ramp = points((0.0, 0.0), (10.0, 100.0), (10.0, 0.0))
    offsets = list(profiled(ramp, count(1)))
    assert len(offsets) == 500
    for number in (1, 50, 200, 500):
        assert offsets[number - 1] / 1e9 == pytest.approx((number / 5) ** 0.5)


def test_a_burst_begins_and_ends_at_once() -> None:
    """Between two jumps the rate is the burst's, and outside it is as before."""
    burst = points((0.0, 10.0), (1.0, 10.0), (1.0, 1000.0), (2.0, 1000.0), (2.0, 10.0))
    offsets = [offset / 1e9 for offset in islice(profiled(burst, count(1)), 1030)]
    assert sum(at <= 1 for at in offsets) == 10
    assert sum(1 < at <= 2 for at in offsets) == 1000
    assert sum(2 < at <= 3 for at in offsets) == 10


def test_a_pause_is_a_pause() -> None:
    """A rate of 0 between two others sends nobody, and does not end the schedule."""
    pause = points((0.0, 10.0), (1.0, 10.0), (1.0, 0.0), (5.0, 0.0), (5.0, 10.0))
    offsets = [offset / 1e9 for offset in islice(profiled(pause, count(1)), 20)]
    assert offsets[9] == pytest.approx(1.0)
    assert offsets[10] == pytest.approx(5.1)


@given(
    profile=st.lists(st.tuples(st.floats(0, 5), st.floats(0, 1000)), min_size=1, max_size=6),
    seed=seeds,
)
def test_no_profile_goes_back(profile: list[tuple[float, float]], seed: int) -> None:
    """Whatever the rate does, arrivals are in order, and never before the start."""
    times = sorted(at for at, _ in profile)
    times[0] = 0.0
    made = [
        RatePoint(at_seconds=at, rate=rate) for at, (_, rate) in zip(times, profile, strict=True)
    ]
    plan = Plan(
        host="h",
        port=1,
        rate=1.0,
        journeys=(),
        requests_path="",
        mails_path="",
        seed=seed,
        profile=tuple(made),
    )
    first = list(islice(schedule(plan), 300))
    assert all(offset >= 0 for offset in first)
    assert all(earlier <= later for earlier, later in pairwise(first))


@pytest.mark.parametrize("rate", [5e-324, 1e-300, 1e-12])
def test_a_rate_that_brings_nobody_is_no_error(rate: float) -> None:
    """However small a rate is, its schedule is one: it may end before anybody comes."""
    ramp = points((0.0, 0.0), (5.0, rate))
    for offsets in (poisson(rate, 7), profiled(ramp, count(1))):
        assert list(islice(offsets, 1)) == []


def test_a_steady_profile_is_a_steady_rate() -> None:
    """A profile of one point plans what the same rate without a profile plans, to the rounding."""
    plan = Plan(host="h", port=1, rate=250.0, journeys=(), requests_path="", mails_path="", seed=7)
    profile = msgspec.structs.replace(plan, profile=tuple(points((0.0, 250.0))))
    pairs = zip(islice(schedule(plan), 2000), islice(schedule(profile), 2000), strict=True)
    assert all(abs(one - other) < 2000 for one, other in pairs)


def test_recorded_arrivals_are_replayed(tmp_path: Path) -> None:
    """Each line is an arrival, to the nanosecond, and the last one is the last."""
    path = tmp_path / "arrivals.txt"
    path.write_text("0\n0.000000001\n1e-3\n2.5\n2.5\n")
    assert list(recorded(path)) == [0, 1, 1_000_000, 2_500_000_000, 2_500_000_000]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0\nsoon\n", "line 2: 'soon' is not a number"),
        ("2\n1\n", "line 2: 1 is before the line above it"),
        ("-1\n", "line 1: -1 is before the line above it"),
        ("\n", "line 1: '' is not a number"),
        ("ü", "it is not text"),
        (None, "No such file or directory"),
    ],
)
def test_a_wrong_recording_is_one_clear_line(
    tmp_path: Path, text: str | None, message: str
) -> None:
    """The file, the line, and what is wrong with it."""
    path = tmp_path / "arrivals.txt"
    if text is not None:
        path.write_text(text)
    with pytest.raises(PlanError, match=f"^arrivals_path {path}.*{message}$"):
        list(recorded(path))


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
    assert all(850 < each < 1150 for each in tenths)  # five standard deviations
