"""A service that is not ours, and a script that deploys it: what `hitless watch` is tried on."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scenarios.verdict import Verdict, decode

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
def serving(folder: Path, source: str = SERVER) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server that answers `old`; yields it and its port."""
    (folder / "server.py").write_text(source)
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
