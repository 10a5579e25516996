"""Caddy as the router: each change is a whole configuration, loaded by its admin API.

A load opens new listening sockets and closes the old ones, so each change can cost new connections;
Caddy is here as the negative control. A standby is not in its configuration, and is checked by the
adapter until it serves; from then on Caddy's own active checks decide.
"""

import asyncio
import math
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import msgspec

from orchestrator.errors import EnvironmentFailure, RouterError
from orchestrator.interfaces import Drained
from orchestrator.processes import ChildProcess, Processes
from orchestrator.routers import binaries, marked
from orchestrator.routers.capabilities import Capabilities
from orchestrator.routers.launch import (
    Launched,
    connects,
    launched,
    listening,
    output_of,
    refused,
    translated,
)
from orchestrator.routers.log_reader import LogReader
from orchestrator.routers.logs import caddy as log_lines
from orchestrator.routers.managed import POLL_SECONDS, Backend, ManagedRouter, Seen, Table, integers
from orchestrator.routers.marked import RouterConfigError
from orchestrator.routers.own_checks import OwnChecks
from orchestrator.routers.settings import HealthCheck, RouterSettings

PLACES = {
    "listen": "into the site that users reach",
    "backends": "into the reverse_proxy of the application, for its upstreams",
}
"""The marks of a user's own Caddyfile."""

SITE = "{$HITLESS_LISTEN}"
"""What stands for the port of the site that users reach, whatever the host is."""

_MOST = 100
_ADMIN_SECONDS = 10.0


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
        health_interval {_ms(health.interval)}
        health_timeout {_ms(health.timeout)}
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
        weights=True,
        sticky=False,
        holds=False,
        reasons=True,
        reload_keeps_connections=False,
        backend_idle_seconds=120.0,  # `keepalive` of its HTTP transport
    )

    def __init__(self, files: "CaddyFiles", settings: RouterSettings, log: LogReader) -> None:
        """Describe a Caddy that runs.

        Args:
            files: its configuration and its admin API.
            settings: what it was started with.
            log: its log.
        """
        super().__init__(settings.health, log, settings.on_change)
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
            await self._files.load(after)

    async def look(self) -> Mapping[str, Seen]:
        """What the adapter's own checks say, and how many requests Caddy counts."""
        table = dict(self._table)
        seen = await self._checks.look([one.replica for one in table.values()])
        numbers = await self._files.in_flight()
        return {
            name: msgspec.structs.replace(
                seen[name], in_flight=numbers.get(table[name].replica.address, 0)
            )
            for name in seen
        }

    async def wait_drained(self, backend: Backend, seconds: float) -> Drained:
        """Wait until Caddy counts no request; it counts on after a load, and cuts none."""
        until = time.monotonic() + seconds
        while left := (await self._files.in_flight()).get(backend.replica.address, 0):
            if time.monotonic() >= until:
                return Drained(0, 0.0, left)
            await asyncio.sleep(POLL_SECONDS)
        return Drained(0, 0.0)


class _Upstream(msgspec.Struct, frozen=True):
    address: str
    num_requests: int = 0


class CaddyFiles:
    """Caddy's configuration of one run, and its admin API."""

    def __init__(
        self, settings: RouterSettings, address: str, session: aiohttp.ClientSession | None = None
    ) -> None:
        self.admin = settings.directory / "caddy.sock"
        self.log = settings.logs / "caddy.ndjson"
        self.where = settings.config or Path("Caddyfile")
        self._ours = settings.config is None
        self._address = address
        self._session = session
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

    async def load(self, table: Table) -> None:
        """Bring a table into force.

        Raises:
            RouterError: Caddy refuses it.
        """
        adapted = await self._ask(
            "POST", "/adapt", self.text(table).encode(), {"Content-Type": "text/caddyfile"}
        )
        document = completed(msgspec.json.decode(adapted)["result"], self.admin, self.log)
        body = msgspec.json.encode(document)
        await self._ask("POST", "/load", body, {"Content-Type": "application/json"})

    async def in_flight(self) -> dict[str, int]:
        """How many requests each upstream has, by address."""
        said = await self._ask("GET", "/reverse_proxy/upstreams")
        found = msgspec.json.decode(said, type=tuple[_Upstream, ...])
        return {one.address: one.num_requests for one in found}

    async def _ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> bytes:
        if self._session is None:
            raise RuntimeError("these files are only there to be checked")
        try:
            async with self._session.request(
                method, f"http://caddy{path}", data=body or None, headers=headers
            ) as response:
                said = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise RouterError(
                f"caddy does not answer: {str(error) or 'no answer in time'}"
            ) from error
        if response.status >= 400:  # noqa: PLR2004 - RFC 9110
            words = msgspec.json.decode(said).get("error", "") if said else response.reason
            raise RouterError(f"caddy: {method} {path}: {words}")
        return said


async def check(settings: RouterSettings) -> str:
    """See that Caddy is there and takes the configuration; returns its version.

    Raises:
        RouterConfigError: it is not, or it does not.
    """
    program = binaries.find(binaries.CADDY, settings.binary)
    _, said = await output_of([str(program), "version"])
    found = re.match(r"v(\d[\w.]*)", said)
    if found is None:
        raise RouterConfigError(f"{program}: not a Caddy: {said.partition(chr(10))[0]}")
    if settings.config is not None:
        file = settings.directory / "Caddyfile"
        file.write_text(CaddyFiles(settings, "127.0.0.1:1").text({}), encoding="utf-8")
        command = [str(program), "validate", "--adapter", "caddyfile", "--config", str(file)]
        status, said = await output_of(command, env=_env(settings))
        if status:
            words = marked.pointed(_last_words(said), file, settings.config)
            raise refused(settings.config, "caddy", words)
    return f"Caddy {found[1]}"


@asynccontextmanager
async def start(processes: Processes, settings: RouterSettings) -> AsyncIterator[Launched]:
    """Run Caddy while the block runs.

    Raises:
        RouterConfigError: it is not there, or refuses the configuration.
        EnvironmentFailure: it does not start.
    """
    version = await check(settings)
    program = binaries.find(binaries.CADDY, settings.binary)
    limit = aiohttp.ClientTimeout(total=_ADMIN_SECONDS)
    connector = aiohttp.UnixConnector(path=str(settings.directory / "caddy.sock"))
    async with (
        aiohttp.ClientSession(timeout=limit, connector=connector) as session,
        listening(settings) as (address, _),
    ):
        files = CaddyFiles(settings, address, session)
        log = LogReader(files.log, log_lines.translation)
        empty = settings.directory / "caddy.json"
        empty.write_bytes(msgspec.json.encode(completed({}, files.admin, files.log)))

        async def ready(_child: ChildProcess) -> bool:
            return files.admin.exists()

        command = [str(program), "run", "--config", str(empty)]
        async with (
            translated(log, settings.access_log),
            launched(
                processes,
                command,
                name="caddy",
                log=settings.logs / "caddy.log",
                ready=ready,
                env=_env(settings),
            ) as child,
        ):
            try:
                await files.load({})
            except RouterError as error:
                raise RouterConfigError(f"{files.where}: {error}") from error
            if not await connects(address):
                raise EnvironmentFailure(f"caddy does not listen on {address}")
            router = CaddyRouter(files, settings, log)
            yield Launched(
                kind="caddy", version=version, address=address, router=router, process=child
            )


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


def _ms(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))}ms"
