#!/usr/bin/env bash
# aiohttp 3.14.5: an upload that is half sent at SIGTERM is never answered, a GET in flight is.
#
# `web.run_app` stops in order: a request that is being handled at SIGTERM is finished. A POST whose
# body is still coming is not: the rest of the body is read from the socket, but the handler never
# gets it. Its client waits on an open connection until shutdown_timeout (60 s by default) is over,
# and so does the process, although nothing else keeps it.
#
# Seen with Python 3.11.7 and 3.12.1 on Linux:
#   GET in flight at SIGTERM: answered 200
#   POST half sent at SIGTERM: no answer within 8 s; the connection is open, the process runs
# Exit status 0 while that is so, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check aiohttp==3.14.5
cat > server.py <<'PYTHON'
import asyncio
import sys

from aiohttp import web


async def slow(request):
    await asyncio.sleep(2)
    return web.Response(text="done")


async def upload(request):
    return web.Response(text=str(len(await request.read())))


app = web.Application()
app.add_routes([web.get("/slow", slow), web.post("/upload", upload)])
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
PYTHON
cat > ask.py <<'PYTHON'
import signal
import socket
import subprocess
import sys
import time


def at_sigterm(first, rest):
    """Send the first half, SIGTERM, then the rest; the answer's first line, or None."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "server.py", str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(300):
                try:
                    client = socket.create_connection(("127.0.0.1", port), timeout=8)
                    break
                except ConnectionRefusedError:
                    time.sleep(0.1)
            with client:
                client.sendall(first)
                time.sleep(0.7)
                server.send_signal(signal.SIGTERM)
                time.sleep(0.5)
                client.sendall(rest)
                try:
                    return client.recv(1000).split(b"\r\n")[0].decode(), server.poll() is None
                except TimeoutError:
                    return None, server.poll() is None
        finally:
            server.kill()


get, _ = at_sigterm(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n", b"")
print("GET in flight at SIGTERM:", "answered " + get.split()[1] if get else "no answer")
head = b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n"
post, runs = at_sigterm(head + b"0123456789", b"0123456789")
print(
    "POST half sent at SIGTERM:",
    f"answered {post}" if post else "no answer within 8 s; the connection is open",
    "and the process runs" if runs else "and the process has ended",
)
sys.exit(not (get and post is None and runs))
PYTHON
venv/bin/python ask.py
