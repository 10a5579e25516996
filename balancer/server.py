"""The balancer as a whole: it opens its sockets, serves, and stops without dropping a request."""

import asyncio
import json
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial

from aiohttp import web

from balancer import handover, sockets
from balancer.access_log import AccessLog
from balancer.addresses import Address
from balancer.admin import build_app
from balancer.config import Config
from balancer.containment import contained
from balancer.control_plane import ControlPlane
from balancer.events import EventLog
from balancer.proxy.data_plane import DataPlane
from balancer.proxy.downstream import DownstreamConnection
from balancer.sockets import Listener

_log = logging.getLogger("balancer")


class Stop:
    """The wish to stop: the first one stops the balancer gracefully, the second one at once."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.in_a_hurry: Callable[[], None] = self.asked.set

    def ask(self) -> None:
        """Ask the balancer to stop."""
        if self.asked.is_set():
            self.in_a_hurry()
        else:
            self.asked.set()

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Let SIGTERM and SIGINT ask for the stop."""
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
    """Serve until SIGTERM or SIGINT, or until a successor has taken over; then stop gracefully.

    Args:
        config: what to do.
        announce: told, once it listens, the line that says where.

    Raises:
        StartError: an address is in use, a file cannot be opened, or too few files may be open.
    """
    stop = Stop()
    config = sockets.fit_to_file_limit(config)
    takeover = None
    if config.handover is not None:
        takeover = await handover.take_over(config.handover)
    with ExitStack() as files:
        inherited = {} if takeover is None else takeover.sockets
        if takeover is not None:
            files.callback(takeover.close_unused)
        files.enter_context(stop.on_signals())

        def listen(place: Address) -> Listener:
            return files.enter_context(sockets.listening(place, inherited))

        listeners = [listen(place) for place in config.listen]
        admin = None if config.admin is None else listen(config.admin)
        waiting = None if config.handover is None else listen(Address(path=config.handover))
        log = None
        if config.access_log is not None:
            log = files.enter_context(AccessLog(config.access_log))
        sequence = 0 if takeover is None else takeover.sequence
        async with assembled(config, log=log, sequence=sequence) as balancer:
            balancer.control.own_addresses = [one.address for one in listeners]
            if takeover is None:
                balancer.attach_configured()
            else:
                takeover.apply(balancer.control)
            await _serve(balancer, _Listeners(listeners, admin, waiting), takeover, stop, announce)


@dataclass(frozen=True, slots=True)
class _Listeners:
    """The listening sockets."""

    clients: Sequence[Listener]
    admin: Listener | None
    handover: Listener | None

    @property
    def all(self) -> list[Listener]:
        others = [one for one in (self.admin, self.handover) if one is not None]
        return [*self.clients, *others]


async def _serve(
    balancer: "Balancer",
    listeners: _Listeners,
    takeover: handover.Takeover | None,
    stop: Stop,
    announce: Callable[[str], None],
) -> None:
    passing = handover.Handover(balancer.control, listeners.all, done=stop.asked.set)
    async with AsyncExitStack() as stack:
        close_admin = None
        if listeners.admin is not None:
            close_admin = await stack.enter_async_context(_admin_api(balancer, listeners.admin))
        servers = [await balancer.open(one) for one in listeners.clients]
        if takeover is not None:
            balancer.background(
                "following the predecessor", partial(takeover.follow, balancer.control)
            )
        if listeners.handover is not None:
            balancer.background("the handover", partial(passing.wait, listeners.handover))
        announce(_announcement(listeners))
        await stop.asked.wait()
        for server in servers:
            server.close()
        if passing.is_done and close_admin is not None:
            await close_admin()
        events = balancer.control.events
        events.publish("handed_over" if passing.is_done else "stopping")
        if passing.is_done:
            events.close()
        async with passing.following(balancer.tasks):
            await _finish_exchanges(balancer, stop, patient=passing.is_done)
        events.close()


class Balancer:
    """A data plane and a control plane that run; see `assembled`.

    Attributes:
        config: what the operator said.
        control: the verbs.
        data_plane: the data plane.
        tasks: owns everything that runs beside.
    """

    def __init__(
        self, config: Config, control: ControlPlane, plane: DataPlane, tasks: asyncio.TaskGroup
    ) -> None:
        self.config = config
        self.control = control
        self.data_plane = plane
        self.tasks = tasks
        self._background: list[asyncio.Task[None]] = []

    def attach_configured(self) -> None:
        """Attach the backends of the command line."""
        for one in self.config.backends:
            self.control.put(
                one.id, address=str(one.address), version=one.version, weight=one.weight
            )

    def background(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run something until the balancer ends."""
        self._background.append(self.tasks.create_task(contained(what, work)))

    async def open(self, listener: Listener) -> asyncio.Server:
        """Accept clients on this socket."""
        return await asyncio.get_running_loop().create_server(
            lambda: DownstreamConnection(self.data_plane),
            sock=listener.sock,
            backlog=sockets.BACKLOG,
        )

    def close(self) -> None:
        """End everything at once."""
        self.control.events.close()
        self.data_plane.wheel.stop()
        self.data_plane.cut_off_clients()
        self.data_plane.connection_pool.close_all()
        self.control.stop_probes()
        for task in self._background:
            task.cancel()


@asynccontextmanager
async def assembled(
    config: Config, *, log: AccessLog | None = None, sequence: int = 0
) -> AsyncIterator[Balancer]:
    """Start a data plane and a control plane; nothing listens yet."""
    async with asyncio.TaskGroup() as tasks:
        control = ControlPlane(config, tasks, EventLog(sequence))
        plane = DataPlane(
            config,
            control.pool,
            tasks=tasks,
            log=log,
            refused=control.refused,
            failed=control.failed,
            check_bodies=control.check_bodies,
        )
        control.data_plane = plane
        balancer = Balancer(config, control, plane, tasks)
        plane.wheel.start()
        balancer.background("the look for outliers", control.watch_outliers)
        try:
            yield balancer
        finally:
            balancer.close()


async def _finish_exchanges(balancer: Balancer, stop: Stop, *, patient: bool) -> None:
    """Wait until all exchanges have ended, and close idle connections after a while.

    Args:
        balancer: the one that stops.
        stop: a second call ends the wait.
        patient: wait for the next request of every idle connection, since a client that sends one
            just as we close sees a failure. A successor serves new connections meanwhile.
    """
    plane, timeouts = balancer.data_plane, balancer.config.timeouts
    plane.stopping = True
    if not plane.clients:
        return
    stop.in_a_hurry = plane.empty.set
    loop = asyncio.get_running_loop()
    idle = timeouts.stop if patient else timeouts.stop_idle
    timer = loop.call_later(idle, plane.close_idle_clients)
    try:
        async with asyncio.timeout(timeouts.stop + (timeouts.stop_idle if patient else 0.0)):
            await plane.empty.wait()
    except TimeoutError:
        _log.warning("stopped with %d exchanges under way", plane.in_flight)
    finally:
        timer.cancel()


@asynccontextmanager
async def _admin_api(
    balancer: Balancer, listener: Listener
) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Serve the admin API; yields a function that stops accepting and lets running calls go on."""
    app = build_app(balancer.control, balancer.config)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.SockSite(runner, listener.sock, backlog=sockets.BACKLOG)
        await site.start()
        yield site.stop
    finally:
        await runner.cleanup()


def _announcement(listeners: _Listeners) -> str:
    facts: dict[str, object] = {"event": "listening", "listen": listeners.clients[0].name}
    if listeners.admin is not None:
        facts["admin"] = listeners.admin.name
    if len(listeners.clients) > 1:
        facts["listeners"] = [one.name for one in listeners.clients]
    return json.dumps(facts, separators=(",", ":"))
