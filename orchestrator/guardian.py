"""The guardian: a process that ends the processes of a run when the run itself is gone.

A run that is killed (`kill -9`, out of memory) cannot clean up after itself. So the run starts the
guardian first, in a session of its own. The guardian reads its standard input, a pipe from the
run: the end of file means that the run has ended, for whatever reason. Then the guardian kills

1. every process group that the run registered and did not deregister, and
2. on Linux, every process whose environment has the run's mark: this includes grandchildren that
   moved to another session, and a child that was being started at that moment, and
3. the sessions of processes whose command line names a directory of the run: a program may
   overwrite its environment, and may be killed from under the run before it was registered,

and removes the directories that the run registered. After an orderly end nothing is left to do.

After the line `keep` the guardian does nothing: another process will take over what runs.

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
_ROUNDS = 100  # a marked process that forks during a round is found in the next one
_SWEEPS = 2
_ROUND_SECONDS = 5.0  # a killed process that takes longer to end is found again in the next round


def marked_processes(mark: str) -> list[int]:
    """Return the ids of all processes with the mark, except this one; empty without `/proc`."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    with contextlib.suppress(FileNotFoundError):
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            # The process may have ended meanwhile, or belong to another user.
            with contextlib.suppress(OSError):
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def leaders_in(directories: Iterable[str]) -> list[int]:
    """Return the session leaders whose command line names one of the directories.

    A program may overwrite its environment for its title, as nginx does, and so lose the mark.
    Every process of a run leads a session of its own; a command in a shell that looks at a
    directory does not.
    """
    wanted = [directory.encode() for directory in directories]
    found = []
    with contextlib.suppress(FileNotFoundError):
        for entry in Path("/proc").iterdir() if wanted else ():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            # The process may have ended meanwhile.
            with contextlib.suppress(OSError, IndexError):
                command = (entry / "cmdline").read_bytes()
                if any(directory in command for directory in wanted):
                    # After the name, which may hold any character: state, parent, group, session.
                    status = (entry / "stat").read_text("utf-8", "replace")
                    if status.rpartition(")")[2].split()[3] == entry.name:
                        found.append(int(entry.name))
    return found


def end_processes(processes: Iterable[int]) -> None:
    """Kill the processes and wait for their ends, each on its pidfd."""
    poll = select.poll()
    descriptors = []
    for process in processes:
        # The process may have ended, or changed to a user whom this process may not signal.
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


def end_groups(groups: Iterable[int]) -> None:
    """Kill every process of the groups."""
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


def end_all(groups: Iterable[int], mark: str, directories: Iterable[str] = ()) -> None:
    """Kill the process groups, and then all other processes of the run, until none is left.

    Args:
        groups: the process groups that were registered.
        mark: the mark of the run's processes.
        directories: those of the run; a process that lost its mark is known by them.
    """
    end_groups(groups)
    found_none = False
    for _ in range(_ROUNDS):
        end_groups(leaders_in(directories))
        left = marked_processes(mark)
        if left:
            end_processes(left)
        elif found_none:
            return
        else:
            # During an exec the environment of a process cannot be read, so look once more.
            time.sleep(_EXEC_SECONDS)
        found_none = not left


def read_registrations(lines: Iterable[str]) -> tuple[set[int], set[str]] | None:
    """Read the run's lines to the end of file.

    Returns the process groups and directories that are still registered; None after `keep`.
    """
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
    """Wait for the end of the run, then clean up after it."""
    mark = sys.argv[1]
    # Ctrl-C and SIGTERM are meant for the run; the guardian ends when the pipe does.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    left = read_registrations(sys.stdin)
    if left is None:
        return
    groups, directories = left
    end_all(groups, mark, directories)
    for _ in range(_SWEEPS):
        # A write that was under way when its process was killed can appear during the removal.
        for directory in directories:
            shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
