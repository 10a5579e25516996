"""Runs a command that prints one JSON object a line, such as what a queue still has."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from orchestrator.errors import EnvironmentFailure
from orchestrator.processes import Processes

T = TypeVar("T", bound=msgspec.Struct)

_SHOWN = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class NdjsonCommand:
    """A command of the application, ready to run.

    Attributes:
        key: the key of the scenario that has it, such as `jobs.store`, for messages.
        processes: owns its process.
        command: the program and its arguments, with all placeholders filled in.
        env: environment variables, in addition to this process's own.
        cwd: its working directory.
        log: gets its standard error.
        timeout_seconds: how long it may take.
    """

    key: str
    processes: Processes
    command: Sequence[str]
    env: Mapping[str, str]
    cwd: Path | None
    log: Path
    timeout_seconds: float

    async def succeeds(self) -> bool:
        """Run it, and return whether it exited with status 0.

        Raises:
            EnvironmentFailure: it cannot be started, or took too long.
        """
        _, status, _ = await self._run()
        return status == 0

    async def lines(self, kind: type[T], example: str) -> list[T]:
        """Run it, and return what it printed.

        Args:
            kind: what each line is.
            example: a line as it should be, for messages.

        Raises:
            EnvironmentFailure: it cannot be started, took too long, exited with another status than
                0, or printed a line that is none; one line says which.
        """
        printed, status, last = await self._run()
        if status:
            said = f": {last}" if last else ", and said nothing"
            raise EnvironmentFailure(f"{self.key}: {self._name} exited with status {status}{said}")
        return self._parsed(printed, kind, example)

    async def _run(self) -> tuple[bytes, int, str]:
        """What it printed, its exit status, and the last line of its standard error."""
        child = await self.processes.start(
            self.command,
            name=self.key,
            log=self.log,
            env=self.env,
            cwd=self.cwd,
            dialogue=True,
        )
        child.close_stdin()
        try:
            async with asyncio.timeout(self.timeout_seconds):
                printed = await child.stdout.read()
                status = await child.wait()
        except TimeoutError:
            child.kill()
            raise EnvironmentFailure(
                f"{self.key}: {self._name} did not end within {self.timeout_seconds:g} s"
            ) from None
        return printed, status, child.last_lines(1)

    def _parsed(self, printed: bytes, kind: type[T], example: str) -> list[T]:
        found = []
        for number, line in enumerate(printed.splitlines(), start=1):
            if not line.strip():
                continue
            try:
                found.append(msgspec.json.decode(line, type=kind, strict=False))
            except msgspec.DecodeError as error:
                text = line[:_SHOWN].decode("utf-8", "replace")
                raise EnvironmentFailure(
                    f"{self.key}: line {number} of the output of {self._name} is {text!r}: "
                    f"{error}; expected one JSON object a line, such as {example}"
                ) from error
        return found

    @property
    def _name(self) -> str:
        return " ".join(self.command)
