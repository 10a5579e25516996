"""What is to be sent next. Pure: it is told the time, and decides everything from the seed."""

import heapq
from collections.abc import Mapping
from itertools import count

import msgspec

from scenarios.traffic.arrivals import schedule
from scenarios.traffic.journeys import Cast
from scenarios.traffic.plan import Plan


class Turn(msgspec.Struct, frozen=True):
    """One request that is planned.

    Attributes:
        planned_ns: when it should be sent.
        number: its journey's.
        step: the index of the journey's step.
        repetition: 0; more for what follows from the journey's second mail, third mail...
        close: whether it opens a connection for itself alone.
        link: the path and query of the mailed link, once a mail has come.
        cause_id: the request that led to it.
        captured: what the steps before it captured.
    """

    planned_ns: int
    number: int
    step: int
    repetition: int
    close: bool
    link: str | None = None
    cause_id: str | None = None
    captured: Mapping[str, str] | None = None


class Agenda:
    """Turns in the order of their planned times: arrivals, and what follows from them."""

    def __init__(self, plan: Plan, cast: Cast) -> None:
        self._cast = cast
        self._offsets = schedule(plan)
        self._start_ns = 0
        self._until_ns: int | None = None
        self._arrival_ns: int | None = None
        # A shard goes through all arrivals and plans every n-th: the plan is that of one process.
        self._shards = plan.shards
        self._number = -1
        self._shard = plan.shard or 0
        self._later: list[tuple[int, int, Turn]] = []
        self._order = count()  # turns of one instant keep the order in which they were planned

    @property
    def arrived(self) -> int:
        """The number below which every journey of this process has started."""
        return max(self._number, 0)

    @property
    def pending(self) -> int:
        """How many turns are planned, without the arrivals to come."""
        return len(self._later)

    def start(self, at_ns: int) -> None:
        """Let arrivals begin; their offsets count from this time."""
        self._start_ns = at_ns
        self._next_arrival()

    def stop(self, at_ns: int) -> None:
        """No arrival is planned after this time; those before it stay planned, sent or not."""
        self._until_ns = at_ns
        self._end_arrivals()

    def next_ns(self) -> int | None:
        """When the next turn is due; None when nothing is planned."""
        if not self._later:
            return self._arrival_ns
        later = self._later[0][0]
        return later if self._arrival_ns is None else min(later, self._arrival_ns)

    def pop(self, now_ns: int) -> Turn | None:
        """Take the next turn that is due, or None when none is yet."""
        while True:
            arrival = self._arrival_ns
            if self._later and (arrival is None or self._later[0][0] <= arrival):
                if self._later[0][0] > now_ns:
                    return None
                return heapq.heappop(self._later)[2]
            if arrival is None or arrival > now_ns:
                return None
            number = self._number
            self._next_arrival()
            # A pause before its first step puts a turn behind others.
            self.plan(arrival, number=number, step=0)

    def plan(
        self,
        cause_ns: int,
        *,
        number: int,
        step: int,
        repetition: int = 0,
        link: str | None = None,
        cause_id: str | None = None,
        captured: Mapping[str, str] | None = None,
    ) -> None:
        """Plan a journey's step, for the end of the reader's pause after `cause_ns`."""
        script = self._cast.script(number)
        pause, close = 0, False
        if script.python is None:
            recipe = script.recipes[step]
            pause, close = self._cast.details(number, step, repetition, recipe)
        turn = Turn(cause_ns + pause, number, step, repetition, close, link, cause_id, captured)
        heapq.heappush(self._later, (turn.planned_ns, next(self._order), turn))

    def _next_arrival(self) -> None:
        offset = next(self._offsets, None)
        self._number += 1
        if self._shards > 1:
            while offset is not None and self._number % self._shards != self._shard:
                offset = next(self._offsets, None)
                self._number += 1
        if offset is None:  # the schedule has ended
            self._arrival_ns = None
            return
        self._arrival_ns = self._start_ns + offset
        self._end_arrivals()

    def _end_arrivals(self) -> None:
        if (
            self._until_ns is not None
            and self._arrival_ns is not None
            and self._arrival_ns > self._until_ns
        ):
            self._arrival_ns = None
