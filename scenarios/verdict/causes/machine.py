"""Whether other processes took the machine away from the run: PURE, from samples of the machine.

A replica that gets no processor time, waits for a disk that others keep busy, or for memory that
others hold fails its health checks and does not answer in time, whatever its release is like. So
such failures say nothing about the release while others held the machine.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from scenarios.evidence.machine import MachineSample

CROWDED = 0.9
"""From this share on, the processors count as fully used: nothing is left to give."""

LATE_SECONDS = 1.5
"""A sample that took so long was late itself: samples are taken twice a second, by a process of the
run that then got no processor. Its average hides how full the machine was meanwhile."""

FOREIGN = 0.25
"""The share of the processors that others must have had. With less, the run slowed itself down."""

PRESSURE = 0.25
"""The pressure on the processors (PSI) from which on somebody noticeably waited for one."""

WAITED = 0.5
"""The pressure on disks from which on they hold somebody up: a database always waits a little."""

FOREIGN_DISK = 0.75
"""The share of the bytes that others must have moved: a file system adds its own to the run's."""

DISK_BYTES = 10_000_000
"""So many bytes in a second others must have moved."""

FOREIGN_MEMORY = 0.5
"""The share of the memory that others must have used."""

Resource = Literal["processors", "disks", "memory"]

_SHARE = 0.5
"""A stretch explains a failure if it covers at least half of its time."""


class Starved(NamedTuple):
    """How far others had the machine.

    Attributes:
        seconds: for how long.
        foreign: the share that others had in that time.
        pressure: the share of that time in which somebody waited for it; None where the kernel does
            not measure it.
        resource: what of the machine.
    """

    seconds: float
    foreign: float
    pressure: float | None
    resource: Resource = "processors"

    @property
    def words(self) -> str:
        """The same for people."""
        waited = (
            ""
            if self.pressure is None
            else f"; somebody waited for {_ONE[self.resource]} in {self.pressure:.0%} of that time"
        )
        had = {
            "processors": f"used {self.foreign:.0%} of the processors",
            "disks": f"moved {self.foreign:.0%} of all bytes to and from the disks",
            "memory": f"used {self.foreign:.0%} of the memory",
        }[self.resource]
        said = f"other processes {had} for {self.seconds:.1f} s"
        return (said + waited).replace("%", " %")


_ONE: Mapping[Resource, str] = {
    "processors": "a processor",
    "disks": "a disk",
    "memory": "memory",
}


class Machine:
    """The load of the machine as a function of time."""

    def __init__(self, samples: Iterable[MachineSample] = (), *, whole: bool = True) -> None:
        """Put the samples in order.

        Args:
            samples: what was recorded.
            whole: whether all processes of the application belong to the run. If not, a busy
                process may be the application itself; then only the processor time counts that a
                hypervisor or a quota took from all of them.
        """
        self._samples = sorted(samples, key=lambda sample: sample.at_ns)
        self._ends = [sample.at_ns for sample in self._samples]
        self._whole = whole

    def foreign(self, sample: MachineSample) -> float:
        """The share of the processors that this run certainly could not use."""
        return sample.foreign if self._whole else min(1.0, sample.steal + sample.throttled)

    def is_starved(self, sample: MachineSample) -> bool:
        """Whether others had much of the machine, nothing was left, and somebody waited."""
        return self.starved_of(sample) is not None

    def starved_of(self, sample: MachineSample) -> Resource | None:
        """Of what others left too little: see the constants of this module."""
        if self._of_processors(sample):
            return "processors"
        if not self._whole:
            return None  # the application's own use is not known
        moved = (sample.foreign_disk or 0.0) * sample.disk_bytes
        if (
            (sample.io_pressure or 0.0) >= WAITED
            and (sample.foreign_disk or 0.0) >= FOREIGN_DISK
            and moved >= DISK_BYTES
        ):
            return "disks"
        pressed = (sample.memory_pressure or 0.0) >= PRESSURE
        return "memory" if pressed and (sample.foreign_memory or 0.0) >= FOREIGN_MEMORY else None

    def _of_processors(self, sample: MachineSample) -> bool:
        late = sample.seconds >= LATE_SECONDS
        full = late or sample.busy + sample.steal >= CROWDED or sample.throttled >= FOREIGN
        waited = sample.cpu_pressure is None or sample.cpu_pressure >= PRESSURE
        return full and waited and self.foreign(sample) >= FOREIGN

    def starved(self, start_ns: int, end_ns: int) -> Starved | None:
        """How far others had the machine in a stretch; None if not for half of it.

        An instant counts as the interval of the sample that it falls into.
        """
        whole, found = 0, []
        for sample, covered in self._within(start_ns, end_ns):
            whole += covered
            if self.is_starved(sample):
                found.append((sample, covered))
        taken = sum(covered for _, covered in found)
        if not found or taken < _SHARE * max(end_ns - start_ns, whole):
            return None
        return self._sum_up(found)

    def total(self) -> Starved | None:
        """The same of all intervals in which others had the machine; None if there was none."""
        found = [(one, round(one.seconds * 1e9)) for one in self._samples if self.is_starved(one)]
        return self._sum_up(found) if found else None

    def _within(self, start_ns: int, end_ns: int) -> Iterable[tuple[MachineSample, int]]:
        for index in range(bisect_right(self._ends, start_ns), len(self._samples)):
            sample = self._samples[index]
            begin = sample.at_ns - round(sample.seconds * 1e9)
            if begin > end_ns:
                return
            yield sample, max(min(sample.at_ns, end_ns) - max(begin, start_ns), 1)

    def _sum_up(self, found: list[tuple[MachineSample, int]]) -> Starved:
        """How far others had what was short for most of these samples."""
        times: Counter[Resource] = Counter()
        for sample, covered in found:
            times[self.starved_of(sample) or "processors"] += covered
        (resource, taken), *_ = times.most_common(1)
        mine = [one for one in found if self.starved_of(one[0]) == resource]
        measured = [
            (pressure, covered)
            for sample, covered in mine
            if (pressure := _pressure(sample, resource)) is not None
        ]
        return Starved(
            seconds=sum(covered for _, covered in found) / 1e9,
            foreign=sum(self._share(one, resource) * covered for one, covered in mine) / taken,
            pressure=sum(pressure * covered for pressure, covered in measured)
            / sum(covered for _, covered in measured)
            if measured
            else None,
            resource=resource,
        )

    def _share(self, sample: MachineSample, resource: Resource) -> float:
        if resource == "processors":
            return self.foreign(sample)
        return (sample.foreign_disk if resource == "disks" else sample.foreign_memory) or 0.0


def _pressure(sample: MachineSample, resource: Resource) -> float | None:
    return {
        "processors": sample.cpu_pressure,
        "disks": sample.io_pressure,
        "memory": sample.memory_pressure,
    }[resource]
