"""Remote generators as processes of this machine, reached over HTTP as a pod is."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from scenarios.runner.generators.remote_generator import (
    NotReachedError,
    RefusedError,
    RemoteGenerator,
)
from scenarios.traffic.remote.messages import TOKEN_HEADER, TOKEN_VARIABLE, token_digest

TOKEN = "a token"


class HttpReach:
    """The way to a generator on this machine."""

    def __init__(self, session: aiohttp.ClientSession, port: int, token: str = TOKEN) -> None:
        self._session = session
        self._base = f"http://127.0.0.1:{port}"
        self._headers = {TOKEN_HEADER: token}

    async def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        try:
            async with self._session.request(
                method, self._base + path, data=body, headers=self._headers
            ) as answer:
                content = await answer.read()
        except aiohttp.ClientError as error:
            raise NotReachedError(str(error)) from error
        if answer.status >= 400:
            raise RefusedError(content.decode())
        return content


@dataclass(frozen=True, slots=True)
class Remote:
    """A generator's process, and how it is reached."""

    process: asyncio.subprocess.Process
    folder: Path
    reach: HttpReach

    @property
    def children(self) -> list[int]:
        """The processes that it has started."""
        pid = self.process.pid
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    async def errors(self) -> str:
        """What it printed to its standard error, once it has ended."""
        assert self.process.stderr is not None
        return (await self.process.stderr.read()).decode()


@asynccontextmanager
async def remote(folder: Path, *flags: str, token: str = TOKEN) -> AsyncIterator[Remote]:
    """One generator."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "scenarios.traffic.remote"),
        *("--host", "127.0.0.1", "--port", "0", "--folder", str(folder), *flags),
        env={**os.environ, TOKEN_VARIABLE: token_digest(TOKEN)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        line = await process.stdout.readline()
        async with aiohttp.ClientSession() as session:
            yield Remote(process, folder, HttpReach(session, int(line.split()[-1]), token))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        for stream in (process.stdout, process.stderr):
            await stream.read()  # to the end, so that the transports of its pipes are closed


@asynccontextmanager
async def remotes(
    folder: Path, count: int, *flags: str
) -> AsyncIterator[tuple[list[Remote], list[RemoteGenerator]]]:
    """Several generators: their processes, and what the harness has of them."""
    folder.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        processes = [
            await stack.enter_async_context(remote(folder / f"at-{number}", *flags))
            for number in range(1, count + 1)
        ]
        yield (
            processes,
            [
                RemoteGenerator(number, f"pod-{number}", f"node-{number}", one.reach, folder)
                for number, one in enumerate(processes, start=1)
            ],
        )
