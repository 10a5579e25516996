"""The ticks of several generators become one account."""

from hypothesis import given
from hypothesis import strategies as st

from scenarios.evidence.tick import Tick
from scenarios.runner.generators.merged_ticks import MergedTicks
from scenarios.traffic.histogram import Histogram
from scenarios.traffic.intervals import Interval

MS = 1_000_000


def interval(planned: int = 1, *, cpu: float = 0.1, in_flight: int = 0) -> Interval:
    tick = Tick(at_ns=0, seconds=0.25, planned=planned, ok=planned, cpu=cpu, in_flight=in_flight)
    return Interval(tick=tick, latencies=Histogram(), lags=Histogram())


@given(
    told=st.lists(
        st.tuples(st.integers(1, 3), st.integers(0, 9), st.integers(1, 400)), max_size=40
    ),
    lost=st.none() | st.integers(1, 3),
)
def test_nothing_that_was_counted_is_left_out(
    told: list[tuple[int, int, int]], lost: int | None
) -> None:
    """However the reports arrive, and whoever is lost, the sums are those of the generators."""
    merged = MergedTicks([1, 2, 3], start_ns=0, seconds=0.5)
    at, ticks = dict.fromkeys((1, 2, 3), 0), []
    for number, planned, later in told:
        at[number] += later * MS
        merged.add(number, interval(planned), at[number])
        ticks += merged.take()
    if lost is not None:
        merged.left(lost)
        ticks += merged.take()
    for number in (1, 2, 3):
        merged.left(number)
    ticks += merged.take()
    assert sum(one.planned for one in ticks) == sum(planned for _, planned, _ in told)
    assert [one.at_ns for one in ticks] == sorted({one.at_ns for one in ticks})


def test_a_stretch_is_told_once_all_have_reported_on_it() -> None:
    """The slowest generator decides, as long as it is not lost."""
    merged = MergedTicks([1, 2], start_ns=0, seconds=0.5)
    merged.add(1, interval(3, in_flight=4), 300 * MS)
    merged.add(1, interval(3), 600 * MS)
    assert merged.take() == []
    merged.add(2, interval(5, in_flight=1), 300 * MS)
    merged.add(2, interval(5), 700 * MS)
    (tick,) = merged.take()
    assert (tick.at_ns, tick.planned, tick.in_flight, tick.seconds) == (500 * MS, 8, 5, 0.5)
    merged.add(1, interval(1), 1600 * MS)
    assert merged.take() == []
    merged.left(2)
    assert [one.planned for one in merged.take()] == [8]


def test_the_busiest_generator_decides_how_busy_they_are() -> None:
    """One that has no processor left is late, whatever the others do: its share is over time."""
    merged = MergedTicks([1, 2], start_ns=0, seconds=0.5)
    for cpu in (0.2, 0.6):
        merged.add(1, interval(cpu=cpu), 200 * MS)
        merged.add(2, interval(cpu=0.1), 200 * MS)
    for number in (1, 2):
        merged.left(number)
    (tick,) = merged.take()
    assert abs(tick.cpu - 0.4) < 1e-9
