"""Envoy as the router: its endpoints are a file that it watches (file EDS)."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import msgspec

from orchestrator.errors import RouterError
from orchestrator.interfaces import Drained
from orchestrator.processes import Processes
from orchestrator.routers import envoy_config, marked
from orchestrator.routers.admin_api import AdminApi, admin_api
from orchestrator.routers.capabilities import Capabilities
from orchestrator.routers.launch import (
    Installed,
    Launched,
    answers,
    listening,
    need_accepted,
    running,
)
from orchestrator.routers.log_reader import LogReader
from orchestrator.routers.logs import envoy as log_lines
from orchestrator.routers.managed import POLL_SECONDS, Backend, ManagedRouter, Seen, Table
from orchestrator.routers.settings import RouterSettings

_FLUSH_MS = 50
_STAMP = re.compile(r"^(\[[^\]]*\])+ (\[[^\]]*\] )?")


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
        reasons=True,
        backend_idle_seconds=3600.0,  # `idle_timeout` of HttpProtocolOptions
    )

    def __init__(
        self, api: AdminApi, endpoints: Path, settings: RouterSettings, log: LogReader
    ) -> None:
        """Describe an Envoy that runs.

        Args:
            api: its admin API.
            endpoints: the file that it watches.
            settings: what it was started with.
            log: its access log.
        """
        super().__init__(settings, log)
        self._api = api
        self._endpoints = endpoints

    async def apply(self, before: Table, after: Table) -> None:
        """Move a new file into place, and wait until Envoy has taken it."""
        wanted = envoy_config.endpoints_of(after)
        if before and wanted == envoy_config.endpoints_of(before):
            return
        taken = await self._updates()
        _write_endpoints(self._endpoints, wanted)
        while await self._updates() <= taken:  # noqa: ASYNC110 - Envoy tells nobody
            await asyncio.sleep(POLL_SECONDS / 5)

    async def look(self) -> Mapping[str, Seen]:
        """What `/clusters` says of the hosts."""
        found = msgspec.json.decode(await self._api.ask("/clusters?format=json"), type=_Clusters)
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
        said = await self._api.ask("/stats?filter=^cluster\\..*\\.update_(success|rejected)$")
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


async def check(program: Installed, settings: RouterSettings) -> None:
    """See that Envoy takes the user's configuration.

    Raises:
        RouterConfigError: it does not.
    """
    if (config := settings.config) is None:
        return
    file = _write(settings, "127.0.0.1:1")

    def words(said: str) -> str:
        lines = "\n".join(_STAMP.sub("", line) for line in said.splitlines())
        return lines.replace(str(file), file.name)

    options = ["--mode", "validate", "--log-level", "critical", *_options(file)]
    await need_accepted([program.path, *options], config=config, name="envoy", words=words)


@asynccontextmanager
async def start(
    processes: Processes, settings: RouterSettings, program: Installed
) -> AsyncIterator[Launched]:
    """Run Envoy while the block runs.

    Raises:
        RouterConfigError: it refuses the configuration.
        EnvironmentFailure: it does not start.
    """
    await check(program, settings)
    log = LogReader(_log(settings), log_lines.translation)
    place = settings.directory / "envoy-admin"
    async with (
        listening(settings) as (address, _),
        admin_api("envoy", place.read_text) as api,
        running(
            processes,
            program,
            [
                *("--disable-hot-restart", "--log-level", "warning"),
                *("--file-flush-interval-msec", str(_FLUSH_MS)),
                *("--admin-address-path", str(place)),
                *_options(_write(settings, address)),
            ],
            settings=settings,
            address=address,
            log=log,
            ready=lambda _child: answers(api.ask("/ready")),
            router=lambda _child: EnvoyRouter(api, _endpoints(settings), settings, log),
        ) as envoy,
    ):
        yield envoy


def _log(settings: RouterSettings) -> Path:
    return settings.logs / "envoy-access.ndjson"


def _endpoints(settings: RouterSettings) -> Path:
    return settings.directory / "endpoints.json"


def _write_endpoints(path: Path, document: object) -> None:
    marked.write(path, msgspec.json.encode(document).decode())


def _write(settings: RouterSettings, address: str) -> Path:
    """Write the configuration, and no endpoints yet."""
    endpoints, log = _endpoints(settings), _log(settings)
    _write_endpoints(endpoints, envoy_config.endpoints_of({}))
    if settings.config is None:
        file = settings.directory / "envoy.json"
        document = envoy_config.default_document(settings.health, address, log, endpoints)
        marked.write(file, msgspec.json.encode(document).decode())
        return file
    text = marked.read(settings.config)
    marked.need(settings.config, text, envoy_config.PLACES)
    file = settings.directory / "envoy.yaml"
    blocks = {
        "listen": envoy_config.listen_lines(address),
        "log": envoy_config.log_blocks(log),
        "backends": envoy_config.backend_lines(endpoints),
    }
    marked.write(file, marked.fill(text, blocks))
    return file


def _options(file: Path) -> list[str]:
    over = msgspec.json.encode(envoy_config.OVER_ANY).decode()
    return ["--config-path", str(file), "--config-yaml", over]


def _seen(host: _Host) -> Seen:
    numbers = {one.name: int(one.value) for one in host.stats}
    flags = host.health_status.names()
    return Seen(
        why_not=f"Envoy says {', '.join(flags)}" if flags else None,
        checked=not host.health_status.pending_active_hc,
        in_flight=numbers.get("rq_active", 0),
    )
