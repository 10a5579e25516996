"""What a router cannot do is in the journal of the verb that would have needed it."""

import pytest

from balancer.config import Timeouts
from orchestrator.interfaces import Drained
from orchestrator.model import Deploy
from orchestrator.routers.capabilities import EVERYTHING, Capabilities
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


def test_our_own_balancer_keeps_idle_connections_as_long_as_it_says() -> None:
    """What our own router declares of its idle connections is what the balancer is set to."""
    assert capabilities_of("hitless").backend_idle_seconds == Timeouts().reuse
