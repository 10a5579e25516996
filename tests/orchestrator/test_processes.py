"""Whatever a run starts ends with it."""

import asyncio
import os
import select
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from orchestrator.errors import ProcessError
from orchestrator.guardian import end_all, leaders_in, marked_processes
from orchestrator.processes import Processes

SLEEP = [sys.executable, "-S", "-c", "import signal; signal.pause()"]
STUBBORN = [
    sys.executable,
    "-S",
    "-u",
    "-c",
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf'); signal.pause()",
]
PARENT_THAT_LEAVES_A_CHILD = [
    sys.executable,
    "-S",
    "-u",
    "-c",
    "import subprocess, sys, signal\n"  # noqa: ISC004 - one program, in lines
    "child = subprocess.Popen([sys.executable, '-S', '-c', 'import signal; signal.pause()'],\n"
    "                         stdout=subprocess.DEVNULL)\n"
    "print(child.pid)\n"
    "signal.pause()",
]


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()


def ignored(pid: int) -> set[int]:
    """The signals that a process ignores."""
    status = Path(f"/proc/{pid}/status").read_text()
    mask = int(status.split("SigIgn:")[1].split()[0], 16)
    return {number for number in signal.valid_signals() if mask >> (number - 1) & 1}


async def test_leaving_the_block_ends_what_was_started(tmp_path: Path) -> None:
    """When the block is left, no process that was started in it runs on."""
    async with Processes() as processes:
        child = await processes.start(SLEEP, name="sleeper", log=tmp_path / "log")
        assert is_running(child.pid)
    assert not is_running(child.pid)


async def test_a_failure_ends_what_was_started(tmp_path: Path) -> None:
    """An error inside the block reaches the caller as it is, and ends the children."""
    with pytest.raises(KeyError):
        async with Processes() as processes:
            child = await processes.start(SLEEP, name="sleeper", log=tmp_path / "log")
            raise KeyError
    assert not is_running(child.pid)


async def test_stop_is_gentle_first(tmp_path: Path) -> None:
    """A child that heeds its stop signal is not killed."""
    async with Processes() as processes:
        child = await processes.start(SLEEP, name="sleeper", log=tmp_path / "log")
        end = await child.stop(grace=30)
    assert (end.code, end.killed) == (-signal.SIGTERM, False)


async def test_a_deaf_child_is_killed(tmp_path: Path) -> None:
    """A child that ignores its stop signal is killed when its grace period ends."""
    async with Processes() as processes:
        child = await processes.start(STUBBORN, name="deaf", log=tmp_path / "log", dialogue=True)
        assert await child.stdout.readline() == b"deaf\n"
        end = await child.stop(grace=0.05)
    assert (end.code, end.killed) == (-signal.SIGKILL, True)


async def test_a_stop_ends_when_every_task_was_cancelled(tmp_path: Path) -> None:
    """Closing an event loop cancels all tasks at once; whoever stops a process then still can."""
    async with Processes() as processes:
        child = await processes.start(SLEEP, name="sleeper", log=tmp_path / "log")
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        async with asyncio.timeout(60):
            assert (await child.stop(grace=60)).code == -signal.SIGTERM
    assert not is_running(child.pid)


async def test_a_worker_left_behind_is_ended(tmp_path: Path) -> None:
    """When a parent dies, the worker that it leaves in its group is ended too."""
    async with Processes() as processes:
        child = await processes.start(
            PARENT_THAT_LEAVES_A_CHILD, name="parent", log=tmp_path / "log", dialogue=True
        )
        worker = int(await child.stdout.readline())
        end_of_worker = os.pidfd_open(worker)
        os.kill(child.pid, signal.SIGKILL)
        await child.wait()
        await child.stop(grace=1)
    assert select.select([end_of_worker], [], [], 60)[0] == [end_of_worker]
    os.close(end_of_worker)


async def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    """A command that cannot be started is named in the error."""
    async with Processes() as processes:
        with pytest.raises(ProcessError, match="the thing cannot be started: no-such-program"):
            await processes.start(["no-such-program"], name="the thing", log=tmp_path / "log")


OWNER = """
import asyncio, sys
from pathlib import Path
from orchestrator.processes import Processes

PARENT = '''
import subprocess, sys, signal
subprocess.Popen([sys.executable, '-S', '-c', 'import os, signal;'
                  'print(os.getpid(), flush=True); signal.pause()'], start_new_session=True)
signal.pause()
'''

async def main():
    async with Processes() as processes, processes.directory("hitless-test-") as directory:
        parent = await processes.start(
            [sys.executable, "-S", "-c", PARENT],
            name="parent", log=Path(sys.argv[1]), dialogue=True)
        child = (await parent.stdout.readline()).decode().strip()
        print(processes.mark, processes._guardian.pid, parent.pid, child, directory, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def test_a_guardian_outlives_the_signals_of_its_run(tmp_path: Path) -> None:
    """Ctrl-C and SIGTERM are for the run: its guardian still cleans up after it afterwards."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        try:
            mark, guardian, *_, directory = owner.stdout.readline().split()
            descriptor = os.pidfd_open(int(guardian))
            numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
            while not numbers <= ignored(int(guardian)):  # it has only just been started
                time.sleep(0.01)
            for number in numbers:
                os.kill(int(guardian), number)
        finally:
            owner.kill()
    assert select.select([descriptor], [], [], 60)[0] == [descriptor]
    os.close(descriptor)
    assert marked_processes(mark) == []
    assert not Path(directory).exists()


def test_a_killed_owner_leaves_nothing(tmp_path: Path) -> None:
    """After `kill -9` of the owner no child, no grandchild and no directory is left."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        try:
            mark, guardian, parent, child, directory = owner.stdout.readline().split()
            assert {int(parent), int(child)} <= set(marked_processes(mark))
            descriptor = os.pidfd_open(int(guardian))
        finally:
            owner.kill()
    # The guardian ends when its work is done, and not before.
    assert select.select([descriptor], [], [], 60)[0] == [descriptor]
    os.close(descriptor)
    assert marked_processes(mark) == []
    assert not Path(directory).exists()


def test_a_process_that_lost_its_mark_is_known_by_its_directory(tmp_path: Path) -> None:
    """A session on a directory of the run is ended; a process that only looks at it is not."""
    wait = "import signal; print('ready', flush=True); signal.pause()"
    command = [sys.executable, "-S", "-c", wait, str(tmp_path / "its.conf")]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as started,
        subprocess.Popen(command, stdout=subprocess.PIPE) as looking,
    ):
        try:
            for process in (started, looking):
                assert process.stdout is not None
                process.stdout.readline()
            assert leaders_in([str(tmp_path)]) == [started.pid]
            assert leaders_in([]) == []
            end_all([], uuid.uuid4().hex, [str(tmp_path)])
            assert started.wait() == -signal.SIGKILL
            assert looking.poll() is None
        finally:
            started.kill()
            looking.kill()
