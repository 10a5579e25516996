"""The control socket of a rollout: another process sends it commands through a unix socket.

Each message is one line of JSON. The command `{"do": "pause"}` gets the response
`{"ok": true, "message": "paused: ..."}`. The socket lies in a private directory, because whoever
can write to it can end a release.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from orchestrator.errors import OrchestratorError

_ANSWER_SECONDS = 10.0


class ControlSocketError(OrchestratorError):
    """No run answers at the socket, or its response could not be read."""


class ControlCommand(msgspec.Struct, frozen=True):
    """A command to a rollout.

    Attributes:
        do: the command's name, such as `pause`.
    """

    do: str


class CommandResponse(msgspec.Struct, frozen=True):
    """The response to a command.

    Attributes:
        ok: whether the command was carried out.
        message: what happened, or why it was refused; one line for people.
    """

    ok: bool
    message: str


@asynccontextmanager
async def serve_control_socket(path: Path, handle: Callable[[str], str]) -> AsyncIterator[None]:
    """Accept commands at a socket while the block runs.

    Args:
        path: where the socket is created.
        handle: carries out a command by its name and returns the message of the response. When it
            raises `OrchestratorError`, the command was refused.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async for line in reader:
                try:
                    command = msgspec.json.decode(line, type=ControlCommand)
                    response = CommandResponse(ok=True, message=handle(command.do))
                except (OrchestratorError, msgspec.DecodeError) as error:
                    response = CommandResponse(ok=False, message=str(error))
                writer.write(msgspec.json.encode(response) + b"\n")
                await writer.drain()
        except ConnectionError:
            pass  # the client has gone
        finally:
            writer.close()

    async with await asyncio.start_unix_server(serve, path):
        yield


async def send_command(path: Path, command: str) -> CommandResponse:
    """Send a command to the run that serves this socket, and return its response.

    Raises:
        ControlSocketError: no run answers there.
    """
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                writer.write(msgspec.json.encode(ControlCommand(do=command)) + b"\n")
                return msgspec.json.decode(await reader.readline(), type=CommandResponse)
            finally:
                writer.close()
    except (OSError, TimeoutError, msgspec.DecodeError) as error:
        raise ControlSocketError(
            f"the run does not answer ({str(error) or 'no answer in time'})"
        ) from error
