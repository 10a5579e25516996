"""Starts programs, waits until they serve, and ends them."""

import contextlib
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

_PATIENCE_SECONDS = 180.0
_LOOK_SECONDS = 0.1
_LAST_LINES = 15


class CannotStartError(Exception):
    """A part of the cluster did not start; the message has the last lines of its log."""


def do(*command: str | Path) -> str:
    """Run a command to its end, and return what it printed.

    Raises:
        CannotStartError: it failed.
    """
    done = subprocess.run(
        command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode != 0:
        raise CannotStartError(f"{' '.join(map(str, command))}: {done.stdout.strip()}")
    return done.stdout


class Daemon:
    """One program that runs until it is stopped."""

    def __init__(self, name: str, command: Sequence[str | Path], logs: Path) -> None:
        """Start it.

        Args:
            name: what it is called in messages; also the name of its log.
            command: the program and its arguments.
            logs: the folder of its log.
        """
        self.name = name
        self.log = logs / f"{name}.log"
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for pytest, which still needs the cluster
            )

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Wait until it serves.

        Raises:
            CannotStartError: it ended, or does not serve within three minutes.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise CannotStartError(f"{self.name} does not serve:\n{self.tail()}")
            time.sleep(_LOOK_SECONDS)

    def tail(self) -> str:
        """The last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-_LAST_LINES:])

    def stop(self) -> None:
        """End it, and wait for its end."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
