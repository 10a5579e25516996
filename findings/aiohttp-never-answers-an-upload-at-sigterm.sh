#!/usr/bin/env bash
# aiohttp 3.14.5: an upload that is half there at SIGTERM is never answered, and its connection is
# held open; a GET in flight at the same moment is answered.
#
# `web.run_app` waits up to shutdown_timeout (60 s) for handlers to finish. A handler that waits for
# a request's body is among them, but from SIGTERM on the rest of the body does not reach it: it
# waits in vain, its client gets neither an answer nor the end of its connection, and the process
# lasts for the whole shutdown_timeout.
#
# Seen with Python 3.11.7 and 3.12.1 on Linux:
#   GET in flight: answered 200
#   POST with half its body before SIGTERM and the rest after it: no answer in 8 s, still connected
#   8 s after the body was complete the server still runs
# Exit status 0 while that is so, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check aiohttp==3.14.5
cat > app.py <<'PYTHON'
import asyncio
import sys

from aiohttp import web


async def slow(request):
    await asyncio.sleep(3)
    return web.Response(text="ok")


async def upload(request):
    return web.Response(text=str(len(await request.read())))


app = web.Application()
app.add_routes([web.get("/", slow), web.post("/", upload)])
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
PYTHON
cat > ask.py <<'PYTHON'
import signal
import socket
import subprocess
import sys
import time

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]


def connected():
    for _ in range(300):
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=8)
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise SystemExit("the server did not start")


def answer(client):
    """The first line of the answer, `""` for an end without one, None for neither in 8 s."""
    try:
        return client.recv(1000).split(b"\r\n")[0].decode()
    except TimeoutError:
        return None


with subprocess.Popen([sys.executable, "app.py", str(port)]) as server:
    try:
        get, post = connected(), connected()
        get.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        post.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n" + b"x" * 10)
        time.sleep(1)
        server.send_signal(signal.SIGTERM)
        time.sleep(1)
        post.sendall(b"x" * 10)
        got, posted = answer(get), answer(post)
        runs = server.poll() is None
    finally:
        server.kill()
words = {None: "no answer in 8 s, still connected", "": "closed without an answer"}
print(f"GET in flight: {words.get(got) or f'answered {got.split()[1]}'}")
print(
    "POST with half its body before SIGTERM and the rest after it: "
    f"{words.get(posted) or f'answered {posted.split()[1]}'}"
)
if runs:
    print("8 s after the body was complete the server still runs")
sys.exit(not (got and " 200 " in got and posted is None and runs))
PYTHON
venv/bin/python ask.py
