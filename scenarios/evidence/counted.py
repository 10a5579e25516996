"""Requests that were too many for a line each, as recorded in `counted.ndjson`.

A simulated run can have a hundred million requests. Those that failed, were slow, were sent again
or had to wait for a replica have a line each in `requests.ndjson` and in `balancer.ndjson`. The
others succeeded, and are counted here by what they have in common, in short slots of time.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

SLOT_NS = 100_000_000
"""Requests are counted by tenths of a second of their planned times."""

SLOTS = 10
"""A line counts the requests of one second."""


class CountedRequests(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Requests of one kind that succeeded, of one second.

    Attributes:
        at_ns: when the first slot begins.
        phase: the phase of the run in which they were planned.
        journey: the name of their journey.
        step: the number of the step in it; the first is 1.
        endpoint: method and path without the query.
        connection: `new` or `reused`.
        version: the version that answered.
        status: the status of the answers.
        expected: the statuses that count as success.
        counts: how many were planned in each slot.
        latencies: how many took how long, by nanoseconds from their planned time; rounded down to
            seven binary digits, so by less than one percent.
    """

    at_ns: int
    phase: str
    journey: str
    step: int
    endpoint: str
    connection: str
    version: str
    status: int
    expected: tuple[int, ...]
    counts: tuple[int, ...]
    latencies: Mapping[int, int]

    @property
    def total(self) -> int:
        """How many there are."""
        return sum(self.counts)

    def slots(self) -> Iterator["Slot"]:
        """Each slot that has requests."""
        for number, count in enumerate(self.counts):
            if count:
                yield Slot(self.at_ns + number * SLOT_NS, count)


class Slot(NamedTuple):
    """The requests of one slot.

    Attributes:
        at_ns: when it begins.
        requests: how many were planned in it.
    """

    at_ns: int
    requests: int


def rounded(nanoseconds: int) -> int:
    """A duration, rounded down to seven binary digits."""
    spare = max(0, nanoseconds.bit_length() - 7)
    return nanoseconds >> spare << spare
