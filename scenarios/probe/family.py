"""What Linux says about a server's processes and sockets: `/proc`, read once and parsed.

The parsing is pure; `proc(5)` describes the formats.
"""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from orchestrator.guardian import marked_processes

_LISTEN = "0A"
_INTERPRETERS = ("python", "pypy", "node")
_CODE = ("-c", "-e", "-p", "--eval", "--print")
_WITH_VALUE = ("-W", "-X", "-r", "--require", "--import")


class Listener(NamedTuple):
    """A listening TCP socket.

    Attributes:
        port: its port.
        waiting: how many connections are in its accept queue.
        inode: what its descriptors point to.
    """

    port: int
    waiting: int
    inode: str


def parse_listeners(table: Iterable[str]) -> list[Listener]:
    """The listening sockets in the lines of `/proc/net/tcp` or `tcp6`.

    The kernel lists them before all others, so the first other one ends it: a busy machine has
    ten thousands of those.
    """
    found = []
    for number, line in enumerate(table):
        words = line.split()
        if number == 0 or len(words) < 10:  # noqa: PLR2004 - the tenth column is the inode
            continue
        if words[3] != _LISTEN:
            break
        port = int(words[1].rpartition(":")[2], 16)
        # For a listening socket, the receive queue counts connections that wait.
        waiting = int(words[4].partition(":")[2], 16)
        found.append(Listener(port, waiting, words[9]))
    return found


def listeners() -> list[Listener]:
    """All listening TCP sockets of this network namespace."""
    found = []
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(FileNotFoundError), Path("/proc/net", name).open() as table:
            found += parse_listeners(table)
    return found


def waiting_connections(port: int) -> int:
    """How many connections wait to be accepted on a port."""
    return sum(listener.waiting for listener in listeners() if listener.port == port)


def holders(inodes: Iterable[str], processes: Iterable[int]) -> list[int]:
    """Which of the processes hold a descriptor of one of these sockets."""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    found = []
    for process in processes:
        # A process may end while we look.
        with contextlib.suppress(OSError):
            for descriptor in Path(f"/proc/{process}/fd").iterdir():
                with contextlib.suppress(OSError):
                    if str(descriptor.readlink()) in wanted:
                        found.append(process)
                        break
    return found


def members(mark: str, started: int) -> list[int]:
    """The living processes that a command became: those with its mark, and its own group.

    A program that clears its environment has no mark, but it stays in the group.
    """
    found = set(marked_processes(mark))
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if os.getpgid(int(entry.name)) == started:
                    found.add(int(entry.name))
    return sorted(process for process in found if is_alive(process))


def is_alive(process: int) -> bool:
    """Whether a process runs: it has not ended, also not without its parent having noticed."""
    with contextlib.suppress(OSError, IndexError):
        # The name, in parentheses, may hold anything; the state follows it.
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def is_pending(process: int, number: int) -> bool:
    """Whether a process has not taken a signal yet, which a second one then would be one with.

    A standard signal that is pending already is not queued again (signal(7)).
    """
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            name, _, mask = line.partition(":")
            if name in ("SigPnd", "ShdPnd") and int(mask, 16) >> (number - 1) & 1:
                return True
    return False


def process_name(process: int) -> str:
    """What people call a process: its program, or the script or module that an interpreter runs."""
    try:
        words = Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "(gone)"
    return short_name([word for word in words if word])


def short_name(words: list[str]) -> str:
    """A command line in short: `gunicorn` for `/x/bin/python3 /x/bin/gunicorn -b …`."""
    if not words:
        return "(gone)"
    # Some programs write a title over their arguments, such as `gunicorn: master [app]`.
    program = Path(words[0].split(" ")[0]).name if "/" in words[0] else words[0]
    if program.startswith(_INTERPRETERS):
        return _what_it_runs(words[1:]) or program
    return program


def _what_it_runs(arguments: list[str]) -> str | None:
    """The module or script among an interpreter's arguments; None: neither."""
    words = iter(arguments)
    for word in words:
        if word == "-m":
            return next(words, None)
        if word in _CODE:
            return None
        if word in _WITH_VALUE:
            next(words, None)
        elif not word.startswith("-"):
            return Path(word).name
    return None
