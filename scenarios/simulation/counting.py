"""Counts requests that succeeded, where they are too many for a line each."""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from scenarios.evidence.counted import SLOT_NS, SLOTS, CountedRequests, rounded
from scenarios.simulation.model import StepMeaning

_SECOND_NS = SLOT_NS * SLOTS
_DIGITS = 7


class Bin(NamedTuple):
    """What requests have in common that are counted together.

    Attributes:
        second: the second of the run in which they were planned.
        phase: the number of the phase in which they were planned.
        endpoint: the number of their endpoint.
        version: the version that answered.
    """

    second: int
    phase: int
    endpoint: int
    version: str


class CountedAnswers(NamedTuple):
    """Many requests that succeeded.

    Attributes:
        versions: the versions that answered.
        codes: for each request, the place of its version among them; this and the following are
            arrays of numpy.
        endpoints: the number of its endpoint.
        at_ns: when it was planned.
        latency_ns: how long it took from then.
    """

    versions: Sequence[str]
    codes: Any
    endpoints: Any
    at_ns: Any
    latency_ns: Any


class Counting:
    """The requests that succeeded, counted.

    Attributes:
        total: how many there are.
    """

    def __init__(self) -> None:
        self.total = 0
        self._phases: list[tuple[int, str]] = []
        self._starts: list[int] = []
        self._slots: dict[Bin, list[int]] = {}
        self._latencies: defaultdict[Bin, Counter[int]] = defaultdict(Counter)

    def begin_phase(self, name: str, at_ns: int) -> None:
        """A phase begins."""
        self._phases.append((at_ns, name))
        self._starts.append(at_ns)

    def add(self, endpoint: int, version: str, at_ns: int, latency_ns: int) -> None:
        """Count one request."""
        second, rest = divmod(at_ns, _SECOND_NS)
        phase = bisect_right(self._starts, at_ns) - 1
        where = Bin(second, phase, endpoint, version)
        slots = self._slots.get(where)
        if slots is None:
            slots = self._slots[where] = [0] * SLOTS
        slots[rest // SLOT_NS] += 1
        self._latencies[where][rounded(latency_ns)] += 1
        self.total += 1

    def add_many(self, answers: CountedAnswers) -> None:
        """Count many requests at once."""
        import numpy as np  # noqa: PLC0415 - whoever has many at once has it

        versions, codes, endpoints, at_ns, latency_ns = answers
        if not len(at_ns):
            return
        slots = at_ns // SLOT_NS
        first = int(slots.min())
        # Whole seconds, so that slots and seconds can be told from one another by division.
        first -= first % SLOTS
        seconds = (int(slots.max()) - first) // SLOTS + 1
        kinds = codes * (int(endpoints.max()) + 1) + endpoints
        phases = np.searchsorted(np.array(self._starts), at_ns, side="right") - 1
        least_phase = int(phases.min())
        groups = kinds * (int(phases.max()) - least_phase + 1) + (phases - least_phase)
        most = int(groups.max()) + 1
        by_slot = np.bincount(groups * (seconds * SLOTS) + (slots - first))
        _, exponents = np.frexp(latency_ns.astype(np.float64))
        spare = np.maximum(0, exponents.astype(np.int64) - _DIGITS)
        values, places = np.unique(latency_ns >> spare << spare, return_inverse=True)
        by_latency = np.bincount(
            (groups * seconds + (slots - first) // SLOTS) * len(values) + places
        )
        size = np.zeros(most * seconds * SLOTS, dtype=np.int64)
        size[: len(by_slot)] = by_slot
        grid = size.reshape(most, seconds, SLOTS)
        spread = np.zeros(most * seconds * len(values), dtype=np.int64)
        spread[: len(by_latency)] = by_latency
        table = spread.reshape(most, seconds, len(values))
        width = int(phases.max()) - least_phase + 1
        kinds_of_version = int(endpoints.max()) + 1
        lengths = values.tolist()
        for group, second in zip(*np.nonzero(grid.sum(axis=2)), strict=True):
            kind, phase = divmod(int(group), width)
            code, endpoint = divmod(kind, kinds_of_version)
            where = Bin(first // SLOTS + int(second), phase + least_phase, endpoint, versions[code])
            mine = self._slots.setdefault(where, [0] * SLOTS)
            for number, count in enumerate(grid[group, second].tolist()):
                mine[number] += count
            found = self._latencies[where]
            for length, count in zip(lengths, table[group, second].tolist(), strict=True):
                if count:
                    found[length] += count
        self.total += len(at_ns)

    def lines(self, steps: Sequence[StepMeaning], status: int) -> Iterator[CountedRequests]:
        """All that was counted, in order.

        Args:
            steps: what the endpoints are.
            status: what an application answers where the step does not expect anything else.
        """
        for where in sorted(self._slots):
            step = steps[where.endpoint]
            yield CountedRequests(
                at_ns=where.second * _SECOND_NS,
                phase=self._phases[where.phase][1] if where.phase >= 0 else "",
                journey=step.journey,
                step=step.step,
                endpoint=step.endpoint,
                connection="new" if step.connection == "new" else "reused",
                version=where.version,
                status=status if status in step.expected else step.expected[0],
                expected=step.expected,
                counts=tuple(self._slots[where]),
                latencies=dict(sorted(self._latencies[where].items())),
            )
