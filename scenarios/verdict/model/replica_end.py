"""How each replica ended."""

from typing import Literal

import msgspec

WayOut = Literal["stopped", "killed", "unheard", "left_behind", "under_way", "died"]
"""How it ended: as asked (`stopped`); killed after its grace period (`killed`), or so without ever
having stopped to listen (`unheard`: the stop signal did not reach the process that listens); its
first process ended and left the one that listens behind (`left_behind`); it ended with requests
under way (`under_way`); it ended by itself, in service (`died`)."""

BROKEN = frozenset({"killed", "unheard", "left_behind"})
"""Ways out that lose what a replica holds, at every stop."""


class ReplicaEnd(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one replica ended; instants are seconds since `origin_ns`, absent if not known.

    Attributes:
        replica: which.
        version: of that replica.
        way: how it ended.
        stop_asked: when it got its stop signal.
        stopped_listening: when its port was closed.
        ended: when its first process had ended.
        children_ended: when the last of its other processes had ended.
        exit_status: its exit status; the negative signal number when a signal ended it.
        left_behind: how many of its other processes outlived the first one, and were killed.
        cut: how many requests broke off as it ended.
        excused: why it is not to blame: a fault of the run, or a starved machine; absent if it is.
    """

    replica: str
    version: str | None = None
    way: WayOut
    stop_asked: float | None = None
    stopped_listening: float | None = None
    ended: float | None = None
    children_ended: float | None = None
    exit_status: int | None = None
    left_behind: int = 0
    cut: int = 0
    excused: str | None = None

    @property
    def broken(self) -> bool:
        """Whether it was killed, or the stop signal did not reach the process that listens."""
        return self.way in BROKEN and self.excused is None

    @property
    def words(self) -> str:
        """How it ended, for people."""
        said = {
            "stopped": "stopped as asked",
            "killed": "killed after its grace period",
            "unheard": (
                "killed after its grace period; it listened until then, so the stop signal did not "
                "reach the process that listens"
            ),
            "left_behind": "its first process ended and left the one that listens behind",
            "under_way": f"ended with {self.cut} request{'' if self.cut == 1 else 's'} under way",
            "died": "ended by itself, in service",
        }[self.way]
        return f"{said} ({self.excused})" if self.excused else said
