"""The socket of a run under way, where `hitless ctl` gives its commands."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from orchestrator.control_socket import serve_control_socket
from scenarios.evidence.control_file import ControlFile
from scenarios.runner.operator_commands import OperatorCommands


@asynccontextmanager
async def operator_socket(
    operator: OperatorCommands, private: Path, file: Path
) -> AsyncIterator[None]:
    """Serve the socket during the block, and write its path to the run's folder.

    Args:
        operator: carries the commands out.
        private: the private folder where the socket is made.
        file: what tells `hitless ctl` where it is.
    """
    socket = private / "control.sock"
    async with serve_control_socket(socket, operator.execute):
        file.write_bytes(msgspec.json.encode(ControlFile(socket=str(socket), pid=os.getpid())))
        try:
            yield
        finally:
            file.unlink(missing_ok=True)
