"""How each replica ended."""

from typing import Literal

import msgspec

WayOut = Literal["stopped", "killed", "unheard", "left_behind", "under_way", "died"]
"""How a replica ended.

- `stopped`: it stopped as asked.
- `killed`: it was killed after its grace period.
- `unheard`: it was killed after its grace period, and its port was open until then: the stop signal
  did not reach the process that listens, or that process ignored it.
- `left_behind`: its first process ended, and the process that listens did not.
- `under_way`: it ended while requests were under way.
- `died`: it ended by itself, in service.
"""

BROKEN = frozenset({"killed", "unheard", "left_behind"})
"""Ways out that lose the requests of a replica at every stop."""


class ReplicaEnd(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one replica ended; instants are in seconds since `origin_ns`; unknown ones are absent.

    Attributes:
        replica: its id.
        version: its version.
        way: how it ended.
        stop_asked: when it got its stop signal.
        stopped_listening: when its port was closed.
        ended: when its first process had ended.
        children_ended: when the last of its other processes had ended.
        exit_status: its exit status; the negative signal number when a signal ended it.
        left_behind: how many of its other processes outlived the first one, and were killed.
        cut: how many requests were cut off when it ended.
        excused: why the replica is not to blame (a fault of the run, a starved machine); absent
            if it is to blame.
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
                "reach the process that listens, or that process ignored it"
            ),
            "left_behind": "its first process ended and left the one that listens behind",
            "under_way": f"ended with {self.cut} request{'' if self.cut == 1 else 's'} under way",
            "died": "ended by itself, in service",
        }[self.way]
        return f"{said} ({self.excused})" if self.excused else said
