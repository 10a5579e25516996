"""The states of a release: what the strategy mixes, the ways back, and the faults of a migrator."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.strategies import STRATEGIES
from scenarios.check.reachable import FLEETS, SchemaState, StateGraph, reachable
from scenarios.check.release_plan import Apply, Deployment, ReleasePlan, SchemaChange, TakeBack
from scenarios.check.state_graph import mermaid, schemas, text


def change(name: str) -> SchemaChange:
    return SchemaChange(name=name)


EXPAND_CONTRACT = ReleasePlan(
    name="expand-contract",
    start="a",
    steps=(
        Apply(step=1, changes=(change("add status"), change("add tokens"))),
        Deployment(step=2, version="bridge"),
        Apply(step=3, changes=(change("not null"),)),
        Deployment(step=4, version="b"),
    ),
)
BIG_BANG = ReleasePlan(
    name="big-bang",
    start="a",
    steps=(Apply(step=1, changes=(change("not null"),)), Deployment(step=2, version="b")),
)


@st.composite
def plans(draw: st.DrawFn) -> ReleasePlan:
    """Releases with unique changes; some are taken back, and versions may come again."""
    steps: list[Apply | TakeBack | Deployment] = []
    applied: list[str] = []
    names = iter(f"m{number}" for number in range(100))
    for number in range(1, draw(st.integers(1, 5)) + 1):
        kind = draw(st.sampled_from(["apply", "apply", "deploy", "deploy", "take back"]))
        if kind == "take back" and applied:
            count = draw(st.integers(1, len(applied)))
            steps.append(TakeBack(step=number, names=tuple(reversed(applied[-count:]))))
            del applied[-count:]
        elif kind == "deploy":
            steps.append(Deployment(step=number, version=draw(st.sampled_from("abc"))))
        else:
            changes = tuple(
                SchemaChange(
                    name=next(names),
                    transactional=draw(st.booleans()),
                    statements=draw(st.integers(1, 3)),
                )
                for _ in range(draw(st.integers(0, 3)))
            )
            applied += [one.name for one in changes]
            steps.append(Apply(step=number, changes=changes))
    return ReleasePlan(name="random", start="a", steps=tuple(steps))


def forward(graph: StateGraph) -> set[tuple[tuple[str, ...], tuple[str, ...]]]:
    return {(one.schema.key, one.serving) for one in graph.states if one.way == "forward"}


def test_every_strategy_has_its_fleets() -> None:
    """A strategy that the orchestrator knows can be checked."""
    assert FLEETS.keys() == STRATEGIES.keys()


def test_a_rolling_release_meets_each_pair_of_versions_on_one_schema() -> None:
    """Expand and contract: the fleet is mixed only while the schema suits both versions."""
    expanded = ("add status", "add tokens")
    contracted = (*expanded, "not null")
    assert forward(reachable(EXPAND_CONTRACT, "rolling")) == {
        ((), ("a",)),
        (("add status",), ("a",)),
        (expanded, ("a",)),
        (expanded, ("a", "bridge")),
        (expanded, ("bridge",)),
        (contracted, ("bridge",)),
        (contracted, ("bridge", "b")),
        (contracted, ("b",)),
    }


def test_blue_green_never_mixes_and_naive_has_a_moment_without_anybody() -> None:
    """That is the difference between the strategies, as far as states go."""
    blue_green = reachable(EXPAND_CONTRACT, "blue-green")
    assert all(len(one.serving) == 1 for one in blue_green.states)
    assert any(one.idle for one in blue_green.states)
    assert ((), ()) not in forward(blue_green)
    assert (("not null",), ()) in forward(reachable(BIG_BANG, "naive"))


def test_a_rollback_can_be_wished_for_at_every_moment_after_a_deployment() -> None:
    """Also after later migrations, when it may no longer be possible."""
    states = reachable(EXPAND_CONTRACT, "rolling").states
    back = {(one.schema.key, one.serving) for one in states if one.way == "back"}
    contracted = ("add status", "add tokens", "not null")
    assert (("add status", "add tokens"), ("a",)) in back
    assert (contracted, ("a",)) in back
    assert (contracted, ("bridge",)) in back


def test_a_killed_migrator_leaves_a_schema_that_its_history_does_not_know() -> None:
    """Versions see the schema, not the history, so it is no schema of its own for them."""
    graph = reachable(BIG_BANG, "rolling")
    killed = [one for one in graph.states if one.schema.unrecorded]
    assert [one.way for one in killed] == ["fault"]
    assert killed[0].schema.key == ("not null",)
    assert len(schemas(graph)) == 2


def test_a_migration_outside_of_a_transaction_can_stop_half_way() -> None:
    """Each statement takes effect on its own there, so there is a schema in between."""
    half = SchemaChange(name="index", transactional=False, statements=2)
    plan = ReleasePlan(name="half", start="a", steps=(Apply(step=1, changes=(half,)),))
    assert ("index (only its first statement)",) in {
        one.key for one in schemas(reachable(plan, "rolling"))
    }
    whole = SchemaChange(name="index", statements=2)
    plan = ReleasePlan(name="whole", start="a", steps=(Apply(step=1, changes=(whole,)),))
    assert [one.key for one in schemas(reachable(plan, "rolling"))] == [(), ("index",)]


@given(plans(), st.sampled_from(sorted(FLEETS)))
def test_each_path_leads_where_it_says(plan: ReleasePlan, strategy: str) -> None:
    """A path starts at the start, each of its parts follows the one before, and its end fits."""
    graph = reachable(plan, strategy)
    for state in graph.states:
        path = graph.path(state)
        at = graph.start
        for one in path:
            assert one.before == at
            assert one in graph.transitions
            at = one.after
        assert at == state


@given(plans(), st.sampled_from(sorted(FLEETS)))
def test_the_states_hold_what_a_release_promises(plan: ReleasePlan, strategy: str) -> None:
    """What serves was deployed, nothing is planned after a way back, and the end is reached."""
    graph = reachable(plan, strategy)
    for state in graph.states:
        assert set(state.serving) <= set(state.served) <= set(plan.versions)
        assert len(state.serving) <= 2
        assert state.serving or strategy == "naive"
        assert len(set(state.schema.applied)) == len(state.schema.applied)
        if state.way == "forward":
            assert all(one.after.way != "back" for one in graph.path(state))
    ends = [one for one in graph.states if one.way == "forward" and one.serving == (plan.last,)]
    assert any(one.step == max(each.step for each in graph.states) for one in ends)


@given(plans())
def test_strategies_differ_in_the_fleets_and_not_in_the_schemas(plan: ReleasePlan) -> None:
    """Each strategy meets the same schemas, and starts and ends with the same version."""
    found = {strategy: reachable(plan, strategy) for strategy in FLEETS}
    keys = {tuple(one.key for one in schemas(graph)) for graph in found.values()}
    assert len({frozenset(one) for one in keys}) == 1
    assert {graph.start for graph in found.values()} == {found["naive"].start}


@given(plans(), st.sampled_from(sorted(FLEETS)))
def test_a_graph_is_printed_whole(plan: ReleasePlan, strategy: str) -> None:
    """The text has a line for each state, and the diagram a box for each and all its arrows."""
    graph = reachable(plan, strategy)
    assert sum(line.startswith("  s") for line in text(graph).splitlines()) == len(graph.states)
    arrows = [line for line in mermaid(graph).splitlines() if ">|" in line]
    assert len(arrows) == len(graph.transitions)
    assert all(line.count('"') == 2 for line in arrows)


def test_a_schema_knows_its_changes() -> None:
    """A change that was taken back is gone, whatever came before and after it."""
    state = SchemaState().with_change("x").with_change("y")
    assert state.without("x").key == ("y",)
    assert state.without("y").key == ("x",)
