"""Hooks: commands that run before or after a verb and get the rollout's state as variables."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.errors import ProcessError, RolloutFailed
from orchestrator.processes import Processes

_STOP_SECONDS = 2.0
_LAST_LINES = 3


class CommandHooks:
    """Runs hooks as local processes; exit status 0 means success."""

    def __init__(self, processes: Processes, *, log: Path, cwd: Path | None = None) -> None:
        """Make the runner; nothing is started yet.

        Args:
            processes: owns the hooks' processes.
            log: the file that their output is appended to.
            cwd: where they run.
        """
        self._processes = processes
        self._log = log
        self._cwd = cwd

    async def run(
        self,
        name: str,
        command: Sequence[str],
        state: Mapping[str, str],
        timeout: float,  # noqa: ASYNC109 - a limit on the hook
    ) -> None:
        """Run a hook and wait for its end.

        Raises:
            RolloutFailed: it cannot be started, it fails, or it takes too long.
        """
        begins = self._log.stat().st_size if self._log.is_file() else 0
        try:
            child = await self._processes.start(
                command, name=f"hook {name}", log=self._log, env=state, cwd=self._cwd
            )
        except ProcessError as error:
            raise RolloutFailed(str(error)) from error
        try:
            async with asyncio.timeout(timeout):
                status = await child.wait()
        except TimeoutError:
            raise RolloutFailed(f"hook {name} did not end within {timeout:g} s") from None
        finally:
            await child.stop(_STOP_SECONDS)
        if status:
            said = self._log.read_bytes()[begins:].decode(errors="replace").splitlines()
            last = " | ".join(said[-_LAST_LINES:]) or "(no output)"
            raise RolloutFailed(f"hook {name} ended with status {status}: {last}")
