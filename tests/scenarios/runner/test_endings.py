"""However a run ends, nothing of it is left."""

import contextlib
import errno
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from scenarios.cli.main import status
from scenarios.evidence.run_folder import RunFolder

EXAMPLES = Path(__file__).parents[3] / "examples"
MARK = "HITLESS_TEST_MARK"
RUN = [
    *(sys.executable, "-m", "hitless", "run", "expand-contract", "--no-live"),
    *("--replicas", "2", "--rate", "40", "--existing-rows", "100"),
]
MOMENTS = ["phase setup", "phase baseline", "phase rollout", "deploy bridge", "phase settle"]
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGKILL]
QUICK = [
    (signal.SIGINT, "phase setup"),
    (signal.SIGTERM, "phase rollout"),
    (signal.SIGKILL, "phase baseline"),
    (signal.SIGKILL, "deploy bridge"),
]


def carriers(mark: str) -> list[int]:
    """The processes that inherited the mark."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def listening(pids: list[int]) -> list[int]:
    """The TCP ports that the processes listen on."""
    inodes = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for link in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    target = str(link.readlink())
                    if target.startswith("socket:["):
                        inodes.add(target[8:-1])
    ports = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and fields[9] in inodes:
            ports.append(int(fields[1].split(":")[1], 16))
    return ports


@contextlib.contextmanager
def ends(pids: list[int]) -> Iterator[list[int]]:
    """A pidfd for each of the processes that is still there."""
    descriptors = []
    try:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                descriptors.append(os.pidfd_open(pid))
        yield descriptors
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def case(number: signal.Signals, moment: str) -> object:
    marks = [] if (number, moment) in QUICK else [pytest.mark.soak]
    return pytest.param(number, moment, marks=marks)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("number", "moment"), [case(number, moment) for number in SIGNALS for moment in MOMENTS]
)
def test_a_run_that_is_ended_leaves_nothing(
    number: signal.Signals, moment: str, tmp_path: Path
) -> None:
    """After Ctrl-C, SIGTERM and `kill -9`, at any moment, no process and no port is left."""
    mark = uuid.uuid4().hex
    with subprocess.Popen(
        [*RUN, "--out", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, MARK: mark},
    ) as run:
        assert run.stdout is not None
        assert any(moment in line for line in run.stdout), run.communicate()
        pids = carriers(mark)
        ports = listening(pids)
        assert ports
        with ends([pid for pid in pids if pid != run.pid]) as descriptors:
            run.send_signal(number)
            _, errors = run.communicate()
            assert run.returncode == (-9 if number == signal.SIGKILL else 130), errors
            for descriptor in descriptors:
                assert select.select([descriptor], [], [], 60)[0], "a process is left"
    assert carriers(mark) == []
    for port in ports:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED
    if number != signal.SIGKILL:
        assert errors.startswith(f"hitless: interrupted by {number.name}")
        assert errors.count("\n") == 1
        # What was recorded by then says what it is, and no pass comes of it.
        (folder,) = tmp_path.iterdir()
        manifest = RunFolder(folder).read_manifest()
        assert (manifest.interrupted, manifest.outcome_reason) == (True, "interrupted")
        assert status(["report", str(folder)]) == 130


NEVER_UP = """
name = "never-up"
application = { command = ["{python}", "-c", "raise SystemExit('no such table')"] }
versions = { a = {}, b = {} }
release = { from = "a", steps = [{ deploy = "b" }] }
[[traffic.journeys]]
name = "look"
steps = [{ path = "/" }]
"""


def test_a_first_version_that_does_not_come_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a version to replace there is no release: one line, status 4, and no verdict."""
    (tmp_path / "never-up.toml").write_text(NEVER_UP)
    out = tmp_path / "runs"
    assert status(["run", str(tmp_path / "never-up.toml"), "--no-live", "--out", str(out)]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "hitless: version a did not become ready, so there is nothing to release: "
    )
    assert "no such table" in line
    (folder,) = out.iterdir()
    assert str(folder) in line
    assert not RunFolder(folder).verdict.exists()


WITH_PROCESSES = """
extends = "good"
name = "with-processes"

[[application.processes]]
name = "broker"
command = ["{python}", "-c", '''
import socket, sys, time
with socket.create_server(("127.0.0.1", int(sys.argv[1]))):
    time.sleep(600)
''', "{port}"]
shared = true
listens = true

[[application.processes]]
name = "worker"
command = ["{python}", "-c", '''
import subprocess, sys, time
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
children = [subprocess.Popen(sleep, process_group=0)]
children += [subprocess.Popen(sleep, start_new_session=True)]
print("ready", flush=True)
time.sleep(600)
''']
ready_log = "^ready"

[[services]]
name = "stock"
command = ["{python}", "-m", "http.server", "{port}", "--bind", "{host}"]
replicas = 1
from = "v1"
versions = { v1 = {} }
"""


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.soak)]
)
def test_what_runs_beside_the_web_ends_with_the_run(number: signal.Signals, tmp_path: Path) -> None:
    """Also the children that workers have put into groups and sessions of their own."""
    mark = uuid.uuid4().hex
    path = tmp_path / "scenario.toml"
    path.write_text(WITH_PROCESSES)
    options = ("--no-live", "--rate", "20", "--out", str(tmp_path / "runs"))
    with subprocess.Popen(
        [sys.executable, "-m", "hitless", "run", str(path), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, MARK: mark},
    ) as run:
        assert run.stdout is not None
        assert any("phase baseline" in line for line in run.stdout), run.communicate()
        pids = carriers(mark)
        sleeping = [pid for pid in pids if b"time.sleep(600)" in _command(pid)]
        assert len(sleeping) == 1 + 3, "a broker, a worker, and its two children"
        assert sum(b"http.server" in _command(pid) for pid in pids) == 1, "a service"
        with ends([pid for pid in pids if pid != run.pid]) as descriptors:
            run.send_signal(number)
            run.communicate()
            for descriptor in descriptors:
                assert select.select([descriptor], [], [], 60)[0], "a process is left"
    assert carriers(mark) == []


@pytest.mark.soak
@pytest.mark.timeout(180)
def test_real_queues_streams_services_and_caches_end_with_their_runs(tmp_path: Path) -> None:
    """Five runs of examples are killed at once amid their releases: Redis and Celery end, too."""
    mark = uuid.uuid4().hex
    names = ["queue-postgres", "feed", "services"]
    if shutil.which("redis-server") is not None:
        names += ["queue-celery", "cache"]
    runs = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "hitless", "run", str(EXAMPLES / name / "scenario.toml")),
                *("--no-live", "--out", str(tmp_path / name)),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, MARK: mark},
        )
        for name in names
    ]
    for run in runs:
        assert run.stdout is not None
        assert any("phase rollout" in line for line in run.stdout), run.communicate()
    pids = set(carriers(mark)) - {run.pid for run in runs}
    assert len(pids) > 10 * len(names) / 2
    with ends(sorted(pids)) as descriptors:
        for run in runs:
            run.kill()
        for run in runs:
            run.communicate()
        for descriptor in descriptors:
            assert select.select([descriptor], [], [], 60)[0], "a process is left"
    assert carriers(mark) == []


def _command(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""
