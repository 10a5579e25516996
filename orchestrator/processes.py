"""The processes of a run: all of them end with the run, however the run ends.

Each child gets a session of its own. So Ctrl-C in a terminal reaches only the run itself, which
then stops its children in order. When the run is killed (`kill -9`), its guardian process ends the
children instead: see `orchestrator.guardian`.
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
from typing import Self

from orchestrator import guardian
from orchestrator.errors import ProcessError
from orchestrator.process_groups import (
    ProcessExit,
    end_group,
    family_members,
    group_members,
    last_lines,
)


class ChildProcess:
    """One process in a session of its own.

    Attributes:
        name: its name in messages, such as `replica a-1`.
        pid: its process id, which is also the id of its process group.
        log: the file that gets its output.
        started_ns: when it was started.
        ended_ns: when it ended; 0 until then.
        group_ended_ns: when the last process of its group ended; 0 until then.
        left_behind: how many processes of its group still ran when it ended.
        keep_group: whether the processes that it leaves in its group outlive it.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        *,
        name: str,
        log: Path,
        stop_signal: signal.Signals,
        signal_group: bool,
        keep_group: bool,
        started_ns: int,
        family: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.pid = process.pid
        self.log = log
        self.started_ns = started_ns
        self.ended_ns = 0
        self.group_ended_ns = 0
        self.left_behind = 0
        self._process = process
        self._stop_signal = stop_signal
        self._signal_group = signal_group
        self._reaped = asyncio.Event()
        self.keep_group = keep_group
        self._family = family

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

    def signal_to(self, number: signal.Signals, *, group: bool) -> None:
        """Send a signal to the process alone, or to its group; fine if it has ended."""
        with contextlib.suppress(ProcessLookupError):
            if group:
                os.killpg(self.pid, number)
            elif self.returncode is None:
                self._process.send_signal(number)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, to the process group if `signal_group` is set; fine if it has ended."""
        self.signal_to(number, group=self._signal_group)

    async def stop(self, grace: float) -> ProcessExit:
        """Send the stop signal; kill the process group when it still runs after `grace` seconds."""
        asked_ns = time.monotonic_ns()
        killed = False
        if self.returncode is None:
            self.signal(self._stop_signal)
            try:
                async with asyncio.timeout(grace):
                    await self.wait()
            except TimeoutError:
                killed = True
                self.kill()
        code = await self.wait()
        await self._reaped.wait()
        return ProcessExit(
            code=code,
            killed=killed,
            asked_ns=asked_ns,
            ended_ns=self.ended_ns,
            group_ended_ns=self.group_ended_ns,
            left_behind=self.left_behind,
        )

    async def reap(self) -> None:
        """Wait for its end, then end the rest of its group: the only place that does so.

        A parent can leave a worker behind that still serves; the worker ends with its parent, as
        all processes of a container end with its first one.
        """
        await self.wait()
        self.ended_ns = time.monotonic_ns()
        self.close_stdin()
        left = {*group_members(self.pid), *self.family()}
        self.left_behind = len(left)
        await end_group(self.pid, left)
        self.group_ended_ns = time.monotonic_ns()

    def reaping_ended(self) -> None:
        """Let `stop` return: whoever reaps the process has done so, or was cancelled.

        Closing an event loop cancels all tasks at once. The guardian then ends what is left.
        """
        self._reaped.set()

    def family(self) -> list[int]:
        """The processes that it has started and that end with it; empty where only its group does.

        The process itself is one of them while it runs.
        """
        return [] if self._family is None else family_members(self._family)

    def close_stdin(self) -> None:
        """Close its standard input, if it was started with `dialogue=True`."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def kill(self) -> None:
        """Kill all processes of its group that still run."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def last_lines(self, count: int = 5) -> str:
        """The end of its log, for error messages."""
        return last_lines(self.log, count)


class Processes:
    """All child processes of a run; an async context manager that ends them all.

    There is one exception: with `keep=True` the children go on when this process is killed, and
    after `leave()` also when the block ends. Another process can then take them over by their mark.
    """

    def __init__(self, *, keep: bool = False, mark: str | None = None) -> None:
        self._mark = mark or uuid.uuid4().hex
        self._keep = keep
        self._left = False
        self._guardian: subprocess.Popen[str] | None = None
        self._children: dict[int, ChildProcess] = {}
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
        # Children that nobody stopped before are killed here; the reapers then see their ends.
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
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        signal_group: bool = False,
        keep_group: bool = False,
        dialogue: bool = False,
        family: str | None = None,
    ) -> ChildProcess:
        """Start a process.

        Args:
            command: the program and its arguments; no shell is involved.
            name: its name in messages.
            log: the file that its output is appended to.
            env: environment variables, in addition to this process's own; None takes one away.
            cwd: its working directory.
            stop_signal: the signal that asks it to stop.
            signal_group: whether its whole process group gets the stop signal.
            keep_group: whether the processes that it leaves in its group when it ends run on, until
                `kill` or the end of the block; else they are killed at once. `stop` is not for it.
            dialogue: whether `stdin` and `stdout` are pipes to this process; the log then gets only
                its standard error.
            family: a variable of `env`. All processes of this run with the same value end with this
                one, also those in groups of their own. Absent: only its group ends with it.

        Raises:
            ProcessError: the program cannot be started.
        """
        if self._guardian is None or self._reapers is None:
            raise RuntimeError("Processes is used outside of its async with block")
        given = {**os.environ, **(env or {}), guardian.MARK: self._mark}
        environment = {name: value for name, value in given.items() if value is not None}
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
                # A cancellation does not interrupt the fork: the new process is ended afterwards.
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
        child = ChildProcess(
            process,
            name=name,
            log=log,
            stop_signal=stop_signal,
            signal_group=signal_group,
            keep_group=keep_group,
            started_ns=started_ns,
            family=None
            if family is None
            else {guardian.MARK: self._mark, family: environment[family]},
        )
        self._tell_guardian(f"group {child.pid}")
        self._children[child.pid] = child
        reaper = self._reapers.create_task(self._reap(child), name=f"reap {name}")
        self._reaping.add(reaper)
        reaper.add_done_callback(self._reaping.discard)
        reaper.add_done_callback(lambda _: child.reaping_ended())
        return child

    def leave(self) -> None:
        """Let the children go on when the block ends.

        Raises:
            RuntimeError: the processes were made without `keep=True`.
        """
        if not self._keep:
            raise RuntimeError("only processes that are kept can be left")
        self._left = True

    @property
    def mark(self) -> str:
        """The mark of all processes of this run: see `orchestrator.guardian.MARK`."""
        return self._mark

    @asynccontextmanager
    async def directory(self, prefix: str) -> AsyncIterator[Path]:
        """A temporary directory that is removed at the end, also when this process is killed."""
        with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as name:
            self._tell_guardian(f"directory {name}")
            yield Path(name)
        self._tell_guardian(f"removed {name}")

    async def _reap(self, child: ChildProcess) -> None:
        if child.keep_group:
            # The group stays known here and to the guardian, and ends with the block.
            await child.wait()
            child.close_stdin()
            return
        await child.reap()
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
            with contextlib.suppress(BrokenPipeError):  # the guardian was killed
                self._guardian.communicate()
            self._guardian = None
