"""nginx as the router: each change is a new file and a reload (SIGHUP).

It has no checks of its own, so the adapter asks the replicas in its place before they are admitted;
nginx itself notices a bad one only by failed requests (`max_fails`). A reload is over when the
workers of the old configuration are closing; a drain, when they have ended, which they do when what
all replicas had in flight has ended.
"""

import asyncio
import re
import resource
import signal
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

from orchestrator.errors import RouterError
from orchestrator.interfaces import Drained
from orchestrator.processes import ChildProcess, Processes
from orchestrator.routers import marked
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
from orchestrator.routers.logs import nginx as log_lines
from orchestrator.routers.managed import POLL_SECONDS, Backend, ManagedRouter, Seen, Table, integers
from orchestrator.routers.own_checks import OwnChecks
from orchestrator.routers.settings import RouterSettings

PLACES = {
    "listen": "into the server that users reach",
    "backends": "into the upstream of the application, with the parameters of each server after it",
}
"""The marks of a user's own configuration."""

_MOST = 1000
_CONNECTIONS = 20_000
_EVENTS = re.compile(r"^[ \t]*events[ \t]*\{", re.MULTILINE)
_HTTP = re.compile(r"^[ \t]*http[ \t]*\{", re.MULTILINE)
_MACHINE = ("daemon", "pid", "user", "error_log")
_WORDS = re.compile(r"^(nginx: \[\w+\] |[\d/]+ [\d:]+ \[\w+\] \d+#\d+: )")

DEFAULT = """\
http {
    # As its documentation says for upgrades; and upstream connections are kept.
    map $http_upgrade $hitless_connection {
        default upgrade;
        '' '';
    }
    upstream app {
        # hitless: backends
        keepalive 32;
    }
    server {
        # hitless: listen
        location / {
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $hitless_connection;
        }
    }
}
"""


def configuration(text: str, table: Table, *, listen: str, log: Path, files: Path) -> str:
    """PURE: fill in the marks of a whole configuration, or of one for the `http` block.

    Args:
        text: with its marks.
        table: the backends; those without traffic are not in it, since nginx has no standby.
        listen: where clients connect.
        log: the access log.
        files: the directory of the process id and of temporary files.
    """
    parameters = marked.marks(text).get("backends", "")
    shares = integers({name: one.weight for name, one in table.items() if one.active}, _MOST)
    servers = [
        f"server {table[name].replica.address} weight={weight} {parameters}".rstrip() + ";"
        for name, weight in shares.items()
    ]
    if not _HTTP.search(text):
        text = "http {\n" + text + "\n}\n"
    if not _EVENTS.search(text):
        text = events_block(resource.getrlimit(resource.RLIMIT_NOFILE)[1]) + text
    kept = marked.without(text, _MACHINE)
    known = "".join(f"    {one.replica.address} {name};\n" for name, one in sorted(table.items()))
    inside = (
        "http {\n"
        f"    log_format hitless escape=json '{log_lines.FORMAT}';\n"
        "    map $upstream_addr $hitless_served_by {\n"
        f"        default '';\n{known}    }}\n"
    )
    temporary = "".join(
        f"    {kind}_temp_path {files}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    filled = marked.fill(
        _HTTP.sub(lambda _: inside + temporary, kept, count=1),
        {
            "listen": (
                f"listen {listen};",
                f"access_log {log} hitless;",
                "add_header X-Served-By $hitless_served_by always;",
            ),
            # An upstream without a server is refused; this one is never asked.
            "backends": servers or ("server 127.0.0.1:1 down;",),
        },
    )
    return f"pid {files}/nginx.pid;\nerror_log stderr warn;\n{filled}"


def events_block(files: int) -> str:
    """PURE: the block of events, with more connections than nginx has by itself.

    nginx allows 512 connections to a worker, and each request of a user needs two: 256 users at
    once would be refused because of a setting that nobody chose.

    Args:
        files: how many open files the system allows to a process, or a negative number for any.
    """
    most = min(files, _CONNECTIONS) if files >= 0 else _CONNECTIONS
    return f"worker_rlimit_nofile {most};\nevents {{\n    worker_connections {most};\n}}\n"


class NginxRouter(ManagedRouter):
    """The Router over nginx's configuration file and signals."""

    capabilities: ClassVar = Capabilities(
        cuts_at_deadline=False,
        counts_in_flight=False,
        drain_waits="all",
        own_health=False,
        atomic_switch=True,
        reasons=True,
        reload_keeps_connections=False,
        backend_idle_seconds=60.0,  # `keepalive_timeout` of the upstream
    )

    def __init__(
        self, child: ChildProcess, files: "NginxFiles", settings: RouterSettings, log: LogReader
    ) -> None:
        """Describe an nginx that runs.

        Args:
            child: its master process.
            files: its configuration.
            settings: what it was started with.
            log: its access log.
        """
        super().__init__(settings, log)
        self._child = child
        self._files = files
        self._checks = OwnChecks(settings.health, "nginx")

    @property
    def admission_seconds(self) -> float:
        """The least time until a healthy replica is up: the adapter's own checks."""
        return self._checks.admission_seconds

    async def apply(self, before: Table, after: Table) -> None:
        """Write the file, reload, and wait until the old workers take nothing new."""
        if _served(before) == _served(after):
            return
        self._files.write(after)
        with self.reloading():
            await self._reload()

    async def _reload(self) -> None:
        old = _children(self._child.pid)
        self._child.signal(signal.SIGHUP)
        while True:
            if self._child.returncode is not None:
                raise RouterError(f"nginx has ended: {self._child.last_lines(1)}")
            now = _children(self._child.pid)
            if now - old and not any(_serves(pid) for pid in old & now):
                return
            await asyncio.sleep(POLL_SECONDS / 5)

    async def look(self) -> Mapping[str, Seen]:
        """What the adapter's own checks say, which it makes when it is asked."""
        return await self._checks.look([one.replica for one in self._table.values()])

    async def wait_drained(self, backend: Backend, seconds: float) -> Drained:  # noqa: ARG002
        """Wait until the workers of all older configurations have ended; they tell no numbers."""
        until = time.monotonic() + seconds
        while True:
            if not any(not _serves(pid) for pid in _children(self._child.pid)):
                return Drained(0, 0.0)
            if time.monotonic() >= until:
                return Drained(0, 0.0, None)
            await asyncio.sleep(POLL_SECONDS)


class NginxFiles:
    """nginx's files of one run."""

    def __init__(self, settings: RouterSettings, address: str) -> None:
        self._settings = settings
        self._address = address
        self.log = settings.logs / "nginx-access.ndjson"
        self.path = settings.directory / "nginx.conf"
        self._text = DEFAULT
        if settings.config is not None:
            self._text = marked.read(settings.config)
            marked.need(settings.config, self._text, PLACES)

    def write(self, table: Table) -> None:
        """Write the configuration for a table."""
        text = configuration(
            self._text,
            table,
            listen=self._address,
            log=self.log,
            files=self._settings.directory,
        )
        marked.write(self.path, text)

    def arguments(self) -> list[str]:
        """What tells nginx where they are; what a user's file includes is looked for beside it."""
        config = self._settings.config
        prefix = self.path.parent if config is None else config.resolve().parent
        return ["-p", str(prefix), "-c", str(self.path), "-e", "stderr"]


async def check(program: Installed, settings: RouterSettings) -> None:
    """See that nginx takes the user's configuration.

    Raises:
        RouterConfigError: it does not.
    """
    if (config := settings.config) is None:
        return
    files = NginxFiles(settings, "127.0.0.1:1")
    files.write({})

    def words(said: str) -> str:
        lines = [_WORDS.sub("", line) for line in said.splitlines() if "[" in line]
        return marked.pointed("\n".join(lines), files.path, config)

    command = [program.path, *files.arguments(), "-t"]
    await need_accepted(command, config=config, name="nginx", words=words)


@asynccontextmanager
async def start(
    processes: Processes, settings: RouterSettings, program: Installed
) -> AsyncIterator[Launched]:
    """Run nginx while the block runs.

    Raises:
        RouterConfigError: it refuses the configuration.
        EnvironmentFailure: it does not start.
    """
    await check(program, settings)
    async with listening(settings) as (address, _):
        files = NginxFiles(settings, address)
        files.write({})
        log = LogReader(files.log, log_lines.translation)

        async def ready(child: ChildProcess) -> bool:
            return bool(_children(child.pid)) and await connects(address)

        async with running(
            processes,
            program,
            [*files.arguments(), "-g", "daemon off;"],
            settings=settings,
            address=address,
            log=log,
            ready=ready,
            router=lambda child: NginxRouter(child, files, settings, log),
            stop_signal=signal.SIGQUIT,
        ) as nginx:
            yield nginx


def _served(table: Table) -> dict[str, float]:
    return {name: one.weight for name, one in table.items() if one.active}


def _children(pid: int) -> set[int]:
    try:
        return {int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    except OSError:
        return set()


def _serves(pid: int) -> bool:
    """Whether a worker takes new connections; nginx writes it into its title."""
    try:
        return b"shutting down" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
