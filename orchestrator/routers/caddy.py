"""Caddy as the router: each change is a whole configuration, loaded by its admin API.

A load opens new listening sockets and closes the old ones, so each change can cost new connections;
Caddy is here as the negative control. A standby is not in its configuration, and is checked by the
adapter until it serves; from then on Caddy's own active checks decide.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from orchestrator.errors import EnvironmentFailure, RouterError
from orchestrator.interfaces import Drained
from orchestrator.processes import ChildProcess, Processes
from orchestrator.routers import marked
from orchestrator.routers.admin_api import AdminApi, admin_api
from orchestrator.routers.capabilities import Capabilities
from orchestrator.routers.launch import (
    Installed,
    Launched,
    connects,
    listening,
    need_accepted,
    running,
)
from orchestrator.routers.log_reader import LogReader
from orchestrator.routers.logs import caddy as log_lines
from orchestrator.routers.managed import POLL_SECONDS, Backend, ManagedRouter, Seen, Table, integers
from orchestrator.routers.marked import RouterConfigError
from orchestrator.routers.own_checks import OwnChecks
from orchestrator.routers.settings import HealthCheck, RouterSettings, milliseconds

PLACES = {
    "listen": "into the site that users reach",
    "backends": "into the reverse_proxy of the application, for its upstreams",
}
"""The marks of a user's own Caddyfile."""

SITE = "{$HITLESS_LISTEN}"
"""What stands for the port of the site that users reach, whatever the host is."""

_MOST = 100


def default_text(health: HealthCheck) -> str:
    """PURE: the Caddyfile without one of the user's, with its marks."""
    return f"""\
{{
    auto_https off
}}
http://{SITE} {{
    # hitless: listen
    reverse_proxy {{
        # hitless: backends
        health_uri {health.path}
        health_interval {milliseconds(health.interval)}ms
        health_timeout {milliseconds(health.timeout)}ms
        health_passes {health.rise}
        health_fails {health.fall}
    }}
}}
"""


def caddyfile(text: str, table: Table, listen: str, *, ours: bool) -> str:
    """PURE: the Caddyfile for a table; upstreams are those that get traffic.

    Args:
        text: with its marks.
        table: the backends.
        listen: where clients connect.
        ours: whether it is our own text, which says no policy of its own.
    """
    active = {name: one.weight for name, one in table.items() if one.active}
    shares = integers(active, _MOST)
    least = math.gcd(*shares.values()) if shares else 1
    lines = [f"to {' '.join(table[name].replica.address for name in shares)}"] if shares else []
    if len(set(shares.values())) > 1:
        weights = " ".join(str(share // least) for share in shares.values())
        lines.append(f"lb_policy weighted_round_robin {weights}")
    elif ours:
        lines.append("lb_policy round_robin")
    host, _, port = listen.rpartition(":")
    return marked.fill(
        text.replace(SITE, f":{port}"),
        {
            "listen": (
                f"bind {host.strip('[]')}",
                "log_append upstream {http.reverse_proxy.upstream.hostport}",
            ),
            "backends": lines,
        },
    )


def completed(document: dict[str, Any], admin: Path, log: Path) -> dict[str, Any]:
    """PURE: a configuration with our admin socket, and its logs in a file of ours."""
    apps = dict(document.get("apps", {}))
    http = dict(apps.get("http", {}))
    servers = {
        name: {**server, "logs": server.get("logs") or {}}
        for name, server in http.get("servers", {}).items()
    }
    if servers:
        apps["http"] = {**http, "servers": servers}
    writer = {"output": "file", "filename": str(log), "roll": False}
    return {
        **document,
        "admin": {"listen": f"unix/{admin}", "config": {"persist": False}},
        "logging": {"logs": {"default": {"writer": writer, "encoder": {"format": "json"}}}},
        "apps": apps,
    }


class CaddyRouter(ManagedRouter):
    """The Router over Caddy's admin API."""

    capabilities: ClassVar = Capabilities(
        cuts_at_deadline=False,
        counts_in_flight=True,
        drain_waits="replica",
        own_health=True,
        atomic_switch=True,
        reasons=True,
        reload_keeps_connections=False,
        backend_idle_seconds=120.0,  # `keepalive` of its HTTP transport
    )

    def __init__(
        self, api: AdminApi, files: "CaddyFiles", settings: RouterSettings, log: LogReader
    ) -> None:
        """Describe a Caddy that runs.

        Args:
            api: its admin API.
            files: its configuration.
            settings: what it was started with.
            log: its log.
        """
        super().__init__(settings, log)
        self._api = api
        self._files = files
        self._checks = OwnChecks(settings.health, "Caddy")

    @property
    def admission_seconds(self) -> float:
        """The least time until a healthy replica is up: the adapter's own checks."""
        return self._checks.admission_seconds

    async def apply(self, before: Table, after: Table) -> None:
        """Load the whole configuration, if what serves is different."""
        if before and self._files.text(before) == self._files.text(after):
            return
        with self.reloading():
            await self.load(after)

    async def look(self) -> Mapping[str, Seen]:
        """What the adapter's own checks say, and how many requests Caddy counts."""
        table = dict(self._table)
        seen = await self._checks.look([one.replica for one in table.values()])
        numbers = await self._in_flight()
        return {
            name: msgspec.structs.replace(
                seen[name], in_flight=numbers.get(table[name].replica.address, 0)
            )
            for name in seen
        }

    async def wait_drained(self, backend: Backend, seconds: float) -> Drained:
        """Wait until Caddy counts no request; it counts on after a load, and cuts none."""
        until = time.monotonic() + seconds
        while left := (await self._in_flight()).get(backend.replica.address, 0):
            if time.monotonic() >= until:
                return Drained(0, 0.0, left)
            await asyncio.sleep(POLL_SECONDS)
        return Drained(0, 0.0)

    async def load(self, table: Table) -> None:
        """Bring a table into force.

        Raises:
            RouterError: Caddy refuses it.
        """
        adapted = await self._post("/adapt", self._files.text(table).encode(), "text/caddyfile")
        document = completed(
            msgspec.json.decode(adapted)["result"], self._files.admin, self._files.log
        )
        await self._post("/load", msgspec.json.encode(document), "application/json")

    async def _post(self, path: str, body: bytes, kind: str) -> bytes:
        return await self._api.ask(path, method="POST", body=body, headers={"Content-Type": kind})

    async def _in_flight(self) -> dict[str, int]:
        """How many requests each upstream has, by address."""
        said = await self._api.ask("/reverse_proxy/upstreams")
        found = msgspec.json.decode(said, type=tuple[_Upstream, ...])
        return {one.address: one.num_requests for one in found}


class _Upstream(msgspec.Struct, frozen=True):
    address: str
    num_requests: int = 0


class CaddyFiles:
    """Caddy's configuration of one run."""

    def __init__(self, settings: RouterSettings, address: str) -> None:
        self.admin = settings.directory / "caddy.sock"
        self.log = settings.logs / "caddy.ndjson"
        self.where = settings.config or Path("Caddyfile")
        self._ours = settings.config is None
        self._address = address
        self._text = default_text(settings.health)
        if settings.config is not None:
            self._text = marked.read(settings.config)
            marked.need(settings.config, self._text, PLACES)
            if SITE not in self._text:
                raise RouterConfigError(
                    f"{settings.config}: the site address http://{SITE} is missing; it stands for "
                    "where users connect"
                )

    def text(self, table: Table) -> str:
        """The Caddyfile for a table."""
        return caddyfile(self._text, table, self._address, ours=self._ours)


async def check(program: Installed, settings: RouterSettings) -> None:
    """See that Caddy takes the user's configuration.

    Raises:
        RouterConfigError: it does not.
    """
    if (config := settings.config) is None:
        return
    file = settings.directory / "Caddyfile"
    marked.write(file, CaddyFiles(settings, "127.0.0.1:1").text({}))
    await need_accepted(
        [program.path, "validate", "--adapter", "caddyfile", "--config", str(file)],
        config=config,
        name="caddy",
        words=lambda said: marked.pointed(_last_words(said), file, config),
        env=_env(settings),
    )


@asynccontextmanager
async def start(
    processes: Processes, settings: RouterSettings, program: Installed
) -> AsyncIterator[Launched]:
    """Run Caddy while the block runs.

    Raises:
        RouterConfigError: it refuses the configuration.
        EnvironmentFailure: it does not start.
    """
    await check(program, settings)
    async with AsyncExitStack() as stack:
        address, _ = await stack.enter_async_context(listening(settings))
        files = CaddyFiles(settings, address)
        api = await stack.enter_async_context(
            admin_api("caddy", lambda: "caddy", socket=files.admin)
        )
        log = LogReader(files.log, log_lines.translation)
        empty = settings.directory / "caddy.json"
        empty.write_bytes(msgspec.json.encode(completed({}, files.admin, files.log)))

        async def ready(_child: ChildProcess) -> bool:
            return files.admin.exists()

        router = CaddyRouter(api, files, settings, log)
        caddy = await stack.enter_async_context(
            running(
                processes,
                program,
                ["run", "--config", str(empty)],
                settings=settings,
                address=address,
                log=log,
                ready=ready,
                router=lambda _child: router,
                env=_env(settings),
            )
        )
        try:
            await router.load({})
        except RouterError as error:
            raise RouterConfigError(f"{files.where}: {error}") from error
        if not await connects(address):
            raise EnvironmentFailure(f"caddy does not listen on {address}")
        yield caddy


def _env(settings: RouterSettings) -> dict[str, str]:
    """Caddy's own folders, away from the user's."""
    place = str(settings.directory)
    return {"HOME": place, "XDG_CONFIG_HOME": place, "XDG_DATA_HOME": place}


def _last_words(said: str) -> str:
    last = said.strip().splitlines()[-1] if said.strip() else ""
    try:
        return str(msgspec.json.decode(last)["msg"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return last.removeprefix("Error: ")
