"""How busy the machine was while a run went on, as recorded in `machine.ndjson`.

A replica that gets no processor time fails its health checks and times out, even if its release is
good. These samples tell such failures from failures of the release.
"""

import msgspec


class MachineSample(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How busy the machine was since the previous sample.

    Shares are of the whole machine, from 0.0 to 1.0. Pressure is the share of the time in which at
    least one process waited for the resource (Linux PSI, the line `some`); it is absent where the
    kernel does not measure it.

    Attributes:
        at_ns: the end of the interval, on the machine's monotonic clock.
        seconds: the length of the interval.
        cores: how many processors the machine has.
        busy: how much of the processors was used, by all processes.
        own: how much of the processors the processes of this run used.
        steal: how much of the processors the hypervisor gave to other guests.
        throttled: the share of the time in which the run's control group had used up its quota.
        cpu_pressure: the pressure on the processors.
        io_pressure: the pressure on the disks.
        memory_pressure: the pressure on memory.
        foreign_disk: the share of the bytes that went to and from the disks for others. What this
            run wrote counts as its own also where the kernel writes it later. Absent if unknown.
        disk_bytes: how many bytes went to and from the disks in a second.
        foreign_memory: the share of the memory that others used. Absent if unknown.
    """

    at_ns: int
    seconds: float
    cores: int
    busy: float = 0.0
    own: float = 0.0
    steal: float = 0.0
    throttled: float = 0.0
    cpu_pressure: float | None = None
    io_pressure: float | None = None
    memory_pressure: float | None = None
    foreign_disk: float | None = None
    disk_bytes: int = 0
    foreign_memory: float | None = None

    @property
    def foreign(self) -> float:
        """The share of the processors that others used, so that this run could not use them."""
        return min(1.0, max(0.0, self.busy - self.own) + self.steal + self.throttled)
