"""What people say to a run under way, from wherever they say it."""

from collections.abc import Callable, Mapping

from orchestrator.rollout_control import ControlError, RolloutControl

WISHES: Mapping[str, Callable[[RolloutControl], str]] = {
    "pause": RolloutControl.pause,
    "resume": RolloutControl.resume,
    "promote": RolloutControl.promote,
    "promote-full": RolloutControl.promote_full,
    "abort": RolloutControl.abort,
    "retry": RolloutControl.retry,
    "undo": RolloutControl.undo,
    "finish": RolloutControl.finish,
    "status": RolloutControl.status,
}


class Steering:
    """The wheel of one run; the harness connects it once there is a rollout to steer."""

    def __init__(self) -> None:
        self._control: RolloutControl | None = None

    def connect(self, control: RolloutControl) -> None:
        """Let wishes reach this rollout from now on."""
        self._control = control

    def say(self, wish: str) -> str:
        """Wish for something, one of `WISHES`; returns what came of it, for people."""
        try:
            return self.hear(wish)
        except ControlError as error:
            return f"{wish}: {error}"

    def hear(self, wish: str) -> str:
        """The same for programs.

        Raises:
            ControlError: it does not fit what is under way.
        """
        if self._control is None:
            raise ControlError("the run has not begun yet")
        if wish not in WISHES:
            raise ControlError(f"unknown wish {wish!r}; there are: {', '.join(WISHES)}")
        return WISHES[wish](self._control)
