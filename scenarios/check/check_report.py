"""The result of a check as data: what `hitless check --json` prints."""

from collections.abc import Mapping, Sequence

import msgspec

from scenarios.check.half_way import HalfWay, half_ways
from scenarios.check.lint import LintFinding, held_to
from scenarios.check.migration_findings import (
    FileLine,
    MigrationFinding,
    MigrationSource,
    findings,
    tool_findings,
)
from scenarios.check.observed import CellResult, Observed, SchemaKey
from scenarios.check.reachable import FLEETS, reachable
from scenarios.check.release_plan import Apply, Deployment, ReleasePlan
from scenarios.check.safety import Safety, judge_safety
from scenarios.check.step_order import safe_order
from scenarios.check.trial_plan import all_advances, schema_after
from scenarios.evidence.manifest import Outcome as ReleaseOutcome


class SchemaRow(msgspec.Struct, frozen=True, kw_only=True):
    """One schema of the release.

    Attributes:
        name: its short name, such as `S1`.
        schema: the changes that are in force.
        title: its last change.
    """

    name: str
    schema: SchemaKey
    title: str


class OldAndNew(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The first and the last version on each other's schema, as people try them by hand.

    Attributes:
        old_warm_on_new: the old version with warm connections on the new schema.
        old_fresh_on_new: a fresh replica of it there: can it restart, heal and scale?
        new_on_old: the new version on the old schema.
        new_on_new: the new version on its own schema.
    """

    old_warm_on_new: CellResult | None = None
    old_fresh_on_new: CellResult | None = None
    new_on_old: CellResult | None = None
    new_on_new: CellResult | None = None


class CheckedSuggestion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The safe version of the migrations that was written, and what a check of it says.

    Attributes:
        folder: where it is.
        migrations: their names, in order.
        steps: the steps of the release that use them, as in a scenario file.
        left: what no rule could rewrite, and why.
        safe: the strategies under which the release is safe then.
        failures: what then still fails under the chosen strategy.
        findings: hazards of the new migrations.
    """

    folder: str
    migrations: tuple[str, ...]
    steps: tuple[str, ...]
    left: tuple[str, ...] = ()
    safe: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    findings: tuple[MigrationFinding, ...] = ()


class CheckReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The result of a check.

    Attributes:
        scenario: the scenario's name.
        strategy: the strategy that decides the exit status.
        passed: whether the release is safe under that strategy and ends as expected, and nothing
            is wrong with the migration tools that were tried.
        expected: how the release must end under that strategy.
        versions: the versions, in the order in which they serve.
        schemas: the schemas, in the order of the release.
        strategies: each strategy's result.
        old_and_new: the first and the last version on each other's schema.
        observed: all that the trials saw.
        trials: how many trials there were.
        cached: how many of their results came from an earlier check.
        lint: what the linter says of the migrations, held to what the trials saw.
        half_way: what happens when a migration outside of a transaction dies half-way. It does not
            count for `passed`.
        safe_orders: for strategies that are unsafe, an order of the same steps that would be safe;
            the numbers of the steps.
        findings: hazards of the migrations that were observed, with the safe way of each.
        locations: where each change of the schema comes from; under `step 1`, where a step is
            written, and under the empty name the scenario.
        suggestion: the safe version that was written; absent if none was asked for.
    """

    scenario: str
    strategy: str
    passed: bool
    expected: ReleaseOutcome
    versions: tuple[str, ...]
    schemas: tuple[SchemaRow, ...]
    strategies: Mapping[str, Safety]
    old_and_new: OldAndNew
    observed: Observed
    trials: int
    cached: int
    lint: tuple[LintFinding, ...] = ()
    half_way: tuple[HalfWay, ...] = ()
    safe_orders: Mapping[str, tuple[int, ...]] = msgspec.field(default_factory=dict)
    findings: tuple[MigrationFinding, ...] = ()
    locations: Mapping[str, FileLine] = msgspec.field(default_factory=dict)
    suggestion: CheckedSuggestion | None = None

    @property
    def chosen(self) -> Safety:
        """The result under the strategy that decides."""
        return self.strategies[self.strategy]

    @property
    def verdict(self) -> str:
        """`safe` or `unsafe`."""
        return "safe" if self.passed else "unsafe"


def check_report(
    plan: ReleasePlan,
    observed: Observed,
    *,
    strategy: str,
    expected: ReleaseOutcome = "completed",
    with_ways_back: bool = False,
    trials: int = 0,
    cached: int = 0,
    lint: Sequence[LintFinding] = (),
    same_answers: bool = True,
    sources: Sequence[MigrationSource] = (),
    steps: Mapping[int, FileLine] | None = None,
    file: str = "",
) -> CheckReport:
    """Judge a release under every strategy.

    Args:
        plan: the release.
        observed: what the trials saw.
        strategy: the strategy that decides.
        expected: how the release must end under it.
        with_ways_back: whether each version that has served must be able to return, too.
        trials: how many trials there were.
        cached: how many of their results are from an earlier check.
        lint: what the linter says of the migrations.
        same_answers: whether JSON answers must keep their values and the types of these.
        sources: where the changes of the schema come from, in the order of the release.
        steps: where each step of the release is written, by its number.
        file: the scenario's file.
    """
    strategies = {
        name: judge_safety(reachable(plan, name), observed, same_answers=same_answers)
        for name in FLEETS
    }
    chosen = strategies[strategy]
    passed = chosen.safe and chosen.outcome == expected
    if with_ways_back:
        passed = passed and chosen.can_be_taken_back
    passed = passed and all(one.ok for one in observed.migrators)
    schemas = schema_rows(plan)
    last = schemas[-1].schema
    before = _schema_before(plan)
    return CheckReport(
        scenario=plan.name,
        strategy=strategy,
        passed=passed,
        expected=expected,
        versions=plan.versions,
        schemas=schemas,
        strategies=strategies,
        old_and_new=OldAndNew(
            old_warm_on_new=observed.cell(last, plan.start, "warm"),
            old_fresh_on_new=observed.cell(last, plan.start, "fresh"),
            new_on_old=observed.cell((), plan.last, "fresh"),
            new_on_new=observed.cell(last, plan.last, "fresh"),
        ),
        observed=observed,
        trials=trials,
        cached=cached,
        lint=held_to(lint, observed, before),
        half_way=half_ways(plan, observed),
        findings=(
            *findings(sources, observed, before, _serving(plan)),
            *tool_findings(observed.migrators, steps or {}),
        ),
        locations={
            "": FileLine(file=file, line=1),
            **{f"step {number}": at for number, at in (steps or {}).items()},
            **{one.change: FileLine(file=one.file, line=one.line) for one in sources},
        },
        safe_orders={
            name: order
            for name, safety in strategies.items()
            if not safety.safe
            and (order := safe_order(plan, observed, name, same_answers=same_answers)) is not None
        },
    )


def _schema_before(plan: ReleasePlan) -> dict[str, SchemaKey]:
    """The schema before each change that is applied."""
    changes = all_advances(plan)
    return {
        change.change: schema_after(changes[:number]).key
        for number, change in enumerate(changes)
        if not change.taken_back
    }


def _serving(plan: ReleasePlan) -> dict[str, str]:
    """The version that serves while a change is applied."""
    found: dict[str, str] = {}
    version = plan.start
    for step in plan.steps:
        if isinstance(step, Deployment):
            version = step.version
        elif isinstance(step, Apply):
            found |= dict.fromkeys((change.name for change in step.changes), version)
    return found


def schema_rows(plan: ReleasePlan) -> tuple[SchemaRow, ...]:
    """The schemas of a release, in the order in which it reaches them; each only once."""
    changes = all_advances(plan)
    keys = [schema_after(changes[:count]).key for count in range(len(changes) + 1)]
    return tuple(
        SchemaRow(name=f"S{number}", schema=key, title=_title(key))
        for number, key in enumerate(dict.fromkeys(keys))
    )


def _title(schema: Sequence[str]) -> str:
    return schema[-1] if schema else "base schema"
