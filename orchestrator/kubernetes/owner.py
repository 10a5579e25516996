"""Which process owns something in a cluster, and whether that process still lives."""

import os
import socket
from pathlib import Path
from typing import Literal

import msgspec

OwnerState = Literal["alive", "gone", "elsewhere"]

_START_FIELD = 19
"""The start time in `/proc/PID/stat`, counted behind the name in brackets (proc(5), field 22)."""


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """A process, so that no other process of any machine is taken for it.

    Attributes:
        host: the name of its machine.
        boot: the id of that machine's boot.
        space: the id of its process namespace, where its process id holds.
        pid: its process id.
        started: when it was started, in ticks since the boot.
    """

    host: str
    boot: str = ""
    space: str = ""
    pid: int
    started: str = ""

    @property
    def state(self) -> OwnerState:
        """Whether it lives; `elsewhere`: it ran on another machine, and nobody here can tell."""
        me = this_process()
        if self.host != me.host:
            return "elsewhere"
        if self.boot != me.boot:
            return "gone"
        if self.space != me.space:
            return "elsewhere"
        return "alive" if _started(self.pid) == self.started else "gone"


def this_process() -> Owner:
    """This process."""
    pid = os.getpid()
    return Owner(
        host=socket.gethostname(),
        boot=_read("/proc/sys/kernel/random/boot_id"),
        space=_link("/proc/self/ns/pid"),
        pid=pid,
        started=_started(pid) or "",
    )


def _started(pid: int) -> str | None:
    """When a process was started; None if there is none, or if it has ended."""
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    if not fields or fields[0] in "ZX":
        return None
    return fields[_START_FIELD]


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""
