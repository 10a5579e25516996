"""The record of how one replica left: who was told what, when, and what the replica then did."""

from dataclasses import dataclass, fields

from orchestrator.interfaces import ReplicaExit


@dataclass(slots=True)
class Departure:
    """What happened to a leaving replica so far; instants are monotonic, in integer nanoseconds.

    A field is None as long as it has not happened, and where the platform or the router cannot
    tell. The order of the fields is the order of `drain-first`.

    Attributes:
        began_ns: when the rollout decided that the replica leaves.
        router_told_ns: when the router was told to send it no more requests.
        last_request_ns: when the router's statistics last showed a new request to it; the
            statistics are read every 0.1 s, so the request came up to 0.1 s earlier.
        drained_ns: when its requests in flight had ended, or were cut at the drain's timeout.
        stop_asked_ns: when it got its stop signal.
        stopped_listening_ns: when its port was closed.
        ended_ns: when its first process had ended.
        children_ended_ns: when the last of its other processes had ended.
        cut: how many of its requests the router cut at the drain's timeout.
        router_noticed_ns: when the router's own checks said that it is down, where nobody had told
            the router (`checks-only`).
        router_checks: False: in `checks-only`, the router has no health checks of its own. It
            cannot notice the end, and the replica was removed from it after the drain's timeout.
        router_forgot_ns: when it was removed from the router.
        idle_kept: whether the router went on using its idle connections, where the policy asks for
            that (`close_idle = false`); False: this router cannot, and closed them.
        exit_status: its exit status; the negative signal number when a signal ended it.
        killed: whether it was killed after its grace period.
        left_behind: how many of its other processes outlived the first one, and were killed.
    """

    began_ns: int | None = None
    router_told_ns: int | None = None
    last_request_ns: int | None = None
    drained_ns: int | None = None
    stop_asked_ns: int | None = None
    stopped_listening_ns: int | None = None
    ended_ns: int | None = None
    children_ended_ns: int | None = None
    cut: int | None = None
    router_noticed_ns: int | None = None
    router_checks: bool | None = None
    router_forgot_ns: int | None = None
    idle_kept: bool | None = None
    exit_status: int | None = None
    killed: bool = False
    left_behind: int = 0

    def take(self, end: ReplicaExit) -> None:
        """Take over what the platform says about the replica's end."""
        self.stop_asked_ns = end.stop_asked_ns or self.stop_asked_ns
        self.stopped_listening_ns = end.stopped_listening_ns
        self.ended_ns = end.ended_ns
        self.children_ended_ns = end.children_ended_ns
        self.exit_status = end.exit_status
        self.killed = end.killed
        self.left_behind = end.left_behind

    def last_step_ns(self) -> int:
        """When the last step so far happened that the platform, policy or application decided."""
        steps = (
            self.router_told_ns, self.drained_ns, self.ended_ns, self.router_noticed_ns,
        )  # fmt: skip
        return max((one for one in steps if one is not None), default=0)

    def to_json(self) -> dict[str, int | bool]:
        """The fields that are known, by name, for the journal."""
        known = ((one.name, getattr(self, one.name)) for one in fields(self))
        return {name: value for name, value in known if value is not None}
