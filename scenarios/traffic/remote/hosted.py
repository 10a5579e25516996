"""One load generator as a child process: what it has said, and what it has recorded."""

import asyncio
import hashlib
import os
import subprocess
import sys
import time
import zlib
from collections import deque
from pathlib import Path

import msgspec

from scenarios.traffic.errors import PlanError, TrafficError
from scenarios.traffic.process.shards import LONGEST_LINE
from scenarios.traffic.remote.messages import Assignment, Ended, GeneratorReport
from scenarios.traffic.remote.plan_files import place_of, with_files

_READY_SECONDS = 60.0
_PIECE = 4 * 1024 * 1024
"""So many bytes of evidence go into one report; compressed they are about a tenth."""

_LEVEL = 1
_PLAN_IS_WRONG = 2


class HostedGenerator:
    """A load generator that is this process's child.

    Args:
        folder: where its evidence, its log and the files of its plan are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._evidence = folder / "sent.ndjson"
        self._log = folder / "generator.log"
        self._process: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None
        self._messages: deque[bytes] = deque()
        self._first = 0  # the number of the first message that is still kept
        self._ended: Ended | None = None

    async def begin(self, assignment: Assignment) -> None:
        """Start it, and wait until it is ready.

        Raises:
            PlanError: the plan cannot be followed, or there is a plan already.
            TrafficError: it did not start.
        """
        if self._process is not None:
            raise PlanError("this generator has its plan already")
        plan = msgspec.structs.replace(
            with_files(assignment.plan, lambda path: str(self._folder / place_of(path))),
            requests_path=str(self._evidence),
            mails_path="",
        )
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "scenarios.traffic"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                limit=LONGEST_LINE,
            )
        self.command(msgspec.json.encode(plan))
        try:
            async with asyncio.timeout(_READY_SECONDS):
                ready = await self._stdout.readline()
        except TimeoutError as error:
            raise TrafficError(f"it was not ready after {_READY_SECONDS:g} s") from error
        if not ready:
            code = await self._process.wait()
            kind = PlanError if code == _PLAN_IS_WRONG else TrafficError
            raise kind(self._last_words().removeprefix("traffic: "))
        self._listening = asyncio.create_task(self._listen(), name="messages of the generator")

    def command(self, line: bytes) -> None:
        """Write a line to its standard input.

        Raises:
            PlanError: there is no generator yet.
        """
        if self._process is None or self._process.stdin is None:
            raise PlanError("this generator has no plan yet")
        self._process.stdin.write(line.strip() + b"\n")

    async def report(self, message: int, byte: int) -> GeneratorReport:
        """What came after these messages and bytes, which are then forgotten.

        Args:
            message: how many messages have been received.
            byte: how many bytes of evidence have been received.
        """
        at_ns = time.monotonic_ns()
        while self._messages and self._first < message:
            self._messages.popleft()
            self._first += 1
        ended, messages = self._ended, tuple(self._messages)
        piece = await asyncio.to_thread(self._read, byte)
        return GeneratorReport(
            at_ns=at_ns,
            messages=messages,
            evidence=await asyncio.to_thread(zlib.compress, piece, _LEVEL) if piece else b"",
            size=len(piece),
            ended=ended,
        )

    async def end(self) -> None:
        """End it, whatever it is doing; a second call does nothing."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()  # the end of its input ends it
            await self._process.wait()
        if self._listening is not None:
            await self._listening

    @property
    def _stdout(self) -> asyncio.StreamReader:
        if self._process is None or self._process.stdout is None:
            raise RuntimeError("a generator without an output")
        return self._process.stdout

    async def _listen(self) -> None:
        async for line in self._stdout:
            self._messages.append(line)
        process = self._process
        if process is None:
            raise RuntimeError("a generator that was never started")
        code = await process.wait()
        size, digest = await asyncio.to_thread(_digest, self._evidence)
        self._ended = Ended(code=code, words=self._last_words(), size=size, sha256=digest)

    def _read(self, byte: int) -> bytes:
        try:
            with self._evidence.open("rb") as file:
                file.seek(byte)
                return file.read(_PIECE)
        except FileNotFoundError:
            return b""

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()
        return lines[-1] if lines else "it printed nothing"


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Write the files of a plan where `place_of` says."""
    for path, content in files.items():
        target = folder / place_of(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def boot_id() -> str:
    """The boot of this machine; empty where the kernel does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _digest(path: Path) -> tuple[int, str]:
    if not path.is_file():
        return 0, hashlib.sha256().hexdigest()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return os.fstat(file.fileno()).st_size, digest
