"""HAProxy as the router: servers are added and changed at run time, by its runtime socket.

Without a configuration of the user's, it has what its documentation and its distributions
recommend: `option redispatch`, `retries 3`, and their timeouts. Health checks are the scenario's.
"""

import asyncio
import csv
import re
import shlex
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import msgspec

from orchestrator.errors import RouterError
from orchestrator.interfaces import Drained
from orchestrator.model import Replica
from orchestrator.processes import Processes
from orchestrator.routers import marked
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
from orchestrator.routers.logs import haproxy as log_lines
from orchestrator.routers.managed import POLL_SECONDS, Backend, ManagedRouter, Seen, Table, integers
from orchestrator.routers.marked import RouterConfigError
from orchestrator.routers.settings import HealthCheck, RouterSettings, milliseconds

PLACES = {
    "listen": "at the end of the frontend that users reach",
    "backends": "into the backend of the application, with the options of each server after it",
}
"""The marks of a user's own configuration."""

_MOST = 256  # the largest weight that HAProxy takes
_UNCHECKED = "no check"
_GOOD = re.compile(r"^(\* )?L\dOKC?$")
_SECTION = re.compile(r"^(?P<kind>[a-z][\w-]*)(?:[ \t]+(?P<name>\S+))?")
_MACHINE = ("daemon", "chroot", "user", "group", "uid", "gid", "pidfile", "nbproc")
_NOISE = re.compile(r"^\[(NOTICE|WARNING)\]|^Configuration file is valid|^$")
_ALERT = re.compile(r"^\[ALERT\]\s+\(\d+\) : ")
_CLI_SECONDS = 5.0

_DEFAULT = """\
defaults
    mode http
    option redispatch
    retries 3
    timeout connect 5s
    timeout client 50s
    timeout server 50s
    timeout check {timeout}ms

frontend users
    default_backend app
    # hitless: listen

backend app
    balance roundrobin
    option httpchk GET {path}
    http-check expect status 200-299
    # hitless: backends check inter {interval}ms fastinter {fast}ms downinter {fast}ms \
rise {rise} fall {fall}
"""

_GLOBAL = """\
global
    stats socket {socket} mode 600 level admin
"""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """PURE: what HAProxy is to be started with.

    Attributes:
        text: its configuration.
        backend: the section whose servers are the replicas.
        options: of each server.
    """

    text: str
    backend: str
    options: str


def default_text(health: HealthCheck) -> str:
    """PURE: the configuration without one of the user's, with its marks."""
    return _DEFAULT.format(
        path=health.path,
        interval=milliseconds(health.interval),
        fast=milliseconds(health.fast_interval),
        timeout=milliseconds(health.timeout),
        rise=health.rise,
        fall=health.fall,
    )


def plan_of(text: str, path: Path, listen: str) -> Plan:
    """PURE: fill in the marks.

    Options of servers are what follows the mark, else what `default-server` says in its section or
    in the `defaults` above it, since servers that are added at run time do not inherit that.

    Raises:
        RouterConfigError: a mark is missing, or not where it belongs.
    """
    marked.need(path, text, PLACES)
    kind, name, inherited = _section_of(text, "backends")
    if kind not in ("backend", "listen") or name is None:
        raise RouterConfigError(
            f"{path}: the line '# hitless: backends' is not in a backend; it belongs "
            f"{PLACES['backends']}"
        )
    if _section_of(text, "listen")[0] not in ("frontend", "listen"):
        raise RouterConfigError(
            f"{path}: the line '# hitless: listen' is not in a frontend; it belongs "
            f"{PLACES['listen']}"
        )
    filled = marked.fill(
        marked.without(text, _MACHINE),
        {
            "listen": (
                f"bind {listen}",
                "log stdout format raw local0",
                *log_lines.SETTINGS,
                f"log-format {shlex.quote(log_lines.FORMAT)}",
            ),
            "backends": ("http-response set-header X-Served-By %s",),
        },
    )
    return Plan(text=filled, backend=name, options=marked.marks(text)["backends"] or inherited)


class HaproxyRouter(ManagedRouter):
    """The Router over HAProxy's runtime socket; replica ids are the servers' names."""

    capabilities: ClassVar = Capabilities(
        cuts_at_deadline=True,
        counts_in_flight=True,
        drain_waits="replica",
        own_health=True,
        atomic_switch=False,
        reasons=True,
        # Every `pool-purge-delay` (5 s) it closes some of those that it does not need, from 15 s
        # on. It keeps the last one: that was still there when nobody looked on any more.
        backend_idle_seconds=900.0,
    )

    def __init__(self, socket: Path, plan: Plan, settings: RouterSettings, log: LogReader) -> None:
        """Describe a HAProxy that runs.

        Args:
            socket: its runtime socket.
            plan: what it was started with.
            settings: the same.
            log: its log.
        """
        super().__init__(settings, log)
        self._socket = socket
        self._backend = plan.backend
        self._options = plan.options
        # HAProxy holds a new server for up until its first check, so that one has to be waited for.
        self._admitted: set[str] = set()

    def called(self, replica: Replica) -> str:
        """HAProxy logs the name of the server, which is the replica's id."""
        return replica.id

    async def apply(self, before: Table, after: Table) -> None:
        """Tell what is different, what gets traffic before what loses it."""
        for name in after.keys() - before.keys():
            await self._add(name, after[name].replica.address)
        old, new = _weights(before), _weights(after)
        changed = {name: weight for name, weight in new.items() if weight != old.get(name, 0)}
        ordered = sorted(changed, key=lambda name: changed[name] == 0)
        commands = [f"set server {self._backend}/{name} weight {changed[name]}" for name in ordered]
        commands += [
            f"set server {self._backend}/{name} state drain"
            for name, one in after.items()
            if one.draining and not (name in before and before[name].draining)
        ]
        if commands:
            await self._do(*commands)
        for name in before.keys() - after.keys():
            await self._do(f"set server {self._backend}/{name} state maint")
            # While something of it is still attached it stays there, out of service for good.
            await self.tell(f"del server {self._backend}/{name}")

    async def look(self) -> Mapping[str, Seen]:
        """What `show stat` says of the servers."""
        found = {}
        for name, row in (await self._statistics()).items():
            found[name] = _seen(row, admitted=name in self._admitted)
            if found[name].why_not is None:
                self._admitted.add(name)
        return found

    async def wait_drained(self, backend: Backend, seconds: float) -> Drained:
        """Wait until the server has no session, and shut down those that outlast the time."""
        name, until = backend.replica.id, time.monotonic() + seconds
        while True:
            row = (await self._statistics()).get(name)
            left = int(row["scur"]) if row is not None else 0
            if left == 0:
                return Drained(0, 0.0)
            if time.monotonic() >= until:
                await self._do(f"shutdown sessions server {self._backend}/{name}")
                return Drained(left, 0.0)
            await asyncio.sleep(min(POLL_SECONDS, max(until - time.monotonic(), 0.001)))

    async def try_options(self) -> None:
        """See that servers with these options can be added.

        Raises:
            RouterError: HAProxy refuses them.
        """
        await self._add("hitless-check", "127.0.0.1:1")
        await self._do(f"set server {self._backend}/hitless-check state maint")
        await self.tell(f"del server {self._backend}/hitless-check")

    async def tell(self, *commands: str) -> str:
        """Send commands on one line; returns what it answers.

        Raises:
            RouterError: it does not answer.
        """
        try:
            async with asyncio.timeout(_CLI_SECONDS):
                reader, writer = await asyncio.open_unix_connection(str(self._socket))
                try:
                    writer.write(" ; ".join(commands).encode() + b"\n")
                    return (await reader.read()).decode(errors="replace").strip()
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            raise RouterError(
                f"haproxy does not answer: {str(error) or 'no answer in time'}"
            ) from error

    async def _add(self, name: str, address: str) -> None:
        server = f"{self._backend}/{name}"
        said = await self.tell(f"add server {server} {address} {self._options} weight 0")
        if not said.startswith("New server registered"):
            raise RouterError(f"haproxy: add server {name}: {said}")
        health = [f"enable health {server}"] if "check" in self._options.split() else []
        await self._do(*health, f"enable server {server}")

    async def _do(self, *commands: str) -> None:
        if said := await self.tell(*commands):
            raise RouterError(f"haproxy: {' ; '.join(commands)}: {' | '.join(said.split())}")

    async def _statistics(self) -> dict[str, dict[str, str]]:
        said = await self.tell(f"show stat {self._backend} 4 -1")
        rows = csv.DictReader(said.removeprefix("# ").splitlines())
        return {row["svname"]: row for row in rows}


async def check(program: Installed, settings: RouterSettings) -> None:
    """See that HAProxy takes the user's configuration.

    Raises:
        RouterConfigError: it does not.
    """
    if (config := settings.config) is None:
        return
    files = _write(settings.directory, plan_of(marked.read(config), config, "127.0.0.1:1"))

    def words(said: str) -> str:
        lines = [line for line in said.splitlines() if not _NOISE.match(line)]
        alerts = "\n".join(_ALERT.sub("", line) for line in lines)
        return marked.pointed(alerts, files[-1], config)

    command = [program.path, "-c", *_options(files)]
    await need_accepted(command, config=config, name="haproxy", words=words)


@asynccontextmanager
async def start(
    processes: Processes, settings: RouterSettings, program: Installed
) -> AsyncIterator[Launched]:
    """Run HAProxy while the block runs.

    Raises:
        RouterConfigError: it refuses the configuration.
        EnvironmentFailure: it does not start.
    """
    await check(program, settings)
    where = settings.config or Path("haproxy.cfg")
    text = default_text(settings.health) if settings.config is None else marked.read(where)
    log = LogReader(settings.logs / "haproxy.log", log_lines.translation)
    async with listening(settings) as (address, _):
        plan = plan_of(text, where, address)
        router = HaproxyRouter(settings.directory / "haproxy.sock", plan, settings, log)

        async with running(
            processes,
            program,
            ["-db", *_options(_write(settings.directory, plan))],
            settings=settings,
            address=address,
            log=log,
            ready=lambda _child: answers(router.tell("show info")),
            router=lambda _child: router,
        ) as haproxy:
            try:
                await router.try_options()
            except RouterError as error:
                raise RouterConfigError(f"{where}: options of servers: {error}") from error
            yield haproxy


def _write(directory: Path, plan: Plan) -> tuple[Path, Path]:
    ours, theirs = directory / "haproxy-global.cfg", directory / "haproxy.cfg"
    marked.write(ours, _GLOBAL.format(socket=directory / "haproxy.sock"))
    marked.write(theirs, plan.text)
    return ours, theirs


def _options(files: Sequence[Path]) -> list[str]:
    return [word for file in files for word in ("-f", str(file))]


def _section_of(text: str, mark: str) -> tuple[str | None, str | None, str]:
    """The kind and name of the section that a mark is in, and what servers inherit there."""
    kind = name = None
    inherited = {"defaults": "", "here": ""}
    for line in text.splitlines():
        if found := _SECTION.match(line):
            kind, name = found["kind"], found["name"]
            inherited["here"] = ""
            if kind == "defaults":
                inherited["defaults"] = ""
        words = line.split("#", 1)[0].split()
        if words[:1] == ["default-server"]:
            place = "defaults" if kind == "defaults" else "here"
            inherited[place] = " ".join([inherited[place], *words[1:]]).strip()
        if mark in marked.marks(line):
            break
    return kind, name, " ".join(part for part in inherited.values() if part)


def _weights(table: Table) -> dict[str, int]:
    return integers({name: one.weight for name, one in table.items() if not one.draining}, _MOST)


def _seen(row: Mapping[str, str], *, admitted: bool) -> Seen:
    status, checked = row["status"], row["check_status"]
    in_flight = int(row["scur"])
    good = admitted or _GOOD.match(checked)
    if status == _UNCHECKED or (status.startswith(("UP", "DRAIN")) and good):
        return Seen(why_not=None, in_flight=in_flight)
    last = " ".join(
        part for part in (checked, row["check_code"], row["last_chk"] or row["check_desc"]) if part
    )
    said = f", last check: {last}" if last else ", not checked yet"
    known = checked not in ("", "INI") and not checked.startswith("*")
    return Seen(why_not=f"HAProxy says {status}{said}", checked=known, in_flight=in_flight)
