"""`hitless probe` on the command line: one clear line for each mistake, and what it writes."""

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from scenarios.cli.main import status

PYTHON = sys.executable
# Answers one GET after the other, and ends at SIGTERM at once: it is up in a moment.
SERVER = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *words): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


@pytest.fixture
def server(tmp_path: Path) -> list[str]:
    (tmp_path / "server.py").write_text(SERVER)
    return ["--", PYTHON, str(tmp_path / "server.py")]


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = status(["probe", *words])
    return code, capsys.readouterr().err.strip()


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        ((), 2, "hitless: Missing argument '-- COMMAND... | SCENARIO'."),
        (("--persona", "kubernets", "--", "x"), 2, "did you mean 'kubernetes'?"),
        (("--behind", "nginks", "--", "x"), 2, "did you mean 'nginx'"),
        (("--signal", "SIGKILL", "--", "x"), 2, "--signal SIGKILL: "),
        (("--slow", "slow", "--", "x"), 2, "--slow 'slow': a path begins with /"),
        (("--pre-stop", "40", "--", "x"), 2, "--pre-stop 40: kubernetes kills 30 s after"),
        (("--persona", "swarm", "--pre-stop", "1", "--", "x"), 2, "swarm has no setting"),
        (("big-bang",), 2, "big-bang is a scenario: say which of its versions by --version"),
        (("big-bang", "--version", "c"), 2, "--version c: there are: a, bridge, b"),
        (("x", "y", "--version", "b"), 2, "--version goes with one scenario"),
        (("--", PYTHON, "--port", "{prt}"), 2, "no placeholder {prt}"),
        (("--", "no-such-program"), 2, "there is no program no-such-program on PATH"),
        (("--", PYTHON, "-c", "print('bye')"), 4, "it ended with exit status 0 before it answered"),
        (("--", "sh", "-c", "exit ${NO_SUCH:-3}"), 4, "it ended with exit status 3 before"),
        (("--", PYTHON, "-c", "raise SystemExit('why')"), 4, "its last words: why"),
        (
            ("--start-timeout", "0.5", "--", PYTHON, "-c", "import signal; signal.pause()"),
            4,
            "it did not listen on 127.0.0.1:",
        ),
    ],
)
def test_mistakes(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, line: str
) -> None:
    """What is wrong is said in one line, with the exit status of who can mend it."""
    found, text = said(capsys, *words)
    assert (found, len(text.splitlines())) == (code, 1)
    assert line in text


def test_a_port_that_is_not_the_given_one(capsys: pytest.CaptureFixture[str]) -> None:
    """A server that listens somewhere else is told so, with what would be right."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ("--", PYTHON, "-m", "http.server", "-b", "127.0.0.1", str(port))
    code, text = said(capsys, *words)
    assert code == 4
    assert f"it listens on port {port}, not on the one that it was given" in text
    assert "put {port} into the command, or let it read PORT" in text


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    """A server that ends since its port is taken is told that, with its last words."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        words = ("--", PYTHON, "-m", "http.server", "-b", "127.0.0.1", port)
        code, text = said(capsys, *words)
        assert code == 4
        assert "the port that it wants is taken: put {port} into the command" in text
        assert "Address already in use" in text
        code, text = said(capsys, "--port", port, "--", PYTHON, "-m", "http.server", port)
        assert (code, f"port {port} is taken" in text) == (4, True)


def test_tls(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A server that speaks TLS is told from one that speaks nothing."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("TLS is left out: there is no openssl to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    made += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(made, check=True, capture_output=True)
    words = ("-m", "uvicorn", "hello_asgi:app", "--port", "{port}")
    tls = ("--ssl-keyfile", str(key), "--ssl-certfile", str(certificate))
    apps = str(Path(__file__).parents[3] / "benchmarks" / "server_apps")
    code, text = said(capsys, "--", PYTHON, *words, "--app-dir", apps, *tls)
    assert code == 4
    assert "it speaks TLS on port " in text


def test_another_protocol(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A server that answers something else than HTTP is told so."""
    (tmp_path / "other.py").write_text(
        "import os, socketserver\n"
        "class Other(socketserver.BaseRequestHandler):\n"
        "    def handle(self):\n"
        "        self.request.sendall(b'-ERR unknown command\\r\\n')\n"
        "socketserver.TCPServer(('127.0.0.1', int(os.environ['PORT'])), Other).serve_forever()\n"
    )
    code, text = said(capsys, "--", PYTHON, str(tmp_path / "other.py"))
    assert code == 4
    assert "is not HTTP/1.1" in text


def test_a_server_that_nothing_is_known_of(
    capsys: pytest.CaptureFixture[str], server: list[str], tmp_path: Path
) -> None:
    """What can be found is found, the rest is left out by name, and all formats say the same."""
    junit = tmp_path / "probe.xml"
    code = status(["probe", "--watch", "3", "--json", "--junit", str(junit), *server])
    seen = capsys.readouterr()
    report = json.loads(seen.out)
    assert code == 1
    assert report["verdict"] == "loses"
    assert report["profile"]["new_connections"]["tries"][0]["fate"] == "refused"
    assert {"in_flight", "websocket"} <= {
        one["experiment"] for one in report["profile"]["left_out"]
    }
    assert "no slow path is known: --slow PATH" in json.dumps(report)
    assert all(" s  " in line for line in seen.err.splitlines())
    for title in ("Start", "Idle connection", "New connection", "Keep-alive"):
        assert f" s  {title}: " in seen.err, "each experiment has a line of progress"
    assert b"<failure" in junit.read_bytes()


def test_a_slow_path_that_is_quick(capsys: pytest.CaptureFixture[str], server: list[str]) -> None:
    """A slow path that answers at once could not be in flight, and is refused with its time."""
    code = status(["probe", "--watch", "3", "--slow", "/quick", *server])
    assert code == 2
    assert "--slow /quick: it was answered after 0.0" in capsys.readouterr().err


def test_a_server_with_a_port_of_its_own(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A server that always listens on one port is probed one experiment after the other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    (tmp_path / "fixed.py").write_text(SERVER.replace('os.environ["PORT"]', repr(port)))
    words = ["--watch", "3", "--json", "--port", port, "--", PYTHON, str(tmp_path / "fixed.py")]
    assert status(["probe", *words]) == 1
    profile = json.loads(capsys.readouterr().out)["profile"]
    assert profile["starts"] == 3
    assert profile["idle"]["exit"]["status"] == -15
