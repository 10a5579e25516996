"""The processes of a run: all of them end when it does, however it ends.

Each child gets a session of its own, so that Ctrl-C in a terminal reaches only the run itself,
which then stops its children in order. A run that cannot do that any more (`kill -9`) is
survived by its guardian, which does it instead: see `orchestrator.guardian`.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from orchestrator import guardian
from orchestrator.errors import EnvironmentFailure


class ProcessError(EnvironmentFailure):
    """A process could not be started; the message names the command and the reason."""


class Exit(NamedTuple):
    """How a child ended when it was told to stop.

    Attributes:
        code: its exit status; negative when a signal ended it.
        seconds: how long it took from the signal until it was gone.
        killed: whether it outlasted its grace period and had to be killed.
    """

    code: int
    seconds: float
    killed: bool


class Child:
    """One process in a session of its own.

    Attributes:
        name: what the run calls it, such as `replica a-1`.
        pid: its process id, which is also its process group's.
        log: where its output goes.
        started_ns: when it was started.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        *,
        name: str,
        log: Path,
        stop_signal: signal.Signals,
        signal_group: bool,
        started_ns: int,
    ) -> None:
        self.name = name
        self.pid = process.pid
        self.log = log
        self.started_ns = started_ns
        self._process = process
        self._stop_signal = stop_signal
        self._signal_group = signal_group

    @property
    def returncode(self) -> int | None:
        """The exit status, or None while the process runs."""
        return self._process.returncode

    @property
    def stdin(self) -> asyncio.StreamWriter:
        """Its standard input, when it was started with `dialogue=True`."""
        if self._process.stdin is None:
            raise ValueError(f"{self.name} was started without a dialogue")
        return self._process.stdin

    @property
    def stdout(self) -> asyncio.StreamReader:
        """Its standard output, when it was started with `dialogue=True`."""
        if self._process.stdout is None:
            raise ValueError(f"{self.name} was started without a dialogue")
        return self._process.stdout

    async def wait(self) -> int:
        """Wait until it has ended; returns its exit status."""
        return await self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, to the whole group if it was started so; nothing if it has ended."""
        with contextlib.suppress(ProcessLookupError):
            if self._signal_group:
                os.killpg(self.pid, number)
            elif self.returncode is None:
                self._process.send_signal(number)

    async def stop(self, grace: float) -> Exit:
        """Ask it to stop, and kill its whole group if it has not after `grace` seconds."""
        asked = time.monotonic()
        killed = False
        if self.returncode is None:
            self.signal(self._stop_signal)
            try:
                async with asyncio.timeout(grace):
                    await self.wait()
            except TimeoutError:
                killed = True
        # Also after an orderly end: a parent may leave a worker behind that still serves.
        self.kill()
        code = await self.wait()
        return Exit(code, time.monotonic() - asked, killed)

    def hang_up(self) -> None:
        """Close its standard input, if that is a pipe to us."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def kill(self) -> None:
        """Kill every process of its group that is left."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def last_lines(self, count: int = 5) -> str:
        """The end of its log, for error messages."""
        return last_lines(self.log, count)


class Adopted:
    """A process that somebody else started, and that is ours now; used like a `Child`.

    Its exit status is nobody's any more, and is given as 0.
    """

    def __init__(self, pid: int, *, log: Path, stop_signal: signal.Signals) -> None:
        """Take it on.

        Raises:
            ProcessError: it has ended.
        """
        self.pid = pid
        self.log = log
        self.started_ns = 0
        self.returncode: int | None = None
        self._stop_signal = stop_signal
        try:
            self._descriptor = os.pidfd_open(pid)
        except OSError as error:
            raise ProcessError(f"process {pid} is not there: {error.strerror}") from error
        self._ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._descriptor, self._end)

    async def wait(self) -> int:
        """Wait until it has ended."""
        await self._ended.wait()
        return 0

    async def stop(self, grace: float) -> Exit:
        """Ask it to stop, and kill its whole group if it has not after `grace` seconds."""
        asked = time.monotonic()
        killed = False
        if self.returncode is None:
            signal.pidfd_send_signal(self._descriptor, self._stop_signal)
            try:
                async with asyncio.timeout(grace):
                    await self.wait()
            except TimeoutError:
                killed = True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        return Exit(await self.wait(), time.monotonic() - asked, killed)

    def last_lines(self, count: int = 5) -> str:
        """The end of its log, for error messages."""
        return last_lines(self.log, count)

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        self.returncode = 0
        self._ended.set()


def last_lines(log: Path, count: int) -> str:
    """The end of a log, for error messages."""
    try:
        text = log.read_text(errors="replace")
    except OSError as error:
        return f"(no log: {error.strerror})"
    return "\n".join(text.splitlines()[-count:])


class Processes:
    """All children of a run; an async context manager that leaves none of them behind.

    Unless it is told to: with `keep`, they go on when this process is killed, and after `leave`
    also when the block is left, for somebody who takes them on by their mark.
    """

    def __init__(self, *, keep: bool = False, mark: str | None = None) -> None:
        self._mark = mark or uuid.uuid4().hex
        self._keep = keep
        self._left = False
        self._guardian: subprocess.Popen[str] | None = None
        self._children: dict[int, Child] = {}
        self._reapers: asyncio.TaskGroup | None = None
        self._reaping: set[asyncio.Task[None]] = set()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._guardian = subprocess.Popen(  # noqa: ASYNC220 - a fork, not a wait
            [sys.executable, "-S", "-E", guardian.__file__, self._mark],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        self._stack.callback(self._dismiss_guardian)
        if self._keep:
            self._tell_guardian("keep")
        self._reapers = await self._stack.enter_async_context(asyncio.TaskGroup())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # What its starter did not stop in order is ended here; the reapers then see the ends.
        for child in self._children.values():
            if not self._left:
                child.kill()
        for reaper in self._reaping if self._left else ():
            reaper.cancel()
        await self._stack.__aexit__(None, None, None)

    async def start(
        self,
        command: Sequence[str],
        *,
        name: str,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        signal_group: bool = False,
        dialogue: bool = False,
    ) -> Child:
        """Start a process.

        Args:
            command: the program and its arguments; no shell is involved.
            name: what messages call it.
            log: the file that its output is appended to.
            env: variables on top of this process's own environment.
            cwd: its working directory.
            stop_signal: what asks it to stop.
            signal_group: whether that goes to its whole process group.
            dialogue: whether `stdin` and `stdout` are pipes to us; only stderr is logged then.

        Raises:
            ProcessError: the program cannot be started.
        """
        if self._guardian is None or self._reapers is None:
            raise RuntimeError("Processes is used outside of its async with block")
        environment = {**os.environ, **(env or {}), guardian.MARK: self._mark}
        started_ns = time.monotonic_ns()
        pipe = asyncio.subprocess.PIPE if dialogue else None
        with log.open("ab") as output:
            forking = asyncio.ensure_future(
                asyncio.create_subprocess_exec(
                    *command,
                    stdin=pipe or asyncio.subprocess.DEVNULL,
                    stdout=pipe or output,
                    stderr=output,
                    env=environment,
                    cwd=cwd,
                    start_new_session=True,
                )
            )
            try:
                # A fork is not left halfway: whoever is cancelled meanwhile ends what it made.
                process = await asyncio.shield(forking)
            except asyncio.CancelledError:
                await asyncio.wait([forking])
                if not forking.cancelled() and forking.exception() is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(forking.result().pid, signal.SIGKILL)
                    await forking.result().wait()
                raise
            except OSError as error:
                raise ProcessError(f"{name} cannot be started: {command[0]}: {error}") from error
        child = Child(
            process,
            name=name,
            log=log,
            stop_signal=stop_signal,
            signal_group=signal_group,
            started_ns=started_ns,
        )
        self._tell_guardian(f"group {child.pid}")
        self._children[child.pid] = child
        reaper = self._reapers.create_task(self._reap(child), name=f"reap {name}")
        self._reaping.add(reaper)
        reaper.add_done_callback(self._reaping.discard)
        return child

    def leave(self) -> None:
        """Let the children go on when the block is left."""
        if not self._keep:
            raise RuntimeError("only processes that are kept can be left")
        self._left = True

    @property
    def mark(self) -> str:
        """What marks every process of this run: see `orchestrator.guardian.MARK`."""
        return self._mark

    @property
    def guardian_pid(self) -> int:
        """The process id of the guardian; when it ends, nothing of the run is left."""
        if self._guardian is None:
            raise RuntimeError("Processes is used outside of its async with block")
        return self._guardian.pid

    @asynccontextmanager
    async def directory(self, prefix: str) -> AsyncIterator[Path]:
        """A temporary directory that is removed at the end, also when this process is killed."""
        with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as name:
            self._tell_guardian(f"directory {name}")
            yield Path(name)
        self._tell_guardian(f"removed {name}")

    async def _reap(self, child: Child) -> None:
        await child.wait()
        child.hang_up()
        child.kill()  # whatever the leader left in its group
        del self._children[child.pid]
        self._tell_guardian(f"ended {child.pid}")

    def _tell_guardian(self, line: str) -> None:
        if self._guardian is None or self._guardian.stdin is None:
            raise RuntimeError("Processes is used outside of its async with block")
        try:
            self._guardian.stdin.write(line + "\n")
            self._guardian.stdin.flush()
        except BrokenPipeError:
            raise ProcessError("the guardian process of this run was killed") from None

    def _dismiss_guardian(self) -> None:
        if self._guardian is not None:
            with contextlib.suppress(BrokenPipeError):  # it was killed: nobody is left to tell
                self._guardian.communicate()
            self._guardian = None
