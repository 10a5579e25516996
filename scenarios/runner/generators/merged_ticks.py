"""PURE: the ticks of several generators become those of the run."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from scenarios.evidence.tick import Tick
from scenarios.traffic.intervals import Interval, merge

_SECOND = 1_000_000_000


class MergedTicks:
    """Ticks by stretches of the run; one is handed out once every generator has reported on it.

    Args:
        generators: their numbers.
        start_ns: when the traffic starts, on the run's clock.
        seconds: the length of a stretch.
    """

    def __init__(self, generators: Iterable[int], *, start_ns: int, seconds: float) -> None:
        self._start_ns = start_ns
        self._length_ns = round(seconds * _SECOND)
        self._reached = dict.fromkeys(generators, -1)  # the last stretch of which each has told
        self._in_flight: dict[int, int] = {}
        self._waiting: dict[int, dict[int, list[Interval]]] = defaultdict(lambda: defaultdict(list))

    def add(self, generator: int, interval: Interval, end_ns: int) -> None:
        """Take what one generator counted.

        Args:
            generator: its number.
            interval: what it counted.
            end_ns: when that ended, on the run's clock.
        """
        stretch = max(0, (end_ns - self._start_ns) // self._length_ns)
        stretch = max(stretch, self._reached.get(generator, -1))
        self._waiting[stretch][generator].append(interval)
        if generator in self._reached:
            self._reached[generator] = stretch

    def left(self, generator: int) -> None:
        """Nothing more comes from this generator; its last requests are under way no longer."""
        self._reached.pop(generator, None)

    def take(self) -> list[Tick]:
        """The ticks that are complete now, in order."""
        told = min(self._reached.values(), default=None)
        complete = sorted(one for one in self._waiting if told is None or one < told)
        return [self._tick(stretch, self._waiting.pop(stretch)) for stretch in complete]

    def _tick(self, stretch: int, counted: dict[int, list[Interval]]) -> Tick:
        for generator, intervals in counted.items():
            self._in_flight[generator] = intervals[-1].tick.in_flight
        merged = merge(
            [one for intervals in counted.values() for one in intervals],
            at_ns=self._start_ns + (stretch + 1) * self._length_ns,
            seconds=self._length_ns / _SECOND,
            in_flight=sum(
                count
                for generator, count in self._in_flight.items()
                if generator in counted or generator in self._reached
            ),
        )
        cpu = max(map(_cpu, counted.values()))
        return msgspec.structs.replace(merged.tick, cpu=cpu)


def _cpu(intervals: Sequence[Interval]) -> float:
    """The processor share of one generator over all of these."""
    seconds = sum(one.tick.seconds for one in intervals)
    return sum(one.tick.cpu * one.tick.seconds for one in intervals) / seconds if seconds else 0.0
