"""Whether the same steps would be safe in another order."""

from collections.abc import Iterator
from itertools import combinations

from scenarios.check.observed import CrossingResult, Observed
from scenarios.check.reachable import reachable
from scenarios.check.release_plan import Deployment, PlannedChange, ReleasePlan
from scenarios.check.safety import judge_safety

_MOST_STEPS = 8


def safe_order(
    plan: ReleasePlan, observed: Observed, strategy: str, *, same_answers: bool = True
) -> tuple[int, ...] | None:
    """An order of the same steps that is safe under the strategy; None if none is known.

    Migrations keep their order among each other, and so do deployments. An order counts only if all
    of its versions were tried on all of its schemas. What one version began and another went on
    with was tried on few schemas; a failure there counts on all of them.

    Args:
        plan: the release.
        observed: what the trials saw.
        strategy: the strategy.
        same_answers: whether JSON answers must keep their values and the types of these.

    Returns:
        the numbers of the steps, in that order.
    """
    if len(plan.steps) > _MOST_STEPS or any(
        isinstance(step, Deployment) and step.undo for step in plan.steps
    ):
        return None
    for steps in _orders(plan):
        other = ReleasePlan(name=plan.name, start=plan.start, steps=steps)
        graph = reachable(other, strategy)
        keys = {state.schema.key for state in graph.states}
        found = judge_safety(graph, _everywhere(observed, keys), same_answers=same_answers)
        if found.safe and not found.untried and found.outcome == "completed":
            return tuple(step.step for step in steps)
    return None


def _orders(plan: ReleasePlan) -> Iterator[tuple[PlannedChange, ...]]:
    """The steps in every order that keeps the orders of migrations and of deployments."""
    deployments = [step for step in plan.steps if isinstance(step, Deployment)]
    others = [step for step in plan.steps if not isinstance(step, Deployment)]
    for places in combinations(range(len(plan.steps)), len(deployments)):
        deploy, change = iter(deployments), iter(others)
        yield tuple(
            next(deploy) if place in places else next(change) for place in range(len(plan.steps))
        )


def _everywhere(observed: Observed, schemas: set[tuple[str, ...]]) -> Observed:
    """The observations, with each crossing that failed on some schema on all of them."""
    bad = [one for one in observed.crossings if not one.ok]
    spread = tuple(
        CrossingResult(schema=schema, began=one.began, went_on=one.went_on, endpoints=one.endpoints)
        for one in bad
        for schema in schemas
    )
    return observed.joined(Observed(crossings=spread))
