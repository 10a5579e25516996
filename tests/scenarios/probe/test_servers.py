"""The probe, on real servers: the table's rows, wrappers, and what is left behind."""

import asyncio
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.server_page import read_record
from benchmarks.server_subjects import SUBJECTS, WRAPPERS, Subject
from benchmarks.servers import APPS, Place, measure_wrapper, write_wrappers
from scenarios.exit_status import ExitStatus
from scenarios.probe.differences import differences
from scenarios.probe.probing import probe
from scenarios.probe.profile import Profile
from scenarios.probe.server import Target

WATCH_SECONDS = 12.0
NODE_PACKAGES = ("express@5.3.0", "ws@8.23.0")
FIVE = (
    "uvicorn (httptools)",
    "gunicorn sync",
    "aiohttp run_app",
    "Node http + close()",
    "Express",
)
MARKER = "HITLESS_PROBE_TEST"
UVICORN = f"{sys.executable} -m uvicorn hello_asgi:app --port {{port}}"


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where Express is, installed by npm; left out by name where there is no npm."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("Express is left out: node or npm is not there")
    folder = tmp_path_factory.mktemp("node")
    done = subprocess.run(
        [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", folder, *NODE_PACKAGES],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"Express is left out: npm cannot install them: {done.stderr}")
    return folder / "node_modules"


def target(words: str, env: dict[str, str] | None = None) -> Target:
    command = words.replace("{bin}/", f"{Path(sys.executable).parent}/").split()
    return Target(
        command=tuple(command),
        cwd=APPS,
        env={"PYTHONPATH": str(APPS), **(env or {})},
        start_seconds=60.0,
    )


async def measure(subject: Subject, env: dict[str, str] | None = None) -> Profile:
    return await probe(target(subject.words, env), watch_seconds=WATCH_SECONDS)


def named(prefix: str) -> list[Subject]:
    return [one for one in SUBJECTS if one.name in FIVE and one.name.startswith(prefix)]


async def differing(subjects: list[Subject], env: dict[str, str] | None = None) -> list[str]:
    """How what the probe says of these servers differs from the published table.

    Each is looked at once. Times may differ by a second, and by as long as the server itself had to
    wait for a core, which the probe measures; everything else has to be the same.
    """
    record = read_record()
    assert record is not None
    async with asyncio.TaskGroup() as group:
        work = {one.name: group.create_task(measure(one, env)) for one in subjects}
    return [
        f"{name}: {one}"
        for name, task in work.items()
        for one in differences(record.servers[name], task.result())
    ]


@pytest.mark.timeout(300)
async def test_python_servers_are_what_the_table_says() -> None:
    """uvicorn, gunicorn and aiohttp are told cell by cell as docs/servers.md has them."""
    subjects = [*named("uvicorn"), *named("gunicorn"), *named("aiohttp")]
    assert len(subjects) == 3
    assert await differing(subjects) == []


@pytest.mark.timeout(300)
async def test_node_http_is_what_the_table_says() -> None:
    """Node's own server is told cell by cell as docs/servers.md has it."""
    if shutil.which("node") is None:
        pytest.skip("Node http is left out: node is not there")
    assert await differing(named("Node")) == []


@pytest.mark.timeout(300)
async def test_express_is_what_the_table_says(node_modules: Path) -> None:
    """Express is told cell by cell as docs/servers.md has it."""
    assert await differing(named("Express"), {"NODE_PATH": str(node_modules)}) == []


def marked(value: str) -> list[int]:
    """The living processes that carry a test's own mark."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environment = (entry / "environ").read_bytes().split(b"\0")
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if f"{MARKER}={value}".encode() in environment and state != "Z":
                found.append(int(entry.name))
    return found


async def reach(words: tuple[str, ...], cwd: Path, mark: str) -> Profile:
    env = {"PYTHONPATH": str(APPS), MARKER: mark}
    wrapped = Target(command=words, cwd=cwd, env=env, start_seconds=60.0)
    return await probe(wrapped, experiments=["in_flight"], watch_seconds=WATCH_SECONDS)


@pytest.mark.timeout(240)
async def test_wrappers_are_told_apart(tmp_path: Path) -> None:
    """`exec` hands the signal on; a shell and npm die of it and leave the server; nothing is left.

    Also not of the server that was left behind, and not of what became a session of its own.
    """
    mark = uuid.uuid4().hex
    npm = shutil.which("npm")
    (tmp_path / "package.json").write_text(
        json.dumps({"scripts": {"start": UVICORN.replace("{port}", "$PORT")}})
    )
    apart = "import os, sys; os.setsid(); os.execvp(sys.argv[1], sys.argv[1:])"
    commands = {
        "exec": ("sh", "-c", f"exec {UVICORN}"),
        "shell": ("sh", "-c", f"{UVICORN}; echo"),
        "session": ("sh", "-c", f"{sys.executable} -c '{apart}' {UVICORN}; echo"),
        **({"npm": ("npm", "start")} if npm else {}),
    }
    async with asyncio.TaskGroup() as group:
        work = {
            name: group.create_task(reach(words, tmp_path if name == "npm" else APPS, mark))
            for name, words in commands.items()
        }
    found = {name: task.result().signalled for name, task in work.items()}
    fates = {name: one.fate for name, one in found.items() if one is not None}
    wanted = {"exec": "direct", "shell": "orphaned", "session": "orphaned"}
    assert fates == {**wanted, **({"npm": "orphaned"} if npm else {})}
    assert all(task.result().completes_in_flight for task in work.values())
    assert marked(mark) == []


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("name", "signal", "status"),
    [
        ("sh -c CMD", "orphaned", "-15"),
        ("npm start", "orphaned", "-15"),
        ("uv run CMD", "forwarded", "143"),
        ("honcho start", "forwarded", "143"),
        ("supervisord", "forwarded", "0"),
    ],
)
async def test_wrappers_that_people_use(
    name: str, signal: str, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who dies of the signal and who passes it on, with its status; nothing of either is left."""
    if name.startswith("npm") and shutil.which("npm") is None:
        pytest.skip("npm start is left out: npm is not there")
    mark = uuid.uuid4().hex
    monkeypatch.setenv(MARKER, mark)
    place = Place(tmp_path, Path(sys.executable).parent, tmp_path / "node_modules")
    write_wrappers(place)
    found = await measure_wrapper(WRAPPERS[name], place)
    assert (found.signal, found.response) == (signal, "delivered")
    assert found.exit.startswith(f"exit {status} @")
    assert found.port == ("still serves" if signal == "orphaned" else "refuses")
    assert [one for one in marked(mark) if one != os.getpid()] == []


@contextmanager
def probing(mark: str) -> Iterator[subprocess.Popen[bytes]]:
    """A probe of a server that its wrapper leaves behind, with experiments under way."""
    command = [sys.executable, "-m", "hitless", "probe", "--", "sh", "-c", f"{UVICORN}; echo"]
    environment = {**os.environ, "PYTHONPATH": str(APPS), MARKER: mark}
    with subprocess.Popen(
        command, cwd=APPS, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as running:
        assert running.stderr is not None
        try:
            assert b"Start" in running.stderr.readline()
            running.stderr.readline()  # an experiment is over, and others are under way
            yield running
        finally:
            running.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_probe_leaves_nothing(number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM end the probe with its status, and all that it started before it."""
    mark = uuid.uuid4().hex
    with probing(mark) as running:
        running.send_signal(number)
        running.communicate()
        assert running.returncode == ExitStatus.INTERRUPTED
    assert marked(mark) == []


def test_a_killed_probe_leaves_nothing() -> None:
    """After `kill -9` of the probe, no server, no wrapper and no guardian of it is left."""
    mark = uuid.uuid4().hex
    with probing(mark) as running:
        running.send_signal(signal.SIGSTOP)
        descriptors = [os.pidfd_open(one) for one in marked(mark) if one != running.pid]
        running.kill()
    assert descriptors
    for descriptor in descriptors:
        assert select.select([descriptor], [], [], 60)[0] == [descriptor]
        os.close(descriptor)
    assert marked(mark) == []
