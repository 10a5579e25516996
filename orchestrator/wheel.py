"""The wheel of a rollout: a unix socket through which another process steers it.

One JSON document a line: `{"do": "pause"}` gets `{"ok": true, "said": "paused: ..."}`. The socket
lies in a private directory, since whoever can write to it can end a release.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from orchestrator.errors import OrchestratorError

_ANSWER_SECONDS = 10.0


class WheelError(OrchestratorError):
    """Nobody holds the wheel there, or it could not be understood."""


class Wish(msgspec.Struct, frozen=True):
    """What is asked for."""

    do: str


class Said(msgspec.Struct, frozen=True):
    """What came of it.

    Attributes:
        ok: whether it is done.
        said: for people, one line.
    """

    ok: bool
    said: str


@asynccontextmanager
async def wheel(path: Path, hear: Callable[[str], str]) -> AsyncIterator[None]:
    """Serve a wheel while the block runs.

    Args:
        path: the socket.
        hear: does what is wished for and returns what came of it; `OrchestratorError` is a refusal.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async for line in reader:
                try:
                    answer = Said(ok=True, said=hear(msgspec.json.decode(line, type=Wish).do))
                except (OrchestratorError, msgspec.DecodeError) as error:
                    answer = Said(ok=False, said=str(error))
                writer.write(msgspec.json.encode(answer) + b"\n")
                await writer.drain()
        except ConnectionError:
            pass  # whoever asked has gone
        finally:
            writer.close()

    async with await asyncio.start_unix_server(serve, path):
        yield


async def ask_wheel(path: Path, wish: str) -> Said:
    """Wish for something.

    Raises:
        WheelError: nobody answers there.
    """
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                writer.write(msgspec.json.encode(Wish(do=wish)) + b"\n")
                return msgspec.json.decode(await reader.readline(), type=Said)
            finally:
                writer.close()
    except (OSError, TimeoutError, msgspec.DecodeError) as error:
        raise WheelError(
            f"the run does not answer ({str(error) or 'no answer in time'})"
        ) from error
