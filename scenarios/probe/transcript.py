"""What one experiment saw: every connection's moments, the signals, the processes and their end.

All times are integer nanoseconds from the first stop signal, so that those before it are negative;
in an experiment without a stop signal they count from its own beginning.
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec


class Happened(StrEnum):
    """What can happen on a connection."""

    CONNECTED = "connected"
    REFUSED = "refused"
    SENT = "sent"
    HEARD = "heard"
    FIN = "FIN"
    RESET = "RST"


class TranscriptMoment(msgspec.Struct, frozen=True):
    """Something that happened on a connection.

    Attributes:
        at_ns: when.
        what: what it was.
        data: the bytes that were sent or heard.
    """

    at_ns: int
    what: Happened
    data: bytes = b""


class Transcript(msgspec.Struct, frozen=True):
    """Everything that happened on one connection, in order.

    Attributes:
        connection: its name in the plan.
        moments: what happened.
    """

    connection: str
    moments: tuple[TranscriptMoment, ...] = ()


class Exited(msgspec.Struct, frozen=True):
    """The end of the process that was started.

    Attributes:
        status: its exit status; negative when a signal ended it.
        at_ns: when.
    """

    status: int
    at_ns: int


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """The processes that a command became.

    Attributes:
        started: the name of the process that was started; the signal goes to it.
        listening: the names of the processes that hold the listening socket.
        direct: whether the process that was started is one of them.
        count: how many processes there were at the signal.
        left: how many were there when the watching ended, after the one that was started had ended;
            None while it runs.
        still_serves: whether the port still accepted connections then; None while it runs.
    """

    started: str
    listening: tuple[str, ...]
    direct: bool
    count: int
    left: int | None = None
    still_serves: bool | None = None


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """All that one experiment saw.

    Attributes:
        experiment: its name.
        signals_ns: when stop signals were sent; the first one is 0.
        transcripts: the connections by name.
        exited: how the process ended; None when it still ran.
        watched_ns: how long was watched after the first signal, or from the beginning.
        family: the processes.
        waiting: how many connections the kernel held in the accept queue at the first signal;
            None where that was not looked at.
        core_wait_seconds: how long the server waited for a core since the first signal, or from
            the beginning, and how late the probe was at most; so much later than on an idle machine
            may things have happened.
        late_seconds: how late the probe was at most with a step of the plan.
    """

    experiment: str
    signals_ns: tuple[int, ...] = ()
    transcripts: Mapping[str, Transcript] = msgspec.field(default_factory=dict)
    exited: Exited | None = None
    watched_ns: int
    family: Family
    waiting: int | None = None
    core_wait_seconds: float = 0.0
    late_seconds: float = 0.0
