"""How long a server waited for a core is read from the kernel, thread by thread."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scenarios.probe.core_wait import CoreWait, read_waits

SECOND = 1_000_000_000


def thread(proc: Path, process: int, number: int, waited: float | str) -> None:
    folder = proc / str(process) / "task" / str(number)
    folder.mkdir(parents=True, exist_ok=True)
    text = waited if isinstance(waited, str) else f"123 {round(waited * SECOND)} 45\n"
    (folder / "schedstat").write_text(text)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_only_what_was_waited_since_counts(tmp_path: Path) -> None:
    """What a thread had waited before is not counted, and one that is new counts in full."""
    clock = Clock()
    thread(tmp_path, 7, 7, 100.0)
    wait = CoreWait([7], tmp_path, clock)
    clock.now = 1.0
    assert wait.look() == 0.0
    thread(tmp_path, 7, 7, 100.5)
    clock.now = 2.0
    assert wait.look() == pytest.approx(0.5)
    thread(tmp_path, 7, 8, 0.75)
    clock.now = 3.0
    assert wait.look() == pytest.approx(0.75)


def test_nobody_waits_longer_than_the_time_that_has_passed(tmp_path: Path) -> None:
    """Where a counter jumps, what has passed since the last look counts, and no more."""
    clock = Clock()
    thread(tmp_path, 7, 7, 0.0)
    wait = CoreWait([7], tmp_path, clock)
    thread(tmp_path, 7, 7, 8.5)
    clock.now = 0.1
    assert wait.look() == pytest.approx(0.1)
    thread(tmp_path, 7, 7, 8.55)
    clock.now = 0.2
    assert wait.look() == pytest.approx(0.15)


def test_threads_wait_beside_one_another_and_processes_for_one_another(tmp_path: Path) -> None:
    """Of a process the longest wait counts; those of several processes are added up."""
    clock = Clock()
    for process in (7, 9):
        for number in (1, 2):
            thread(tmp_path, process, number, 0.0)
    wait = CoreWait([7, 9], tmp_path, clock)
    thread(tmp_path, 7, 1, 1.0)
    thread(tmp_path, 7, 2, 2.0)
    thread(tmp_path, 9, 1, 0.5)
    clock.now = 3.0
    assert wait.look() == pytest.approx(2.5)


def test_what_has_ended_still_counts(tmp_path: Path) -> None:
    """A process that ends, or a file that says nothing, takes nothing back and breaks nothing."""
    clock = Clock()
    thread(tmp_path, 7, 7, 0.0)
    wait = CoreWait([7, 8], tmp_path, clock)
    thread(tmp_path, 7, 7, 1.0)
    clock.now = 1.0
    assert wait.look() == pytest.approx(1.0)
    thread(tmp_path, 7, 7, "")
    assert wait.look() == pytest.approx(1.0)
    (tmp_path / "7").rename(tmp_path / "gone")
    assert wait.look() == pytest.approx(1.0)


def test_the_kernel_tells_it() -> None:
    """A process that shares one core with another one is seen to wait for it."""
    if not Path("/proc/self/schedstat").exists():
        pytest.skip("left out: this kernel does not count it")
    core = {min(os.sched_getaffinity(0))}
    spin = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(spin) for _ in range(2)]
    try:
        for one in others:
            os.sched_setaffinity(one.pid, core)
        wait = CoreWait([one.pid for one in others])
        until = time.monotonic() + 30
        while wait.look() < 0.2 and time.monotonic() < until:
            time.sleep(0.05)
        assert wait.look() >= 0.2
        assert len(read_waits([one.pid for one in others])) == 2
    finally:
        for one in others:
            one.kill()
            one.wait()
