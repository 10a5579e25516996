"""A migration outside of a transaction that dies half-way: who works then, and what helps."""

from scenarios.check.check_report import check_report
from scenarios.check.half_way import half_ways
from scenarios.check.observed import CellResult, ChangeResult, EndpointResult, Observed
from scenarios.check.reachable import reachable
from scenarios.check.release_plan import MOST_CUTS, Apply, Deployment, ReleasePlan, SchemaChange
from scenarios.check.trial_plan import Advance, LivingTrial, planned_trials

INDEX = SchemaChange(name="index", transactional=False, statements=3)
PLAN = ReleasePlan(
    name="x",
    start="a",
    steps=(
        Apply(step=1, changes=(SchemaChange(name="column"), INDEX)),
        Deployment(step=2, version="b"),
    ),
)
FIRST = ("column", "index (only its first statement)")
SECOND = ("column", "index (only its first 2 statements)")


def cell(schema: tuple[str, ...], *, good: bool) -> CellResult:
    one = EndpointResult(
        endpoint="GET /", requests=1, failed=int(not good), status=500, sqlstate="42703"
    )
    return CellResult(schema=schema, version="a", connections="warm", endpoints=(one,))


def test_a_change_can_stop_after_each_statement_but_the_last() -> None:
    """Not in a transaction; of many statements, the first and the last one are among the places."""
    assert INDEX.cuts == (1, 2)
    assert SchemaChange(name="x", statements=3).cuts == ()
    assert SchemaChange(name="x", transactional=False).cuts == ()
    many = SchemaChange(name="x", transactional=False, statements=20).cuts
    assert len(many) == MOST_CUTS
    assert (many[0], many[-1]) == (1, 19)


def test_each_place_is_tried_and_then_the_change_once_more() -> None:
    """By the version that serves then, with connections that are warm from before."""
    tried = [
        (one.version, one.before, one.advances)
        for one in planned_trials(PLAN)
        if isinstance(one, LivingTrial) and any(two.statements for two in one.advances)
    ]
    before, whole = (Advance(change="column"),), Advance(change="index")
    assert tried == [
        ("a", before, (Advance(change="index", statements=count), whole)) for count in (1, 2)
    ]
    keys = {one.schema.key for one in reachable(PLAN, "rolling").states}
    assert {FIRST, SECOND} <= keys


def test_what_was_seen_there_is_told_and_does_not_count_for_the_planned_way() -> None:
    """A release whose migration does not die is safe all the same."""
    failed = ChangeResult(
        schema=SECOND, change="index", failed="42P07: it exists", sqlstate="42P07"
    )
    seen = Observed(
        cells=(cell((), good=True), cell(FIRST, good=True), cell(SECOND, good=False)),
        changes=(failed,),
    )
    first, second = half_ways(PLAN, seen)
    assert (first.statements, first.of, first.ok) == (1, 3, True)
    assert (second.ok, second.again) == (False, failed)
    report = check_report(PLAN, seen, strategy="rolling")
    assert report.half_way == (first, second)
    assert report.chosen.safe
