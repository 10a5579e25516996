"""The trials cover what the strategies reach, and start no version twice for one cell."""

from hypothesis import given

from scenarios.check.reachable import FLEETS, reachable
from scenarios.check.release_plan import ReleasePlan
from scenarios.check.trial_plan import FreshTrial, LivingTrial, planned_trials, schema_after
from tests.scenarios.check.test_reachable import EXPAND_CONTRACT, plans


def cells(plan: ReleasePlan, *, everything: bool = False) -> list[tuple[tuple[str, ...], str]]:
    found: list[tuple[tuple[str, ...], str]] = []
    for trial in planned_trials(plan, everything=everything):
        if isinstance(trial, LivingTrial):
            found += [(schema, trial.version) for schema in trial.schemas]
        else:
            found.append((schema_after(trial.before).key, trial.version))
    return found


def test_a_version_lives_through_the_schemas_between_its_deployment_and_the_next() -> None:
    """Version a sees the expand migrations, the bridge sees the contract, and b the end."""
    trials = planned_trials(EXPAND_CONTRACT)
    living = [one for one in trials if isinstance(one, LivingTrial)]
    assert [(one.version, len(one.before), len(one.advances)) for one in living] == [
        ("a", 0, 2),
        ("bridge", 2, 1),
        ("b", 3, 0),
    ]
    assert [(one.successor, one.last) for one in living] == [
        ("bridge", "b"),
        ("b", None),
        (None, None),
    ]
    fresh = [one for one in trials if isinstance(one, FreshTrial)]
    # The new version on the old schema, and a rollback to a after the contract.
    assert {(one.version, len(one.before)) for one in fresh} == {("b", 0), ("a", 3)}


@given(plans())
def test_each_state_of_each_strategy_is_tried(plan: ReleasePlan) -> None:
    """No version serves anywhere in the graph on a schema on which it was not tried."""
    tried = set(cells(plan))
    for strategy in FLEETS:
        for state in reachable(plan, strategy).states:
            for version in state.serving:
                assert (state.schema.key, version) in tried


@given(plans())
def test_everything_is_each_version_on_each_schema(plan: ReleasePlan) -> None:
    """With `--all` no cell of the matrix is left out, and none is tried beside its living trial."""
    found = [cell for cell in cells(plan, everything=True) if not "".join(cell[0]).endswith(")")]
    schemas = {schema for schema, _ in found}
    assert set(found) == {(schema, version) for schema in schemas for version in plan.versions}
