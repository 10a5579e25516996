"""The file by which `hitless ctl` finds the control socket of an active run."""

import msgspec


class ControlFile(msgspec.Struct, frozen=True, kw_only=True):
    """Where an active run accepts commands.

    Attributes:
        socket: the path of the unix socket.
        pid: the process that serves it.
    """

    socket: str
    pid: int
