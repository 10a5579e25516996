"""`hitless ctl RUN status` says where a release is, what it waits for, and what is ahead."""

import msgspec
import pytest

from orchestrator.policy import Policy
from orchestrator.rollout_control import RolloutControl
from scenarios.evidence.progress import PlannedStep, ReplicaView, RunHeader
from scenarios.evidence.run_status import RunStatus
from scenarios.reports.live.state import LiveState
from scenarios.reports.live.status import status_lines, with_state
from scenarios.runner.operator_commands import STATUS_JSON, OperatorCommands
from scenarios.runner.pauses import ahead, pauses_of
from tests.support.evidence import event


@pytest.mark.parametrize(
    ("strategy", "settings", "texts"),
    [
        ("rolling", {}, ()),
        (
            "canary",
            {"canary_steps": [10, 50, 100], "canary_soak_seconds": 2},
            ("at 10 % for 2 s", "at 50 % for 2 s", "at 100 % for 2 s"),
        ),
        (
            "canary",
            {"canary_steps": [{"weight": 20}, {"pause": "promoted"}, {"weight": 100}]},
            ("at 20 % until promoted",),
        ),
        ("blue-green", {"auto_promotion": False}, ("before the switch until promoted",)),
        (
            "blue-green",
            {"auto_promotion_seconds": 3, "scale_down_delay_seconds": 5},
            ("before the switch for 3 s", "before the old replicas stop, for 5 s"),
        ),
    ],
)
def test_pauses(strategy: str, settings: dict[str, object], texts: tuple[str, ...]) -> None:
    """Each pause of a strategy is named with its share and its end."""
    pauses = pauses_of(msgspec.convert(settings, Policy), strategy)
    assert tuple(one.text for one in pauses) == texts


def test_what_is_ahead() -> None:
    """The pause under way is none of those ahead; earlier ones are not, either."""
    policy = msgspec.convert({"canary_steps": [10, 50, 100], "canary_soak_seconds": 2}, Policy)
    pauses = pauses_of(policy, "canary")
    assert len(ahead(pauses, 0.0, pausing=False)) == 3
    assert ahead(pauses, 10.0, pausing=True) == ("at 50 % for 2 s", "at 100 % for 2 s")
    assert ahead(pauses, 100.0, pausing=True) == ()


def test_the_status_of_a_run() -> None:
    """Release, steps, the verb under way, the traffic and the fleet are told, and as JSON too."""
    header = RunHeader(
        scenario="x",
        strategy="canary",
        seed=1,
        replicas=1,
        rate=9,
        steps=(
            PlannedStep(verb="migrate", text="migrate m"),
            PlannedStep(verb="deploy", text="deploy b"),
        ),
    )
    state = LiveState(header)
    state.event(event(1.0, "deploy", "started", 1))
    state.event(event(1.5, "pause", "started", 2, detail={"lasts_seconds": 4.0}))
    state.replicas = (
        ReplicaView(id="a-1", version="a", state="up", weight=3, in_flight=2),
        ReplicaView(id="b-2", version="b", state="up", weight=1, in_flight=0),
    )
    operator, control = OperatorCommands(), RolloutControl()
    operator.connect(control)
    operator.describe_by(
        lambda one: with_state(RunStatus(release=one.status(), next_pauses=("at 50 %",)), state)
    )
    status = msgspec.json.decode(operator.execute(STATUS_JSON), type=RunStatus)
    assert (status.step, status.steps) == (2, ("migrate m", "deploy b"))
    assert status.shares == {"a": 0.75, "b": 0.25}
    text = "\n".join(status_lines(status))
    for told in (
        "no release is under way",
        "step 1   migrate m  done",
        "step 2   deploy b  now",
        "of 4.00 s",
        "pauses   ahead: at 50 %",
        "traffic  a 75 %, b 25 %",
        "fleet    a-1 (a) up, weight 3, 2 in flight",
    ):
        assert told in text
