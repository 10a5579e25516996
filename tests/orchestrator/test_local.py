"""What only the local platform has: folders, names for sessions, interpreters, process groups."""

import asyncio
import stat
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from orchestrator.errors import PlatformError
from orchestrator.model import Version
from orchestrator.platforms.local import LocalPlatform
from orchestrator.processes import Processes

TELL = "import os, sys; print(sys.argv[1:], os.environ['PGAPPNAME'])"
# The parent starts a worker that holds the port, tells its pid, and does what a signal says: die.
PARENT = """
import os, signal, socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
worker = os.fork()
if worker == 0:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
print(os.getpid(), flush=True)
while True:
    signal.pause()
"""


@pytest.fixture
async def platform(processes: Processes, tmp_path: Path) -> AsyncIterator[LocalPlatform]:
    folders = tmp_path / "folders"
    folders.mkdir()
    async with LocalPlatform(
        processes, log_directory=tmp_path, replica_directories=folders
    ) as local:
        yield local


async def ended(platform: LocalPlatform, version: Version, name: str) -> None:
    replica = await platform.start(version, name)
    async with asyncio.timeout(60):
        await platform.wait_ended(replica)


async def test_a_replica_has_a_folder_and_a_name_for_its_sessions(
    platform: LocalPlatform, tmp_path: Path
) -> None:
    """Each replica gets a private folder, and libpq calls its sessions by its id."""
    version = Version(name="a", command=("{python}", "-c", TELL, "{replica_dir}"))
    await ended(platform, version, "a-1")
    folder = tmp_path / "folders" / "a-1"
    assert (tmp_path / "a-1.log").read_text() == f"['{folder}'] a-1\n"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    renamed = Version(name="a", command=version.command, env={"PGAPPNAME": "shop {replica_id}"})
    await ended(platform, renamed, "a-2")
    assert (tmp_path / "a-2.log").read_text().endswith(" shop a-2\n")


async def test_a_version_has_an_interpreter(platform: LocalPlatform, tmp_path: Path) -> None:
    """`{python}` is the version's own interpreter, and a missing one is a clear error."""
    link = tmp_path / "python-of-b"
    link.symlink_to(sys.executable)
    version = Version(name="b", python=str(link), command=("{python}", "-c", TELL, "{python}"))
    await ended(platform, version, "b-1")
    assert (tmp_path / "b-1.log").read_text().startswith(f"['{link}']")
    missing = Version(name="b", python="/no/python", command=("{python}", "x"))
    with pytest.raises(PlatformError, match=r"b-2: .*cannot be started: /no/python"):
        await platform.start(missing, "b-2")


@pytest.mark.parametrize("group", [True, False])
async def test_a_worker_that_its_parent_leaves_behind(
    platform: LocalPlatform, tmp_path: Path, *, group: bool
) -> None:
    """A worker that its parent leaves behind ends with it, with or without a signal of its own."""
    command = ("{python}", "-u", "-c", PARENT, "{port}")
    replica = await platform.start(Version(name="a", command=command, signal_group=group), "a-1")
    log = tmp_path / "a-1.log"
    await platform.wait_listening(replica)
    await until(lambda: log.read_text().count("\n") == 2)
    pids = [int(pid) for pid in log.read_text().split()]
    assert replica.pid in pids
    end = await platform.stop(replica, 30)
    assert not end.killed
    await until(lambda: not any(is_alive(pid) for pid in pids))


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")
