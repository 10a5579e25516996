"""What a check concludes: safe strategies, the shortest story, the ways back, and how it ends."""

import io
from xml.etree import ElementTree as ET

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from scenarios.check.check_junit import check_junit
from scenarios.check.check_report import CheckReport, check_report
from scenarios.check.check_screen import print_check
from scenarios.check.observed import (
    CellResult,
    ChangeResult,
    EndpointResult,
    Observed,
)
from scenarios.check.reachable import FLEETS, reachable
from scenarios.check.release_plan import Apply, Deployment, ReleasePlan, SchemaChange, TakeBack
from scenarios.check.safety import Safety, judge_safety
from scenarios.scenario.reader import load
from tests.scenarios.check.newsletter_facts import PLANS, A, B, observed
from tests.scenarios.check.test_reachable import plans


def safety(name: str, strategy: str) -> Safety:
    return judge_safety(reachable(PLANS[name], strategy), observed(PLANS[name]))


@pytest.mark.parametrize("strategy", FLEETS)
@pytest.mark.parametrize("name", [name for name in PLANS if name != "default-later"])
def test_all_sixteen_predictions_are_what_the_matrix_declares(name: str, strategy: str) -> None:
    """A plan is unsafe exactly where it must fail under traffic, and with a cause of that list."""
    declared = load(name).scenario.expect.fails_with.get(strategy, ())
    found = safety(name, strategy)
    assert found.safe == (not declared)
    assert bool(set(found.causes) & set(declared)) == bool(declared), found.causes
    assert found.untried == ()
    assert found.outcome == "completed"


def test_the_story_of_the_big_bang_is_one_step_long() -> None:
    """Version a can no longer insert as soon as the first migration is applied."""
    first = safety("big-bang", "rolling").hazards[0]
    assert first.path == ("step 1: status is applied",)
    assert (first.version, first.endpoint, first.cause) == (
        A,
        "POST /subscriptions",
        "sqlstate:23502",
    )
    assert first.story.startswith(
        "step 1: status is applied. While a serves: a with warm connections: "
        "POST /subscriptions fails: 23502 not-null violation"
    )


def test_the_story_of_code_first_is_that_of_its_first_replica() -> None:
    """With a mixed fleet it is enough that b gets a part of the requests."""
    rolling = safety("code-first", "rolling").hazards[0]
    assert rolling.path == ("step 1: b gets a part of the requests, a the others",)
    assert (rolling.version, rolling.cause) == (B, "sqlstate:42703")
    switched = safety("code-first", "blue-green").hazards[0]
    assert switched.path[-1] == "step 1: all requests are switched to b"


def test_a_default_is_unsafe_only_in_a_mixed_fleet_because_of_the_mailed_link() -> None:
    """Version a answers 404 to a link that b mailed, while both serve."""
    for strategy in ("rolling", "canary"):
        found = safety("with-default", strategy)
        assert [(one.version, one.endpoint, one.cause) for one in found.hazards] == [
            (A, "GET /subscriptions/confirm", "status:404")
        ]
    blue_green = safety("with-default", "blue-green")
    assert blue_green.safe
    assert not blue_green.can_be_taken_back


def test_expand_and_contract_is_safe_and_a_cannot_return_after_the_contract() -> None:
    """Until then it can; the bridge can return at any time."""
    found = safety("expand-contract", "rolling")
    assert found.safe
    to_a = {one.moment: one for one in found.ways_back if one.to == A}
    assert to_a["after step 2"].possible
    assert not to_a["after step 3"].possible
    assert to_a["after step 3"].cause == "sqlstate:23502"
    assert not to_a["after step 4"].possible
    assert all(one.possible for one in found.ways_back if one.to == "bridge")


def cell(version: str, *schema: str, **fields: object) -> CellResult:
    given = {"schema": schema, "version": version, "connections": "fresh", **fields}
    return msgspec.convert(given, CellResult)


DEPLOYED = ReleasePlan(name="x", start="a", steps=(Deployment(step=1, version="b"),))


def test_a_version_that_is_not_ready_gets_no_requests() -> None:
    """The deployment is rolled back then, and nothing fails; an undo is refused."""
    seen = Observed(cells=(cell("a"), cell("b", not_ready="it answers 503")))
    found = judge_safety(reachable(DEPLOYED, "rolling"), seen)
    assert found.safe
    assert found.outcome == "rolled_back"
    assert found.reason is not None
    assert "503" in found.reason
    naive = judge_safety(reachable(DEPLOYED, "naive"), seen)
    assert naive.causes == ("no_backend",)
    undone = ReleasePlan(
        name="x",
        start="a",
        steps=(
            Deployment(step=1, version="b"),
            Apply(step=2, changes=(SchemaChange(name="m"),)),
            Deployment(step=3, version="a", undo=True),
        ),
    )
    seen = Observed(
        cells=(cell("a"), cell("b"), cell("b", "m"), cell("a", "m", not_ready="it answers 503"))
    )
    found = judge_safety(reachable(undone, "rolling"), seen)
    assert (found.safe, found.outcome) == (True, "failed")


def test_a_serving_version_that_could_not_start_again_is_a_hazard() -> None:
    """Old replicas may work with their warm connections, and none could replace them."""
    plan = ReleasePlan(
        name="x", start="a", steps=(Apply(step=1, changes=(SchemaChange(name="m"),)),)
    )
    seen = Observed(cells=(cell("a"), cell("a", "m", not_ready="exited with status 1")))
    found = judge_safety(reachable(plan, "rolling"), seen)
    assert found.causes == ("not_ready",)
    assert "fresh replica of a" in found.hazards[0].what


def test_a_migration_that_fails_ends_the_release() -> None:
    """What comes after it is not reached, so nothing there counts."""
    plan = PLANS["big-bang"]
    failed = ChangeResult(schema=(), change="status", failed="23502: it has nulls")
    seen = observed(plan).joined(Observed(changes=(failed,)))
    found = judge_safety(reachable(plan, "rolling"), seen)
    assert (found.safe, found.outcome) == (True, "failed")


def test_changes_are_not_taken_back_while_a_version_needs_them() -> None:
    """The release ends there, before the first of them is taken back."""
    plan = ReleasePlan(
        name="x",
        start="a",
        steps=(
            Apply(step=1, changes=(SchemaChange(name="m"), SchemaChange(name="n"))),
            Deployment(step=2, version="b"),
            TakeBack(step=3, names=("n", "m")),
        ),
    )
    bad = {"endpoints": [{"endpoint": "GET /", "requests": 1, "failed": 1, "status": 500}]}
    on_n = [cell("b", "m", "n"), cell("a", "m", "n"), cell("a", "m"), cell("a")]
    seen = Observed(cells=(*on_n, cell("b", "m", **bad), cell("b", not_ready="it answers 503")))
    found = judge_safety(reachable(plan, "rolling"), seen)
    assert (found.safe, found.outcome) == (True, "failed")
    seen = Observed(cells=(*on_n, cell("b", "m", **bad), cell("b")))
    found = judge_safety(reachable(plan, "rolling"), seen)
    assert (found.safe, found.outcome) == (False, "completed")


def test_an_answer_that_loses_a_value_is_a_hazard_although_its_status_is_200() -> None:
    """A client of the version knows the answers that it gave when it was deployed."""
    plan = ReleasePlan(
        name="x", start="a", steps=(Apply(step=1, changes=(SchemaChange(name="m"),)),)
    )
    shapes = ["$ object", "$.id number", "$.name string"]
    for now, words in (
        (["$ object", "$.id number"], "$.name is missing"),
        (["$ object", "$.id string", "$.name string"], "$.id is now string, and was number"),
    ):
        seen = Observed(
            cells=(
                cell("a", answers={"GET /": shapes}),
                cell("a", "m", answers={"GET /": now}),
            )
        )
        found = judge_safety(reachable(plan, "rolling"), seen)
        assert found.causes == ("answer_changed",)
        assert words in found.hazards[0].what
    wider = [*shapes, "$.new string"]
    seen = Observed(
        cells=(cell("a", answers={"GET /": shapes}), cell("a", "m", answers={"GET /": wider}))
    )
    assert judge_safety(reachable(plan, "rolling"), seen).safe


def test_warm_connections_that_answer_otherwise_are_a_hazard_although_both_are_expected() -> None:
    """A driver that knows the old type refuses what a fresh replica accepts."""
    plan = ReleasePlan(
        name="x", start="a", steps=(Apply(step=1, changes=(SchemaChange(name="m"),)),)
    )
    step = "measure, step 1"
    cells_ = [cell("a"), cell("a", "m", statuses={step: [201]})]
    bad = ("warm_connections",)
    for warm, causes in (([422], bad), ([201, 422], bad), ([201], ()), ([200], ())):
        one = cell("a", "m", connections="warm", statuses={step: warm})
        found = judge_safety(reachable(plan, "rolling"), Observed(cells=(*cells_, one)))
        assert found.causes == causes


def report(name: str, strategy: str) -> CheckReport:
    return check_report(PLANS[name], observed(PLANS[name]), strategy=strategy)


def test_the_screen_has_the_verdict_the_matrix_and_the_strategies() -> None:
    """Somebody who reads only the terminal knows what to do."""
    console = Console(width=120, file=io.StringIO(), highlight=False)
    with console.capture() as shown:
        print_check(console, report("with-default", "rolling"))
    text = shown.get()
    assert "UNSAFE" in text
    assert "404" in text
    assert "S2  tokens" in text
    lines = [line.split() for line in text.splitlines()]
    assert ["blue-green", "safe", "completed"] in lines
    assert any("impossible" in line for line in text.splitlines())


def test_junit_has_a_failure_for_each_version_that_fails_and_only_then() -> None:
    """A CI system shows the story of the failure."""
    root = ET.fromstring(check_junit(report("big-bang", "rolling")))  # noqa: S314 - our own
    (suite,) = root
    failures = suite.findall("testcase/failure")
    assert suite.get("failures") == str(len(failures)) != "0"
    assert "23502" in (failures[0].get("message") or "")
    (suite,) = ET.fromstring(check_junit(report("expand-contract", "rolling")))  # noqa: S314 - our own
    assert suite.get("failures") == "0"
    assert suite.get("tests") == str(len(suite)) != "0"


@given(plans(), st.sampled_from(sorted(FLEETS)), st.data())
def test_a_release_is_unsafe_exactly_if_a_state_of_its_way_fails(
    plan: ReleasePlan, strategy: str, data: st.DataObject
) -> None:
    """One planted failure: it is found where the version serves, and nowhere else."""
    graph = reachable(plan, strategy)
    on_the_way = {
        (state.schema.key, version)
        for state in graph.states
        if state.way == "forward"
        for version in state.serving
    }
    every = {(state.schema.key, version) for state in graph.states for version in plan.versions}
    bad = data.draw(st.sampled_from(sorted(every)))
    failed = EndpointResult(endpoint="GET /", requests=1, failed=1, status=500)
    seen = Observed(
        cells=tuple(
            CellResult(
                schema=schema,
                version=version,
                connections="fresh",
                endpoints=(failed,) if (schema, version) == bad else (),
            )
            for schema, version in sorted(every)
        )
    )
    found = judge_safety(graph, seen)
    failing = [one for one in found.hazards if one.cause == "status:500"]
    assert bool(failing) == (bad in on_the_way)
    for hazard in failing:
        assert (hazard.schema, hazard.version) == bad
        at = [one for one in graph.states if (one.schema.key, bad[1]) == bad]
        shortest = min(
            len(graph.path(one)) for one in at if one.way == "forward" and bad[1] in one.serving
        )
        assert len(hazard.path) == shortest


def test_another_order_of_the_same_steps_is_named_where_it_is_safe() -> None:
    """Migrations first saves a release with a default under blue-green, and no other plan."""
    assert report("default-later", "rolling").safe_orders == {"blue-green": (2, 1)}
    for name in ("big-bang", "code-first", "with-default"):
        assert report(name, "rolling").safe_orders == {}
