"""What a router cannot do is in the journal of the verb that would have needed it."""

import pytest

from balancer.config import Timeouts
from orchestrator.interfaces import Drained
from orchestrator.model import Deploy
from orchestrator.policy import Criteria
from orchestrator.routers.capabilities import EVERYTHING, Capabilities
from orchestrator.routers.kubernetes_service import service_capabilities
from orchestrator.routers.registry import KINDS, capabilities_of
from tests.support.in_memory import B, RolloutBench, policy_of


@pytest.mark.parametrize(
    ("lacks", "left", "said"),
    [
        ({}, 0, {}),
        ({"cuts_at_deadline": False}, 3, {"left": 3}),
        (
            {"drain_waits": "nothing", "counts_in_flight": False},
            None,
            {"router": "its drain waits for nothing that is in flight"},
        ),
        (
            {"drain_waits": "all", "counts_in_flight": False},
            0,
            {
                "router": "its drain waits for what is in flight at any replica, and tells no "
                "numbers"
            },
        ),
    ],
)
async def test_a_drain_says_what_it_did_not_do(
    lacks: dict[str, object], left: int | None, said: dict[str, object]
) -> None:
    """A drain that left something in flight, or cannot know, says so; a whole one says nothing."""
    bench = RolloutBench(policy_of({"replicas": 1}))
    can = {name: getattr(EVERYTHING, name) for name in EVERYTHING.__struct_fields__}
    bench.world.capabilities = Capabilities(**{**can, **lacks})
    bench.world.drains_to = Drained(0, 0.0, left)
    await bench.release("rolling", Deploy(version=B))
    (drain,) = [one for one in bench.events if one.verb == "drain" and one.state == "completed"]
    found = {name: drain.detail[name] for name in ("left", "router") if name in drain.detail}
    assert found == said


@pytest.mark.parametrize("kind", KINDS)
def test_each_gap_is_said_in_words(kind: str) -> None:
    """What a kind of router lacks is one sentence for each gap, and our own lacks nothing."""
    can = capabilities_of(kind)  # type: ignore[arg-type]
    gaps = [name for name in can.__struct_fields__ if getattr(can, name) is False]
    assert len(can.lacking()) == len(gaps) + (can.drain_waits != "replica")
    assert bool(can.lacking()) == (kind != "hitless")


async def test_a_canary_behind_a_router_without_weights_or_counts() -> None:
    """Its share is its share of the replicas, nothing is judged, and the journal says both."""
    bench = RolloutBench(policy_of({"replicas": 3, "canary_steps": (25, 50, 100)}))
    bench.world.capabilities = service_capabilities(probed=True)
    await bench.release("canary", Deploy(version=B))
    told = [one for one in bench.events if one.verb == "weigh" and one.state == "completed"]
    assert [(one.detail["percent"], one.detail["share_of"]) for one in told] == [
        (25, "replicas"), (50, "replicas"), (100, "replicas"),
    ]  # fmt: skip
    assert [one.detail["shares"] for one in told] == [
        {"a": 75.0, "b": 25.0}, {"a": 50.0, "b": 50.0}, {"a": 0.0, "b": 100.0},
    ]  # fmt: skip
    judged = [one for one in bench.events if one.verb == "analyse"]
    assert {one.state for one in judged} == {"noted"}
    assert all("sees no requests" in str(one.detail["skipped"]) for one in judged)
    assert {name.partition("-")[0] for name in bench.world.available()} == {"b"}


async def test_a_canary_that_must_be_judged_is_refused_behind_such_a_router() -> None:
    """Where an inconclusive judgement is a failure, a router without counts rolls it back."""
    criteria = Criteria(patience_seconds=0.0, on_inconclusive="fail")
    bench = RolloutBench(policy_of({"replicas": 2, "analysis": criteria}))
    bench.world.capabilities = service_capabilities(probed=True)
    await bench.release("canary", Deploy(version=B))
    (release,) = [one for one in bench.events if one.verb == "release" and one.state != "started"]
    assert "analysis: inconclusive: the router sees no requests" in str(release.detail["reason"])
    assert {name.partition("-")[0] for name in bench.world.available()} == {"a"}


@pytest.mark.parametrize("probed", [True, False])
def test_each_gap_of_a_service_is_said_in_words(*, probed: bool) -> None:
    """A Service of Kubernetes says what it lacks, and without a probe also that it checks none."""
    can = service_capabilities(probed=probed)
    gaps = [name for name in can.__struct_fields__ if getattr(can, name) is False]
    assert set(can.gaps()) == {*gaps, "drain_waits"} - {"keeps_idle"}
    assert ("it does not check its backends by itself" in can.lacking()) is not probed


def test_our_own_balancer_keeps_idle_connections_as_long_as_it_says() -> None:
    """What our own router declares of its idle connections is what the balancer is set to."""
    assert capabilities_of("hitless").backend_idle_seconds == Timeouts().reuse
