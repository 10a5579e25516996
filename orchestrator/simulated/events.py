"""The queue of everything that happens in the simulated world, beside the deadlines of tasks."""

from collections.abc import Callable, Container, Sequence
from heapq import heappop, heappush
from typing import Any, Protocol

from orchestrator.virtual_time import VirtualClock

NEVER = 1 << 62
"""An instant that does not come."""


class Steady(Protocol):
    """Carries out stretches in which nobody's fate is individual."""

    def fit(self) -> bool:
        """Whether the present stretch is such a one."""
        ...

    def step(self, last_ns: int) -> None:
        """Carry out all arrivals up to an instant, or up to the first event of another kind."""
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
    """Events by instant, and in the order of their making where instants are equal.

    Attributes:
        clock: the time of the loop that they belong to.
        arrivals: what comes beside them; absent: nothing.
        steady: carries out steady stretches; absent: every request is an event of its own.
        answer: what a plain answer is, so that steady stretches need not end at it.
        count: how many events have happened, arrivals among them.
    """

    __slots__ = ("_heap", "_number", "answer", "arrivals", "clock", "count", "steady")

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.arrivals: Arrivals | None = None
        self.steady: Steady | None = None
        self.answer: Callable[[Any], None] | None = None
        self.count = 0
        self._heap: list[tuple[int, int, Callable[[Any], None], Any]] = []
        self._number = 0

    def at(self, at_ns: int, what: Callable[[Any], None], about: object = None) -> None:
        """Let something happen at an instant; one that has passed is now."""
        self._number = number = self._number + 1
        heappush(self._heap, (max(at_ns, self.clock.ns), number, what, about))

    def later(self, at_ns: int, what: Callable[[Any], None], about: object) -> None:
        """The same as `at`, for an instant that has certainly not passed."""
        self._number = number = self._number + 1
        heappush(self._heap, (at_ns, number, what, about))

    def advance(self, until_ns: int | None, woken: Sequence[object]) -> bool:
        """Do what is due up to an instant; see `orchestrator.virtual_time.SimulatedEvents`.

        Without a deadline, arrivals are not enough to go on: users alone wake no task that waits
        for anything but them.
        """
        heap, clock, pop = self._heap, self.clock, heappop
        last_ns = NEVER if until_ns is None else until_ns
        count = 0
        steady = None if until_ns is None else self.steady
        while True:
            if steady is not None and steady.fit():
                steady.step(last_ns)
            arrivals = self.arrivals
            next_ns = NEVER if arrivals is None else arrivals.next_ns
            if heap and heap[0][0] <= next_ns:
                if heap[0][0] > last_ns:
                    break
                clock.ns, _, what, about = pop(heap)
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
        return False

    def run_answers(self, last_ns: int, backends: Container[object]) -> int:
        """Let plain answers of these backends come; returns when the next other event is due.

        Args:
            last_ns: the last instant that may be reached.
            backends: the answers of others may wake somebody.
        """
        heap, clock, answer = self._heap, self.clock, self.answer
        while heap:
            at_ns, _, what, about = heap[0]
            if what is not answer or about.backend not in backends:
                return at_ns
            if at_ns > last_ns:
                return NEVER
            heappop(heap)
            clock.ns = at_ns
            what(about)
            self.count += 1
        return NEVER
