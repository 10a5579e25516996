"""What is to be sent next. Pure: it is told the time, and decides everything from the seed."""

import heapq
from collections.abc import Iterator, Mapping
from itertools import count
from typing import NamedTuple

import msgspec

from scenarios.traffic.journeys.population import Population
from scenarios.traffic.plan import Plan
from scenarios.traffic.schedule.arrivals import schedule
from scenarios.traffic.schedule.staying import Start, visits
from scenarios.traffic.wire.cookies import CookieJar


class Reopened(NamedTuple):
    """A websocket whose client reconnects.

    Attributes:
        times: how often it has done so, this time included.
        until_ns: until when the client wants to stay.
        last_id: the number of the last message that it has; None if none came.
    """

    times: int
    until_ns: int
    last_id: int | None


class PlannedRequest(msgspec.Struct, frozen=True):
    """One request that is planned.

    Attributes:
        planned_ns: when it should be sent.
        number: its journey's; below 0 it is that of a user who stays.
        step: the index of the journey's step.
        repetition: 0; more for what follows from the journey's second mail, third mail..., and for
            the second visit, third visit... of a user who stays.
        close: whether it opens a connection for itself alone.
        link: the path and query of the mailed link, once a mail has come.
        cause_id: the request that led to it.
        captured: what the steps before it captured.
        cookies: what the answers to the steps before it set, for a user who comes once.
        reopened: what it continues, if it is a client that reconnects.
    """

    planned_ns: int
    number: int
    step: int
    repetition: int
    close: bool
    link: str | None = None
    cause_id: str | None = None
    captured: Mapping[str, str] | None = None
    cookies: CookieJar | None = None
    reopened: Reopened | None = None


class Agenda:
    """Requests in the order of their planned times: what begins, and what follows from that.

    Memory: a few numbers for each user who stays, none for those who have come or will come once.
    """

    def __init__(self, plan: Plan, population: Population) -> None:
        self._population = population
        self._starts = _starts(plan)
        self._start_ns = 0
        self._until_ns: int | None = None
        self._next: Start | None = None
        self._next_ns: int | None = None  # when that is
        self._arrived = 0
        self._later: list[tuple[int, int, PlannedRequest]] = []
        self._order = count()  # requests of one instant keep the order in which they were planned

    @property
    def arrived(self) -> int:
        """The number below which every journey of this process has started."""
        return self._arrived

    @property
    def pending(self) -> int:
        """How many requests are planned, without the journeys that are still to begin."""
        return len(self._later)

    def start(self, at_ns: int) -> None:
        """Let journeys begin; their offsets count from this time."""
        self._start_ns = at_ns
        self._find_next()

    def stop(self, at_ns: int) -> None:
        """No journey begins after this time; those before it stay planned, sent or not."""
        self._until_ns = at_ns
        self._end_starts()

    def next_ns(self) -> int | None:
        """When the next request is due; None when nothing is planned."""
        if not self._later:
            return self._next_ns
        later = self._later[0][0]
        return later if self._next_ns is None else min(later, self._next_ns)

    def pop(self, now_ns: int) -> PlannedRequest | None:
        """Take the next request that is due, or None when none is yet."""
        while True:
            start, begin_ns = self._next, self._next_ns
            if self._later and (begin_ns is None or self._later[0][0] <= begin_ns):
                if self._later[0][0] > now_ns:
                    return None
                return heapq.heappop(self._later)[2]
            if start is None or begin_ns is None or begin_ns > now_ns:
                return None
            self._find_next()
            if start.number >= 0:
                self._arrived = start.number + 1
            # A pause before its first step puts a request behind others.
            self.plan(begin_ns, number=start.number, step=0, repetition=start.visit)

    def plan(
        self,
        cause_ns: int,
        *,
        number: int,
        step: int,
        repetition: int = 0,
        link: str | None = None,
        cause_id: str | None = None,
    ) -> None:
        """Plan a journey's step, for the end of the reader's pause after `cause_ns`."""
        self.go_on(
            PlannedRequest(cause_ns, number, step, repetition, False, link, cause_id), cause_ns
        )

    def go_on(self, following: PlannedRequest, cause_ns: int) -> None:
        """Plan a request that follows from others, for the end of the pause after `cause_ns`."""
        number, step, repetition = following.number, following.step, following.repetition
        journey = self._population.journey(number)
        pause, close = 0, False
        if journey.python is None:
            compiled_step = journey.steps[step]
            pause, close = self._population.details(number, step, repetition, compiled_step)
        planned = msgspec.structs.replace(following, planned_ns=cause_ns + pause, close=close)
        heapq.heappush(self._later, (planned.planned_ns, next(self._order), planned))

    def reopen(self, planned: PlannedRequest, at_ns: int, reopened: Reopened, cause: str) -> None:
        """Plan the step of a client that reconnects, for this time."""
        again = msgspec.structs.replace(
            planned, planned_ns=at_ns, reopened=reopened, cause_id=cause
        )
        heapq.heappush(self._later, (at_ns, next(self._order), again))

    def _find_next(self) -> None:
        self._next = next(self._starts, None)
        self._next_ns = None if self._next is None else self._start_ns + self._next.offset_ns
        self._end_starts()

    def _end_starts(self) -> None:
        if (
            self._until_ns is not None
            and self._next_ns is not None
            and self._next_ns > self._until_ns
        ):
            self._next = self._next_ns = None


def _starts(plan: Plan) -> Iterator[Start]:
    """What begins in this process, in order of time.

    A shard goes through all arrivals and takes every n-th: the plan is that of one process.
    """
    shard, shards = plan.shard or 0, plan.processes
    if all(journey.stays for journey in plan.journeys):
        return heapq.merge(*visits(plan))
    arrivals = (
        Start(offset_ns, number, 0)
        for number, offset_ns in enumerate(schedule(plan))
        if number % shards == shard
    )
    return heapq.merge(arrivals, *visits(plan))
