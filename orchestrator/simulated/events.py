"""The queue of everything that happens in the simulated world, beside the deadlines of tasks."""

from collections.abc import Callable, Container, Iterable, Sequence
from heapq import heappop, heappush
from typing import Any, Protocol

from orchestrator.virtual_time import VirtualClock

NEVER = 1 << 62
"""An instant that does not come."""

Event = tuple[int, int, Callable[[Any], None], Any]
"""Its instant, its place among those of the same instant, what happens, and to what."""


class Steady(Protocol):
    """Carries out stretches in which nobody's fate is individual."""

    def takes(self, last_ns: int) -> bool:
        """Whether it sees to all arrivals up to an instant, before or after what else happens.

        It may also carry out some of them now, and the answers before the first event of another
        kind.
        """
        ...

    def close(self) -> None:
        """End the stretch."""
        ...


class Arrivals(Protocol):
    """Requests that come by themselves; they are too many to be queued.

    Attributes:
        next_ns: when the next one comes; `NEVER` when none does.
    """

    next_ns: int

    def arrive(self) -> None:
        """Let the next one come, at `next_ns`, and find out when the one after it does."""
        ...


class Events:
    """Events by instant. Of equal instants, answers come first; else those that were made first.

    Answers come first, since nobody knows in a steady stretch when they were made.

    Attributes:
        clock: the time of the loop that they belong to.
        arrivals: what comes beside them; absent: nothing.
        steady: carries out steady stretches; absent: every request is an event of its own.
        answer: takes the answer to a request; set once.
        passed_ns: all that comes up to this instant has come, whether it is carried out or not.
        count: how many events have happened, arrivals among them.
    """

    __slots__ = (
        "_answers", "_heap", "_number", "answer", "arrivals", "clock", "count", "passed_ns",
        "steady",
    )  # fmt: skip

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.arrivals: Arrivals | None = None
        self.steady: Steady | None = None
        self.answer: Callable[[Any], None] = _ignore
        self.count = 0
        self.passed_ns = 0
        self._heap: list[Event] = []
        self._number = 0
        self._answers = -NEVER

    def at(self, at_ns: int, what: Callable[[Any], None], about: object = None) -> None:
        """Let something happen at an instant; one that has passed is now."""
        self._number = number = self._number + 1
        heappush(self._heap, (max(at_ns, self.clock.ns), number, what, about))

    def answer_at(self, at_ns: int, request: object) -> None:
        """Let a request be answered at an instant that has not passed."""
        self._answers = number = self._answers + 1
        heappush(self._heap, (at_ns, number, self.answer, request))

    def advance(self, until_ns: int | None, woken: Sequence[object]) -> bool:
        """Do what is due up to an instant; see `orchestrator.virtual_time.SimulatedEvents`.

        Without a deadline, arrivals are not enough to go on: users alone wake no task that waits
        for anything but them.
        """
        heap, clock, pop = self._heap, self.clock, heappop
        last_ns = NEVER if until_ns is None else until_ns
        count = 0
        steady = self.steady
        if steady is not None and until_ns is None:
            steady.close()
            steady = None
        while True:
            taken = steady is not None and steady.takes(last_ns)
            arrivals = None if taken else self.arrivals
            next_ns = NEVER if arrivals is None else arrivals.next_ns
            if heap and heap[0][0] <= next_ns:
                if heap[0][0] > last_ns:
                    break
                at_ns, _, what, about = pop(heap)
                clock.ns = at_ns
                if at_ns > self.passed_ns:  # else arrivals at this instant have come already
                    self.passed_ns = at_ns - 1
                what(about)
            elif (
                next_ns > last_ns or arrivals is None or next_ns >= NEVER or not (heap or until_ns)
            ):
                break
            else:
                clock.ns = next_ns
                arrivals.arrive()
            count += 1
            if woken:
                self.count += count
                return True
        self.count += count
        self.passed_ns = last_ns
        return False

    def next_ns(self, last_ns: int) -> int:
        """The instant before the next event that is queued, but at most this one."""
        heap = self._heap
        return min(last_ns, heap[0][0] - 1) if heap else last_ns

    def answers_until(self, last_ns: int, backends: Container[object]) -> tuple[list[Event], int]:
        """Take out the next answers of these backends, up to an instant or to an event of others.

        Returns:
            The answers, and when that other event is due; `NEVER`: there is none up to the instant.
        """
        heap, answer = self._heap, self.answer
        found: list[Event] = []
        while heap and heap[0][0] <= last_ns:
            at_ns, _, what, about = heap[0]
            if what is not answer or about.backend not in backends:
                return found, at_ns
            found.append(heappop(heap))
        return found, NEVER

    def run(self, answers: Iterable[Event], until_ns: int) -> None:
        """Let answers come that are due up to an instant, and put the others back."""
        clock = self.clock
        for one in answers:
            if one[0] <= until_ns:
                clock.ns = one[0]
                one[2](one[3])
                self.count += 1
            else:
                heappush(self._heap, one)


def _ignore(_about: object) -> None:
    pass
