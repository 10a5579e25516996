"""A user's own configuration: its marks are filled in, and what is wrong with it is one line."""

from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import msgspec
import pytest

from orchestrator.model import Replica
from orchestrator.processes import Processes
from orchestrator.routers import binaries, caddy, haproxy, nginx, traefik
from orchestrator.routers.capabilities import Kind
from orchestrator.routers.managed import Backend
from orchestrator.routers.marked import RouterConfigError, fill, marks
from orchestrator.routers.registry import KINDS, check_router, start_router
from orchestrator.routers.settings import HealthCheck, RouterSettings

HAPROXY = """\
global
    maxconn 100
    chroot /nowhere
defaults
    mode http
    timeout connect 1s
    timeout client 1s
    timeout server 1s
    default-server inter 100ms
frontend all
    default_backend web
    # hitless: listen
backend web
    option redispatch
    default-server fall 2 rise 1 check
    # hitless: backends
"""

NGINX = """\
upstream web {
    # hitless: backends max_fails=2 fail_timeout=3s
}
server {
    # hitless: listen
    location / { proxy_pass http://web; proxy_next_upstream off; }
}
"""

ENVOY = """\
static_resources:
  listeners:
  - name: users
    # hitless: listen
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": MANAGER
          stat_prefix: users
          # hitless: log
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: "/"}
                route: {cluster: web, retry_policy: {retry_on: connect-failure}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
  - name: web
    # hitless: backends
    health_checks:
    - {timeout: 1s, interval: 0.1s, no_traffic_interval: 0.1s, unhealthy_threshold: 1,
       healthy_threshold: 1, http_health_check: {path: /health}}
""".replace(
    "MANAGER",
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3"
    ".HttpConnectionManager",
)

TRAEFIK = """\
http:
  routers:
    all: {rule: "PathPrefix(`/`)", service: web, middlewares: [again]}
  middlewares:
    again: {retry: {attempts: 3}}
  services:
    web:
      loadBalancer:
        healthCheck: {path: /health, interval: 100ms, timeout: 200ms}
        # hitless: backends
"""

CADDY = """\
http://{$HITLESS_LISTEN} {
    # hitless: listen
    reverse_proxy {
        # hitless: backends
        lb_try_duration 1s
    }
}
"""

GOOD: dict[Kind, str] = {
    "haproxy": HAPROXY,
    "nginx": NGINX,
    "envoy": ENVOY,
    "traefik": TRAEFIK,
    "caddy": CADDY,
}

BAD: dict[Kind, tuple[str, str]] = {
    "haproxy": (HAPROXY.replace("option redispatch", "option redispatched"), "redispatched"),
    "nginx": (
        NGINX.replace("proxy_next_upstream off", "proxy_next_upstream sometimes"),
        "sometimes",
    ),
    "envoy": (ENVOY.replace("retry_on:", "retried_on:"), "retried_on"),
    "traefik": (TRAEFIK.replace("middlewares: [again]", "middlewares: [never]"), "never"),
    "caddy": (CADDY.replace("lb_try_duration", "lb_tried_duration"), "lb_tried_duration"),
}


def settings(folder: Path, **changes: object) -> RouterSettings:
    given = {"health": HealthCheck(path="/health"), "directory": folder, "logs": folder, **changes}
    return RouterSettings(**given)  # type: ignore[arg-type]


async def need(kind: Kind, folder: Path) -> None:
    """Leave the test out where the router is not installed."""
    try:
        await check_router(kind, settings(folder))
    except RouterConfigError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("kind", GOOD)
async def test_a_configuration_of_the_users_is_run(kind: Kind, tmp_path: Path) -> None:
    """A configuration with its marks is taken, and the router runs with it."""
    await need(kind, tmp_path)
    config = tmp_path / "mine.cfg"
    config.write_text(GOOD[kind])
    async with AsyncExitStack() as stack:
        processes = await stack.enter_async_context(Processes())
        given = settings(tmp_path, config=config)
        running = await stack.enter_async_context(start_router(kind, processes, given))
        assert running.kind == kind
        assert await running.backends() == []


@pytest.mark.parametrize("kind", BAD)
async def test_a_refused_configuration_is_one_line(kind: Kind, tmp_path: Path) -> None:
    """What a router refuses is one line, with the file and the router's own words."""
    await need(kind, tmp_path)
    text, word = BAD[kind]
    config = tmp_path / "mine.cfg"
    config.write_text(text)
    with pytest.raises(RouterConfigError) as error:
        await check_router(kind, settings(tmp_path, config=config))
    said = str(error.value)
    assert said.startswith(f"{config}: {kind} refuses it: ")
    assert word in said
    assert "\n" not in said
    if kind in ("haproxy", "nginx", "caddy"):  # which name the line
        line = next(n for n, one in enumerate(text.splitlines(), 1) if word in one)
        assert f"mine.cfg:{line}" in said


@pytest.mark.parametrize(
    ("kind", "mark"), [(kind, mark) for kind, text in GOOD.items() for mark in marks(text)]
)
async def test_a_missing_mark_is_one_line(kind: Kind, mark: str, tmp_path: Path) -> None:
    """A mark that is missing is named, with where it belongs."""
    await need(kind, tmp_path)
    config = tmp_path / "mine.cfg"
    config.write_text(GOOD[kind].replace(f"# hitless: {mark}", "#"))
    with pytest.raises(RouterConfigError, match=f"# hitless: {mark}' is missing; it belongs ") as e:
        await check_router(kind, settings(tmp_path, config=config))
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("    # hitless: backend", "unknown mark 'backend'; there are: listen, backends"),
        ("    # hitless: listen", "is there already, in line 12"),
    ],
)
def test_an_unknown_or_repeated_mark_is_one_line(line: str, words: str, tmp_path: Path) -> None:
    """A mark that does not exist, or stands there twice, is refused with its line."""
    with pytest.raises(RouterConfigError, match=words) as error:
        haproxy.plan_of(f"{HAPROXY}{line}\n", tmp_path / "x.cfg", "127.0.0.1:1")
    assert f"x.cfg:{len(HAPROXY.splitlines()) + 1}:" in str(error.value)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "hitless"])
async def test_a_missing_program_is_one_line(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A router that is not installed says how to get it; one that is given wrongly, that."""
    with pytest.raises(RouterConfigError, match="there is no such file"):
        await check_router(kind, settings(tmp_path, binary=tmp_path / "none"))
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(RouterConfigError, match="not a program"):
        await check_router(kind, settings(tmp_path, binary=file))
    monkeypatch.setattr(binaries, "_in_wheel", lambda _program: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RouterConfigError, match=rf"pip install 'hitless\[{kind}\]'") as error:
        await check_router(kind, settings(tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "hitless"])
async def test_another_program_is_not_that_router(kind: Kind, tmp_path: Path) -> None:
    """A program that is something else is found out before a run."""
    other = tmp_path / "other"
    other.write_text("#!/bin/sh\necho something else\n")
    other.chmod(0o755)
    with pytest.raises(RouterConfigError, match="something else"):
        await check_router(kind, settings(tmp_path, binary=other))


def test_haproxy_servers_get_what_default_server_says(tmp_path: Path) -> None:
    """Servers that are added at run time inherit nothing, so the options are collected for them."""
    plan = haproxy.plan_of(HAPROXY, tmp_path / "x.cfg", "127.0.0.1:1")
    assert plan.backend == "web"
    assert plan.options == "inter 100ms fall 2 rise 1 check"
    given = HAPROXY.replace("# hitless: backends", "# hitless: backends check inter 7s")
    assert haproxy.plan_of(given, tmp_path / "x.cfg", "127.0.0.1:1").options == "check inter 7s"
    assert "\n# left to the run:     chroot /nowhere\n" in plan.text


def test_haproxy_marks_belong_into_their_sections(tmp_path: Path) -> None:
    """A mark in the wrong section is refused."""
    swapped = (
        HAPROXY.replace("hitless: listen", "hitless: X")
        .replace("hitless: backends", "hitless: listen")
        .replace("hitless: X", "hitless: backends")
    )
    with pytest.raises(RouterConfigError, match="is not in a backend"):
        haproxy.plan_of(swapped, tmp_path / "x.cfg", "127.0.0.1:1")


def backend(name: str, port: int, weight: float) -> Backend:
    replica = Replica(id=name, version="a", host="127.0.0.1", port=port)
    return Backend(replica=replica, weight=weight)


def test_a_standby_gets_no_traffic() -> None:
    """Each router's own words for a table: who has weight 0 is left out, or has weight 0 there."""
    table = {"a-1": backend("a-1", 1, 1.0), "a-2": backend("a-2", 2, 0.25), "b": backend("b", 3, 0)}
    text = nginx.configuration(NGINX, table, listen="127.0.0.1:9", log=Path("/l"), files=Path("/f"))
    assert "    server 127.0.0.1:1 weight=1000 max_fails=2 fail_timeout=3s;\n" in text
    assert "    server 127.0.0.1:2 weight=250 max_fails=2 fail_timeout=3s;\n" in text
    assert "server 127.0.0.1:3" not in text
    file = caddy.caddyfile(CADDY, table, "127.0.0.1:9", ours=False)
    assert "        to 127.0.0.1:1 127.0.0.1:2\n" in file
    assert "        lb_policy weighted_round_robin 4 1\n" in file
    assert "http://:9 {" in file
    (servers,) = traefik.backend_lines(table)
    assert msgspec.json.decode(servers.removeprefix("servers: ")) == [
        {"url": "http://127.0.0.1:1", "weight": 1000},
        {"url": "http://127.0.0.1:2", "weight": 250},
        {"url": "http://127.0.0.1:3", "weight": 0},
    ]


def test_nginx_gets_more_connections_than_its_default() -> None:
    """512 connections are 256 users. Only an `events` block of the user may say how many."""
    filled_in = partial(
        nginx.configuration, table={}, listen="127.0.0.1:9", log=Path("/l"), files=Path("/f")
    )
    assert "worker_connections" in filled_in(nginx.DEFAULT)
    own = "events { worker_connections 64; }\n" + nginx.DEFAULT
    filled = filled_in(own)
    assert filled.count("worker_connections") == filled.count("events {") == 1
    assert "worker_connections 64;" in filled
    assert nginx.events_block(700).count(" 700;") == nginx.events_block(-1).count(" 20000;") == 2


def test_marks_are_filled_with_their_indentation() -> None:
    """A mark's lines stand where it stood; all other lines stay as they are."""
    assert fill("a\n  # hitless: x y z\nb", {"x": ("1", "2")}) == "a\n  1\n  2\nb\n"
    assert marks("  # hitless: x y z\n#hitless:b") == {"x": "y z", "b": ""}
    assert fill("a\n", {"x": ("1",)}) == "a\n"
