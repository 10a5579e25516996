"""Randomness of the simulated world: reproducible, exact, and the same with numpy."""

import random
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.simulated.arrays import at_many, generator, kinds
from orchestrator.simulated.chance import Distribution, stream

DISTRIBUTIONS = st.one_of(
    st.builds(Distribution.constant, st.floats(0, 100)),
    st.builds(lambda a, b: Distribution.uniform(a, a + b), st.floats(0, 10), st.floats(0, 10)),
    st.builds(Distribution.exponential, st.floats(1e-6, 100)),
    st.builds(Distribution.lognormal, st.floats(1e-6, 10), st.floats(1.01, 3)),
    st.builds(Distribution.measured, st.lists(st.floats(0, 100), min_size=1, max_size=50)),
)


@given(st.integers(), st.integers(0, 3000), st.integers(1, 500))
def test_numpy_draws_the_same_numbers(seed: int, before: int, count: int) -> None:
    """A stream that numpy goes on with gives bit for bit what Python would have drawn."""
    chance = stream(seed, "x")
    for _ in range(before):
        chance.random()
    copy = random.Random()
    copy.setstate(chance.getstate())
    assert generator(chance).random(count).tolist() == [copy.random() for _ in range(count)]


@given(DISTRIBUTIONS, st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=50))
def test_many_draws_are_the_single_draws(one: Distribution, shares: list[float]) -> None:
    """Draws by the thousand give to the nanosecond what single draws give."""
    import numpy as np  # noqa: PLC0415 - for the arrays of this test only

    assert at_many(one, np.array(shares)).tolist() == [one.at(share) for share in shares]


@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=6), st.floats(0, 1, exclude_max=True))
def test_kinds_are_chosen_alike(weights: list[float], share: float) -> None:
    """The kind of a request is the same whether it is chosen alone or with many others."""
    import numpy as np  # noqa: PLC0415 - for the arrays of this test only

    total, bounds, so_far = sum(weights), [], 0.0
    for weight in weights:
        so_far += weight / total
        bounds.append(so_far)
    bounds[-1] = 1.0
    alone = next(number for number, bound in enumerate(bounds) if share < bound)
    assert kinds(np.array([share]), bounds).tolist() == [alone]


@given(DISTRIBUTIONS, st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_quantiles_ascend(one: Distribution, first: float, second: float) -> None:
    """A higher probability never has a lower quantile, and no draw is above the longest."""
    low, high = sorted((first, second))
    assert 0 <= one.at(low) <= one.at(high) <= one.longest_ns


@pytest.mark.parametrize(
    ("one", "seconds"),
    [
        (Distribution.exponential(0.01), 0.01),
        (Distribution.uniform(1, 3), 2.0),
        (Distribution.constant(0.3), 0.3),
        (Distribution.measured([1.0, 2.0, 3.0]), 2.0),
    ],
)
def test_the_mean_is_what_was_asked_for(one: Distribution, seconds: float) -> None:
    """The mean of many draws is that of the distribution."""
    chance = stream(7, "mean")
    drawn = mean(one.at(chance.random()) for _ in range(20_000)) / 1e9
    assert drawn == pytest.approx(seconds, rel=0.03)
    assert one.mean_seconds == pytest.approx(seconds, rel=0.001)


def test_half_of_a_lognormal_is_below_its_median() -> None:
    """Half of the draws are below the median, and 84 % below the median times the spread."""
    one = Distribution.lognormal(0.01, 2.0)
    assert one.at(0.5) == pytest.approx(0.01e9, rel=0.001)
    assert one.at(0.8413) == pytest.approx(0.02e9, rel=0.01)


def test_components_do_not_share_their_numbers() -> None:
    """Streams of other names or seeds are other streams; the same ones are the same."""
    first = [stream(1, "replica", "a-1").random() for _ in range(2)]
    assert first[0] == first[1]
    others = {stream(1, "replica", "a-2").random(), stream(2, "replica", "a-1").random()}
    assert len({first[0], *others}) == 3


def test_nothing_measured_is_no_distribution() -> None:
    """A distribution of no values is refused."""
    with pytest.raises(ValueError, match="at least one"):
        Distribution.measured([])
