"""The application of one version, and its life from listening to the last answer."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from aiohttp import web

from newsletter_app.errors import NewsletterError, StoreError
from newsletter_app.http import BODY_LIMIT, SERVED_BY, STOPPING, observe, problem
from newsletter_app.schema import shortcomings
from newsletter_app.settings import Settings
from newsletter_app.store import STORE, open_store
from newsletter_app.telemetry import LOG
from newsletter_app.versions import Release

CONNECTIONS = 10
STOP_SECONDS = 30.0
"""How long a request that is under way at SIGTERM may take until it is cut."""

_BACKLOG = 1024


class ListenError(NewsletterError):
    """The address cannot be listened on; the message names it and the reason."""


def build_app(release: Release, settings: Settings) -> web.Application:
    """Put together the routes of a release, and what every release has.

    Nothing is connected to yet: `/health_check` answers also where there is no database.
    """

    async def store(app: web.Application) -> AsyncIterator[None]:
        name = f"newsletter_app {settings.replica_id}"
        async with open_store(settings.database_url, name=name, connections=CONNECTIONS) as opened:
            app[STORE] = opened
            yield

    async def ready(request: web.Request) -> web.Response:
        return await _ready(request, release)

    app = web.Application(middlewares=[observe], client_max_size=BODY_LIMIT)
    app[STOPPING] = asyncio.Event()
    if settings.served_by is not None:
        app[SERVED_BY] = settings.served_by
    app.on_shutdown.append(_stopping)
    app.cleanup_ctx.append(store)
    app.router.add_get("/health_check", _health_check)
    app.router.add_get("/ready", ready)
    release.configure(app, settings)
    return app


@asynccontextmanager
async def serving(
    release: Release, settings: Settings, *, host: str, port: int
) -> AsyncIterator[tuple[str, int]]:
    """Serve for the length of the block; gives the address that is listened on.

    At its end: no new connection is accepted, idle ones are closed, requests that are under way
    are answered, mails that are under way are delivered, and the pool is closed.

    Raises:
        ListenError: the address cannot be listened on.
    """
    with _bind(host, port) as bound:
        runner = web.AppRunner(
            build_app(release, settings), access_log=None, shutdown_timeout=STOP_SECONDS
        )
        await runner.setup()
        try:
            with _listen_errors(host, port):
                await web.SockSite(runner, bound, backlog=_BACKLOG).start()
            name, number, *_ = bound.getsockname()
            yield name, number
        finally:
            await runner.cleanup()


async def run(release: Release, settings: Settings, *, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        ListenError: the address cannot be listened on.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serving(release, settings, host=host, port=port) as address:
        LOG.info("listening", extra={"fields": {"address": ":".join(map(str, address))}})
        await stop.wait()
        LOG.info("stopping")
    LOG.info("stopped")


async def _stopping(app: web.Application) -> None:
    app[STOPPING].set()


def _bind(host: str, port: int) -> socket.socket:
    """Take the address, without listening yet: nobody may connect before we can answer."""
    with _listen_errors(host, port):
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except BaseException:
            bound.close()
            raise
        return bound


@contextmanager
def _listen_errors(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ListenError(f"cannot listen on {host}:{port}: {error.strerror}") from error


async def _health_check(_: web.Request) -> web.Response:
    return web.Response()


async def _ready(request: web.Request, release: Release) -> web.Response:
    try:
        found = await request.app[STORE].columns(release.needs.columns)
    except StoreError as error:
        return problem(503, title=error.title, sqlstate=error.sqlstate)
    if lacking := shortcomings(release.needs, found):
        return problem(503, title="The schema does not fit this version", lacking=lacking)
    return web.Response()
