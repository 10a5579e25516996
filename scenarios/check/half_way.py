"""What happens when a migration outside of a transaction dies half-way, as trials saw it."""

import msgspec

from scenarios.check.observed import CellResult, ChangeResult, Observed, SchemaKey
from scenarios.check.reachable import FLEETS, SchemaState, reachable
from scenarios.check.release_plan import Apply, ReleasePlan


class HalfWay(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A change that stopped after some of its statements.

    Attributes:
        step: the number of the step, from 1 on.
        change: the change.
        statements: how many of its statements took effect.
        of: how many it has.
        schema: the schema then.
        cells: the versions that may serve then, each with warm and with fresh connections.
        again: what became of the change when it was applied once more; absent if that was not
            tried.
    """

    step: int
    change: str
    statements: int
    of: int
    schema: SchemaKey
    cells: tuple[CellResult, ...] = ()
    again: ChangeResult | None = None

    @property
    def ok(self) -> bool:
        """Whether all versions work there, and the change can be applied again."""
        return all(one.ok for one in self.cells) and (self.again is None or not self.again.failed)


def half_ways(plan: ReleasePlan, observed: Observed) -> tuple[HalfWay, ...]:
    """Each place where a change of the release can stop half-way, with what was seen there."""
    found: list[HalfWay] = []
    applied: tuple[str, ...] = ()
    live = _live(plan)
    for step in plan.steps:
        for change in step.changes if isinstance(step, Apply) else ():
            for statements in change.cuts:
                schema = SchemaState(applied=applied).with_half(change.name, statements).key
                cells = [
                    cell
                    for version in live.get(schema, ())
                    for connections in ("warm", "fresh")
                    if (cell := observed.cell(schema, version, connections)) is not None
                ]
                found.append(
                    HalfWay(
                        step=step.step,
                        change=change.name,
                        statements=statements,
                        of=change.statements,
                        schema=schema,
                        cells=tuple(cells),
                        again=observed.change(schema, change.name),
                    )
                )
            applied = (*applied, change.name)
    return tuple(found)


def _live(plan: ReleasePlan) -> dict[SchemaKey, tuple[str, ...]]:
    """The versions that may run on each half-applied schema, under any strategy."""
    found: dict[SchemaKey, dict[str, None]] = {}
    for strategy in FLEETS:
        for state in reachable(plan, strategy).states:
            if state.schema.half is not None:
                found.setdefault(state.schema.key, {}).update(dict.fromkeys(state.live))
    return {schema: tuple(versions) for schema, versions in found.items()}
