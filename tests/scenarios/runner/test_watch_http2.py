"""`hitless watch` speaks HTTP/2 with the real servers that offer it."""

import sys
from pathlib import Path

import pytest

from scenarios.cli.main import status
from scenarios.evidence.run_folder import RunFolder
from tests.scenarios.runner.test_watch_logs import PROXIES, behind
from tests.support.servers import CERTIFICATE
from tests.support.watched import assert_nothing_failed, serving, verdict_in

KEY = CERTIFICATE.with_suffix(".key")
NGINX_TLS = PROXIES["nginx"][1].replace(
    "listen 127.0.0.1:{port};",
    f"listen 127.0.0.1:{{port}} ssl; http2 on; ssl_certificate {CERTIFICATE}; "
    f"ssl_certificate_key {KEY};",
)
CADDY_TLS = (
    PROXIES["caddy"][1]
    .replace("auto_https off", "auto_https disable_redirects")
    .replace(
        "http://127.0.0.1:{port} {{", f"https://localhost:{{port}} {{{{\n  tls {CERTIFICATE} {KEY}"
    )
)
ENVOY_TLS = PROXIES["envoy"][1].replace(
    "    - filters:",
    "    - transport_socket:\n"
    "        name: envoy.transport_sockets.tls\n"
    "        typed_config:\n"
    '          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.'
    "DownstreamTlsContext\n"
    "          common_tls_context:\n"
    '            alpn_protocols: ["h2", "http/1.1"]\n'
    f"            tls_certificates: [{{{{certificate_chain: {{{{filename: {CERTIFICATE}}}}}, "
    f"private_key: {{{{filename: {KEY}}}}}}}}}]\n"
    "      filters:",
)
CONFIGURED = {"nginx": NGINX_TLS, "envoy": ENVOY_TLS, "caddy": CADDY_TLS}
# Three times: the server takes its configuration anew, while requests are under way.
RELOAD = """
import os, signal, sys, time
for _ in range(3):
    os.kill(int(open(sys.argv[1]).read()), signal.SIGHUP)
    time.sleep(0.3)
"""


@pytest.mark.soak
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", sorted(CONFIGURED))
def test_http_2_with(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is sent over HTTP/2.

    A graceful reload of nginx breaks no response. A request that comes just as nginx says GOAWAY is
    told as one that may be sent again, and as nothing else.
    """
    program, _, arguments = PROXIES[name]
    monkeypatch.setitem(PROXIES, name, (program, CONFIGURED[name], arguments))
    out = tmp_path / "runs"
    (tmp_path / "reload.py").write_text(RELOAD)
    command = [sys.executable, "-c", "import time; time.sleep(1)"]
    if name == "nginx":
        command = [sys.executable, str(tmp_path / "reload.py"), str(tmp_path / "nginx.pid")]
    with serving(tmp_path) as (_, port), behind(name, tmp_path, port, tls=True) as url:
        arguments = ["--cacert", str(CERTIFICATE), "--logs", f"{name}:{tmp_path}/access.log"]
        code = status(
            [
                *("watch", "--url", url, *arguments, "--rate", "60", "--baseline", "0.5"),
                *("--settle", "0.5", "--no-live", "--out", str(out), "--", *command),
            ]
        )
    verdict = verdict_in(out)
    if name == "nginx" and verdict.requests.failed:
        assert {one.cause for one in verdict.causes} == {"transport:unprocessed"}
        example = verdict.causes[0].evidence.examples[0]
        assert (example.error_detail or "").startswith("GOAWAY NO_ERROR, last stream ")
    else:
        assert_nothing_failed(code, verdict)
    assert list(verdict.protocols) == ["HTTP/2"]
    (folder,) = out.iterdir()
    reused = [one for one in RunFolder(folder).requests.read() if one.connection == "reused"]
    assert len(reused) > 20
