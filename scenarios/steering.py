"""What people say to a run under way, from wherever they say it."""

from collections.abc import Callable, Mapping

from orchestrator.control import Control, ControlError

WISHES: Mapping[str, Callable[[Control], str]] = {
    "pause": Control.pause,
    "resume": Control.resume,
    "promote": Control.promote,
    "promote-full": Control.promote_full,
    "abort": Control.abort,
}


class Steering:
    """The wheel of one run; the harness connects it once there is a rollout to steer."""

    def __init__(self) -> None:
        self._control: Control | None = None

    def connect(self, control: Control) -> None:
        """Let wishes reach this rollout from now on."""
        self._control = control

    def say(self, wish: str) -> str:
        """Wish for something, one of `WISHES`; returns what came of it, for people."""
        if self._control is None:
            return f"{wish}: the run has not begun yet"
        try:
            return WISHES[wish](self._control)
        except ControlError as error:
            return f"{wish}: {error}"
