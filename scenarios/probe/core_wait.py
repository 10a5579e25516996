"""For how long a server's processes were ready to run and no core was free for them.

On a busy machine everything comes later, and that is no property of the server. The kernel counts
for each thread how long it waited in a run queue: the second number of
`/proc/PID/task/TID/schedstat` (Documentation/scheduler/sched-stats.rst). Where there is no such
file, nothing was waited for as far as anybody knows.
"""

import contextlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path

_SECOND = 1_000_000_000


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

    def __init__(
        self,
        processes: Iterable[int],
        proc: Path = Path("/proc"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin to count.

        Args:
            processes: whose waits count.
            proc: where the kernel tells them.
            clock: seconds, for how long could have been waited at most.
        """
        self._proc, self._clock = proc, clock
        self._processes = tuple(processes)
        self._at = clock()
        self._last = read_waits(self._processes, proc)
        self._waited: dict[tuple[int, int], float] = {}

    def look(self) -> float:
        """Look again; seconds that were waited, those of threads that have ended included."""
        now = self._clock()
        elapsed, self._at = now - self._at, now
        for thread, waited in read_waits(self._processes, self._proc).items():
            # A thread that began since has waited since then. Now and then the kernel adds seconds
            # that have not passed; nobody waits for longer than that.
            grown = min((waited - self._last.get(thread, 0)) / _SECOND, elapsed)
            self._waited[thread] = self._waited.get(thread, 0.0) + max(grown, 0.0)
            self._last[thread] = waited
        longest: dict[int, float] = {}
        for (process, _), seconds in self._waited.items():
            longest[process] = max(longest.get(process, 0.0), seconds)
        return sum(longest.values())
