"""Records how busy the machine is: pressure, steal, and who uses the processors.

Everything is read from `/proc` and `/sys`, as documented in proc(5), `accounting/psi.rst`,
`admin-guide/iostats.rst` and `admin-guide/cgroup-v2.rst` of the Linux kernel. Where a file is
missing, its part is left out; without `/proc/stat` nothing is recorded.
"""

import asyncio
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from orchestrator.guardian import MARK
from scenarios.evidence.machine import MachineSample
from scenarios.evidence.recorder import Recorder

INTERVAL_SECONDS = 0.5

_PROC = Path("/proc")
_CGROUP = Path("/sys/fs/cgroup")
_RESOURCES = ("cpu", "io", "memory")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_READ, _WRITTEN, _SECTOR = 5, 9, 512
"""Of a line of `/proc/diskstats`: the fields with sectors, and their size (admin-guide/iostats)."""
_DISK = re.compile(r"(?:[shv]d[a-z]+|xvd[a-z]+|nvme\d+n\d+|mmcblk\d+)")


class Processors(NamedTuple):
    """Processor time since the machine started, in clock ticks, all processors together."""

    busy: int
    steal: int
    total: int


class Reading(NamedTuple):
    """Counters at an instant; two of them make a sample.

    Attributes:
        at_ns: the instant.
        processors: the machine's processor time.
        own_ticks: the processor time of this run's processes, in clock ticks.
        pressure_us: by resource, for how long somebody waited for it, in microseconds.
        throttled_us: for how long the control group was throttled, in microseconds.
        disk_bytes: how many bytes went to and from the disks; None if unknown.
        foreign_disk_bytes: how many of them were certainly not this run's.
        memory: the machine's memory; None if unknown.
        used_memory: how much of it is in use.
        own_memory: how much of it this run's processes use, shared pages counted for each.
    """

    at_ns: int
    processors: Processors
    own_ticks: int
    pressure_us: Mapping[str, int]
    throttled_us: int
    disk_bytes: int | None = None
    foreign_disk_bytes: int = 0
    memory: int | None = None
    used_memory: int = 0
    own_memory: int = 0


class OwnUse(NamedTuple):
    """What this run's processes used: since their starts, but for the memory.

    Attributes:
        ticks: processor time, in clock ticks.
        disk_bytes: bytes read from disks, and given to the kernel to be written.
        memory: resident memory of those that live.
    """

    ticks: int
    disk_bytes: int
    memory: int


def parse_processors(text: str) -> Processors:
    """The first line of `/proc/stat`.

    Raises:
        ValueError: it is not one.
    """
    name, *fields = text.partition("\n")[0].split()
    if name != "cpu":
        raise ValueError(f"expected the line of all processors, not {name!r}")
    user, nice, system, idle, wait, interrupts, soft, *rest = (int(field) for field in fields)
    steal = rest[0] if rest else 0
    busy = user + nice + system + interrupts + soft
    return Processors(busy, steal, busy + steal + idle + wait)


def parse_pressure(text: str) -> int | None:
    """The total of the line `some` of a pressure file, in microseconds; None if there is none."""
    for line in text.splitlines():
        kind, *fields = line.split()
        if kind == "some":
            return next(
                (
                    int(value)
                    for key, _, value in (f.partition("=") for f in fields)
                    if key == "total"
                ),
                None,
            )
    return None


def parse_throttled(text: str) -> int:
    """The time that `cpu.stat` of a control group tells as throttled, in microseconds."""
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == "throttled_usec":
            return int(value)
    return 0


def parse_disks(text: str) -> int:
    """The bytes that went to and from whole disks, from `/proc/diskstats`.

    Partitions, and disks that stand for others (dm, md) or for memory, would count twice.
    """
    sectors = 0
    for line in text.splitlines():
        fields = line.split()
        if len(fields) > _WRITTEN and _DISK.fullmatch(fields[2]):
            sectors += int(fields[_READ]) + int(fields[_WRITTEN])
    return sectors * _SECTOR


def parse_io(text: str) -> int:
    """The bytes of `/proc/PID/io` that a process had from disks and had written to them."""
    known = {
        key: int(value) for key, _, value in (line.partition(":") for line in text.splitlines())
    }
    written = known.get("write_bytes", 0) - known.get("cancelled_write_bytes", 0)
    return known.get("read_bytes", 0) + written


def parse_memory(text: str) -> tuple[int, int] | None:
    """All memory and what of it is in use, in bytes, from `/proc/meminfo`; None if it is not."""
    known = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key in ("MemTotal", "MemAvailable"):
            known[key] = int(value.split()[0]) * 1024
    if len(known) != 2:  # noqa: PLR2004 - both of them
        return None
    return known["MemTotal"], known["MemTotal"] - known["MemAvailable"]


def parse_process(text: str) -> tuple[int, int]:
    """The parent of a process and its processor time in clock ticks, from `/proc/PID/stat`.

    The name of the program stands in brackets and may hold any character, brackets included.
    """
    fields = text.rpartition(")")[2].split()
    return int(fields[1]), int(fields[11]) + int(fields[12])


def sample_between(before: Reading, after: Reading, cores: int) -> MachineSample:
    """What happened between two readings."""
    ticks = max(after.processors.total - before.processors.total, 1)
    elapsed_us = max((after.at_ns - before.at_ns) // 1000, 1)

    def share(part: int, whole: int) -> float:
        return round(min(1.0, max(0.0, part / whole)), 4)

    def pressure(resource: str) -> float | None:
        if resource not in after.pressure_us or resource not in before.pressure_us:
            return None
        return share(after.pressure_us[resource] - before.pressure_us[resource], elapsed_us)

    moved = None
    if after.disk_bytes is not None and before.disk_bytes is not None:
        moved = max(after.disk_bytes - before.disk_bytes, 0)
    foreign = max(after.foreign_disk_bytes - before.foreign_disk_bytes, 0)
    return MachineSample(
        at_ns=after.at_ns,
        seconds=elapsed_us / 1e6,
        cores=cores,
        busy=share(after.processors.busy - before.processors.busy, ticks),
        own=share(after.own_ticks - before.own_ticks, ticks),
        steal=share(after.processors.steal - before.processors.steal, ticks),
        throttled=share(after.throttled_us - before.throttled_us, elapsed_us),
        cpu_pressure=pressure("cpu"),
        io_pressure=pressure("io"),
        memory_pressure=pressure("memory"),
        foreign_disk=None if moved is None else share(foreign, max(moved, foreign, 1)),
        disk_bytes=0 if moved is None else moved * 1_000_000 // elapsed_us,
        foreign_memory=None
        if after.memory is None
        else share(after.used_memory - after.own_memory, after.memory),
    )


class OwnProcesses:
    """What this run uses: its processes that live, and those that have ended.

    A process belongs to the run if it descends from this one, or if its environment carries a mark
    of `orchestrator.guardian`: also when its parent has ended.
    """

    def __init__(self, marks: Iterable[str], proc: Path = _PROC) -> None:
        """Take the marks of the run's processes, as `Processes.mark` says them."""
        self._wanted = tuple(f"{MARK}={mark}".encode() for mark in marks)
        self._proc = proc
        self._belongs: dict[int, bool] = {}
        self._ticks: dict[int, int] = {}
        self._bytes: dict[int, int] = {}
        self._ended = 0
        self._ended_bytes = 0

    def ticks(self) -> int:
        """All processor time of the run so far, in clock ticks; it never goes down."""
        return self.use().ticks

    def use(self) -> OwnUse:
        """All that the run used so far; only the memory goes down."""
        seen: dict[int, tuple[int, int]] = {}
        for entry in self._proc.iterdir():
            if entry.name.isdigit():
                try:
                    seen[int(entry.name)] = parse_process(
                        (entry / "stat").read_text("utf-8", "replace")
                    )
                except (OSError, ValueError, IndexError):
                    continue  # it ended while we looked
        for process in [one for one in self._ticks if one not in seen]:
            self._ended += self._ticks.pop(process)
            self._ended_bytes += self._bytes.pop(process, 0)
        self._belongs = {one: mine for one, mine in self._belongs.items() if one in seen}
        for process, (_, used) in seen.items():
            if self._is_own(process, seen):
                self._ticks[process] = used
                self._bytes[process] = self._disk_bytes(process)
        return OwnUse(
            self._ended + sum(self._ticks.values()),
            self._ended_bytes + sum(self._bytes.values()),
            sum(map(self._memory, self._ticks)),
        )

    def _disk_bytes(self, process: int) -> int:
        """What it has moved, or what it had when the kernel last said it: it may be ending."""
        known = self._bytes.get(process, 0)
        text = _text(self._proc / str(process) / "io")
        return max(known, parse_io(text)) if text else known

    def _memory(self, process: int) -> int:
        fields = _text(self._proc / str(process) / "statm").split()
        return int(fields[1]) * _PAGE if len(fields) > 1 else 0

    def _is_own(self, process: int, seen: Mapping[int, tuple[int, int]]) -> bool:
        known = self._belongs.get(process)
        if known is None:
            parent = seen[process][0] if process in seen else 0
            known = (
                process == os.getpid()
                or (parent in seen and self._is_own(parent, seen))
                or self._carries_mark(process)
            )
            self._belongs[process] = known
        return known

    def _carries_mark(self, process: int) -> bool:
        try:
            environment = (self._proc / str(process) / "environ").read_bytes().split(b"\0")
        except OSError:
            return False
        return any(mark in environment for mark in self._wanted)


class ForeignBytes:
    """How many bytes went to and from the disks that this run certainly did not move.

    The kernel counts what a process writes at once, and writes it later. So only what exceeds all
    that this run has written by then is foreign.
    """

    def __init__(self) -> None:
        self._began: int | None = None
        self._most = 0

    def so_far(self, disk_bytes: int | None, own_bytes: int) -> int:
        """The foreign bytes since the first reading; it never goes down."""
        if disk_bytes is not None:
            if self._began is None:
                self._began = disk_bytes - own_bytes
            self._most = max(self._most, disk_bytes - own_bytes - self._began)
        return self._most


def read_now(
    own: OwnProcesses,
    proc: Path = _PROC,
    cgroup: Path = _CGROUP,
    foreign: ForeignBytes | None = None,
) -> Reading | None:
    """All counters at this instant; None where the machine has no `/proc/stat`."""
    stat = _text(proc / "stat")
    if not stat:
        return None
    pressure = {
        resource: total
        for resource in _RESOURCES
        if (total := parse_pressure(_text(proc / "pressure" / resource))) is not None
    }
    use = own.use()
    disks = _text(proc / "diskstats")
    moved = parse_disks(disks) if disks else None
    memory, used = parse_memory(_text(proc / "meminfo")) or (None, 0)
    return Reading(
        at_ns=time.monotonic_ns(),
        processors=parse_processors(stat),
        own_ticks=use.ticks,
        pressure_us=pressure,
        throttled_us=parse_throttled(_text(cgroup / "cpu.stat")),
        disk_bytes=moved,
        foreign_disk_bytes=(foreign or ForeignBytes()).so_far(moved, use.disk_bytes),
        memory=memory,
        used_memory=used,
        own_memory=use.memory,
    )


async def record_machine(
    path: Path,
    marks: Iterable[str],
    on_sample: Callable[[MachineSample], None] = lambda _sample: None,
) -> None:
    """Write a sample twice a second until cancelled; end at once where there is nothing to read.

    Args:
        path: the evidence file.
        marks: the marks of this run's processes.
        on_sample: is told each sample as well.
    """
    own, foreign = OwnProcesses(marks), ForeignBytes()
    cores = os.cpu_count() or 1
    with Recorder[MachineSample](path) as recorder:
        before = read_now(own, foreign=foreign)
        while before is not None:
            await asyncio.sleep(INTERVAL_SECONDS)
            after = read_now(own, foreign=foreign)
            if after is None:
                return
            sample = sample_between(before, after, cores)
            recorder.write(sample)
            on_sample(sample)
            before = after


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError:
        return ""
