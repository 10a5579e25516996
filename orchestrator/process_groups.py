"""How processes end: the record of an end, and the rest of a process group."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from orchestrator import guardian


class ProcessExit(NamedTuple):
    """How a child process ended when it was stopped.

    Attributes:
        code: its exit status; the negative signal number when a signal ended it; None when this run
            did not start it and cannot know.
        killed: whether it outlasted its grace period and was killed.
        asked_ns: when it was asked to stop, on the machine's monotonic clock.
        ended_ns: when it had ended.
        group_ended_ns: when the last process of its group had ended.
        left_behind: how many processes of its group still ran when it had ended; they were killed.
    """

    code: int | None
    killed: bool
    asked_ns: int
    ended_ns: int
    group_ended_ns: int
    left_behind: int

    @property
    def seconds(self) -> float:
        """The time from the stop signal to its end."""
        return max(0.0, (self.ended_ns - self.asked_ns) / 1e9)


def last_lines(log: Path, count: int) -> str:
    """The end of a log, for error messages."""
    try:
        text = log.read_text(errors="replace")
    except OSError as error:
        return f"(no log: {error.strerror})"
    return "\n".join(text.splitlines()[-count:])


def group_members(group: int) -> list[int]:
    """Return the processes of a group that still run; zombies do not. Empty without `/proc`."""
    found: list[int] = []
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return found  # the usual case, which must not cost a look at all processes
    except PermissionError:
        pass
    with contextlib.suppress(FileNotFoundError):
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):  # it ended meanwhile
                # After the name in parentheses: the state, the parent, the process group.
                state, _, owner = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
                if int(owner) == group and state not in ("Z", "X"):
                    found.append(int(entry.name))
    return found


def family_members(variables: Mapping[str, str]) -> list[int]:
    """Return the processes whose environment has all these variables; empty without `/proc`.

    What a process starts inherits its environment, also in a group or session of its own. A
    program that overwrites its environment, as nginx does for its title, is not found.
    """
    wanted = {f"{name}={value}".encode() for name, value in variables.items()}
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError):
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            # It may have ended meanwhile, or belong to another user. A zombie has no environment.
            with contextlib.suppress(OSError):
                if wanted <= set((entry / "environ").read_bytes().split(b"\0")):
                    found.append(int(entry.name))
    return found


async def end_group(group: int, members: Collection[int]) -> None:
    """Kill a process group, and wait until these members of it have ended."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
    if members:
        await asyncio.to_thread(guardian.end_processes, members)
