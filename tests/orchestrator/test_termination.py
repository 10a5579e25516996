"""How replicas leave and come: the plan of each order, its timeline, and its settings."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from orchestrator.personas import PERSONAS, RequestHandling
from orchestrator.policy import Policy
from orchestrator.termination import (
    DRAIN_FIRST,
    LeavingTimeline,
    Order,
    TerminationPolicy,
    lags_of,
    leaving_plan,
    leaving_timeline,
    longest,
)
from orchestrator.values import PolicyError

ORDERS: tuple[Order, ...] = ("drain-first", "together", "stop-first", "checks-only")

PLACE = " - at `$.termination`"
BOUNDS = f"it must be [least, most] in seconds, with 0 <= least <= most{PLACE}"

seconds = some.floats(0, 100)
lags = seconds | some.tuples(seconds, seconds).map(lambda pair: (min(pair), max(pair)))


@some.composite
def policies(draw: some.DrawFn, order: Order | None = None) -> TerminationPolicy:
    return TerminationPolicy(
        order=order or draw(some.sampled_from(ORDERS)),
        deregistration_lag_seconds=draw(lags),
        registration_lag_seconds=draw(lags),
        pre_stop_seconds=draw(seconds),
        grace_seconds=draw(some.none() | seconds),
        grace_includes_pre_stop=draw(some.booleans()),
    )


def timeline(policy: TerminationPolicy, drain: float, shutdown: float) -> LeavingTimeline:
    lag = lags_of(policy, 1, "a-1").deregistration
    return leaving_timeline(leaving_plan(policy, lag, 10.0), drain, shutdown)


@given(policies(), some.integers(), some.text(max_size=5))
def test_lags_are_drawn_from_the_seed(policy: TerminationPolicy, seed: int, name: str) -> None:
    """A lag lies between its bounds, and the same seed and replica always have the same lags."""
    drawn = lags_of(policy, seed, name)
    assert drawn == lags_of(policy, seed, name)
    for lag, value in zip(
        (policy.registration_lag_seconds, policy.deregistration_lag_seconds), drawn, strict=True
    ):
        least = lag[0] if isinstance(lag, tuple) else lag
        assert least - 1e-9 <= value <= longest(lag) + 1e-9


def test_each_replica_has_lags_of_its_own() -> None:
    """Replicas and seeds differ, and one setting does not change the lag of the other."""
    policy = TerminationPolicy(deregistration_lag_seconds=(0, 100), registration_lag_seconds=(0, 1))
    drawn = {lags_of(policy, seed, name) for seed in range(5) for name in ("a-1", "a-2")}
    assert len(drawn) == 10
    other = TerminationPolicy(deregistration_lag_seconds=(0, 100))
    assert lags_of(other, 1, "a-1").deregistration == lags_of(policy, 1, "a-1").deregistration


@given(policies("drain-first"), seconds, seconds)
def test_drain_first_never_stops_what_is_routed_to(
    policy: TerminationPolicy, drain: float, shutdown: float
) -> None:
    """With `drain-first`, whatever the lags, the replica is stopped after its last request."""
    seen = timeline(policy, drain, shutdown)
    assert seen.router_told + drain + policy.pre_stop_seconds <= seen.stop_asked + 1e-9
    assert seen.undrained_seconds == 0


@given(policies("together"), seconds, seconds)
def test_together_races(policy: TerminationPolicy, drain: float, shutdown: float) -> None:
    """With `together`, requests reach a stopping replica while the lag is above preStop."""
    seen = timeline(policy, drain, shutdown)
    assert seen.stop_asked == policy.pre_stop_seconds
    assert seen.undrained_seconds == pytest.approx(
        max(0.0, seen.router_told - policy.pre_stop_seconds)
    )
    covered = msgspec.structs.replace(policy, pre_stop_seconds=seen.router_told)
    assert timeline(covered, drain, shutdown).undrained_seconds == 0


@given(policies("stop-first"), seconds, seconds)
def test_stop_first_tells_after_the_end(
    policy: TerminationPolicy, drain: float, shutdown: float
) -> None:
    """With `stop-first` the router hears of the end when its lag has passed, and never before."""
    seen = timeline(policy, drain, shutdown)
    lag = lags_of(policy, 1, "a-1").deregistration
    assert seen.router_told == pytest.approx(seen.ended + lag)


@given(policies("checks-only"), seconds, seconds)
def test_checks_only_tells_nobody(policy: TerminationPolicy, drain: float, shutdown: float) -> None:
    """With `checks-only` the router is never told, however long anybody waits."""
    seen = timeline(policy, drain, shutdown)
    assert seen.router_told == math.inf
    assert seen.stop_asked == policy.pre_stop_seconds


@given(policies(), seconds, seconds)
def test_a_replica_is_killed_after_its_grace_period(
    policy: TerminationPolicy, drain: float, shutdown: float
) -> None:
    """No replica outlives its grace period, which may or may not include preStop."""
    seen = timeline(policy, drain, shutdown)
    grace = 10.0 if policy.grace_seconds is None else policy.grace_seconds
    given_time = seen.killed - seen.stop_asked
    if policy.grace_includes_pre_stop and policy.pre_stop_seconds:
        assert given_time == pytest.approx(max(2.0, grace - policy.pre_stop_seconds))
    else:
        assert given_time == pytest.approx(grace)
    assert seen.stop_asked <= seen.ended <= seen.killed
    assert seen.ended == pytest.approx(min(seen.killed, seen.stop_asked + shutdown))


@given(policies(), seconds, seconds, seconds)
def test_a_longer_pre_stop_is_never_worse(
    policy: TerminationPolicy, more: float, drain: float, shutdown: float
) -> None:
    """A longer preStop never lets more requests reach a stopping replica."""
    longer = msgspec.structs.replace(policy, pre_stop_seconds=policy.pre_stop_seconds + more)
    before, after = timeline(policy, drain, shutdown), timeline(longer, drain, shutdown)
    if policy.order in ("drain-first", "together"):
        assert after.undrained_seconds <= before.undrained_seconds + 1e-9


def test_by_default_nothing_is_dropped() -> None:
    """A policy without a word on termination drains first and waits for nothing."""
    assert Policy().termination == DRAIN_FIRST == TerminationPolicy()
    assert DRAIN_FIRST.order == "drain-first"
    assert lags_of(DRAIN_FIRST, 7, "a-1") == (0, 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"deregistration_lag_seconds": [5, 1]},
            f"deregistration_lag_seconds is [5, 1]; {BOUNDS}",
        ),
        ({"registration_lag_seconds": [-1, 1]}, f"registration_lag_seconds is [-1, 1]; {BOUNDS}"),
        (
            {"deregistration_lag_seconds": -1},
            f"deregistration_lag_seconds is -1.0; it must be a number, 0 or more{PLACE}",
        ),
        (
            {"registration_lag_seconds": [1, 2, 3]},
            "Expected `array` of length 2, got 3 - at `$.termination.registration_lag_seconds`",
        ),
        ({"order": "soon"}, "Invalid enum value 'soon' - at `$.termination.order`"),
        (
            {"pre_stop_seconds": -1},
            "Expected `float` >= 0.0 - at `$.termination.pre_stop_seconds`",
        ),
        ({"prestop": 1}, "Object contains unknown field `prestop` - at `$.termination`"),
    ],
)
def test_a_bad_setting_is_one_line(settings: dict[str, object], message: str) -> None:
    """A setting that cannot be followed is refused with its place and what would be right."""
    with pytest.raises(msgspec.ValidationError) as info:
        msgspec.convert({"termination": settings}, Policy)
    assert str(info.value) == message


@pytest.mark.parametrize("value", [math.nan, math.inf, (0.0, math.inf), (math.nan, 1.0)])
def test_a_lag_is_a_finite_number(value: float | tuple[float, float]) -> None:
    """A lag that never ends is refused."""
    with pytest.raises(PolicyError, match="registration_lag_seconds is"):
        TerminationPolicy(registration_lag_seconds=value)


@pytest.mark.parametrize("name", sorted(PERSONAS))
def test_each_value_of_a_persona_has_its_source(name: str) -> None:
    """A persona is known by its name and says for each setting where its value comes from."""
    persona = PERSONAS[name]
    assert persona.name == name
    kinds = (TerminationPolicy, RequestHandling)
    settings = {one.name for kind in kinds for one in msgspec.structs.fields(kind)}
    assert persona.sources.keys() == settings
    for source in persona.sources.values():
        assert source.url.startswith("https://")
        assert source.says
    for text in (persona.title, persona.summary, persona.limits):
        assert text


def test_what_the_platforms_do() -> None:
    """The personas that people know best have the values that their platforms document."""
    kubernetes = PERSONAS["kubernetes"].termination
    assert (kubernetes.order, kubernetes.pre_stop_seconds) == ("together", 0)
    assert (kubernetes.grace_seconds, kubernetes.grace_includes_pre_stop) == (30, True)
    assert not kubernetes.close_idle
    assert PERSONAS["swarm"].termination.pre_stop_seconds == 2
    assert PERSONAS["ecs"].termination.order == "drain-first"
    assert PERSONAS["nomad"].termination.grace_seconds == 5
    assert PERSONAS["compose"].termination.order == "stop-first"
    assert PERSONAS["systemd"].termination.order == "checks-only"
    assert set(PERSONAS) == {"kubernetes", "ecs", "nomad", "swarm", "compose", "systemd"}


def test_a_persona_can_be_changed() -> None:
    """A persona is an ordinary policy: one setting of it changes, the others stay."""
    base = PERSONAS["kubernetes"].termination
    tuned = msgspec.structs.replace(base, pre_stop_seconds=5.0)
    assert timeline(base, 0, 1).undrained_seconds > 0
    assert timeline(tuned, 0, 1).undrained_seconds == 0
    assert msgspec.convert({"termination": msgspec.to_builtins(tuned)}, Policy).termination == tuned
