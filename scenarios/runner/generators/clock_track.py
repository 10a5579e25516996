"""PURE: how the clock of a generator relates to the run's clock, over the whole run.

A round trip bounds the difference: the other clock was read after the request was sent and before
its answer was there (Cristian: Probabilistic clock synchronization, Distributed Computing 3, 1989).
Several round trips close to each other narrow that. Clocks run at slightly different speeds, so the
difference is measured before and after the traffic, and lies on a line between the two. All round
trips in between check that line.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.kubernetes.cluster_clock import ClockBounds

FASTEST_DRIFT = 500e-6
"""What Linux slews a clock by at most, as a share of the time (adjtimex(2))."""


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """One reading of the other clock.

    Attributes:
        sent_ns: when it was asked for, on the run's clock.
        read_ns: what the other clock said.
        received_ns: when the answer was there, on the run's clock.
    """

    sent_ns: int
    read_ns: int
    received_ns: int

    @property
    def bounds(self) -> ClockBounds:
        """What to add to the other clock to get the run's."""
        return ClockBounds(self.sent_ns - self.read_ns, self.received_ns - self.read_ns)


@dataclass(frozen=True, slots=True)
class ClockReading:
    """The difference between both clocks at one time.

    Attributes:
        at_ns: when, on the other clock.
        bounds: what to add to the other clock to get the run's.
    """

    at_ns: int
    bounds: ClockBounds


def reading_of(trips: Sequence[RoundTrip]) -> ClockReading:
    """What round trips close to each other say together.

    Args:
        trips: at least one, in the order of their times.
    """
    middle = (trips[0].read_ns + trips[-1].read_ns) // 2
    found = [_bounds_at(middle, trip) for trip in trips]
    bounds = found[0]
    for one in found[1:]:
        bounds = bounds.narrowed(one)
    return ClockReading(middle, bounds)


def _bounds_at(read_ns: int, trip: RoundTrip) -> ClockBounds:
    """What a round trip says of another time: the clocks may have drifted apart until then."""
    drift = math.ceil(abs(trip.read_ns - read_ns) * FASTEST_DRIFT) + 1  # stamps are whole
    return ClockBounds(trip.bounds.low_ns - drift, trip.bounds.high_ns + drift)


@dataclass(frozen=True, slots=True)
class ClockTrack:
    """The difference between both clocks over the whole run.

    Attributes:
        before: before the traffic.
        after: after it; the same as `before` if it could not be measured.
        error_ns: how far a time on the run's clock may be wrong.
    """

    before: ClockReading
    after: ClockReading
    error_ns: int

    def at(self, read_ns: int) -> int:
        """The time on the run's clock when the other one said this."""
        return read_ns + self.offset_ns(read_ns)

    def offset_ns(self, read_ns: int) -> int:
        """What to add to the other clock at this time of it."""
        begin, end = self.before.bounds.middle_ns, self.after.bounds.middle_ns
        length = self.after.at_ns - self.before.at_ns
        if length <= 0:
            return begin
        return begin + (end - begin) * (read_ns - self.before.at_ns) // length

    @property
    def drift_ns(self) -> int:
        """By how much the difference changed between both measurements."""
        return self.after.bounds.middle_ns - self.before.bounds.middle_ns


def track_of(
    before: ClockReading, after: ClockReading | None, between: Sequence[RoundTrip] = ()
) -> ClockTrack:
    """The difference over the run, with its error.

    The error is that of the two measurements. A round trip in between that contradicts the line
    between them makes it larger: the clock did not run evenly.

    Args:
        before: before the traffic.
        after: after it; None if the generator was lost before.
        between: round trips in between.
    """
    end = before if after is None else after
    track = ClockTrack(before, end, max(before.bounds.error_ns, end.bounds.error_ns))
    error = track.error_ns
    if after is None and between:
        # Nobody knows how the clocks went on: as unevenly as the kernel allows, at most.
        error += round((between[-1].read_ns - before.at_ns) * FASTEST_DRIFT)
    for trip in between:
        line, bounds = track.offset_ns(trip.read_ns), trip.bounds
        if not bounds.low_ns - error <= line <= bounds.high_ns + error:
            error = max(error, abs(bounds.low_ns - line), abs(bounds.high_ns - line))
    return ClockTrack(before, end, error)
