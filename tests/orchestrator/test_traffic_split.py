"""Weights give the share that was asked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from orchestrator.traffic_split import all_alike, weights

percents = some.floats(0.01, 100)
sizes = some.integers(1, 20)


def named(prefix: str, count: int) -> list[str]:
    return [f"{prefix}-{number}" for number in range(count)]


def share(given_weights: dict[str, float], names: list[str]) -> float:
    return 100 * sum(given_weights[name] for name in names) / sum(given_weights.values())


@given(percents, sizes, sizes)
def test_the_canary_gets_its_share(percent: float, fresh: int, old: int) -> None:
    """The canary gets the percentage, the others the rest in equal parts and weight 1 each."""
    canary, others = named("b", fresh), named("a", old)
    found = weights(percent, canary, others)
    assert found.keys() == {*canary, *others}
    assert share(found, canary) == pytest.approx(percent)
    assert {found[name] for name in others} == ({0.0} if percent == 100 else {1.0})
    assert len({found[name] for name in canary}) == 1


@given(percents, sizes, sizes, sizes)
def test_a_baseline_gets_as_much_as_the_canary(
    percent: float, fresh: int, old: int, twin: int
) -> None:
    """The baseline's share is the canary's, as long as there is enough for both."""
    canary, others, twins = named("b", fresh), named("a", old), named("c", twin)
    found = weights(percent, canary, others, twins)
    assert share(found, canary) == pytest.approx(percent)
    if 2 * percent < 100:
        assert share(found, twins) == pytest.approx(percent)
        assert {found[name] for name in others} == {1.0}


@given(percents, sizes)
def test_who_is_alone_gets_everything(percent: float, fresh: int) -> None:
    """Where nobody else serves, any share is all of it."""
    assert weights(percent, named("b", fresh), []) == dict.fromkeys(named("b", fresh), 1.0)


@given(percents, sizes, sizes)
def test_without_weights_a_canary_has_its_share_of_the_replicas(
    percent: float, fresh: int, old: int
) -> None:
    """Who gets nothing gets nothing, and all others get the same."""
    canary, others = named("b", fresh), named("a", old)
    wanted = weights(percent, canary, others)
    found = all_alike(wanted)
    assert {name for name, weight in found.items() if weight} == {
        name for name, weight in wanted.items() if weight
    }
    of = fresh if percent >= 100 else fresh + old
    assert share(found, canary) == pytest.approx(100 * fresh / of)
