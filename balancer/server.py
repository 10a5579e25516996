"""The whole balancer: opens, serves, and stops without dropping anything."""

import asyncio
import json
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager

from aiohttp import web

from balancer import sockets
from balancer.access_log import AccessLog
from balancer.admin import build_app
from balancer.config import Config
from balancer.control import Control
from balancer.events import EventLog
from balancer.proxy.downstream import Downstream
from balancer.proxy.plane import Plane

_log = logging.getLogger("balancer")


class Stop:
    """Asked once, the balancer stops gracefully; asked again, now."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.in_a_hurry: Callable[[], None] = self.asked.set

    def ask(self) -> None:
        """Ask for the end."""
        if self.asked.is_set():
            self.in_a_hurry()
        else:
            self.asked.set()

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Let SIGTERM and SIGINT ask."""
        loop = asyncio.get_running_loop()
        both = (signal.SIGTERM, signal.SIGINT)
        for number in both:
            loop.add_signal_handler(number, self.ask)
        try:
            yield
        finally:
            for number in both:
                loop.remove_signal_handler(number)


async def serve(config: Config, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, then stop gracefully.

    Args:
        config: what to do.
        announce: told, once it listens, the line that says where.

    Raises:
        StartError: an address is in use, a file cannot be opened, or too few files may be open.
    """
    stop = Stop()
    config = sockets.fit_to_file_limit(config)
    with ExitStack() as files:
        listeners = [files.enter_context(sockets.listening(place)) for place in config.listen]
        admin = None
        if config.admin is not None:
            admin = files.enter_context(sockets.listening(config.admin))
        log = None
        if config.access_log is not None:
            log = files.enter_context(AccessLog(config.access_log))
        files.enter_context(stop.on_signals())
        await _run(config, listeners, admin, log=log, stop=stop, announce=announce)


async def _run(
    config: Config,
    listeners: list[socket.socket],
    admin: socket.socket | None,
    *,
    log: AccessLog | None,
    stop: Stop,
    announce: Callable[[str], None],
) -> None:
    events = EventLog()
    async with asyncio.TaskGroup() as tasks, AsyncExitStack() as stack:
        control = Control(config, tasks, events)
        plane = Plane(config, control.pool, tasks=tasks, log=log, refused=control.refused)
        control.plane = plane
        stack.callback(control.stop_probes)
        stack.callback(tasks.create_task(control.watch_outliers()).cancel)
        plane.wheel.start()
        stack.callback(plane.wheel.stop)
        if admin is not None:
            await stack.enter_async_context(_admin_api(control, config, admin))
        stack.callback(events.close)
        for one in config.backends:
            control.put(one.id, address=str(one.address), version=one.version, weight=one.weight)
        loop = asyncio.get_running_loop()
        servers = [
            await loop.create_server(lambda: Downstream(plane), sock=one, backlog=sockets.BACKLOG)
            for one in listeners
        ]
        stack.callback(plane.abort_clients)
        announce(_announcement(config, listeners, admin))
        await stop.asked.wait()
        events.publish("stopping")
        for server in servers:
            server.close()
        await _leave(plane, config, stop)


async def _leave(plane: Plane, config: Config, stop: Stop) -> None:
    """Let exchanges end, each with `Connection: close`, and idle connections go after a while."""
    plane.stopping = True
    if not plane.clients:
        return
    stop.in_a_hurry = plane.empty.set
    timer = asyncio.get_running_loop().call_later(
        config.timeouts.stop_idle, plane.close_idle_clients
    )
    try:
        async with asyncio.timeout(config.timeouts.stop):
            await plane.empty.wait()
    except TimeoutError:
        pass
    finally:
        timer.cancel()
    if plane.in_flight:
        _log.warning("stopped with %d exchanges under way", plane.in_flight)


@asynccontextmanager
async def _admin_api(control: Control, config: Config, sock: socket.socket) -> AsyncIterator[None]:
    runner = web.AppRunner(build_app(control, config), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.SockSite(runner, sock, backlog=sockets.BACKLOG).start()
        yield
    finally:
        await runner.cleanup()


def _announcement(
    config: Config, listeners: list[socket.socket], admin: socket.socket | None
) -> str:
    places = [sockets.name(one) for one in listeners]
    facts: dict[str, object] = {"event": "listening", "listen": places[0]}
    if admin is not None and config.admin is not None:
        facts["admin"] = str(config.admin) if config.admin.path else sockets.name(admin)
    if len(places) > 1:
        facts["listeners"] = places
    return json.dumps(facts, separators=(",", ":"))
