"""Envoy as the router: its endpoints are a file that it watches (file EDS).

Our configuration overrides three defaults, because each of them sends requests to replicas that are
gone or were never checked: `no_traffic_interval` (a cluster without traffic is checked once a
minute), `healthy_panic_threshold` (with most hosts unhealthy, health is ignored) and
`ignore_health_on_host_removal` (a removed host stays as long as its check passes). A configuration
of the user's is used as it is.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import msgspec

from orchestrator.errors import RouterError
from orchestrator.interfaces import Drained
from orchestrator.processes import ChildProcess, Processes
from orchestrator.routers import binaries, marked
from orchestrator.routers.capabilities import Capabilities
from orchestrator.routers.launch import (
    Launched,
    launched,
    listening,
    output_of,
    refused,
    translated,
)
from orchestrator.routers.log_reader import LogReader
from orchestrator.routers.logs import envoy as log_lines
from orchestrator.routers.managed import POLL_SECONDS, Backend, ManagedRouter, Seen, Table, integers
from orchestrator.routers.settings import HealthCheck, RouterSettings

PLACES = {
    "listen": "into the listener that users reach, for its address",
    "log": "into that listener's HttpConnectionManager, for its access_log",
    "backends": "into the cluster of the application, for its type and endpoints",
}
"""The marks of a user's own configuration."""

_MOST = 10_000
_SERVICE = "hitless"
_ADMIN_SECONDS = 5.0
_FLUSH_MS = 50
_STAMP = re.compile(r"^(\[[^\]]*\])+ (\[[^\]]*\] )?")
_API = "type.googleapis.com/envoy"
_OURS = {
    "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
    "node": {"id": "hitless", "cluster": "hitless"},
}
"""What is merged over any configuration (`--config-yaml`)."""


def listen_lines(address: str) -> tuple[str, ...]:
    """PURE: what the mark `listen` becomes."""
    return (f"address: {_json(_address(address))}",)


def log_blocks(path: Path) -> tuple[str, ...]:
    """PURE: what the mark `log` becomes."""
    return ("preserve_external_request_id: true", f"access_log: {_json(_access_log(path))}")


def backend_lines(endpoints: Path) -> tuple[str, ...]:
    """PURE: what the mark `backends` becomes."""
    return ("type: EDS", f"eds_cluster_config: {_json(_eds(endpoints))}")


def default_document(health: HealthCheck, address: str, log: Path, endpoints: Path) -> Any:  # noqa: ANN401 - JSON
    """PURE: the configuration without one of the user's."""
    check = {
        "timeout": _seconds(health.timeout),
        "interval": _seconds(health.interval),
        "no_traffic_interval": _seconds(health.interval),
        "unhealthy_interval": _seconds(health.fast_interval),
        "unhealthy_threshold": health.fall,
        "healthy_threshold": health.rise,
        "http_health_check": {"path": health.path},
    }
    manager = {
        "@type": f"{_API}.extensions.filters.network.http_connection_manager.v3"
        ".HttpConnectionManager",
        "stat_prefix": "users",
        "preserve_external_request_id": True,
        "access_log": _access_log(log),
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_API}.extensions.filters.http.router.v3.Router"},
            }
        ],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "users",
                    "domains": ["*"],
                    "response_headers_to_add": [
                        {"header": {"key": "X-Served-By", "value": "%UPSTREAM_HOST_NAME%"}}
                    ],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "app"}}],
                }
            ]
        },
    }
    return {
        "static_resources": {
            "listeners": [
                {
                    "name": "users",
                    "address": _address(address),
                    "filter_chains": [
                        {
                            "filters": [
                                {
                                    "name": "envoy.filters.network.http_connection_manager",
                                    "typed_config": manager,
                                }
                            ]
                        }
                    ],
                }
            ],
            "clusters": [
                {
                    "name": "app",
                    "type": "EDS",
                    "eds_cluster_config": _eds(endpoints),
                    "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
                    "ignore_health_on_host_removal": True,
                    "health_checks": [check],
                }
            ],
        }
    }


def endpoints_of(table: Table) -> Any:  # noqa: ANN401 - JSON
    """PURE: the endpoints of a table; standbys are checked, and get nothing, as `DRAINING`."""
    weights = integers({name: one.weight for name, one in table.items() if one.active}, _MOST)
    return {
        "resources": [
            {
                "@type": f"{_API}.config.endpoint.v3.ClusterLoadAssignment",
                "cluster_name": _SERVICE,
                "endpoints": [
                    {
                        "lb_endpoints": [
                            {
                                "endpoint": {
                                    "hostname": name,
                                    "address": _address(one.replica.address),
                                },
                                "health_status": "HEALTHY" if one.active else "DRAINING",
                                "load_balancing_weight": weights.get(name, 1),
                            }
                            for name, one in table.items()
                        ]
                    }
                ],
            }
        ]
    }


class _Flags(msgspec.Struct, frozen=True):
    failed_active_health_check: bool = False
    failed_outlier_check: bool = False
    failed_degraded_active_hc: bool = False
    pending_dynamic_removal: bool = False
    pending_active_hc: bool = False
    excluded_via_immediate_hc_fail: bool = False
    active_hc_timeout: bool = False

    def names(self) -> list[str]:
        return [name for name in self.__struct_fields__ if getattr(self, name)]


class _Number(msgspec.Struct, frozen=True):
    name: str
    value: str = "0"


class _Host(msgspec.Struct, frozen=True):
    hostname: str = ""
    stats: tuple[_Number, ...] = ()
    health_status: _Flags = _Flags()


class _Cluster(msgspec.Struct, frozen=True):
    name: str
    host_statuses: tuple[_Host, ...] = ()


class _Clusters(msgspec.Struct, frozen=True):
    cluster_statuses: tuple[_Cluster, ...] = ()


class EnvoyRouter(ManagedRouter):
    """The Router over Envoy's endpoint file and admin API; replica ids are the hosts' names."""

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
        backend_idle_seconds=3600.0,  # `idle_timeout` of HttpProtocolOptions
    )

    def __init__(
        self,
        session: aiohttp.ClientSession,
        admin: str,
        endpoints: Path,
        settings: RouterSettings,
        log: LogReader,
    ) -> None:
        """Describe an Envoy that runs.

        Args:
            session: for its admin API.
            admin: where that is, as `host:port`.
            endpoints: the file that it watches.
            settings: what it was started with.
            log: its access log.
        """
        super().__init__(settings.health, log, settings.on_change)
        self._session = session
        self._admin = admin
        self._endpoints = endpoints

    async def apply(self, before: Table, after: Table) -> None:
        """Move a new file into place, and wait until Envoy has taken it."""
        wanted = endpoints_of(after)
        if before and wanted == endpoints_of(before):
            return
        taken = await self._updates()
        write_endpoints(self._endpoints, wanted)
        while await self._updates() <= taken:  # noqa: ASYNC110 - Envoy tells nobody
            await asyncio.sleep(POLL_SECONDS / 5)

    async def look(self) -> Mapping[str, Seen]:
        """What `/clusters` says of the hosts."""
        found = msgspec.json.decode(await self._get("/clusters?format=json"), type=_Clusters)
        return {
            host.hostname: _seen(host)
            for cluster in found.cluster_statuses
            for host in cluster.host_statuses
            if host.hostname
        }

    async def wait_drained(self, backend: Backend, seconds: float) -> Drained:
        """Wait until the host has no active request; Envoy cuts none."""
        name, until, idle = backend.replica.id, time.monotonic() + seconds, False
        while True:
            host = (await self.look()).get(name)
            left = host.in_flight if host is not None else 0
            # Envoy's threads hear of a change one after the other, so one look is not enough.
            if left == 0 and idle:
                return Drained(0, 0.0)
            idle = left == 0
            if time.monotonic() >= until and not idle:
                return Drained(0, 0.0, left)
            await asyncio.sleep(POLL_SECONDS)

    async def _updates(self) -> int:
        said = await self._get("/stats?filter=^cluster\\..*\\.update_(success|rejected)$")
        counts = {
            name: int(value)
            for name, separator, value in (
                line.partition(": ") for line in said.decode().splitlines()
            )
            if separator
        }
        if any(value for name, value in counts.items() if name.endswith("rejected")):
            raise RouterError("envoy rejected the endpoints; its log says why")
        return sum(counts.values())

    async def _get(self, path: str) -> bytes:
        try:
            async with self._session.get(f"http://{self._admin}{path}") as response:
                return await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise RouterError(
                f"envoy does not answer: {str(error) or 'no answer in time'}"
            ) from error


async def check(settings: RouterSettings) -> str:
    """See that Envoy is there and takes the configuration; returns its version.

    Raises:
        RouterConfigError: it is not, or it does not.
    """
    program = binaries.find(binaries.ENVOY, settings.binary)
    _, said = await output_of([str(program), "--version"])
    version = said.strip().rpartition("version: ")[2].split("/")
    if len(version) < 2:  # noqa: PLR2004 - the hash, then the version
        raise marked.RouterConfigError(f"{program}: not an Envoy: {said.strip()}")
    if settings.config is not None:
        file = _write(settings, "127.0.0.1:1")
        command = [str(program), "--mode", "validate", "--log-level", "critical", *_options(file)]
        status, said = await output_of(command)
        if status:
            words = "\n".join(_STAMP.sub("", line) for line in said.splitlines())
            raise refused(settings.config, "envoy", words.replace(str(file), file.name))
    return f"Envoy {version[1]}"


@asynccontextmanager
async def start(processes: Processes, settings: RouterSettings) -> AsyncIterator[Launched]:
    """Run Envoy while the block runs.

    Raises:
        RouterConfigError: it is not there, or refuses the configuration.
        EnvironmentFailure: it does not start.
    """
    version = await check(settings)
    program = binaries.find(binaries.ENVOY, settings.binary)
    raw = settings.logs / "envoy-access.ndjson"
    log = LogReader(raw, log_lines.translation)
    place = settings.directory / "envoy-admin"
    limit = aiohttp.ClientTimeout(total=_ADMIN_SECONDS)
    async with (
        listening(settings) as (address, _),
        translated(log, settings.access_log),
        aiohttp.ClientSession(timeout=limit) as session,
    ):
        write_endpoints(settings.directory / "endpoints.json", endpoints_of({}))
        command = [
            str(program), "--disable-hot-restart", "--log-level", "warning",
            "--file-flush-interval-msec", str(_FLUSH_MS), "--admin-address-path", str(place),
            *_options(_write(settings, address)),
        ]  # fmt: skip

        async def ready(_child: ChildProcess) -> bool:
            try:
                async with session.get(f"http://{place.read_text()}/ready") as response:
                    return response.status == 200  # noqa: PLR2004 - LIVE
            except (OSError, aiohttp.ClientError):
                return False

        async with launched(
            processes, command, name="envoy", log=settings.logs / "envoy.log", ready=ready
        ) as child:
            router = EnvoyRouter(
                session, place.read_text(), settings.directory / "endpoints.json", settings, log
            )
            yield Launched(
                kind="envoy", version=version, address=address, router=router, process=child
            )


def write_endpoints(path: Path, document: object) -> None:
    """Move a new file into place: Envoy looks at moves only."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(document))
    fresh.rename(path)


def _write(settings: RouterSettings, address: str) -> Path:
    directory = settings.directory
    endpoints, log = directory / "endpoints.json", settings.logs / "envoy-access.ndjson"
    if not endpoints.exists():
        write_endpoints(endpoints, endpoints_of({}))
    if settings.config is None:
        file = directory / "envoy.json"
        file.write_bytes(
            msgspec.json.encode(default_document(settings.health, address, log, endpoints))
        )
        return file
    text = marked.read(settings.config)
    marked.need(settings.config, text, PLACES)
    file = directory / "envoy.yaml"
    blocks = {
        "listen": listen_lines(address),
        "log": log_blocks(log),
        "backends": backend_lines(endpoints),
    }
    file.write_text(marked.fill(text, blocks), encoding="utf-8")
    return file


def _options(file: Path) -> list[str]:
    return ["--config-path", str(file), "--config-yaml", _json(_OURS)]


def _seen(host: _Host) -> Seen:
    numbers = {one.name: int(one.value) for one in host.stats}
    flags = host.health_status.names()
    return Seen(
        why_not=f"Envoy says {', '.join(flags)}" if flags else None,
        checked=not host.health_status.pending_active_hc,
        in_flight=numbers.get("rq_active", 0),
    )


def _address(address: str) -> dict[str, dict[str, str | int]]:
    host, _, port = address.rpartition(":")
    return {"socket_address": {"address": host.strip("[]"), "port_value": int(port)}}


def _access_log(path: Path) -> list[dict[str, Any]]:
    return [
        {
            "name": "envoy.access_loggers.file",
            "typed_config": {
                "@type": f"{_API}.extensions.access_loggers.file.v3.FileAccessLog",
                "path": str(path),
                "log_format": {"json_format": log_lines.FORMAT},
            },
        }
    ]


def _eds(endpoints: Path) -> dict[str, Any]:
    source = {"path_config_source": {"path": str(endpoints)}, "resource_api_version": "V3"}
    return {"service_name": _SERVICE, "eds_config": source}


def _seconds(value: float) -> str:
    return f"{value:.3f}s"


def _json(document: object) -> str:
    return msgspec.json.encode(document).decode()
