"""Traefik as the router: its dynamic configuration is a file that it watches.

It says of a server that it is UP before it has checked it, and again after each change. So the
adapter believes that only when a check must have ended since. It counts nothing in flight: a drain
ends when the change is in force.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import msgspec

from orchestrator.errors import EnvironmentFailure, RouterError
from orchestrator.interfaces import Drained
from orchestrator.processes import ChildProcess, Processes
from orchestrator.routers import marked
from orchestrator.routers.admin_api import AdminApi, admin_api
from orchestrator.routers.capabilities import Capabilities
from orchestrator.routers.launch import Installed, Launched, answers, listening, refused, running
from orchestrator.routers.log_reader import LogReader
from orchestrator.routers.logs import traefik as log_lines
from orchestrator.routers.managed import POLL_SECONDS, Backend, ManagedRouter, Seen, Table, integers
from orchestrator.routers.marked import RouterConfigError
from orchestrator.routers.settings import HealthCheck, RouterSettings, milliseconds

PLACES = {"backends": "into the loadBalancer of the application's service, for its servers"}
"""The marks of a user's own dynamic configuration."""

_MOST = 1000
_SETTLE_SECONDS = 5.0  # for a configuration of the user's to be read
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_ENTRY = "users"


class _Server(msgspec.Struct, frozen=True):
    url: str
    weight: int = 1


class _LoadBalancer(msgspec.Struct, frozen=True):
    servers: tuple[_Server, ...] = ()


class _Service(msgspec.Struct, frozen=True):
    load: _LoadBalancer | None = msgspec.field(name="loadBalancer", default=None)
    status: Mapping[str, str] = msgspec.field(name="serverStatus", default_factory=dict)
    error: tuple[str, ...] = ()


class _Router(msgspec.Struct, frozen=True):
    error: tuple[str, ...] = ()


class _Raw(msgspec.Struct, frozen=True):
    routers: Mapping[str, _Router] = msgspec.field(default_factory=dict)
    services: Mapping[str, _Service] = msgspec.field(default_factory=dict)

    def wrong(self) -> list[str]:
        """What Traefik does not take of the file."""
        errors = [(name, one.error) for name, one in self.routers.items()]
        errors += [(name, one.error) for name, one in self.services.items()]
        return [f"{name}: {', '.join(error)}" for name, error in errors if error]


def default_text(health: HealthCheck) -> str:
    """PURE: the dynamic configuration without one of the user's, with its mark; JSON is YAML."""
    return f"""\
http:
  routers:
    users: {{rule: "PathPrefix(`/`)", service: users, entryPoints: [{_ENTRY}]}}
  services:
    users:
      loadBalancer:
        healthCheck:
          path: {msgspec.json.encode(health.path).decode()}
          interval: {milliseconds(health.interval)}ms
          unhealthyInterval: {milliseconds(health.fast_interval)}ms
          timeout: {milliseconds(health.timeout)}ms
        # hitless: backends
"""


def backend_lines(table: Table) -> tuple[str, ...]:
    """PURE: what the mark becomes: a standby has weight 0, and is checked."""
    servers = [{"url": url, "weight": weight} for url, weight in _servers(table).items()]
    return (f"servers: {msgspec.json.encode(servers).decode()}",)


class TraefikRouter(ManagedRouter):
    """The Router over Traefik's file provider and its API."""

    capabilities: ClassVar = Capabilities(
        cuts_at_deadline=False,
        counts_in_flight=False,
        drain_waits="nothing",
        own_health=True,
        atomic_switch=True,
        reasons=False,
        backend_idle_seconds=90.0,  # `forwardingTimeouts.idleConnTimeout`
    )

    def __init__(
        self, api: AdminApi, files: "TraefikFiles", settings: RouterSettings, log: LogReader
    ) -> None:
        """Describe a Traefik that runs.

        Args:
            api: its API.
            files: its configuration.
            settings: what it was started with.
            log: its access log.
        """
        super().__init__(settings, log)
        self._api = api
        self._files = files
        self._changed_at = 0.0
        self._admitted: set[str] = set()

    @property
    def admission_seconds(self) -> float:
        """The least time until a healthy replica is up: until a check must have ended."""
        return self._health.interval + self._health.timeout

    async def apply(self, before: Table, after: Table) -> None:
        """Move a new file into place, and wait until Traefik shows its servers."""
        wanted = _servers(after)
        self._admitted &= after.keys()
        if before and wanted == _servers(before):
            return
        self._files.write(after)
        while wanted != await self._served():  # noqa: ASYNC110 - Traefik tells nobody
            await asyncio.sleep(POLL_SECONDS / 5)
        self._changed_at = time.monotonic()

    async def look(self) -> Mapping[str, Seen]:
        """What `/api/rawdata` says of the servers."""
        raw = await self.raw()
        states = {url: s for one in raw.services.values() for url, s in one.status.items()}
        checked = time.monotonic() >= self._changed_at + self.admission_seconds
        found = {}
        for name, one in tuple(self._table.items()):
            state = states.get(_url(one), "absent")
            if state == "UP" and checked:
                self._admitted.add(name)
            if state == "UP" and name in self._admitted:
                found[name] = Seen(why_not=None)
            else:
                said = f"Traefik says {state}" + ("" if checked else ", which it has not checked")
                found[name] = Seen(why_not=said, checked=checked)
        return found

    async def wait_drained(self, backend: Backend, seconds: float) -> Drained:  # noqa: ARG002
        """Traefik tells nothing of what is in flight, so nothing can be waited for."""
        return Drained(0, 0.0, None)

    async def raw(self) -> _Raw:
        """What Traefik made of its configuration.

        Raises:
            RouterError: it does not answer.
        """
        said = await self._api.ask("/api/rawdata")
        try:
            return msgspec.json.decode(said, type=_Raw)
        except msgspec.DecodeError as error:
            raise RouterError(f"traefik: GET /api/rawdata: {error}") from error

    async def need_taken(self, child: ChildProcess) -> None:
        """Wait until it has read the file, and see that it takes all of it.

        Raises:
            RouterConfigError: it does not.
            EnvironmentFailure: it does not read it at all.
        """
        until = time.monotonic() + _SETTLE_SECONDS
        while True:
            raw = await self.raw()
            said = [_COLOURS.sub("", line) for line in child.last_lines(20).splitlines()]
            errors = [line.partition(" ERR ")[2] for line in said if " ERR " in line]
            if wrong := raw.wrong() or errors:
                raise refused(self._files.where, "traefik", "\n".join(wrong))
            if any(name.endswith("@file") for name in raw.routers):
                return
            if time.monotonic() > until:
                raise EnvironmentFailure(
                    f"traefik has not read its configuration within {_SETTLE_SECONDS:g} s"
                )
            await asyncio.sleep(POLL_SECONDS)

    async def _served(self) -> dict[str, int] | None:
        """The servers of the application's service, with their weights."""
        raw = await self.raw()
        name = self._files.service
        for known, service in raw.services.items():
            if known == f"{name}@file" and service.load is not None:
                return {one.url: one.weight for one in service.load.servers}
        return None


class TraefikFiles:
    """Traefik's dynamic configuration of one run.

    Attributes:
        path: the file.
        service: the name of the service that has the mark.
        where: what messages call it.
    """

    def __init__(self, settings: RouterSettings) -> None:
        self.path = settings.directory / "traefik-dynamic.yaml"
        self.where = settings.config or Path("traefik.yaml")
        self._text = default_text(settings.health)
        if settings.config is not None:
            self._text = marked.read(settings.config)
            marked.need(settings.config, self._text, PLACES)
        service = _service_of(self._text)
        if service is None:
            raise RouterConfigError(
                f"{self.where}: the line '# hitless: backends' is not in a loadBalancer; it "
                f"belongs {PLACES['backends']}"
            )
        self.service = service

    def write(self, table: Table) -> None:
        """Move the configuration for a table into place."""
        marked.write(self.path, marked.fill(self._text, {"backends": backend_lines(table)}))


async def check(program: Installed, settings: RouterSettings) -> None:
    """See that Traefik takes the user's configuration.

    It has no command for that, so it is started for a moment.

    Raises:
        RouterConfigError: it does not.
    """
    if settings.config is not None:
        trial = replace(settings, access_log=None, logs=settings.directory, listen="127.0.0.1:0")
        async with Processes() as processes, start(processes, trial, program):
            pass


@asynccontextmanager
async def start(
    processes: Processes, settings: RouterSettings, program: Installed
) -> AsyncIterator[Launched]:
    """Run Traefik while the block runs.

    Raises:
        RouterConfigError: it refuses the configuration.
        EnvironmentFailure: it does not start.
    """
    raw = settings.logs / "traefik-access.ndjson"
    log = LogReader(raw, log_lines.translation)
    files = TraefikFiles(settings)
    files.write({})
    async with AsyncExitStack() as stack:
        address, ports = await stack.enter_async_context(listening(settings))
        admin = f"127.0.0.1:{ports.take()}"
        api = await stack.enter_async_context(admin_api("traefik", lambda: admin))
        router = TraefikRouter(api, files, settings, log)

        traefik = await stack.enter_async_context(
            running(
                processes,
                program,
                _arguments(address, admin, files.path, raw),
                settings=settings,
                address=address,
                log=log,
                ready=lambda _child: answers(router.raw()),
                router=lambda _child: router,
            )
        )
        await router.need_taken(traefik.process)
        yield traefik


def _arguments(address: str, admin: str, dynamic: Path, raw: Path) -> tuple[str, ...]:
    """The static configuration: where it listens, what it watches, and what it logs."""
    return (
        f"--entrypoints.{_ENTRY}.address={address}",
        f"--entrypoints.traefik.address={admin}",
        "--api.insecure=true",
        "--api.dashboard=false",
        f"--providers.file.filename={dynamic}",
        "--providers.providersthrottleduration=50ms",
        "--accesslog=true",
        f"--accesslog.filepath={raw}",
        "--accesslog.format=json",
        "--accesslog.fields.headers.names.X-Request-Id=keep",
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
        "--log.nocolor=true",
    )


def _servers(table: Table) -> dict[str, int]:
    weights = integers({name: one.weight for name, one in table.items() if one.active}, _MOST)
    return {_url(one): weights.get(name, 0) for name, one in table.items()}


def _url(backend: Backend) -> str:
    return f"http://{backend.replica.address}"


def _service_of(text: str) -> str | None:
    """The service that has the mark: the name above `loadBalancer`, indented less."""
    balancer: int | None = None
    for line in reversed(text.splitlines()[: _line_of_mark(text)]):
        words, indent = line.strip(), len(line) - len(line.lstrip())
        if balancer is None:
            balancer = indent if words.startswith("loadBalancer:") else None
        elif words and not words.startswith("#") and indent < balancer:
            return words.partition(":")[0].strip("\"' ")
    return None


def _line_of_mark(text: str) -> int:
    return next(number for number, line in enumerate(text.splitlines()) if marked.marks(line))
