"""The scenario's policy and the orchestrator's are one: the same knobs, the same defaults."""

import msgspec
import pytest

from orchestrator import policy as orchestrator
from scenarios import policy as scenario

PAIRS = [
    (scenario.PolicySpec, orchestrator.Policy),
    (scenario.CriteriaSpec, orchestrator.Criteria),
    (scenario.CanaryStepSpec, orchestrator.CanaryStep),
    (scenario.PreviewSpec, orchestrator.Preview),
    (scenario.HealingSpec, orchestrator.Healing),
    (scenario.AutoscalingSpec, orchestrator.Autoscaling),
]


def defaults(kind: type[msgspec.Struct]) -> dict[str, object]:
    """Each key with its default, as plain data; what a key must have is told by `required`."""
    found: dict[str, object] = {}
    for field in msgspec.structs.fields(kind):
        if field.default is not msgspec.NODEFAULT:
            found[field.name] = msgspec.to_builtins(field.default)
        elif field.default_factory is not msgspec.NODEFAULT:
            found[field.name] = msgspec.to_builtins(field.default_factory())
        else:
            found[field.name] = "required"
    return found


@pytest.mark.parametrize(("said", "done"), PAIRS)
def test_a_scenario_knows_every_knob(
    said: type[msgspec.Struct], done: type[msgspec.Struct]
) -> None:
    """What a scenario may say of a policy is what the orchestrator does, default by default."""
    expected = defaults(done)
    # A scenario says this of its application, whatever deploys it.
    expected.pop("termination_grace_seconds", None)
    assert defaults(said) == expected
