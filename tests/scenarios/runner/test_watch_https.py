"""`hitless watch` around a service behind https, with its database: causes, not only symptoms."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from orchestrator.postgres import EmbeddedServer
from orchestrator.routers.binaries import NGINX, find
from scenarios.cli.main import status
from scenarios.reports.sentence import summary_of
from tests.support.servers import CERTIFICATE
from tests.support.watched import SERVER, SMALL, assert_nothing_failed, serving, verdict_in

NGINX_CONF = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log {folder}/access.log combined;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        http2 {http2};
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        location / {{
            if ($http_authorization != "Bearer secret-word") {{ return 401; }}
            proxy_pass http://127.0.0.1:{upstream};
        }}
    }}
}}
"""


@contextmanager
def behind_nginx(folder: Path, upstream: str, http2: str = "on") -> Iterator[str]:
    """An nginx that serves https in front of a server, to whoever has a token; yields its URL."""
    program = find(NGINX)
    assert program is not None, "nginx is among the tests' packages"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    conf = folder / "nginx.conf"
    conf.write_text(
        NGINX_CONF.format(
            folder=folder,
            port=port,
            certificate=CERTIFICATE,
            key=CERTIFICATE.with_suffix(".key"),
            upstream=upstream,
            http2=http2,
        )
    )
    arguments = [str(program), "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(conf)]
    with subprocess.Popen(arguments) as process:
        try:
            while process.poll() is None:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.02)
            yield f"https://localhost:{port}/"
        finally:
            process.terminate()


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("trust", "http2"), [("--cacert", "on"), ("--insecure", "off")])
def test_an_https_service_behind_nginx(
    trust: str,
    http2: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An https service is watched with a token that nothing records; `--insecure` is said aloud.

    HTTP/2 is spoken where it is offered, and the verdict says what was spoken.
    """
    monkeypatch.setenv("DEPLOY_TOKEN", "secret-word")
    out = tmp_path / "runs"
    with serving(tmp_path) as (_, port), behind_nginx(tmp_path, port, http2) as url:
        flags = ["--cacert", str(CERTIFICATE)] if trust == "--cacert" else [trust]
        arguments = ["watch", "--url", url, *flags, "--bearer", "DEPLOY_TOKEN", *SMALL]
        code = status([*arguments, "--out", str(out), "--", "sleep", "0.3"])
    verdict = verdict_in(out)
    assert_nothing_failed(code, verdict)
    assert verdict.requests.ok > 20
    assert list(verdict.protocols) == ["HTTP/2" if http2 == "on" else "HTTP/1.1"]
    said = capsys.readouterr().out
    (folder,) = out.iterdir()
    for path in folder.iterdir():
        assert b"secret-word" not in path.read_bytes(), path
    assert "secret-word" not in said
    assert ("certificate of the server was not checked" in said) is (trust == "--insecure")
    assert any("--insecure" in limit for limit in verdict.limits) is (trust == "--insecure")
    assert f"{trust}" in verdict.replay
    assert "--bearer DEPLOY_TOKEN" in verdict.replay


def test_a_certificate_that_nobody_trusts_stops_before_the_deployment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The deploy command is not run; one line says why, and which flags would help."""
    with serving(tmp_path) as (_, port), behind_nginx(tmp_path, port) as url:
        arguments = ["watch", "--url", url, *SMALL, "--out", str(tmp_path / "runs")]
        code = status([*arguments, "--", "touch", str(tmp_path / "deployed")])
    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "the certificate is not accepted (self" in line
    assert "--cacert FILE" in line
    assert not (tmp_path / "deployed").exists()


DATABASE_SERVER = SERVER.replace("import socket, sys", "import os, psycopg, socket, sys").replace(
    "        body = sys.argv[2].encode()\n        self.send_response(200)",
    """        try:
            with psycopg.connect(os.environ["DATABASE"]) as connection:
                connection.execute("SELECT nickname FROM people").fetchall()
            body, status = b"ok", 200
        except psycopg.Error:
            body, status = b"sorry", 500
        self.send_response(status)""",
)
BREAKING = """
import os, psycopg, time
time.sleep(0.4)
with psycopg.connect(os.environ["DATABASE"]) as connection:
    connection.execute("ALTER TABLE people DROP COLUMN nickname")
time.sleep(0.6)
"""


@pytest.mark.timeout(120)
def test_a_column_that_a_deployment_drops_is_the_cause(
    postgres_server: tuple[EmbeddedServer, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the database and all logs, a deploy script of one's own gets a cause: the lost column.

    The application itself answers only 500, behind an nginx that nobody configured for it.
    """
    server, url = postgres_server
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS people")
        connection.execute("CREATE TABLE people (id int PRIMARY KEY, nickname text)")
    monkeypatch.setenv("DATABASE", url)
    monkeypatch.setenv("DEPLOY_TOKEN", "secret-word")
    (tmp_path / "breaking.py").write_text(BREAKING)
    out = tmp_path / "runs"
    with serving(tmp_path, DATABASE_SERVER) as (_, port), behind_nginx(tmp_path, port) as address:
        arguments = [
            *("watch", "--url", address, "--cacert", str(CERTIFICATE), "--bearer", "DEPLOY_TOKEN"),
            *("--database", url, "--database-log", str(server.log)),
            *("--logs", str(tmp_path / "*.log")),
            *("--rate", "30", "--baseline", "1", "--settle", "0.5", "--no-live"),
        ]
        code = status(
            [*arguments, "--out", str(out), "--", sys.executable, str(tmp_path / "breaking.py")]
        )
    verdict = verdict_in(out)
    assert (code, verdict.verdict) == (1, "fail"), verdict.reasons
    main = verdict.causes[0]
    assert main.cause == "sqlstate:42703"
    assert "drop column people.nickname" in main.evidence.schemas
    sentence = summary_of(verdict).sentence
    assert sentence.startswith('The application uses the column "nickname", which is not there')
    assert 'since the schema changed ("drop column people.nickname")' in sentence
    (folder,) = out.iterdir()
    assert url.encode() not in (folder / "run.json").read_bytes()
