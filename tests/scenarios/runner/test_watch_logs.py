"""`hitless watch --logs`: the causes that the service's own proxies and application log."""

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.errors import OrchestratorError
from orchestrator.routers.binaries import CADDY, ENVOY, HAPROXY, NGINX, TRAEFIK, Program, find
from scenarios.cli.main import status
from scenarios.evidence.run_folder import RunFolder
from scenarios.reports.sentence import summary_of
from scenarios.verdict import Verdict
from tests.support.servers import CERTIFICATE
from tests.support.watched import DEPLOY, SERVER, serving, verdict_in

NGINX_CONF = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; events {{}}
http {{
    access_log {folder}/access.log combined;
    client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
    uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
    server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{upstream}; }} }}
}}
"""
HAPROXY_CONF = """
global
  log stdout format raw local0
defaults
  mode http
  log global
  option httplog
  timeout client 5s
  timeout server 5s
  timeout connect 1s
  retries 0
frontend all
  bind 127.0.0.1:{port}
  default_backend app
backend app
  server one 127.0.0.1:{upstream}
"""
ENVOY_CONF = """
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: all
          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: {folder}/access.log
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          route_config:
            virtual_hosts:
            - {{name: all, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: app}}}}]}}
  clusters:
  - name: app
    connect_timeout: 1s
    load_assignment: {{cluster_name: app, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}}}]}}]}}
"""  # noqa: E501 - Envoy's names are long
TRAEFIK_CONF = """
entryPoints: {{web: {{address: "127.0.0.1:{port}"}}}}
providers: {{file: {{filename: {folder}/routes.yml}}}}
log: {{level: DEBUG, filePath: {folder}/traefik.log}}
accessLog: {{filePath: {folder}/access.log}}
"""
TRAEFIK_ROUTES = """
http:
  routers: {{all: {{rule: "PathPrefix(`/`)", service: app}}}}
  services: {{app: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{upstream}"}}]}}}}}}
"""
CADDYFILE = """
{{
  admin off
  auto_https off
  log {{
    output file {folder}/error.log
  }}
}}
http://127.0.0.1:{port} {{
  log {{
    output file {folder}/access.log
  }}
  reverse_proxy 127.0.0.1:{upstream}
}}
"""
PROXIES = {
    "nginx": (NGINX, NGINX_CONF, ["-e", "{folder}/error.log", "-p", "{folder}", "-c", "{conf}"]),
    "haproxy": (HAPROXY, HAPROXY_CONF, ["-f", "{conf}"]),
    "envoy": (
        ENVOY,
        ENVOY_CONF,
        ["-c", "{conf}", "--use-dynamic-base-id", "--concurrency", "1", "-l", "off"],
    ),
    "traefik": (TRAEFIK, TRAEFIK_CONF, ["--configFile={conf}"]),
    "caddy": (CADDY, CADDYFILE, ["run", "--adapter", "caddyfile", "--config", "{conf}"]),
}
RAISING = (
    SERVER.replace(
        "    request_queue_size = 100",
        "    request_queue_size = 100\n    def handle_error(self, *_):\n        pass",
    )
    .replace(
        "        body = sys.argv[2].encode()\n        self.send_response(200)",
        """        body, status = sys.argv[2].encode(), 200
        if sys.argv[2] == "new":
            try:
                {}["nickname"]
            except KeyError:
                traceback.print_exc()
                status = 500
        self.send_response(status)""",
    )
    .replace("import socket, sys", "import socket, sys, traceback")
)


def program(wanted: Program) -> str:
    try:
        found = find(wanted)
    except OrchestratorError:
        pytest.skip(f"{wanted.title} is not installed (make routers)")
    assert found is not None
    return str(found)


@contextmanager
def behind(name: str, folder: Path, upstream: str, *, tls: bool = False) -> Iterator[str]:
    """A proxy with the log that it writes by default, in front of a server; yields its URL."""
    wanted, text, arguments = PROXIES[name]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    conf = folder / f"conf{'.yaml' if name in ('envoy', 'traefik') else ''}"
    given = {"folder": folder, "port": port, "upstream": upstream, "conf": conf}
    conf.write_text(text.format(**given))
    (folder / "routes.yml").write_text(TRAEFIK_ROUTES.format(**given))
    command = [program(wanted), *(one.format(**given) for one in arguments)]
    surroundings = {**os.environ, "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (
        (folder / "printed.log").open("wb") as printed,
        subprocess.Popen(command, stdout=printed, stderr=printed, env=surroundings) as process,
    ):
        try:
            while not served(port, tls=tls):
                assert process.poll() is None, (folder / "printed.log").read_text()
                time.sleep(0.02)
            yield f"https://localhost:{port}/" if tls else f"http://127.0.0.1:{port}/"
        finally:
            process.terminate()


def served(port: int, *, tls: bool) -> bool:
    """Whether a request is answered, by the upstream: Traefik accepts before it has its routes."""
    context = ssl.create_default_context(cafile=CERTIFICATE)
    try:
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), 1))
            if tls:
                wrapped = context.wrap_socket(client, server_hostname="localhost")
                client = stack.enter_context(wrapped)
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return b" 200 " in client.recv(64)
    except OSError:
        return False


def watched(name: str, folder: Path, *logs: str) -> tuple[Verdict, str]:
    """The verdict about a restart in place behind a proxy; and the upstream that it had."""
    out, keep = folder / "runs", folder / "pid"
    with serving(folder, RAISING) as (process, port):
        deploy = DEPLOY.replace(
            "stdout=subprocess.PIPE)",
            f"stdout=subprocess.PIPE, stderr=open({str(folder / 'application.log')!r}, 'w'))",
        ).replace("open(keep", "time.sleep(0.5); open(keep")
        (folder / "deploy.py").write_text(deploy)
        (folder / "application.log").touch()
        with behind(name, folder, port) as url:
            arguments = [str(process.pid), port, str(folder / "server.py"), str(keep)]
            command = [sys.executable, str(folder / "deploy.py"), *arguments]
            flags = [flag for log in logs for flag in ("--logs", log.format(folder=folder))]
            try:
                status(
                    [
                        *("watch", "--url", url, "--rate", "40", "--baseline", "0.5"),
                        *("--settle", "0.5", "--no-live", "--out", str(out), *flags),
                        *("--", *command),
                    ]
                )
            finally:
                if keep.exists():
                    os.kill(int(keep.read_text()), signal.SIGKILL)
    return verdict_in(out), f"127.0.0.1:{port}"


def told(verdict: Verdict) -> dict[str, str]:
    return {one.cause: one.confidence for one in verdict.causes}


@pytest.mark.timeout(120)
def test_a_restart_behind_nginx(tmp_path: Path) -> None:
    """The proxy says whom it could not reach; the application's log, what the new version raises.

    nginx writes its default access log and its error log. Neither has X-Request-Id.
    """
    verdict, upstream = watched("nginx", tmp_path, "{folder}/*.log")
    assert verdict.verdict == "fail", verdict.reasons
    # Some of a busy second may be less sure; most come first.
    causes = {one.cause: one for one in reversed(verdict.causes)}
    refused, raised = causes["router:connection_refused"], causes["status:500"]
    assert refused.confidence == raised.confidence == "likely"
    assert refused.evidence.replicas == {upstream: refused.count}
    assert "connect() failed (111: Connection refused)" in (refused.evidence.note or "")
    assert "which logged KeyError: 'nickname'" in raised.title
    assert "the logs of application.log have" in (raised.evidence.note or "")
    (folder,) = (tmp_path / "runs").iterdir()
    lines = list(RunFolder(folder).service_lines.read())
    assert {one.source for one in lines} == {"access.log", "error.log"}
    assert any(one.request_id for one in lines)  # by its User-Agent
    sentence = summary_of(verdict).sentence
    assert (
        f"upstream {upstream} refused the proxy's connection" in sentence or "KeyError" in sentence
    )


@pytest.mark.soak
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("name", "logs", "cause", "confidence"),
    [
        ("haproxy", ["haproxy:{folder}/printed.log"], "router:connection_refused", "likely"),
        ("envoy", ["{folder}/access.log"], "router:connection_refused", "certain"),
        # Its access log alone does not tell a refused connection from a lost one.
        ("traefik", ["{folder}/*.log"], "router:connection_refused", "likely"),
        ("caddy", ["caddy:{folder}/*s.log", "{folder}/error.log"],
         "router:connection_refused", "certain"),
    ],
)  # fmt: skip
def test_a_restart_behind(
    name: str, logs: list[str], cause: str, confidence: str, tmp_path: Path
) -> None:
    """Each proxy's default log gives the cause, and the application's own answer is told apart."""
    verdict, upstream = watched(name, tmp_path, *logs, "app:{folder}/application.log")
    causes = {one.cause: one for one in verdict.causes}
    assert told(verdict)[cause] == confidence, told(verdict)
    named = set(causes[cause].evidence.replicas)
    assert named == ({"app/one"} if name == "haproxy" else {upstream})
    assert "which logged KeyError: 'nickname'" in causes["status:500"].title
    shutil.rmtree(tmp_path / "runs")


@pytest.mark.parametrize(
    ("given", "content", "message"),
    [
        ("{folder}/none.log", None, "there is no such file"),
        ("{folder}", None, "is a folder; name its files"),
        ("nginx:{folder}/a.log", "2026-11-28 ERROR no", "no line is of nginx in a format that is"),
        ("{folder}/a.log", "once upon a time\n", "say app:{folder}/a.log; it ends: once upon a"),
        ("{folder}/a.log", "\0\1\2", "this is no log but a binary file"),
        ("/dev/null", None, "is no regular file"),
    ],
)
def test_a_log_that_cannot_be_used(
    given: str,
    content: str | None,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line says what is wrong with it and what would be right; nothing is sent."""
    if content is not None:
        (tmp_path / "a.log").write_text(content)
    arguments = ["--logs", given.format(folder=tmp_path), "--out", str(tmp_path / "runs")]
    assert status(["watch", "--url", "http://a.test/", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message.format(folder=tmp_path) in line
    assert not (tmp_path / "runs").exists()
