"""A Postgres server that the pods of a cluster reach."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from orchestrator.postgres import EmbeddedServer
from orchestrator.processes import Processes

_START_SECONDS = 90.0


class Server(NamedTuple):
    """Where it is.

    Attributes:
        url: of a database; its user may create others.
        log: its log.
    """

    url: str
    log: Path


@contextmanager
def postgres_on(host: str, folder: Path) -> Iterator[Server]:
    """A server that listens on all addresses, for the length of the block.

    Args:
        host: the address of this machine that pods reach.
        folder: for its logs.
    """
    hba = folder / "pg_hba.conf"
    hba.write_text("host all all 0.0.0.0/0 scram-sha-256\n")
    settings = {"listen_addresses": "*", "hba_file": str(hba)}
    started: list[Server] = []
    ready, loop, stop = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        async with (
            Processes() as processes,
            EmbeddedServer(processes, log_directory=folder, settings=settings) as server,
        ):
            url = await server.create_database("shops")
            started.append(Server(url.replace("127.0.0.1", host), server.log))
            ready.set()
            await stop.wait()

    def work() -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(serve())
        finally:
            ready.set()
            loop.close()

    thread = threading.Thread(target=work, name="postgres")
    thread.start()
    try:
        assert ready.wait(_START_SECONDS)
        assert started, "Postgres did not start"
        yield started[0]
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)
        thread.join()
