"""The commands that operators give to a run under way, by keys or by `hitless ctl`."""

from collections.abc import Callable, Mapping

import msgspec

from orchestrator.rollout_control import ControlError, RolloutControl
from scenarios.evidence.run_status import RunStatus

STATUS_JSON = "status-json"
"""What `hitless ctl RUN status` asks for: the status as a `RunStatus` in JSON."""

COMMANDS: Mapping[str, Callable[[RolloutControl], str]] = {
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


class OperatorCommands:
    """What operators tell one run to do, by keys and by `hitless ctl`."""

    def __init__(self) -> None:
        self._control: RolloutControl | None = None
        self._describe: Callable[[RolloutControl], RunStatus] = _release_alone

    def describe_by(self, describe: Callable[[RolloutControl], RunStatus]) -> None:
        """Let this say what is under way, when `status-json` asks."""
        self._describe = describe

    def connect(self, control: RolloutControl) -> None:
        """Send commands to this rollout from now on."""
        self._control = control

    def execute_and_tell(self, command: str) -> str:
        """Execute one of `COMMANDS`; returns the result for people, a refusal included."""
        try:
            return self.execute(command)
        except ControlError as error:
            return f"{command}: {error}"

    def execute(self, command: str) -> str:
        """Execute one of `COMMANDS`; returns the result.

        Raises:
            ControlError: it does not fit what is under way.
        """
        if self._control is None:
            raise ControlError("the run has not begun yet")
        if command == STATUS_JSON:
            return msgspec.json.encode(self._describe(self._control)).decode()
        if command not in COMMANDS:
            raise ControlError(f"unknown command {command!r}; there are: {', '.join(COMMANDS)}")
        return COMMANDS[command](self._control)


def _release_alone(control: RolloutControl) -> RunStatus:
    return RunStatus(release=control.status(), waits_for=control.waiting)
