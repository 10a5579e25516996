"""The guardian: ends the processes of a run whose owner is gone.

A run that is killed (`kill -9`, out of memory) cannot clean up after itself, so a process of its
own waits for that moment. It is started first, in a session of its own, and reads its standard
input: the pipe's end of file says that the owner is gone, whatever ended it. Then it kills

1. every process group that the owner registered and did not take back, and
2. on Linux, every process whose environment carries the run's mark: also grandchildren that moved
   to another session, and a child that was being started at that very moment,

and removes the directories that the owner registered. After an orderly end nothing is left to do.

An owner that said `keep` leaves everything to somebody who takes it on: then nothing is done.

The lines it reads: `group PGID`, `ended PGID`, `directory PATH`, `removed PATH`, `keep`.
"""

import contextlib
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

MARK = "HITLESS_RUN"
"""The environment variable whose value marks all processes of one run."""

_EXEC_SECONDS = 0.05
_ROUNDS = 100  # a marked process that forks while we look is found in the next round
_SWEEPS = 2
_ROUND_SECONDS = 5.0  # a killed process that takes longer to go (large memory) is looked at again


def marked_processes(mark: str) -> list[int]:
    """The ids of the processes that carry the mark, this one excluded; empty without `/proc`."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    with contextlib.suppress(FileNotFoundError):
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            # A process may end while we look, or belong to somebody else: then it is not ours.
            with contextlib.suppress(OSError):
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def end_processes(processes: Iterable[int]) -> None:
    """Kill the processes and wait for their ends, each on its pidfd."""
    poll = select.poll()
    descriptors = []
    for process in processes:
        # It may end before we get there, or change to a user whom we may not signal.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            descriptor = os.pidfd_open(process)
            descriptors.append(descriptor)
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            poll.register(descriptor, select.POLLIN)
    waiting = len(descriptors)
    deadline = time.monotonic() + _ROUND_SECONDS
    while waiting and (left := deadline - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(left * 1000):
            poll.unregister(descriptor)
            waiting -= 1
    for descriptor in descriptors:
        os.close(descriptor)


def end_all(groups: Iterable[int], mark: str) -> None:
    """Kill the groups, and then whatever carries the mark, until nothing does."""
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    looked_in_vain = False
    for _ in range(_ROUNDS):
        left = marked_processes(mark)
        if left:
            end_processes(left)
        elif looked_in_vain:
            return
        else:
            # A process that is just being replaced by its program has no environment to read.
            time.sleep(_EXEC_SECONDS)
        looked_in_vain = not left


def listen(lines: Iterable[str]) -> tuple[set[int], set[str]] | None:
    """Hear the owner to its end; the groups and directories that it left, None if all is kept."""
    keep = False
    groups: set[int] = set()
    directories: set[str] = set()
    for line in lines:
        verb, _, value = line.rstrip("\n").partition(" ")
        match verb:
            case "group":
                groups.add(int(value))
            case "ended":
                groups.discard(int(value))
            case "directory":
                directories.add(value)
            case "removed":
                directories.discard(value)
            case "keep":
                keep = True
    return None if keep else (groups, directories)


def main() -> None:
    """Wait for the owner's end, then clean up after it."""
    mark = sys.argv[1]
    # A terminal's Ctrl-C or a supervisor's SIGTERM is for the owner; the end of the pipe is ours.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    left = listen(sys.stdin)
    if left is None:
        return
    groups, directories = left
    end_all(groups, mark)
    for _ in range(_SWEEPS):
        # What was being written when its writer was killed may appear while we remove.
        for directory in directories:
            shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
