"""Keys and commands reach the rollout, and a wish that makes no sense is answered, not raised."""

from orchestrator.rollout_control import RolloutControl
from scenarios.cli.running import KEYS
from scenarios.runner.steering import WISHES, Steering


def test_wishes_reach_the_control() -> None:
    """Each wish is answered in words, before there is a rollout, without a release, and within."""
    steering, control = Steering(), RolloutControl()
    assert steering.say("pause") == "pause: the run has not begun yet"
    steering.connect(control)
    assert steering.say("pause") == "pause: no release is under way"
    with control.release():
        assert steering.say("pause").startswith("paused")
        assert "paused" in control.status()
        assert steering.say("resume") == "resumed"
        assert steering.say("resume") == "resume: the rollout is not paused"
        assert steering.say("promote") == "promote: nothing waits for a promotion"
        assert steering.say("abort").startswith("aborting")


def test_every_key_is_a_wish() -> None:
    """Five keys are documented, and all but `q` are wishes that the steering knows."""
    assert KEYS == {"p": "pause", "r": "resume", "P": "promote", "a": "abort", "q": "quit"}
    assert {word for word in KEYS.values() if word != "quit"} <= set(WISHES)
