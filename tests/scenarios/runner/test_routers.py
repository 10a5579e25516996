"""Runs behind other people's routers: their verdict, their evidence, and what is left of them."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.routers import binaries
from orchestrator.routers.marked import RouterConfigError
from scenarios.cli.main import status
from scenarios.evidence.run_folder import RunFolder
from scenarios.verdict import Verdict
from tests.support.runs import released
from tests.support.witness import write_scenario

pytestmark = [pytest.mark.matrix, pytest.mark.timeout(180)]

MORE = """
[router]
{router}

[phases]
baseline_seconds = 1.0
settle_seconds = 1.0

# The router is tested here, not how busy the machine is.
[objectives]
schedule_lag_p99_seconds = 10.0
schedule_lag_max_seconds = 30.0
"""

HAPROXY = """\
defaults
    mode http
    timeout connect 1s
    timeout client 30s
    timeout server 30s
frontend users
    default_backend web
    # hitless: listen
backend web
    option httpchk GET /health
    {options}
    # hitless: backends check inter 100ms rise 1 fall 2
"""


def written(folder: Path, router: str) -> Path:
    return write_scenario(folder, folder / "seen.txt", MORE.format(router=router))


def ran(folder: Path, router: str, *arguments: str) -> tuple[int, Path, Verdict]:
    """Run the scenario; the exit status, the run's folder and its verdict."""
    scenario, out = written(folder, router), folder / "runs"
    run = released(scenario, out, "--rate", "60", "--seed", "1", *arguments)
    return run.code, run.folder, run.verdict


@pytest.mark.parametrize("router", ["haproxy", "envoy", "nginx"])
def test_a_release_behind_it_loses_nothing(router: str, tmp_path: Path) -> None:
    """A rolling release behind each of them passes, and its log tells of every request."""
    code, run, verdict = ran(tmp_path, "", "--router", router)
    assert (code, verdict.requests.failed) == (0, 0), verdict.reasons
    files = RunFolder(run)
    manifest = files.read_manifest()
    assert (manifest.router, verdict.router) == (router, router)
    assert manifest.router_version is not None
    assert manifest.router_lacks
    lines = {one.request_id: one for one in files.exchanges.read()}
    for outcome in files.requests.read():
        line = lines[outcome.request_id]
        assert (line.status, line.end) == (outcome.status, "complete")
        assert line.backend == outcome.served_by
        # A router may stamp when it accepted the connection, which is before the request was sent.
        early, late = outcome.planned_ns - line.resolution_ns, outcome.done_ns + line.resolution_ns
        # HAProxy stamps with the time of its last poll, which a busy machine makes old.
        assert early - 100_000_000 <= line.at_ns <= late
    assert {share.version for share in verdict.versions if share.requests} == {"a", "b"}


def test_a_configuration_of_the_users_is_what_is_tested(tmp_path: Path) -> None:
    """The run is behind the user's own file, which the verdict's manifest names."""
    (tmp_path / "mine.cfg").write_text(HAPROXY.format(options="option redispatch"))
    code, run, verdict = ran(tmp_path, 'kind = "haproxy"\nconfig = "mine.cfg"')
    assert (code, verdict.requests.failed) == (0, 0), verdict.reasons
    assert RunFolder(run).read_manifest().router_config == str(tmp_path / "mine.cfg")


RETRIES = "option redispatch 1\n    retries 3\n    retry-on all-retryable-errors"
NO_RETRIES = "retries 0"


def released_behind(folder: Path, options: str) -> tuple[int, Path, Verdict]:
    """A rolling release on a platform that tells the router late, behind the user's own file."""
    folder.mkdir()
    (folder / "mine.cfg").write_text(HAPROXY.format(options=options))
    return ran(
        folder,
        'kind = "haproxy"\nconfig = "mine.cfg"',
        *("--set", 'policy.termination.order="stop-first"'),
        *("--set", "policy.termination.deregistration_lag_seconds=1"),
        *("--set", 'traffic.journeys=[{name="look",steps=[{path="/orders",connection="new"}]}]'),
    )


def test_two_files_of_the_users_get_two_verdicts_and_each_says_why(tmp_path: Path) -> None:
    """The same release passes behind a file that retries, and fails behind one that does not.

    Replicas stop before HAProxy hears of it. With `option redispatch` and `retry-on`, it sends the
    refused requests to another replica, and its log tells of the retries. Without them, each failed
    request is `lifecycle:undrained`, and the verdict says what HAProxy saw and what would help.
    """
    code, run, verdict = released_behind(tmp_path / "retries", RETRIES)
    assert (code, verdict.requests.failed) == (0, 0), verdict.reasons
    retried = [one for one in RunFolder(run).exchanges.read() if (one.attempts or 0) > 1]
    assert retried
    assert {one.end for one in retried} == {"complete"}

    code, run, verdict = released_behind(tmp_path / "none", NO_RETRIES)
    assert code == 1
    assert verdict.requests.failed > 0
    assert [cause.cause for cause in verdict.causes] == ["lifecycle:undrained"]
    (cause,) = verdict.causes
    assert cause.evidence.undrained is not None
    assert cause.confidence != "symptom"
    assert cause.title in verdict.reasons[0]
    lines = {one.request_id: one for one in RunFolder(run).exchanges.read()}
    found = {lines[one].end: lines[one].reason or "" for one in cause.evidence.requests}
    assert "termination state SC" in found.pop("connection_refused")
    # The port may close just after a connection was accepted.
    assert set(found) <= {"connection_terminated"}
    assert all("termination state S" in one for one in found.values())
    assert verdict.advice


@pytest.mark.parametrize(("options", "passes"), [(RETRIES, True), (NO_RETRIES, False)])
def test_what_the_users_configuration_says_of_retries_decides(
    options: str, *, passes: bool, tmp_path: Path
) -> None:
    """A killed replica costs nothing behind a file that retries, and GETs behind one that does not.

    Each failure has its cause: the replica had died, or refused the router's connection.
    """
    (tmp_path / "mine.cfg").write_text(HAPROXY.format(options=options))
    code, _, verdict = ran(
        tmp_path,
        'kind = "haproxy"\nconfig = "mine.cfg"',
        *("--set", 'faults=[{do="kill",phase="settle",after_seconds=0.5}]'),
        *("--set", 'traffic.journeys=[{name="look",steps=[{path="/orders",connection="new"}]}]'),
        *("--settle", "3"),
    )
    assert (code, verdict.requests.failed == 0) == ((0, True) if passes else (1, False))
    causes = {cause.cause: cause.confidence for cause in verdict.causes}
    assert causes.keys() <= {"lifecycle:died", "router:connection_refused", "no_backend"}
    assert bool(causes) != passes
    assert "symptom" not in causes.values()


@pytest.mark.parametrize(
    ("router", "words"),
    [
        ('kind = "haproxy"\nconfig = "none.cfg"', "/none.cfg"),
        ('kind = "haproxy"\nbinary = "none"', "there is no file"),
        ('kind = "haproxi"', "haproxi"),
        ('config = "mine.cfg"', "the router hitless does not use it"),
        ('kind = "haproxy"\nconfig = "mine.cfg"', "haproxy refuses it: "),
    ],
)
def test_a_router_that_cannot_be_used_is_one_line(
    router: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong with the router is one line and status 2, and nothing is started."""
    (tmp_path / "mine.cfg").write_text(HAPROXY.format(options="option redispatched"))
    out = tmp_path / "runs"
    code = status(["run", str(written(tmp_path, router)), "--no-live", "--out", str(out)])
    said = capsys.readouterr().err
    assert code == 2
    assert words in said
    assert len(said.splitlines()) == 1
    assert not out.exists()


@pytest.mark.parametrize("flags", [("--router", "haproxi"), ("--router", "haproxy", "--keep")])
def test_a_flag_that_does_not_go_is_one_line(
    flags: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown router, and one that cannot be taken on, are refused before anything starts."""
    code = status(["run", str(written(tmp_path, "")), "--out", str(tmp_path / "runs"), *flags])
    said = capsys.readouterr().err
    assert code == 2
    assert said.startswith("hitless: ")
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("router", ["haproxy", "envoy", "nginx", "traefik", "caddy"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_of_it_is_left(router: str, number: signal.Signals, tmp_path: Path) -> None:
    """However a run ends, its router's processes end with it."""
    program = program_of(router)
    command = [sys.executable, "-P", "-c", "from scenarios.cli.main import main; main()"]
    arguments = ["run", str(written(tmp_path, "")), "--router", router, "--no-live", "--hold"]
    run = subprocess.Popen(
        [*command, *arguments, "--out", str(tmp_path / "runs")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    found: dict[int, int] = {}
    try:
        until(lambda: program in programs(run.pid).values())
        # A pidfd each, since nginx overwrites the environment by which others could be found.
        found = {pid: os.pidfd_open(pid) for pid in programs(run.pid)}
        run.send_signal(number)
        run.wait(60)
        until(lambda: len(select.select(found.values(), [], [], 0)[0]) == len(found))
    finally:
        run.kill()
        run.wait()
        for descriptor in found.values():
            os.close(descriptor)


def program_of(router: str) -> Path:
    """The router's program; the test is left out where it is not installed."""
    known = {"haproxy": binaries.HAPROXY, "envoy": binaries.ENVOY, "nginx": binaries.NGINX}
    known |= {"traefik": binaries.TRAEFIK, "caddy": binaries.CADDY}
    try:
        return binaries.find(known[router])
    except RouterConfigError as error:
        pytest.skip(str(error))


def programs(root: int) -> dict[int, Path]:
    """The descendants of a process, each with its program."""
    found: dict[int, Path] = {}
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        try:
            found[pid] = Path(f"/proc/{pid}/exe").resolve()
            for task in Path(f"/proc/{pid}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except OSError:
            continue  # it has ended
    found.pop(root, None)
    return found


def until(condition: Callable[[], bool]) -> None:
    """Wait for it, up to a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
