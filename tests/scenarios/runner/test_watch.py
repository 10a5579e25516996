"""`hitless watch`: the same evidence and verdict around anybody's deploy command."""

import os
import select
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scenarios.cli.main import status
from scenarios.errors import UsageError
from scenarios.evidence.run_folder import RunFolder
from scenarios.scenario.overrides import at_rate
from scenarios.traffic.settings import Journey, RatePoint, Step, TrafficSettings
from tests.support.watched import SMALL, assert_nothing_failed, serving, verdict_in


def wait_for_lines(path: Path, count: int) -> None:
    """Look at the file until it has so many lines, for half a minute at most."""
    deadline = time.monotonic() + 30
    while len(path.read_bytes().splitlines()) < count:
        assert time.monotonic() < deadline, f"{path} does not grow"
        time.sleep(0.05)


RECORDED = """
name = "recorded"
application = { command = ["serve", "{port}"] }
versions = { a = {}, b = {} }
release = { from = "a", steps = [{ deploy = "b" }] }

[traffic]
arrivals = "recorded"
arrivals_path = "arrivals.txt"
processes = 2

[[traffic.journeys]]
name = "look"
steps = [{ path = "/a" }]
"""


def test_the_traffic_is_the_scenarios(tmp_path: Path) -> None:
    """A scenario's traffic is sent as it says: recorded arrivals, by so many processes."""
    (tmp_path / "recorded.toml").write_text(RECORDED)
    (tmp_path / "arrivals.txt").write_text("0.1\n0.1\n0.4\n0.7\n")
    out = tmp_path / "runs"
    with serving(tmp_path) as (_, port):
        arguments = ["--scenario", str(tmp_path / "recorded.toml"), "--out", str(out)]
        timing = ["--baseline", "0.2", "--settle", "1"]
        command = [sys.executable, "-c", "pass"]
        url = f"http://127.0.0.1:{port}/"
        status(["watch", "--url", url, *arguments, *timing, "--no-live", "--", *command])
    (folder,) = out.iterdir()
    sent = sorted(RunFolder(folder).requests.read(), key=lambda one: one.planned_ns)
    first = sent[0].planned_ns
    offsets = [round((one.planned_ns - first) / 1e9, 6) for one in sent]
    assert offsets == [0.0, 0.0, 0.3, 0.6]
    assert all(one.ok for one in sent)


def test_a_rate_replaces_a_profile() -> None:
    """`--rate` holds from the beginning to the end; recorded arrivals have none."""
    journeys = (Journey(name="look", steps=(Step(path="/"),)),)
    rising = (RatePoint(at_seconds=0.0, rate=1.0), RatePoint(at_seconds=9.0, rate=40.0))
    asked = at_rate(TrafficSettings(profile=rising, journeys=journeys), 2.0)
    assert (asked.rate, asked.profile) == (2.0, ())
    recorded = TrafficSettings(arrivals="recorded", arrivals_path="x", journeys=journeys)
    with pytest.raises(UsageError, match="--rate 2: this scenario replays recorded arrivals"):
        at_rate(recorded, 2.0)


def test_a_command_that_drops_nothing(tmp_path: Path) -> None:
    """A deployment that nobody notices is a pass, and its output is kept."""
    out = tmp_path / "runs"
    with serving(tmp_path) as (_, port):
        url = f"http://127.0.0.1:{port}/a?b=c"
        # It lasts: nobody can say anything of a deployment during which no request was made.
        command = [sys.executable, "-c", "import time; time.sleep(0.5); print('deployed')"]
        code = status(["watch", "--url", url, *SMALL, "--out", str(out), "--", *command])
    verdict = verdict_in(out)
    assert_nothing_failed(code, verdict)
    assert verdict.replay.startswith(f"hitless watch --url 'http://127.0.0.1:{port}/a?b=c' ")
    (folder,) = out.iterdir()
    assert (folder / "command.log").read_text() == "deployed\n"


def test_a_restart_is_seen(tmp_path: Path) -> None:
    """A restart in place fails with its downtime, and what the command started goes on running."""
    out, keep = tmp_path / "runs", tmp_path / "pid"
    with serving(tmp_path) as (process, port):
        arguments = [str(process.pid), port, str(tmp_path / "server.py"), str(keep)]
        command = [sys.executable, str(tmp_path / "deploy.py"), *arguments]
        url = f"http://127.0.0.1:{port}"
        try:
            code = status(["watch", "--url", url, *SMALL, "--out", str(out), "--", *command])
            os.kill(int(keep.read_text()), 0)  # raises if it is not there any more
        finally:
            os.kill(int(keep.read_text()), signal.SIGKILL)
    verdict = verdict_in(out)
    assert (code, verdict.verdict) == (1, "fail"), verdict.reasons
    causes = {cause.cause for cause in verdict.causes}
    assert "transport:connect_refused" in causes, causes
    # However short it was on this machine, nobody was answered in it.
    assert any(window.failed == window.requests > 1 for window in verdict.downtime)
    assert verdict.rollout.outcome == "completed"


def test_a_command_that_fails_is_a_fail(tmp_path: Path) -> None:
    """A deployment that did not happen is no pass, and its last words are the reason."""
    out = tmp_path / "runs"
    with serving(tmp_path) as (_, port):
        command = [sys.executable, "-c", "print('no such host'); raise SystemExit(3)"]
        url = f"http://127.0.0.1:{port}"
        assert status(["watch", "--url", url, *SMALL, "--out", str(out), "--", *command]) == 1
    verdict = verdict_in(out)
    assert verdict.requests.failed == 0
    assert verdict.rollout.outcome == "failed"
    assert "ended with status 3: no such host" in (verdict.rollout.reason or "")


def test_journeys_of_a_scenario(tmp_path: Path) -> None:
    """A scenario's traffic is sent to the URL, its checks included."""
    (tmp_path / "own.toml").write_text(
        """
name = "own"
[versions.a]
command = ["none"]
[release]
from = "a"
steps = [{ deploy = "a" }]
[[traffic.journeys]]
name = "look"
steps = [{ path = "/", expect_body = { contains = ["new"] } }]
"""
    )
    out = tmp_path / "runs"
    with serving(tmp_path) as (_, port):
        more = ["--scenario", str(tmp_path / "own.toml"), "--out", str(out)]
        url = f"http://127.0.0.1:{port}"
        code = status(["watch", "--url", url, *SMALL, *more, "--", sys.executable, "-c", ""])
    verdict = verdict_in(out)
    assert (code, verdict.verdict) == (3, "invalid"), verdict.reasons  # the baseline fails already
    assert {cause.cause for cause in verdict.causes} == {"unexpected_answer"}


def test_without_a_command_it_lasts_until_ctrl_c(tmp_path: Path) -> None:
    """Ctrl-C is how a watch without a command ends: with a verdict, not as an interruption."""
    out = tmp_path / "runs"
    with serving(tmp_path) as (_, port):
        url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "hitless", "watch", "--url", url, *SMALL]
        with subprocess.Popen(
            [*command, "--out", str(out)], stdout=subprocess.PIPE, text=True
        ) as watching:
            assert watching.stdout is not None
            lines = iter(watching.stdout)
            assert any("rollout" in line for line in lines)
            (requests,) = out.glob("*/requests.ndjson")
            wait_for_lines(requests, len(requests.read_bytes().splitlines()) + 40)
            watching.send_signal(signal.SIGINT)
            rest = "".join(lines)
        assert watching.returncode in (0, 3), rest
    assert_nothing_failed(watching.returncode, verdict_in(out))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_watch_ends_its_command(number: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C and SIGTERM stop a command that still deploys; what was recorded says so."""
    out, started = tmp_path / "runs", tmp_path / "pid"
    deploy = (
        "import os, signal, sys, time, pathlib;"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('asked to stop') or 0));"
        f"pathlib.Path({str(started)!r}).write_text(str(os.getpid()));"
        "time.sleep(3600)"
    )
    with serving(tmp_path) as (_, port):
        command = [
            *(sys.executable, "-m", "hitless", "watch", "--url", f"http://127.0.0.1:{port}"),
            *(*SMALL, "--out", str(out), "--", sys.executable, "-c", deploy),
        ]
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as watching:
            while not (started.exists() and started.read_text()):
                assert watching.poll() is None
                time.sleep(0.01)
            descriptor = os.pidfd_open(int(started.read_text()))
            watching.send_signal(number)
            _, said = watching.communicate()
            assert select.select([descriptor], [], [], 30)[0], "the command is left"
            os.close(descriptor)
    assert watching.returncode == 130
    assert said.startswith(f"hitless: interrupted by {number.name}")
    (folder,) = out.iterdir()
    run = RunFolder(folder)
    assert run.command_log.read_text() == "asked to stop\n"
    manifest = run.read_manifest()
    assert (manifest.interrupted, manifest.outcome) == (True, "aborted")
    assert status(["report", str(folder)]) == 130


def test_statuses_that_are_expected(tmp_path: Path) -> None:
    """`--expect` says what is a success: an answer with another status has failed."""
    out = tmp_path / "runs"
    with serving(tmp_path) as (_, port):
        url = f"http://127.0.0.1:{port}"
        command = ["--", sys.executable, "-c", "import time; time.sleep(0.3)"]
        wanted = ["--expect", "404", "--expect", "503", "--seed", "7", "--json"]
        status(["watch", "--url", url, *SMALL, *wanted, "--out", str(out), *command])
    verdict = verdict_in(out)
    assert verdict.requests.ok == 0
    assert {cause.cause for cause in verdict.causes} == {"status:200"}
    assert verdict.seed == 7
    assert "--expect 404 --expect 503" in verdict.replay
    assert verdict.replay.endswith("--seed 7 -- " + shlex.join(command[1:]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--url", "http://a.test/", "--insecure"],
            "--cacert, --insecure and --http1 go with an https:// URL",
        ),
        (["--url", "https://a.test/", "--insecure", "--cacert", "x"], "cannot be combined with"),
        (["--url", "https://a.test/", "--cacert", "none.pem"], "none.pem: there is no such file"),
        (["--url", "http://a.test/", "--bearer", "NO_SUCH"], "'NO_SUCH' is not set"),
        (
            ["--url", "http://a.test/", "--header", "X Y=Z"],
            "--header X Y=Z: expected NAME=VARIABLE",
        ),
        (["--url", "a.test"], "expected a URL such as http://127.0.0.1:8080/"),
        (["--url", "http://a:99999/"], "--url http://a:99999/: Port out of range"),
        (["--url", "http://a/", "--rate", "0"], "--rate 0: expected a number above 0"),
        (
            ["--url", "http://a/", "--expect", "204", "--scenario", "big-bang"],
            "--expect cannot be combined",
        ),
        ([], "Missing option '--url'"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A mistake is one line and status 2, and nothing is sent."""
    assert status(["watch", *arguments, "--out", str(tmp_path / "runs")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_command_that_is_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A command that cannot be started is one line before anything begins, and not after it."""
    out = tmp_path / "runs"
    url = "http://127.0.0.1:1/"
    assert status(["watch", "--url", url, "--out", str(out), "--", "no-such"]) == 2
    assert capsys.readouterr().err == "hitless: there is no program no-such on PATH\n"
    assert not out.exists()


def test_a_host_without_an_address(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A host that has no address is the environment's failure, in one line, and no run is made."""
    out = tmp_path / "runs"
    assert status(["watch", "--url", "http://a.invalid/", "--out", str(out), "--", "true"]) == 4
    assert capsys.readouterr().err.startswith("hitless: --url: no address of host a.invalid: ")
    assert not out.exists()
