"""What the whole suite shares."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from hypothesis import settings

from orchestrator.postgres import EmbeddedServer
from scenarios.runner.environment import environment

# How long an example takes says more of the machine than of the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(scope="session")
def postgres_url(postgres_server: tuple[EmbeddedServer, str]) -> str:
    """The URL of a database on the session's Postgres."""
    return postgres_server[1]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[tuple[EmbeddedServer, str]]:
    """An embedded Postgres that lives as long as the session, and the URL of a database on it.

    It is held open by a thread with an event loop of its own, since tests have one loop each.
    """
    ready, done = threading.Event(), threading.Event()
    found: list[tuple[EmbeddedServer, str]] = []
    errors: list[BaseException] = []

    async def hold() -> None:
        async with environment() as place:
            server = await place.server()
            assert isinstance(server, EmbeddedServer)
            found.append((server, await server.create_database("tests")))
            ready.set()
            await asyncio.to_thread(done.wait)

    def work() -> None:
        try:
            asyncio.run(hold())
        except BaseException as error:  # noqa: BLE001 - told to whoever waits
            errors.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=work, name="postgres for the tests")
    thread.start()
    ready.wait()
    if found:
        yield found[0]
    done.set()
    thread.join()
    if errors:
        raise errors[0]
