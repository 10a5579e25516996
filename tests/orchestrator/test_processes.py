"""Whatever a run starts ends with it."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.guardian import marked_processes
from orchestrator.processes import ProcessError, Processes

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


async def test_a_worker_left_behind_is_ended(tmp_path: Path) -> None:
    """When a parent dies, the worker that it leaves in its group is ended too."""
    async with Processes() as processes:
        child = await processes.start(
            PARENT_THAT_LEAVES_A_CHILD, name="parent", log=tmp_path / "log", dialogue=True
        )
        worker = int(await child.stdout.readline())
        assert is_running(worker)
        os.kill(child.pid, signal.SIGKILL)
        await child.wait()
        await child.stop(grace=1)
    assert not is_running(worker)


async def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    """A command that cannot be started is named in the error."""
    async with Processes() as processes:
        with pytest.raises(ProcessError, match="the thing cannot be started: no-such-program"):
            await processes.start(["no-such-program"], name="the thing", log=tmp_path / "log")


OWNER = """
import asyncio, sys
from pathlib import Path
from orchestrator.processes import Processes

async def main():
    async with Processes() as processes, processes.directory("hitless-test-") as directory:
        child = await processes.start(
            [sys.executable, "-S", "-c", "import subprocess, sys, signal;"
             "subprocess.Popen([sys.executable, '-S', '-c', 'import signal; signal.pause()'],"
             "start_new_session=True); signal.pause()"],
            name="parent", log=Path(sys.argv[1]))
        print(processes._mark, child.pid, directory, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def test_a_killed_owner_leaves_nothing(tmp_path: Path) -> None:
    """After `kill -9` of the owner no child, no grandchild and no directory is left."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        mark, pid, directory = owner.stdout.readline().split()
        pids = {int(pid), *marked_processes(mark)}
        owner.kill()
    # The guardian has ended all of them once each of their pidfds is readable.
    for process in pids:
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(process)
            asyncio.run(_readable(descriptor))
    assert marked_processes(mark) == []
    asyncio.run(_gone(Path(directory)))


async def _readable(descriptor: int) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, ended.set)
    async with asyncio.timeout(20):
        await ended.wait()
    loop.remove_reader(descriptor)
    os.close(descriptor)


async def _gone(path: Path) -> None:
    async with asyncio.timeout(20):
        while path.exists():  # noqa: ASYNC110 - another process removes it and tells nobody
            await asyncio.sleep(0.01)
