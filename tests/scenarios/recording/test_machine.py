"""What is recorded of the machine is what the kernel says, and tells our own work from others'."""

import asyncio
import os
import subprocess
import sys
import uuid
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.guardian import MARK
from scenarios.evidence.machine import MachineSample
from scenarios.evidence.ndjson import read_lines
from scenarios.recording.machine import (
    ForeignBytes,
    OwnProcesses,
    Processors,
    Reading,
    parse_disks,
    parse_io,
    parse_memory,
    parse_pressure,
    parse_process,
    parse_processors,
    parse_throttled,
    read_now,
    record_machine,
    sample_between,
)

BUSY = "while True: sum(range(10_000))"
FORKS = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BUSY!r}])"


def test_lines_of_the_kernel_are_read_by_their_meaning() -> None:
    """Idle time and waiting for disks are no work, steal is apart, and names may hold brackets."""
    stat = "cpu  10 1 5 80 4 2 1 7 3 0\ncpu0 1 2 3\n"
    assert parse_processors(stat) == Processors(busy=19, steal=7, total=110)
    assert (
        parse_pressure("some avg10=1.00 avg60=0.00 avg300=0.00 total=12345\nfull total=9\n")
        == 12345
    )
    assert parse_pressure("") is None
    assert parse_throttled("usage_usec 5\nnr_throttled 2\nthrottled_usec 77\n") == 77
    assert parse_throttled("usage_usec 5\n") == 0
    fields = "S 41 1 1 0 -1 4194560 1 2 3 4 70 30 5 6 20 0 1 0 99 1 1"
    assert parse_process(f"77 (a) b (c) {fields}") == (41, 100)


def test_disks_and_memory_are_read_by_their_meaning() -> None:
    """Whole disks count once, what was cancelled was not written, and caches are free memory."""
    disks = (
        " 253 0 vda 9 9 100 9 9 9 50 9 0 9 9\n 253 1 vda1 9 9 100 9 9 9 50 9 0 9 9\n"
        " 259 0 nvme0n1 9 9 8 9 9 9 2 9 0 9 9\n 252 0 dm-0 9 9 7 9 9 9 7 9 0 9 9\n"
        " 7 0 loop0 9 9 7 9 9 9 7 9 0 9 9\n"
    )
    assert parse_disks(disks) == 160 * 512
    io = "rchar: 5\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 1024\n"
    assert parse_io(io) == 4096 + 8192 - 1024
    meminfo = "MemTotal:  1000 kB\nMemFree:  100 kB\nMemAvailable:  400 kB\n"
    assert parse_memory(meminfo) == (1_024_000, 614_400)
    assert parse_memory("MemTotal: 1000 kB\n") is None


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=20))
def test_what_the_run_writes_is_its_own_also_when_the_kernel_writes_it_later(
    steps: list[tuple[int, int]],
) -> None:
    """Foreign bytes never go down, and are none as long as the run has given more to be written."""
    foreign, disk, own, last = ForeignBytes(), 1000, 500, 0
    assert foreign.so_far(disk, own) == 0
    for moved, written in steps:
        disk, own = disk + moved, own + written
        found = foreign.so_far(disk, own)
        assert last <= found <= disk - 1000
        assert found >= disk - own - 500
        last = found
    if all(moved <= written for moved, written in steps):
        assert last == 0


@given(
    busy=st.integers(0, 400),
    own=st.integers(0, 400),
    steal=st.integers(0, 200),
    idle=st.integers(0, 400),
    waited=st.integers(0, 500_000),
)
def test_shares_stay_between_nothing_and_all(
    busy: int, own: int, steal: int, idle: int, waited: int
) -> None:
    """Whatever the counters did, each share is between 0 and 1, and what is ours is not foreign."""
    before = Reading(0, Processors(0, 0, 0), 0, {"cpu": 0}, 0)
    after = Reading(
        500_000_000, Processors(busy, steal, busy + steal + idle), own, {"cpu": waited}, 0
    )
    sample = sample_between(before, after, cores=2)
    for share in (sample.busy, sample.own, sample.steal, sample.foreign, sample.cpu_pressure or 0):
        assert 0 <= share <= 1
    if own >= busy and not steal:
        assert sample.foreign == 0
    assert sample.io_pressure is None


def used(own: OwnProcesses, at_least: int) -> int:
    """The processor time of the run once it is that much; ends with the test's own timeout."""
    while (ticks := own.ticks()) < at_least:
        pass
    return ticks


def test_work_of_the_run_is_its_own_and_stays_so_after_its_end() -> None:
    """A marked process counts with all its descendants; what it used still counts when it ended."""
    mark = uuid.uuid4().hex
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import subprocess,sys; subprocess.run([sys.executable,'-c',{BUSY!r}])",
        ],
        env={**os.environ, MARK: mark},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        own = OwnProcesses([mark])
        before = used(own, own.ticks() + 30)
    finally:
        os.killpg(parent.pid, 9)
        parent.wait()
    assert own.ticks() >= before


def test_work_of_others_is_foreign(tmp_path: Path) -> None:
    """A busy process that is not the run's makes the machine busy, and none of it is the run's."""
    stat = tmp_path / "4242"
    stat.mkdir()
    (stat / "stat").write_text("4242 (other) S 1 1 1 0 -1 0 1 2 3 4 500 500 5 6 20 0 1 0 9 1 1")
    (stat / "environ").write_bytes(b"PATH=/bin\0")
    own = OwnProcesses(["wanted"], proc=tmp_path)
    assert own.ticks() == 0
    (stat / "environ").write_bytes(b"HITLESS_RUN=wanted\0")
    assert OwnProcesses(["wanted"], proc=tmp_path).ticks() == 1000


async def test_samples_are_written_while_the_run_goes_on(tmp_path: Path) -> None:
    """Each half second gives a line with the time that it stands for, until the recorder ends."""
    path = tmp_path / "machine.ndjson"
    heard: list[MachineSample] = []
    enough = asyncio.Event()

    def hear(sample: MachineSample) -> None:
        heard.append(sample)
        if len(heard) == 2:
            enough.set()

    task = asyncio.create_task(record_machine(path, [], hear))
    await enough.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    written = list(read_lines(path, MachineSample))
    assert written == heard[: len(written)]
    assert len(written) >= 2
    assert all(one.seconds > 0 and one.cores == os.cpu_count() for one in written)
    assert written[0].at_ns < written[1].at_ns


def test_a_machine_without_proc_is_not_recorded(tmp_path: Path) -> None:
    """Where the kernel tells nothing, there is no reading, and no error."""
    assert read_now(OwnProcesses([], proc=tmp_path), proc=tmp_path, cgroup=tmp_path) is None
