"""The server under test: started on a free port, watched until it answers, and ended for good."""

import asyncio
import contextlib
import os
import re
import signal
import ssl
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from orchestrator.errors import ProcessError
from orchestrator.guardian import end_processes, marked_processes
from orchestrator.placeholders import fill
from orchestrator.processes import ChildProcess, Processes
from orchestrator.tcp_ports import PortAllocator
from scenarios.probe import family
from scenarios.probe.errors import DidNotStart
from scenarios.probe.plans import get
from scenarios.probe.profile import Startup
from scenarios.probe.raw_connection import RawConnection

HOST = "127.0.0.1"
_INSIDE = Path(__file__).parent / "inside"
_LOOK_SECONDS = 0.02
_RETRY_SECONDS = 0.05
_ELSEWHERE_SECONDS = 3.0
_TLS_SECONDS = 3.0
_SERVER_ERROR = 500
_ALERT = b"\x15\x03"
_SHELL_VARIABLE = re.compile(r"\$\{([^{}]*)\}")


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What is probed.

    Attributes:
        command: the program and its arguments; `{host}`, `{port}`, `{python}`, `{version}`,
            `{replica_id}` and `{replica_dir}` are filled in. `${NAME}` stays: it is a shell's.
        env: variables on top of this process's own; the same placeholders are filled in.
        cwd: its working directory.
        values: further placeholders.
        stop_signal: what asks it to stop.
        signal_group: whether that goes to the whole process group.
        ready_path: the path that must be answered before it counts as started.
        start_seconds: how long it may take until then.
        port: the port that it always listens on; None: it listens where it is told to.
    """

    command: tuple[str, ...]
    env: Mapping[str, str] = msgspec.field(default_factory=dict)
    cwd: Path | None = None
    values: Mapping[str, str] = msgspec.field(default_factory=dict)
    stop_signal: str = "SIGTERM"
    signal_group: bool = False
    ready_path: str = "/"
    start_seconds: float = 30.0
    port: int | None = None


class Server:
    """One running server.

    Attributes:
        port: where it was told to listen.
        child: the process that was started.
        mark: what marks all its processes.
    """

    def __init__(self, target: Target, child: ChildProcess, port: int, mark: str) -> None:
        self.target = target
        self.child = child
        self.port = port
        self.mark = mark
        self.listened_ns = 0

    def members(self) -> list[int]:
        """The living processes that the command became."""
        return family.members(self.mark, self.child.pid)

    async def wait_listening(self) -> None:
        """Wait until something listens on its port.

        Raises:
            DidNotStart: it ended, took too long, or listens somewhere else.
        """
        began, elsewhere_since = time.monotonic(), None
        while True:
            everybody = family.listeners()
            if any(listener.port == self.port for listener in everybody):
                self.listened_ns = time.monotonic_ns()
                return
            if self.child.returncode is not None and not self.members():
                raise DidNotStart(self._ended())
            now = time.monotonic()
            if now - began > _ELSEWHERE_SECONDS:
                elsewhere = await asyncio.to_thread(self._elsewhere, everybody)
                elsewhere_since = (elsewhere_since or now) if elsewhere else None
                if elsewhere_since is not None and now - elsewhere_since > 1:
                    raise DidNotStart(
                        f"it listens on port {elsewhere}, not on the one that it was given "
                        f"({self.port}): put {{port}} into the command, or let it read PORT"
                    )
            if now - began > self.target.start_seconds:
                raise DidNotStart(
                    f"it did not listen on {HOST}:{self.port} within "
                    f"{self.target.start_seconds:g} s{self._last_words()}"
                )
            # A connection would be work for the server; the kernel's own table is none.
            await asyncio.sleep(_LOOK_SECONDS)

    async def wait_answering(self, path: str) -> Startup:
        """Wait until it answers without a server error.

        Raises:
            DidNotStart: it ended, took too long, or speaks something else than HTTP.
        """
        errors: list[str] = []
        began = time.monotonic()
        while True:
            said = await self._try(path)
            if isinstance(said, int) and said < _SERVER_ERROR:
                break
            errors.append(str(said))
            if said == "no HTTP" or len(errors) == 1:
                if await _speaks_tls(self.port):
                    raise DidNotStart(
                        f"it speaks TLS on port {self.port}, and the probe speaks plain HTTP: "
                        "start it without TLS, as it is behind a router that ends TLS"
                    )
                if said == "no HTTP":
                    raise DidNotStart(f"what it answers on port {self.port} is not HTTP/1.1")
            if self.child.returncode is not None and not self.members():
                raise DidNotStart(self._ended())
            if time.monotonic() - began > self.target.start_seconds:
                raise DidNotStart(
                    f"GET {path} was not answered without an error within "
                    f"{self.target.start_seconds:g} s: {errors[-1]}{self._last_words()}"
                )
            await asyncio.sleep(_RETRY_SECONDS)
        started = self.child.started_ns
        return Startup(
            listen_seconds=round((self.listened_ns - started) / 1e9, 3),
            answer_seconds=round((time.monotonic_ns() - started) / 1e9, 3),
            errors=tuple(errors),
        )

    async def ask(self, data: bytes, limit: float) -> RawConnection:
        """Send this on a connection of its own, and wait for its answer or its end."""
        connection = RawConnection("ask", HOST, self.port)
        try:
            if await connection.open():
                async with asyncio.TaskGroup() as group:
                    listening = group.create_task(connection.listen())
                    await connection.send(data)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(limit):
                            await connection.until(lambda reader: reader.complete > 0)
                    listening.cancel()
        finally:
            connection.close()
        return connection

    async def _try(self, path: str) -> int | str:
        connection = await self.ask(get(path), self.target.start_seconds)
        reader = connection.reader
        if reader.malformed:
            return "no HTTP"
        if reader.complete:
            return reader.answers[0].status
        return "closed without an answer" if connection.ended.is_set() else "no answer"

    def _elsewhere(self, everybody: list[family.Listener]) -> int | None:
        """A port that its processes listen on, and that is not the one it was given."""
        held = family.holders([one.inode for one in everybody], self.members())
        for listener in everybody:
            if held and family.holders([listener.inode], held):
                return listener.port
        return None

    def _ended(self) -> str:
        lines = self.child.last_lines(40).lower()
        code = self.child.returncode
        status = f"signal {-code}" if code is not None and code < 0 else f"exit status {code}"
        taken = ""
        if "address already in use" in lines or "eaddrinuse" in lines:
            taken = " (the port that it wants is taken: put {port} into the command)"
        return f"it ended with {status} before it answered{taken}{self._last_words()}"

    def _last_words(self) -> str:
        lines = [line.strip() for line in self.child.last_lines(3).splitlines() if line.strip()]
        return f"; its last words: {' | '.join(lines)}" if lines else ""


async def _speaks_tls(port: int) -> bool:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(_TLS_SECONDS):
            _, writer = await asyncio.open_connection(HOST, port, ssl=context)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


def inside_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What lets a Python or Node server answer paths of ours: see `scenarios/probe/inside`."""
    python = str(_INSIDE)
    if environment.get("PYTHONPATH"):
        python += os.pathsep + environment["PYTHONPATH"]
    hook = f'--require "{_INSIDE / "probe.cjs"}"'
    node = f"{environment['NODE_OPTIONS']} {hook}" if environment.get("NODE_OPTIONS") else hook
    return {"PYTHONPATH": python, "NODE_OPTIONS": node}


@asynccontextmanager
async def started(
    target: Target, ports: PortAllocator, log: Path, *, inside: bool = True
) -> AsyncIterator[Server]:
    """Start the server; when the block is left, nothing of it is there any more.

    Args:
        target: what is started.
        ports: where its port comes from.
        log: the file that its output goes to.
        inside: whether it shall answer paths of ours, if it can.

    Raises:
        DidNotStart: its command cannot be started.
    """
    # Each has an owner of its own, whose mark tells its processes from all others.
    async with Processes() as processes:
        port = ports.take() if target.port is None else target.port
        if any(listener.port == port for listener in family.listeners()):
            raise DidNotStart(f"port {port} is taken by somebody else")
        folder = log.with_suffix("")
        folder.mkdir(mode=0o700)
        values = {"python": sys.executable, "version": "probed", **target.values}
        values |= {"host": HOST, "port": str(port), "replica_dir": str(folder)}
        values |= {"replica_id": f"probe-{log.stem}"}
        env = {name: fill(value, values) for name, value in target.env.items()}
        env = {"HOST": HOST, "PORT": str(port), **env}
        if inside:
            env |= inside_environment({**os.environ, **env})
        try:
            child = await processes.start(
                [fill(_SHELL_VARIABLE.sub(r"${{\1}}", word), values) for word in target.command],
                name="the server",
                log=log,
                env=env,
                cwd=target.cwd,
                stop_signal=signal.Signals[target.stop_signal],
                signal_group=target.signal_group,
                keep_group=True,
            )
        except ProcessError as error:
            raise DidNotStart(str(error)) from error
        try:
            yield Server(target, child, port, processes.mark)
        finally:
            child.kill()
            while left := marked_processes(processes.mark):
                await asyncio.to_thread(end_processes, left)
