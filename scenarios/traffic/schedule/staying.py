"""Users who stay: each comes again on a schedule of its own, whatever became of the last time.

A user whom an arrival brings is gone once a request fails, so an outage meets each of them once and
nobody is there to see how long it lasts. Users who stay see all of it, each for itself (Hauer and
others: Meaningful Availability, NSDI 2020).
"""

from collections.abc import Iterator
from itertools import count
from typing import NamedTuple

from scenarios.traffic.plan import Plan
from scenarios.traffic.schedule.stream import Stream

# The first key of the streams for the users' phases.
_PHASE = 4


class Start(NamedTuple):
    """A journey begins.

    Attributes:
        offset_ns: when, from the start of the traffic.
        number: whose it is: 0, 1, 2... for arrivals; -1, -2, -3... for users who stay.
        visit: how often the user has begun it before; 0 for an arrival, who comes once.
    """

    offset_ns: int
    number: int
    visit: int


def visits(plan: Plan) -> Iterator[Iterator[Start]]:
    """The visits of each staying journey in this process, each journey's in order of time.

    A journey's users are numbered on from those of the journeys before it. In all processes
    together they are the same users with the same phases, however many there are.
    """
    first = 0
    for journey in plan.journeys:
        if journey.users is not None and journey.every_seconds is not None:
            users = range(first, first + journey.users)
            yield _rounds(plan, users, round(journey.every_seconds * 1e9))
            first = users.stop


def _rounds(plan: Plan, users: range, every_ns: int) -> Iterator[Start]:
    """Each user once, in the order of their numbers, and all of them again and again.

    The period has a part for each user, and the seed says when in it the user comes. So at any
    moment as many of them are about to come as at any other: an outage meets nearly the same share
    of them whenever it is, where users at random would now and then all just have been there.
    """
    part = every_ns / len(users)
    phases = [
        (int((place + Stream(_PHASE, plan.seed, user).uniform()) * part), user)
        for place, user in enumerate(users)
        if user % plan.processes == (plan.shard or 0)
    ]
    for visit in count() if phases else ():
        for phase_ns, user in phases:
            yield Start(phase_ns + visit * every_ns, ~user, visit)
