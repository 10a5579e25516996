"""Stamps of another machine's clock: where they lie on the run's, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from scenarios.runner.generators.clock_track import RoundTrip, reading_of, track_of

MS = 1_000_000
SECOND = 1_000 * MS


@dataclass(frozen=True, slots=True)
class OtherClock:
    """A clock that has another zero, and goes a little too fast or too slow."""

    offset_ns: int
    per_million: int

    def read(self, run_ns: int) -> int:
        return run_ns + self.offset_ns + run_ns * self.per_million // 1_000_000

    def trip(self, run_ns: int, there: int, back: int) -> RoundTrip:
        return RoundTrip(run_ns - there, self.read(run_ns), run_ns + back)


CLOCKS = st.builds(OtherClock, st.integers(-(10**18), 10**18), st.integers(-400, 400))
WAYS = st.lists(
    st.tuples(st.integers(0, 80 * MS), st.integers(0, 80 * MS)), min_size=1, max_size=20
)


def trips(clock: OtherClock, begin_ns: int, ways: Sequence[tuple[int, int]]) -> list[RoundTrip]:
    at, found = begin_ns, []
    for there, back in ways:
        at += there
        found.append(clock.trip(at, there, back))
        at += back
    return found


@given(clock=CLOCKS, before=WAYS, after=WAYS, seconds=st.integers(5, 3600), part=st.floats(0, 1))
def test_no_stamp_is_further_off_than_the_error_says(
    clock: OtherClock,
    before: list[tuple[int, int]],
    after: list[tuple[int, int]],
    seconds: int,
    part: float,
) -> None:
    """Whatever the ways there and back took, and however fast the other clock runs."""
    first = reading_of(trips(clock, SECOND, before))
    last = reading_of(trips(clock, (seconds + 10) * SECOND, after))
    track = track_of(first, last)
    true_ns = round((10 + part * seconds) * SECOND)
    assert abs(track.at(clock.read(true_ns)) - true_ns) <= track.error_ns + 2


@given(clock=CLOCKS, ways=WAYS)
def test_the_shortest_way_decides_the_error(clock: OtherClock, ways: list[tuple[int, int]]) -> None:
    """More round trips make it more exact, never less; but for what the clocks drift meanwhile."""
    seen = trips(clock, SECOND, ways)
    reading = reading_of(seen)
    shortest = min(there + back for there, back in ways)
    drifted = (seen[-1].received_ns - seen[0].sent_ns) // 1000
    assert reading.bounds.error_ns <= shortest // 2 + drifted + 4


@given(clock=CLOCKS, ways=WAYS)
def test_equal_times_stay_in_order(clock: OtherClock, ways: list[tuple[int, int]]) -> None:
    """Of two stamps of one generator, the later one is the later one on the run's clock."""
    first = reading_of(trips(clock, SECOND, ways))
    last = reading_of(trips(clock, 60 * SECOND, ways))
    track = track_of(first, last)
    stamps = [clock.read(at) for at in range(10 * SECOND, 50 * SECOND, SECOND)]
    mapped = [track.at(one) for one in stamps]
    assert mapped == sorted(mapped)


def test_a_clock_that_jumps_meanwhile_is_noticed() -> None:
    """The line between both measurements is wrong then, and the error says how wrong."""
    even, late = OtherClock(0, 0), OtherClock(-300 * MS, 0)
    before = reading_of(trips(even, SECOND, [(MS, MS)] * 5))
    after = reading_of(trips(even, 100 * SECOND, [(MS, MS)] * 5))
    quiet = track_of(before, after, [even.trip(50 * SECOND, 40 * MS, 40 * MS)])
    assert quiet.error_ns < 2 * MS
    jumped = track_of(before, after, [late.trip(50 * SECOND, MS, MS)])
    assert jumped.error_ns >= 300 * MS


def test_a_generator_that_is_lost_is_read_by_its_clock_before() -> None:
    """Its error grows with the time: nobody knows how its clock went on."""
    clock = OtherClock(77 * SECOND, 0)
    before = reading_of(trips(clock, SECOND, [(MS, MS)] * 5))
    track = track_of(before, None, [clock.trip(101 * SECOND, MS, MS)])
    assert track.at(clock.read(90 * SECOND)) == 90 * SECOND
    assert 50 * MS <= track.error_ns <= 52 * MS
