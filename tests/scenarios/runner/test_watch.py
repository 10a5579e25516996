"""`hitless watch`: the same evidence and verdict around anybody's deploy command."""

import os
import select
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from orchestrator.postgres import EmbeddedServer
from orchestrator.routers.binaries import NGINX, find
from scenarios.cli.main import status
from scenarios.errors import UsageError
from scenarios.evidence.run_folder import RunFolder
from scenarios.reports.sentence import summary_of
from scenarios.runner.watch import check_over_tls
from scenarios.scenario.overrides import at_rate
from scenarios.traffic.settings import Journey, RatePoint, Step, TrafficSettings, WebSocket
from scenarios.verdict import Verdict, decode
from tests.support.servers import CERTIFICATE

SERVER = """
import socket, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Server(ThreadingHTTPServer):
    allow_reuse_address = True
    request_queue_size = 100

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    def do_GET(self):
        body = sys.argv[2].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass

server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
print(server.server_address[1], flush=True)
server.serve_forever(poll_interval=0.05)
"""
# Ends the server, leaves its port alone for a moment, and starts another one in its place.
DEPLOY = """
import os, signal, subprocess, sys, time
pid, port, server, keep = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
os.kill(pid, signal.SIGKILL)
time.sleep(0.3)
new = subprocess.Popen([sys.executable, server, port, "new"], stdout=subprocess.PIPE)
new.stdout.readline()
open(keep, "w").write(str(new.pid))
"""
SMALL = ["--rate", "40", "--baseline", "0.5", "--settle", "0.5", "--no-live"]


@contextmanager
def serving(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server that answers `old`; yields it and its port."""
    (folder / "server.py").write_text(SERVER)
    (folder / "deploy.py").write_text(DEPLOY)
    with subprocess.Popen(
        [sys.executable, str(folder / "server.py"), "0", "old"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        try:
            yield process, port
        finally:
            process.kill()


def wait_for_lines(path: Path, count: int) -> None:
    """Look at the file until it has so many lines, for half a minute at most."""
    deadline = time.monotonic() + 30
    while len(path.read_bytes().splitlines()) < count:
        assert time.monotonic() < deadline, f"{path} does not grow"
        time.sleep(0.05)


def assert_nothing_failed(code: int, verdict: Verdict) -> None:
    """It passed; or it would have, had the machine not been too busy to send in time."""
    assert verdict.requests.failed == 0
    assert verdict.rollout.outcome == "completed"
    if verdict.verdict == "invalid":
        assert code == 3
        assert all("fell behind" in reason for reason in verdict.reasons), verdict.reasons
    else:
        assert (code, verdict.verdict) == (0, "pass"), verdict.reasons


def verdict_in(out: Path) -> Verdict:
    (folder,) = out.iterdir()
    return decode((folder / "verdict.json").read_bytes())


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
        (["--url", "http://a.test/", "--insecure"], "go with an https:// URL"),
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
            ["--url", "http://a/", "--expect", "2", "--scenario", "big-bang"],
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
    """A command that cannot be started is the environment's failure, in one line."""
    out = tmp_path / "runs"
    with serving(tmp_path) as (_, port):
        url = f"http://127.0.0.1:{port}"
        assert status(["watch", "--url", url, *SMALL, "--out", str(out), "--", "no-such"]) == 4
    assert "no-such cannot be started" in capsys.readouterr().err


NGINX_CONF = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        location / {{
            if ($http_authorization != "Bearer secret-word") {{ return 401; }}
            proxy_pass http://127.0.0.1:{upstream};
        }}
    }}
}}
"""


@contextmanager
def behind_nginx(folder: Path, upstream: str) -> Iterator[str]:
    """An nginx that serves https in front of a server, to whoever has a token; yields its URL."""
    program = find(NGINX)
    assert program is not None, "nginx is among the tests' packages"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    conf = folder / "nginx.conf"
    conf.write_text(
        NGINX_CONF.format(
            folder=folder,
            port=port,
            certificate=CERTIFICATE,
            key=CERTIFICATE.with_suffix(".key"),
            upstream=upstream,
        )
    )
    arguments = [str(program), "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(conf)]
    with subprocess.Popen(arguments) as process:
        try:
            while process.poll() is None:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.02)
            yield f"https://localhost:{port}/"
        finally:
            process.terminate()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("trust", ["--cacert", "--insecure"])
def test_an_https_service_behind_nginx(
    trust: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An https service is watched with a token that nothing records; `--insecure` is said aloud."""
    monkeypatch.setenv("DEPLOY_TOKEN", "secret-word")
    out = tmp_path / "runs"
    with serving(tmp_path) as (_, port), behind_nginx(tmp_path, port) as url:
        flags = ["--cacert", str(CERTIFICATE)] if trust == "--cacert" else [trust]
        arguments = ["watch", "--url", url, *flags, "--bearer", "DEPLOY_TOKEN", *SMALL]
        code = status([*arguments, "--out", str(out), "--", "sleep", "0.3"])
    verdict = verdict_in(out)
    assert_nothing_failed(code, verdict)
    assert verdict.requests.ok > 20
    said = capsys.readouterr().out
    (folder,) = out.iterdir()
    for path in folder.iterdir():
        assert b"secret-word" not in path.read_bytes(), path
    assert "secret-word" not in said
    assert ("certificate of the server was not checked" in said) is (trust == "--insecure")
    assert any("--insecure" in limit for limit in verdict.limits) is (trust == "--insecure")
    assert f"{trust}" in verdict.replay
    assert "--bearer DEPLOY_TOKEN" in verdict.replay


def test_slow_requests_are_refused_over_https() -> None:
    """What cannot be sent over TLS is said before anything is, and not sent in another way."""
    slow = Step(path="/", upload_bytes_per_second=10.0)
    for step in (slow, Step(path="/", websocket=WebSocket(seconds=1.0))):
        traffic = TrafficSettings(journeys=(Journey(name="look", steps=(step,)),))
        with pytest.raises(UsageError, match=r"journey look: .* cannot be sent over https"):
            check_over_tls(traffic)


def test_a_certificate_that_nobody_trusts_stops_before_the_deployment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The deploy command is not run; one line says why, and which flags would help."""
    with serving(tmp_path) as (_, port), behind_nginx(tmp_path, port) as url:
        arguments = ["watch", "--url", url, *SMALL, "--out", str(tmp_path / "runs")]
        code = status([*arguments, "--", "touch", str(tmp_path / "deployed")])
    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "the certificate is not accepted (self" in line
    assert "--cacert FILE" in line
    assert not (tmp_path / "deployed").exists()


DATABASE_SERVER = SERVER.replace("import socket, sys", "import os, psycopg, socket, sys").replace(
    "        body = sys.argv[2].encode()\n        self.send_response(200)",
    """        try:
            with psycopg.connect(os.environ["DATABASE"]) as connection:
                connection.execute("SELECT nickname FROM people").fetchall()
            body, status = b"ok", 200
        except psycopg.Error:
            body, status = b"sorry", 500
        self.send_response(status)""",
)
BREAKING = """
import os, psycopg, time
time.sleep(0.4)
with psycopg.connect(os.environ["DATABASE"]) as connection:
    connection.execute("ALTER TABLE people DROP COLUMN nickname")
time.sleep(0.6)
"""


@pytest.mark.timeout(120)
def test_a_column_that_a_deployment_drops_is_the_cause(
    postgres_server: tuple[EmbeddedServer, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the database and its log, a deploy script of one's own gets a cause: the lost column.

    The application itself answers only 500, behind an nginx that nobody configured for it.
    """
    server, url = postgres_server
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS people")
        connection.execute("CREATE TABLE people (id int PRIMARY KEY, nickname text)")
    monkeypatch.setenv("DATABASE", url)
    monkeypatch.setenv("DEPLOY_TOKEN", "secret-word")
    monkeypatch.setitem(globals(), "SERVER", DATABASE_SERVER)
    (tmp_path / "breaking.py").write_text(BREAKING)
    out = tmp_path / "runs"
    with serving(tmp_path) as (_, port), behind_nginx(tmp_path, port) as address:
        arguments = [
            *("watch", "--url", address, "--cacert", str(CERTIFICATE), "--bearer", "DEPLOY_TOKEN"),
            *("--database", url, "--database-log", str(server.log)),
            *("--rate", "30", "--baseline", "1", "--settle", "0.5", "--no-live"),
        ]
        code = status(
            [*arguments, "--out", str(out), "--", sys.executable, str(tmp_path / "breaking.py")]
        )
    verdict = verdict_in(out)
    assert (code, verdict.verdict) == (1, "fail"), verdict.reasons
    main = verdict.causes[0]
    assert main.cause == "sqlstate:42703"
    assert "drop column people.nickname" in main.evidence.schemas
    sentence = summary_of(verdict).sentence
    assert sentence.startswith('The application uses the column "nickname", which is not there')
    assert 'since the schema changed ("drop column people.nickname")' in sentence
    (folder,) = out.iterdir()
    assert url.encode() not in (folder / "run.json").read_bytes()
