"""A process that this run did not start, but has taken over after its run was killed."""

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path

from orchestrator.errors import ProcessError
from orchestrator.process_groups import ProcessExit, end_group, group_members, last_lines


class AdoptedProcess:
    """A process that another process started, taken over by this run; used like a `ChildProcess`.

    Only a parent can read an exit status, so this one is not known.
    """

    def __init__(self, pid: int, *, log: Path, stop_signal: signal.Signals) -> None:
        """Take over a process by its id.

        Raises:
            ProcessError: it has ended.
        """
        self.pid = pid
        self.log = log
        self.started_ns = 0
        self.returncode: int | None = None
        self._ended_ns = 0
        self._stop_signal = stop_signal
        try:
            self._descriptor = os.pidfd_open(pid)
        except OSError as error:
            raise ProcessError(f"process {pid} does not run: {error.strerror}") from error
        self._ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._descriptor, self._end)

    async def wait(self) -> int:
        """Wait until it has ended."""
        await self._ended.wait()
        return 0

    async def stop(self, grace: float) -> ProcessExit:
        """Send the stop signal; kill the process group when it still runs after `grace` seconds."""
        asked_ns = time.monotonic_ns()
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
                await self.wait()
        left = group_members(self.pid)
        await end_group(self.pid, left)
        return ProcessExit(
            code=None,
            killed=killed,
            asked_ns=asked_ns,
            ended_ns=self._ended_ns,
            group_ended_ns=time.monotonic_ns(),
            left_behind=len(left),
        )

    def last_lines(self, count: int = 5) -> str:
        """The end of its log, for error messages."""
        return last_lines(self.log, count)

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        self.returncode = 0
        self._ended_ns = time.monotonic_ns()
        self._ended.set()
