"""The control plane: what the admin API can do to backends, data plane and health checks."""

import asyncio
import random
import time
from collections.abc import Callable

from balancer.addresses import Address, check_not_own, parse_address
from balancer.backend import Backend, State
from balancer.backend_pool import BackendPool, Change
from balancer.body_check import reads_bodies
from balancer.config import Config, parse_name
from balancer.containment import contained
from balancer.drain_result import DrainResult
from balancer.errors import ConflictError, HandedOverError
from balancer.events import EventLog
from balancer.outlier_detection import EjectionDecision, OutlierDetector
from balancer.probes import Prober
from balancer.proxy.data_plane import DataPlane
from balancer.statistics import Counters


class ControlPlane:
    """The operations of the admin API.

    Args:
        config: what the operator said at the start.
        tasks: owns the probes.
        events: takes what happens.
    """

    def __init__(self, config: Config, tasks: asyncio.TaskGroup, events: EventLog) -> None:
        self.config = config
        self.events = events
        self.pool = BackendPool(
            self._changed,
            limit=config.limits.backend_requests,
            has_idle=self._has_idle,
            shuffle=random.shuffle if config.shuffle else None,
        )
        self._data_plane: DataPlane | None = None
        self.own_addresses: list[Address] = []
        self._tasks = tasks
        self._outliers = OutlierDetector(config.outliers)
        self._probes: dict[Backend, tuple[Prober, asyncio.Task[None]]] = {}
        self._idle: dict[Backend, asyncio.Event] = {}
        self._frozen = False
        self.handed_over = False
        self.on_change: Callable[[], None] | None = None

    # A successor

    def freeze(self) -> None:
        """Refuse changes: the successor might not hear of them."""
        self._frozen = True

    def thaw(self) -> None:
        """Accept changes again: there is no successor after all."""
        self._frozen = False

    def hand_over(self) -> None:
        """A successor decides from now on; it also does the health checks."""
        self.handed_over = True
        self.stop_probes()

    def adopt(self, backends: list[Backend], retired: dict[str, Counters]) -> None:
        """Begin with a predecessor's backends, and go on with their health checks."""
        self.pool.adopt(backends, retired)
        for one in backends:
            self._probe(one)

    def _check_thawed(self) -> None:
        if self._frozen:
            raise HandedOverError("a successor is taking over; ask again")

    # Verbs

    def put(self, backend_id: str, *, address: str, version: str, weight: float) -> Backend:
        """Attach a backend, or change its weight or version. Repeating this changes nothing.

        Raises:
            ConfigError: an argument is malformed.
            ConflictError: the id belongs to another address or is draining.
        """
        self._check_thawed()
        parse_name(backend_id, "backend id")
        parse_name(version, "version")
        place = parse_address(address)
        check_not_own(place, self.own_addresses)
        backend = self.pool.attach(
            backend_id, host=place.host, port=place.port, version=version, weight=weight
        )
        self._probe(backend)
        return backend

    async def drain(
        self,
        backend_id: str,
        *,
        timeout: float,  # noqa: ASYNC109 - at its end exchanges are cut, the call goes on
        tunnel_timeout: float | None = None,
        close_idle: bool = True,
    ) -> DrainResult:
        """Send a backend no further requests, and wait until its exchanges have ended.

        Args:
            backend_id: which.
            timeout: seconds after which exchanges are cut.
            tunnel_timeout: the same for upgraded connections; `timeout` if not given.
            close_idle: False: only open no further connection to it, and send requests on its idle
                ones until the last one has closed, or until `timeout`.

        Raises:
            UnknownBackendError: there is none with this id.
        """
        self._check_thawed()
        started = time.monotonic()
        backend = self.pool.drain(backend_id, "asked", close_idle=close_idle)
        limit = timeout if tunnel_timeout is None else tunnel_timeout
        if not self.data_plane.connection_pool.has_any(backend):
            self.pool.close_idle(backend)
        if not await self._wait(backend, started + timeout, lambda: backend.keeps_idle):
            self.pool.close_idle(backend)
        calm = await self._wait(backend, started + timeout, lambda: backend.busy)
        cut = 0 if calm else self._cut(backend)
        calm = await self._wait(
            backend, started + limit, lambda: backend.busy or backend.tunnels > 0
        )
        cut_tunnels = 0 if calm else self._cut_tunnels(backend)
        seconds = time.monotonic() - started
        self.events.publish(
            "drained", id=backend.id, version=backend.version, cut=cut,
            cut_tunnels=cut_tunnels, seconds=seconds,
        )  # fmt: skip
        return DrainResult(cut, cut_tunnels, seconds)

    def delete(self, backend_id: str) -> int:
        """Forget a backend; returns how many exchanges that cut (0 after a drain)."""
        self._check_thawed()
        backend = self.pool.drain(backend_id, "deleted")
        cut = self._cut(backend)
        self._cut_tunnels(backend)
        self.pool.remove(backend_id)
        return cut

    def set_active(self, ids: list[str]) -> None:
        """Switch all traffic to these backends in one step."""
        self._check_thawed()
        self.pool.set_active(ids)

    def set_weights(self, weights: dict[str, float]) -> None:
        """Give several backends their weights in one step."""
        self._check_thawed()
        self.pool.set_weights(weights)

    # Views

    def describe(self, backend: Backend) -> dict[str, object]:
        """One backend, for JSON."""
        prober = self._probes.get(backend)
        return {
            "id": backend.id,
            "address": backend.address,
            "version": backend.version,
            "weight": backend.weight,
            "state": backend.state.value,
            "routable": backend.routable,
            "ejected": backend.ejected,
            "in_flight": backend.in_flight + backend.inherited,
            "tunnels": backend.tunnels,
            "last_check": prober[0].last if prober else "",
        }

    def statistics(self) -> dict[str, object]:
        """Cumulative counters by version, by backend, and of the balancer as its clients saw it."""
        versions: dict[str, Counters] = {}
        in_flight: dict[str, int] = {}
        for version, counters in self.pool.retired.items():
            versions.setdefault(version, Counters()).add(counters)
        backends: dict[str, object] = {}
        for one in self.pool.backends:
            versions.setdefault(one.version, Counters()).add(one.counters)
            under_way = one.in_flight + one.inherited
            in_flight[one.version] = in_flight.get(one.version, 0) + under_way
            backends[one.id] = {
                **one.counters.as_dict(), "in_flight": under_way, "tunnels": one.tunnels,
                "version": one.version, "state": one.state.value,
            }  # fmt: skip
        plane = self.data_plane
        log = plane.log
        return {
            "versions": {
                version: {**counters.as_dict(), "in_flight": in_flight.get(version, 0)}
                for version, counters in versions.items()
            },
            "backends": backends,
            "balancer": {
                **plane.counters.as_dict(),
                "in_flight": plane.in_flight,
                "held": len(plane.hold),
                "retries": plane.retries,
                "reuse_losses": plane.reuse_losses,
                "connections": len(plane.clients),
                "refused_connections": plane.refused_connections,
                "access_log_dropped": 0 if log is None else log.dropped,
            },
        }

    # Health

    def refused(self, backend: Backend) -> None:
        """Check a backend at once, since it refused a connection of live traffic."""
        probe = self._probes.get(backend)
        if probe is not None and self.config.passive_checks:
            probe[0].hurry()

    async def watch_outliers(self) -> None:
        """Look at the counters once a second; runs until it is cancelled."""
        while True:
            await asyncio.sleep(1.0)
            await contained("the look for outliers", self._sweep)

    async def _sweep(self) -> None:
        if self.config.passive_checks:
            self._apply(self._outliers.sweep(self._up(), time.monotonic()))

    def check_bodies(self, backend: Backend) -> None:
        """Find out whether a backend reads bodies that it does not use."""
        work = contained(f"the check of backend {backend.id}", lambda: self._check_bodies(backend))
        self._tasks.create_task(work)

    async def _check_bodies(self, backend: Backend) -> None:
        reads = None
        try:
            reads = await reads_bodies(backend, self.config.health)
        finally:
            backend.reuse.bodies_checked(reads=reads, now_ns=time.monotonic_ns())

    def failed(self, backend: Backend) -> None:
        """Eject a backend if it has failed too many requests in a row."""
        if not self.config.passive_checks:
            return
        if 0 < self.config.outliers.consecutive <= backend.counters.consecutive_failures:
            self._apply(self._outliers.judge(self._up(), time.monotonic()))

    def _up(self) -> list[Backend]:
        return [one for one in self.pool.backends if one.state is State.UP]

    def _apply(self, verdicts: list[EjectionDecision]) -> None:
        for verdict in verdicts:
            if verdict.reason is None:
                self.pool.restore(verdict.backend)
            elif self.pool.eject(verdict.backend, verdict.reason):
                self._outliers.ejected(verdict.backend, time.monotonic())

    def stop_probes(self) -> None:
        """Cancel all probes."""
        for _, task in self._probes.values():
            task.cancel()
        self._probes.clear()

    def _probe(self, backend: Backend) -> None:
        if backend in self._probes or backend.state in (State.DRAINING, State.REMOVED):
            return
        prober = Prober(self.pool, backend, self.config.health)
        work = contained(f"the health check of backend {backend.id}", prober.run)
        self._probes[backend] = (prober, self._tasks.create_task(work))

    # What follows from a change

    def _changed(self, change: Change) -> None:
        backend = change.backend
        if backend is None:
            self.events.publish(
                change.what, weights={one.id: one.weight for one in self.pool.backends}
            )
        else:
            self.events.publish(
                "backend",
                change=change.what,
                reason=change.reason,
                check=change.check,
                **self.describe(backend),
            )
            if change.what == "draining":
                self._begin_drain(backend)
            elif change.what == "idle_closed":
                self.data_plane.connection_pool.close_idle(backend)
            if change.what in ("idle", "idle_closed") and (event := self._idle.get(backend)):
                event.set()
            elif change.what == "removed":
                self._idle.pop(backend, None)
        if self.on_change is not None and change.what != "idle":
            self.on_change()
        if self._data_plane is not None:
            self._data_plane.wake()

    def _begin_drain(self, backend: Backend) -> None:
        probe = self._probes.pop(backend, None)
        if probe is not None and probe[1] is not asyncio.current_task():
            probe[1].cancel()
        if not backend.keeps_idle:
            self.data_plane.connection_pool.close_idle(backend)

    def _has_idle(self, backend: Backend) -> bool:
        return self.data_plane.connection_pool.has_idle(backend)

    async def _wait(self, backend: Backend, until: float, pending: Callable[[], bool]) -> bool:
        """Wait until nothing is pending at a draining backend; False when the time is over first.

        What is pending may change with the pool's `idle` and `idle_closed` only.
        """
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                while backend.state is State.DRAINING and pending():
                    event = self._idle.setdefault(backend, asyncio.Event())
                    event.clear()
                    await event.wait()
        except TimeoutError:
            return False
        return True

    def _cut(self, backend: Backend) -> int:
        cut = sum(
            connection.exchange.cut()
            for connection in self.data_plane.connection_pool.of(backend)
            if connection.exchange is not None
        )
        return cut + backend.inherited

    def _cut_tunnels(self, backend: Backend) -> int:
        connections = [
            connection
            for connection in self.data_plane.connection_pool.of(backend)
            if connection.tunnel is not None
        ]
        for connection in connections:
            connection.transport.abort()
        return len(connections)

    @property
    def data_plane(self) -> DataPlane:
        """The data plane that this controls.

        Raises:
            ConflictError: none was set yet.
        """
        if self._data_plane is None:
            raise ConflictError("the balancer has not started")
        return self._data_plane

    @data_plane.setter
    def data_plane(self, data_plane: DataPlane) -> None:
        self._data_plane = data_plane
