"""Keys and commands reach the rollout, and a wish that makes no sense is answered, not raised."""

from orchestrator.rollout_control import RolloutControl
from scenarios.cli.running import KEYS
from scenarios.runner.operator_commands import COMMANDS, OperatorCommands


def test_wishes_reach_the_control() -> None:
    """Each wish is answered in words, before there is a rollout, without a release, and within."""
    operator, control = OperatorCommands(), RolloutControl()
    assert operator.execute_and_tell("pause") == "pause: the run has not begun yet"
    operator.connect(control)
    assert operator.execute_and_tell("pause") == "pause: no release is under way"
    with control.release():
        assert operator.execute_and_tell("pause").startswith("paused")
        assert "paused" in control.status()
        assert operator.execute_and_tell("resume") == "resumed"
        assert operator.execute_and_tell("resume") == "resume: the rollout is not paused"
        assert operator.execute_and_tell("promote") == "promote: nothing waits for a promotion"
        assert operator.execute_and_tell("abort").startswith("aborting")


def test_every_key_is_a_wish() -> None:
    """Five keys are documented, and all but `q` are wishes that the operator knows."""
    assert KEYS == {"p": "pause", "r": "resume", "P": "promote", "a": "abort", "q": "quit"}
    assert {word for word in KEYS.values() if word != "quit"} <= set(COMMANDS)
