"""Converts temperatures for whoever has a token; the second version, which knows kelvin, too."""

import argparse
import hashlib
import hmac
import json
import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

SECRET = os.environ["SECRET"].encode()


def sign(user: str) -> str:
    """A token that every replica with the same secret can check."""
    return f"{user}.{hmac.new(SECRET, user.encode(), hashlib.sha256).hexdigest()}"


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together

    def do_GET(self) -> None:
        """Answer a question."""
        url = urlsplit(self.path)
        if url.path == "/health":
            self.answer(200, {"healthy": True})
            return
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(sign(token.rpartition(".")[0]), token):
            self.answer(401, {"error": "this token is not one of ours"})
        elif url.path == "/fahrenheit":
            celsius = float(parse_qs(url.query)["celsius"][0])
            self.answer(200, self.converted(celsius))
        else:
            self.answer(404, {"error": "there is no such page"})

    def do_POST(self) -> None:
        """Give a token."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(201, {"token": sign(body["user"])})

    def converted(self, celsius: float) -> dict[str, float]:
        """What this version knows of a temperature."""
        return {"fahrenheit": celsius * 9 / 5 + 32, "kelvin": celsius + 273.15}

    def answer(self, status: int, content: object) -> None:
        """Send JSON."""
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True, type=int)
    arguments = parser.parse_args()
    server = ThreadingHTTPServer((arguments.host, arguments.port), Handler)
    # shutdown() waits for the loop that this signal interrupts, so it needs a thread of its own.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.05)


if __name__ == "__main__":
    main()
