"""How the trials of versions go: a version on one schema, and one that lives through several."""

from collections.abc import Sequence

from scenarios.check.observed import (
    CellResult,
    ChangeResult,
    CrossingResult,
    Observed,
    SchemaKey,
)
from scenarios.check.trial_plan import FreshTrial, LivingTrial, schema_after
from scenarios.runner.checking.check_context import CheckContext
from scenarios.runner.checking.journey_player import OpenJourney
from scenarios.runner.checking.trials import Trial, TriedReplica, trial_on


async def try_fresh(context: CheckContext, trial: FreshTrial) -> Observed:
    """A version that is started on a schema.

    Raises:
        OrchestratorError: the trial itself failed.
    """
    schema = schema_after(trial.before).key
    async with trial_on(context, schema) as place:
        _, cell = await place.fresh(schema, trial.version)
    return Observed(cells=(cell,))


async def try_living(context: CheckContext, trial: LivingTrial) -> Observed:
    """A version that lives through changes of the schema.

    Raises:
        OrchestratorError: the trial itself failed.
    """
    schema = schema_after(trial.before)
    cells: list[CellResult] = []
    crossings: list[CrossingResult | None] = []
    changes: list[ChangeResult] = []

    def observed() -> Observed:
        found = tuple(one for one in crossings if one is not None)
        return Observed(cells=tuple(cells), crossings=found, changes=tuple(changes))

    async with trial_on(context, schema.key) as place:
        old, cell = await place.fresh(schema.key, trial.version)
        cells.append(cell)
        await place.warm_up(old)
        opened = await place.open_journeys(old)
        for advance in trial.advances:
            schema, change = await place.advance(schema, [advance])
            if advance.statements is None:
                changes.append(change)
            if change.failed is not None:
                return observed()
            cells.append(await place.cell(schema.key, old, "warm", opened=opened))
            fresh, cell = await place.fresh(schema.key, trial.version)
            cells.append(cell)
            await place.stop(fresh)
            opened = await place.open_journeys(old)
        if trial.successor is not None:
            crossings += await _both_ways(place, schema.key, old, trial.successor, opened)
        if trial.rest:
            opened = await place.open_journeys(old)
            schema, change = await place.advance(schema, trial.rest)
            if change.failed is not None:
                changes.append(change)
                return observed()
            cells.append(await place.cell(schema.key, old, "warm"))
            if trial.last is not None:
                crossings += await _both_ways(place, schema.key, old, trial.last, opened)
    return observed()


async def _both_ways(
    place: Trial, schema: SchemaKey, old: TriedReplica, version: str, opened: Sequence[OpenJourney]
) -> list[CrossingResult | None]:
    """Journeys of the old version that a new one goes on with, and the reverse."""
    new = await place.start(version)
    there = await place.crossing(schema, old, new, opened)
    back = await place.crossing(schema, new, old, await place.open_journeys(new))
    await place.stop(new)
    return [there, back]
