"""Shows articles; what is expensive to look up is kept in Redis for half a second."""

import argparse
import json
import os
import signal
import threading
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import redis
from form import read, written

store = redis.from_url(os.environ["CACHE_URL"])


def article(number):
    """An article, from the cache if it is there."""
    key = f"article:{number}"
    kept = store.get(key)
    if kept is not None:
        return read(kept)
    found = {"id": number, "title": "Deploy", "price": 1250}
    store.set(key, written(found), px=500)
    return found


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together

    def do_GET(self):
        if self.path == "/health":
            return self.answer(200, {"healthy": True})
        try:
            return self.answer(200, article(self.path.rpartition("/")[2]))
        except ValueError:
            traceback.print_exc()
            return self.answer(500, {})

    def answer(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True, type=int)
    arguments = parser.parse_args()
    server = ThreadingHTTPServer((arguments.host, arguments.port), Handler)
    # shutdown() waits for the loop that this signal interrupts, so it needs a thread of its own.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.05)


main()
