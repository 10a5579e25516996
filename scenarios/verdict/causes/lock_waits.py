"""Waits for locks, by the time in which they lay."""

from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from scenarios.evidence.locks import LockWait


class Blocked(NamedTuple):
    """How long a request's replica waited for a lock.

    Attributes:
        wait: the wait that lasted longest within the request's time.
        seconds: the time within it that at least one such wait covers.
    """

    wait: LockWait
    seconds: float


class SessionWaits:
    """The waits of one replica's sessions, by their begin."""

    def __init__(self, waits: Iterable[LockWait]) -> None:
        self.waits = sorted(waits, key=lambda wait: (wait.at_ns, wait.waiter.pid))
        self._starts = [wait.at_ns for wait in self.waits]
        self._longest = max((wait.end_ns - wait.at_ns for wait in self.waits), default=0)

    def within(self, start_ns: int, end_ns: int) -> list[LockWait]:
        """The waits of which a part lies in that time."""
        found = []
        for index in range(bisect_right(self._starts, end_ns) - 1, -1, -1):
            wait = self.waits[index]
            if wait.at_ns + self._longest < start_ns:
                break
            if wait.end_ns > start_ns:
                found.append(wait)
        return found


def covered_ns(waits: Iterable[LockWait], start_ns: int, end_ns: int) -> int:
    """How much of the time at least one of the waits covers."""
    covered, reached = 0, start_ns
    for wait in sorted(waits, key=lambda wait: wait.at_ns):
        begin, end = max(wait.at_ns, reached), min(wait.end_ns, end_ns)
        if end > begin:
            covered += end - begin
            reached = end
    return covered
