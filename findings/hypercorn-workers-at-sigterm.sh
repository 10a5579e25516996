#!/usr/bin/env bash
# hypercorn 0.18.0: with one worker a request in flight at SIGTERM is answered; with two it is cut.
#
# `hypercorn app` finishes a request that is being handled at SIGTERM. `hypercorn -w 2 app`, with
# the same application and the same graceful_timeout (3 s), ends its workers at once: the connection
# is closed without an answer, and the exit status is 0 all the same.
#
# Seen with Python 3.11.7 and 3.12.1 on Linux:
#   1 worker: answered 200, exit status 0
#   2 workers: closed without an answer, exit status 0
# Exit status 0 while that is so, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check hypercorn==0.18.0
cat > app.py <<'PYTHON'
import asyncio


async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    await asyncio.sleep(2)
    headers = [(b"content-length", b"4")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"done"})
PYTHON
cat > ask.py <<'PYTHON'
import signal
import socket
import subprocess
import sys
import time


def at_sigterm(workers):
    """A GET of two seconds, and SIGTERM after one: the answer's first line, and the exit status."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "hypercorn", "-w", str(workers), "-b", f"127.0.0.1:{port}"]
    with subprocess.Popen([*command, "app:app"], stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(300):
                try:
                    client = socket.create_connection(("127.0.0.1", port), timeout=8)
                    break
                except ConnectionRefusedError:
                    time.sleep(0.1)
            time.sleep(2)  # every worker is up
            with client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                time.sleep(1)
                server.send_signal(signal.SIGTERM)
                answer = client.recv(1000).split(b"\r\n")[0].decode()
            return answer, server.wait(20)
        finally:
            server.kill()


seen = {workers: at_sigterm(workers) for workers in (1, 2)}
for workers, (answer, status) in seen.items():
    what = f"answered {answer.split()[1]}" if answer else "closed without an answer"
    print(f"{workers} worker{'s' * (workers > 1)}: {what}, exit status {status}")
sys.exit(not (seen[1][0] and not seen[2][0]))
PYTHON
venv/bin/python ask.py
