"""Seeded randomness that depends on nothing but its keys.

Each journey draws from a stream of its own, named by the run's seed and the journey's number. So
what a journey does never depends on how fast another one was answered, and a run can be replayed,
or split over processes, without changing a single choice.

The generator is SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators,
OOPSLA 2014). `random.Random` would do as well, but seeding its 2.5 kB state costs more than
everything else that a request needs.
"""

from math import log1p

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15


def _mix(value: int) -> int:
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


class Stream:
    """A sequence of random numbers, the same one for the same keys, on every machine."""

    __slots__ = ("_state",)

    def __init__(self, *keys: int) -> None:
        state = 0
        for key in keys:
            state = _mix(((state ^ (key & _MASK)) + _GAMMA) & _MASK)
        self._state = state

    def uniform(self) -> float:
        """A number in [0, 1), with 53 random bits."""
        self._state = (self._state + _GAMMA) & _MASK
        return (_mix(self._state) >> 11) * 2.0**-53

    def exponential(self, mean: float) -> float:
        """A number with the exponential distribution, in the unit of its mean."""
        return -mean * log1p(-self.uniform())
