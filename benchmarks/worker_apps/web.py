"""Asks the queue system in `SYSTEM` for jobs: POST /jobs with a name, seconds and a key."""

import importlib
import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tell import tell

ask = importlib.import_module(os.environ["SYSTEM"] + "_app").ask
NEW = os.environ.get("HITLESS_VERSION") == "v2"
# Then only the second version asks, so that its jobs find the worker of the first one idle.
QUIET = bool(os.environ.get("NEW")) and not NEW
one_at_a_time = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self) -> None:
        """Answer a health check."""
        self.answer(200, {"healthy": True})

    def do_POST(self) -> None:
        """Ask for one job, or for several that are numbered."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with one_at_a_time:
            for _ in range(0 if QUIET else body.get("count", 1)):
                key = body.get("key")
                name, arguments = body["name"], {"seconds": body.get("seconds", 0)}
                if NEW and "language" in body:
                    arguments["language"] = body["language"]
                tell("asked", ask(name, arguments), name=name, key=key)
        self.answer(202, {})

    def answer(self, status: int, content: object) -> None:
        """Send JSON."""
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Log nothing."""


server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever(poll_interval=0.05)
