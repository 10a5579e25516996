"""For how long a server's processes were ready to run and no core was free for them.

On a busy machine everything comes later, and that is no property of the server. The kernel counts
for each thread how long it waited in a run queue: the second number of
`/proc/PID/task/TID/schedstat` (Documentation/scheduler/sched-stats.rst). Where there is no such
file, nothing was waited for as far as anybody knows.
"""

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path

_SECOND = 1_000_000_000

ThreadWaits = Mapping[tuple[int, int], int]
"""By process and thread, nanoseconds that it has waited for a core since it began."""


def read_waits(processes: Iterable[int], proc: Path = Path("/proc")) -> dict[tuple[int, int], int]:
    """How long each thread of these processes has waited for a core so far."""
    found: dict[tuple[int, int], int] = {}
    for process in processes:
        tasks = proc / str(process) / "task"
        # A process, or one of its threads, may end while we look.
        with contextlib.suppress(OSError):
            for thread in tasks.iterdir():
                with contextlib.suppress(OSError, ValueError, IndexError):
                    text = (thread / "schedstat").read_text()
                    found[process, int(thread.name)] = int(text.split()[1])
    return found


class CoreWait:
    """How long some processes waited for a core since this was made.

    Threads of one process wait beside one another, so the one that waited longest counts; processes
    wait for one another, as a master does for its worker, so they are added up.
    """

    def __init__(self, processes: Iterable[int], proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._processes = tuple(processes)
        self._first = read_waits(self._processes, proc)
        self._last = dict(self._first)

    def look(self) -> float:
        """Look again; seconds that were waited, those of threads that have ended included."""
        self._last |= read_waits(self._processes, self._proc)
        longest: dict[int, int] = {}
        for key, waited in self._last.items():
            # A thread that began later has waited since its own beginning.
            since = waited - self._first.get(key, 0)
            longest[key[0]] = max(longest.get(key[0], 0), since)
        return sum(longest.values()) / _SECOND
