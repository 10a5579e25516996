"""The proxies of the benchmark, each started in front of the same origins.

Ours as it is and compiled, an earlier commit of ours, Debian's HAProxy and nginx, the floor and an
aiohttp proxy (`benchmarks.reference_servers`), and the routers of the wheels, which are started as
`hitless run` starts them. What is not installed is left out by name.
"""

import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from benchmarks.http_load import Proxy
from benchmarks.machine import PROXY_CORE, free_port, process, wait_port
from benchmarks.routers import running_router
from orchestrator.routers.capabilities import Kind
from orchestrator.routers.marked import RouterConfigError
from orchestrator.routers.registry import KINDS

ROOT = Path(__file__).resolve().parents[1]
# What the table compares with: the last commit before the balancer was made faster.
PREVIOUS = "41f70b2"

_HAPROXY = """
global
    nbthread 1
    maxconn 9000
{log_global}
defaults
    mode http
    timeout connect 2s
    timeout client 75s
    timeout server 60s
    option forwardfor
{log_defaults}
frontend f
    bind 127.0.0.1:{port}
    default_backend b
backend b
    balance roundrobin
{servers}
"""
_NGINX = """
daemon off; worker_processes 1; pid {directory}/pid; error_log /dev/null;
worker_rlimit_nofile 20000;
events {{ worker_connections 16000; }}
http {{
    access_log {log}; keepalive_requests 1000000000; client_max_body_size 0;
    client_body_temp_path {directory}/a; proxy_temp_path {directory}/b;
    fastcgi_temp_path {directory}/c; uwsgi_temp_path {directory}/d; scgi_temp_path {directory}/e;
    upstream o {{ {servers} keepalive 512; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://o; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_set_header X-Forwarded-For $remote_addr; proxy_request_buffering off;
        }}
    }}
}}
"""


class AbsentError(Exception):
    """A proxy is not installed; the message says which and how to get it."""


@dataclass(frozen=True)
class Scene:
    """What all proxies of one run share.

    Attributes:
        directory: for configurations and logs.
        origins: the ports of the origins, on 127.0.0.1.
        origin_pids: their processes.
        previous: an earlier commit of this repository, or the folder of another build.
    """

    directory: Path
    origins: tuple[int, ...]
    origin_pids: tuple[int, ...]
    previous: str = PREVIOUS


@dataclass(frozen=True)
class _Command:
    """How to start a process that proxies: the command, where, and what it needs."""

    words: Sequence[str]
    path: Path | None = None
    output: Path | None = None


def build_of(previous: str, directory: Path) -> Path:
    """The folder of a build: of a commit, whose files are laid into `directory`, or a folder."""
    if Path(previous).is_dir():
        return Path(previous).resolve()
    target = directory / f"build-{previous}"
    if target.exists():
        return target
    archive = directory / f"{previous}.tar"
    command = ["git", "-C", str(ROOT), "archive", "-o", str(archive), previous, "balancer"]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        raise AbsentError(f"previous: this repository has no commit {previous}")
    target.mkdir()
    shutil.unpack_archive(archive, target, filter="data")
    return target


def _ours(scene: Scene, port: int, build: Path, log: Path | None) -> _Command:
    words = [sys.executable, "-P", "-m", "balancer", "--listen", f"127.0.0.1:{port}", "--rise", "1"]
    for one in scene.origins:
        words += ["--backend", f"127.0.0.1:{one}"]
    if log is not None:
        words += ["--access-log", str(log)]
    return _Command(words, path=build)


def _hitless(scene: Scene, port: int, log: Path | None) -> _Command:
    return _ours(scene, port, ROOT, log)


def _compiled(scene: Scene, port: int, log: Path | None) -> _Command:
    folder = ROOT / "build" / "compiled"
    if not any(folder.glob("balancer/proxy/*.so")):
        raise AbsentError("compiled: make compiled")
    return _ours(scene, port, folder, log)


def _previous(scene: Scene, port: int, log: Path | None) -> _Command:
    return _ours(scene, port, build_of(scene.previous, scene.directory), log)


def _haproxy(scene: Scene, port: int, log: Path | None) -> _Command:
    program = shutil.which("haproxy")
    if program is None:
        raise AbsentError("haproxy: apt-get install haproxy")
    config = scene.directory / f"haproxy-{port}.cfg"
    servers = "\n".join(
        f"    server s{one} 127.0.0.1:{one} check inter 1s" for one in scene.origins
    )
    config.write_text(
        _HAPROXY.format(
            port=port,
            servers=servers,
            log_global="    log stdout format raw local0" if log else "",
            log_defaults="    log global\n    option httplog" if log else "",
        )
    )
    return _Command([program, "-db", "-f", str(config)], output=log)


def _nginx(scene: Scene, port: int, log: Path | None) -> _Command:
    program = shutil.which("nginx")
    if program is None:
        raise AbsentError("nginx: apt-get install nginx-light")
    directory = scene.directory / f"nginx-{port}"
    directory.mkdir()
    directory.chmod(0o755)
    config = directory / "nginx.conf"
    servers = " ".join(f"server 127.0.0.1:{one};" for one in scene.origins)
    config.write_text(
        _NGINX.format(port=port, servers=servers, directory=directory, log=log or "off")
    )
    words = [program, "-e", "/dev/null", "-p", str(directory), "-c", str(config)]
    return _Command(words)


def _reference(kind: str) -> Callable[[Scene, int, Path | None], _Command]:
    def command(scene: Scene, port: int, log: Path | None) -> _Command:
        if log is not None:
            raise AbsentError(f"{kind}: it keeps no access log")
        words = [sys.executable, "-m", "benchmarks.reference_servers", kind, str(port)]
        return _Command([*words, *map(str, scene.origins)], path=ROOT)

    return command


_COMMANDS: dict[str, Callable[[Scene, int, Path | None], _Command]] = {
    "hitless": _hitless,
    "compiled": _compiled,
    "previous": _previous,
    "haproxy": _haproxy,
    "nginx": _nginx,
    "relay": _reference("relay"),
    "aiohttp": _reference("aiohttp"),
}
_ROUTER = "router:"
NAMES = (*_COMMANDS, *(f"{_ROUTER}{kind}" for kind in KINDS if kind != "hitless"))


@asynccontextmanager
async def running(name: str, scene: Scene, *, log: bool = False) -> AsyncIterator[Proxy]:
    """Run one of `NAMES` in front of the origins, pinned to its core.

    Args:
        name: which. One that begins with `router:` is started as `hitless run` starts it, and
            keeps the log that it keeps there, whatever `log` says.
        scene: what all share.
        log: whether it keeps an access log.

    Raises:
        AbsentError: it is not installed.
    """
    async with AsyncExitStack() as stack:
        if name.startswith(_ROUTER):
            kind = cast("Kind", name.removeprefix(_ROUTER))
            try:
                router = await stack.enter_async_context(running_router(kind, scene.origins))
            except RouterConfigError as error:
                raise AbsentError(f"{name}: {error}") from error
            yield router.proxy
            return
        port = free_port()
        file = scene.directory / f"access-{name}-{port}.log" if log else None
        command = _COMMANDS[name](scene, port, file)
        child = stack.enter_context(
            process(
                list(command.words),
                PROXY_CORE,
                scene.directory,
                output=command.output,
                path=command.path,
            )
        )
        wait_port(port)
        yield Proxy(f"{name} + log" if log else name, port, child.pid)
