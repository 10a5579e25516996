"""A shared process of a run, such as a broker: all versions use it, and no release replaces it."""

import asyncio
import signal
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator.errors import EnvironmentFailure
from orchestrator.http_probe import probe
from orchestrator.placeholders import PlaceholderError, fill
from orchestrator.platforms.local import REPLICA, accepts, logged
from orchestrator.processes import ChildProcess, Processes
from scenarios.scenario.process_spec import ProcessSpec

HOST = "127.0.0.1"
_PAUSE_SECONDS = 0.05
_PROBE_SECONDS = 1.0


class SharedProcess:
    """One shared process on a port and in a folder of its own; an async context manager.

    Attributes:
        host: where it listens.
        port: the same, also after a restart.
    """

    def __init__(
        self,
        spec: ProcessSpec,
        processes: Processes,
        *,
        port: int,
        log: Path,
        folder: Path,
        values: Mapping[str, str],
        env: Mapping[str, str],
        cwd: Path,
        start_seconds: float,
    ) -> None:
        """Describe it.

        Args:
            spec: what the scenario says of it.
            processes: owns the process.
            port: where it listens; nobody else is given it.
            log: gets its output.
            folder: its own, `{replica_dir}`.
            values: further placeholders.
            env: environment variables, with placeholders.
            cwd: its working directory.
            start_seconds: how long it may take until it is ready.
        """
        self.host = HOST
        self.port = port
        self._spec = spec
        self._processes = processes
        self._log = log
        self._folder = folder
        self._values = values
        self._env = env
        self._cwd = cwd
        self._start_seconds = start_seconds
        self._child: ChildProcess | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start it, and wait until it is ready.

        Raises:
            EnvironmentFailure: it does not become ready.
        """
        spec, name = self._spec, self._spec.name
        values = {
            **self._values,
            "host": self.host,
            "port": str(self.port),
            "replica_id": name,
            "replica_dir": str(self._folder),
        }
        try:
            child = await self._processes.start(
                [fill(word, values) for word in spec.command],
                name=f"process {name}",
                log=self._log,
                env={
                    **{key: fill(value, values) for key, value in self._env.items()},
                    REPLICA: name,
                },
                cwd=self._cwd,
                stop_signal=signal.Signals[spec.stop_signal],
                signal_group=spec.stop_to == "group",
                family=REPLICA,
            )
        except PlaceholderError as error:
            raise EnvironmentFailure(f"process {name}: {error}") from error
        self._child = child
        ready = asyncio.ensure_future(self._ready())
        ended = asyncio.ensure_future(child.wait())
        try:
            await asyncio.wait(
                (ready, ended),
                timeout=self._start_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            ready.cancel()
            ended.cancel()
        if ready.done() and not ready.cancelled() and not ended.done():
            ready.result()
            return
        child.kill()
        if ended.done():
            why = f"exited with status {ended.result()} before it was ready"
        else:
            why = f"was not ready within {self._start_seconds:g} s: {self._wanted()}"
        raise EnvironmentFailure(f"process {name} {why}; its log ends: {_joined(child)}")

    async def stop(self) -> None:
        """Stop it, and kill it after its grace period; fine if it has ended."""
        if self._child is not None:
            await self._child.stop(self._spec.termination_grace_seconds)

    @property
    def pid(self) -> int:
        """Its process id; 0 before its start."""
        return 0 if self._child is None else self._child.pid

    async def _ready(self) -> None:
        spec = self._spec
        if spec.listens or spec.readiness_path is not None:
            while not await accepts(self.host, self.port):  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(_PAUSE_SECONDS)
        if spec.ready_log is not None:
            await logged(self._log, spec.ready_log)
        if spec.readiness_path is not None:
            await self._answers(spec.readiness_path)

    async def _answers(self, path: str) -> None:
        while True:
            answer = await probe(self.host, self.port, path, _PROBE_SECONDS)
            if answer.good:
                return
            await asyncio.sleep(_PAUSE_SECONDS)

    def _wanted(self) -> str:
        """What it takes to be ready, as far as it was not seen."""
        spec = self._spec
        if spec.ready_log is not None:
            return f"no line of its log matches {spec.ready_log!r}"
        if spec.readiness_path is not None:
            return f"it does not answer GET {spec.readiness_path} with a 2xx"
        return f"it does not listen on {self.host}:{self.port}"


def _joined(child: ChildProcess) -> str:
    return " | ".join(child.last_lines().splitlines()) or "(nothing)"
