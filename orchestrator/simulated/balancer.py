"""The simulated balancer: the real pool, health policy and outlier detection in virtual time."""

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar, Protocol

from balancer.backend import UP, Backend, State
from balancer.backend_pool import BackendPool, Change
from balancer.config import Limits
from balancer.errors import BalancerError
from balancer.health import HealthPolicy
from balancer.outlier_detection import EjectionDecision, OutlierDetector, OutlierPolicy
from balancer.statistics import BOUNDS
from orchestrator.errors import RouterError
from orchestrator.interfaces import Drained
from orchestrator.model import Replica
from orchestrator.request_statistics import Latency, RequestCounts
from orchestrator.routers.capabilities import EVERYTHING, Capabilities
from orchestrator.simulated.chance import stream
from orchestrator.simulated.events import Events
from orchestrator.simulated.exchanges import Exchanges
from orchestrator.simulated.platform import SimulatedPlatform
from orchestrator.simulated.prober import SimulatedProber
from orchestrator.simulated.request import Ended, Handling
from orchestrator.simulated.world_settings import World
from orchestrator.tasks import now

_NS = 1_000_000_000


class Stretch(Protocol):
    """A steady stretch, which counts requests by itself."""

    def flush(self, *, latencies: bool = True) -> None:
        """Complete the counters of all backends; `latencies`: those of the latencies, too."""
        ...

    def in_flight(self, backend: Backend) -> int:
        """How many of its requests a backend has under way, as of the last `flush`."""
        ...


def _ignore(_change: Change) -> None:
    pass


class SimulatedBalancer:
    """The Router of a simulated world, and the control plane of its requests.

    Attributes:
        pool: the backends.
        exchanges: the requests under way.
        on_change: told of each change of the pool.
        stretch: completes the counters before they are read; None: they are complete.
    """

    capabilities: ClassVar[Capabilities] = EVERYTHING

    def __init__(
        self,
        world: World,
        events: Events,
        platform: SimulatedPlatform,
        health: HealthPolicy,
        handling: Handling,
        *,
        seed: int,
        ended: Ended,
        passive_checks: bool = True,
    ) -> None:
        self._events = events
        self._platform = platform
        self._health = health
        self._seed = seed
        self._delay_ns = round(world.network.delay_seconds * _NS)
        self.pool = BackendPool(
            self._changed, limit=Limits().backend_requests, has_idle=self._has_idle
        )
        self.exchanges = Exchanges(
            events,
            self.pool,
            world.network,
            world.endpoints,
            handling,
            chance=stream(seed, "balancer"),
            ended=ended,
            passive=self,
        )
        self._outliers = OutlierDetector(OutlierPolicy()) if passive_checks else None
        self._probers: dict[Backend, SimulatedProber] = {}
        self._up: dict[str, list[asyncio.Future[None]]] = {}
        self._idle: dict[Backend, asyncio.Event] = {}
        self.on_change: Callable[[Change], None] = _ignore
        self.stretch: Stretch | None = None

    @property
    def admission_seconds(self) -> float:
        """The least time from a healthy replica's registration until it is up."""
        return (self._health.rise - 1) * self._health.fast_interval

    # The Router

    async def register(self, replica: Replica) -> None:
        """Begin to check the replica; it gets no traffic yet."""
        simulated = self._platform.of(replica)
        with _translated(f"register {replica.id}"):
            backend = self.pool.attach(
                replica.id,
                host=replica.host,
                port=replica.port,
                version=replica.version,
                weight=0.0,
            )
        if backend in self._probers:
            return
        self.exchanges.attach(backend, simulated)
        prober = self._probers[backend] = SimulatedProber(
            self.pool, backend, simulated, self._health, self._events,
            delay_ns=self._delay_ns, seed=self._seed,
        )  # fmt: skip
        simulated.on_change = lambda _replica: prober.replica_changed()

    async def wait_up(self, ids: Collection[str]) -> None:
        """Wait until the checks say that all of them are up."""
        loop = asyncio.get_running_loop()
        for name in ids:
            with _translated("wait until all are up"):
                backend = self.pool.get(name)
            while backend.state is not State.UP:
                future = loop.create_future()
                self._up.setdefault(name, []).append(future)
                await future

    async def why_not_up(self, ids: Collection[str]) -> Mapping[str, str]:
        """Return those of them that are not up, each with the balancer's last word on it."""
        why = {}
        for name in ids:
            try:
                backend = self.pool.get(name)
            except BalancerError:
                why[name] = "the balancer does not know it"
                continue
            if backend.state is not State.UP:
                prober = self._probers.get(backend)
                checked = f", last check: {prober.last}" if prober and prober.last else ""
                why[name] = f"the balancer says {backend.state}{checked}"
        return why

    async def weigh(self, weights: Mapping[str, float]) -> None:
        """Give these replicas these weights in one assignment; the others keep theirs."""
        with _translated("set weights"):
            self.pool.set_weights(weights)

    async def switch(self, ids: Collection[str]) -> None:
        """Give weight 1 to these replicas and 0 to all others in one assignment."""
        with _translated("switch"):
            self.pool.set_active(ids)

    async def drain(self, replica_id: str, timeout: float) -> Drained:  # noqa: ASYNC109 - a limit on the drain
        """Send the replica nothing new, and wait until what it has in flight has ended."""
        return await self._drain(replica_id, timeout, close_idle=True)

    async def drain_keeping_idle(self, replica_id: str, timeout: float) -> Drained:  # noqa: ASYNC109 - a limit on the drain
        """Open no new connection to the replica, but go on sending requests on idle ones."""
        return await self._drain(replica_id, timeout, close_idle=False)

    async def _drain(self, replica_id: str, seconds: float, *, close_idle: bool) -> Drained:
        began = now()
        try:
            self.exchanges.settle_for(self.pool.get(replica_id))
            backend = self.pool.drain(replica_id, "asked", close_idle=close_idle)
        except BalancerError:
            return Drained(0, 0.0)
        if backend.keeps_idle and not (self._has_idle(backend) or backend.busy):
            self.pool.close_idle(backend)
        cut = 0
        try:
            async with asyncio.timeout(seconds):
                while backend.state is State.DRAINING and (backend.busy or backend.keeps_idle):
                    event = self._idle.setdefault(backend, asyncio.Event())
                    event.clear()
                    await event.wait()
        except TimeoutError:
            self.pool.close_idle(backend)
            cut = self.exchanges.cut(backend)
        return Drained(cut, now() - began)

    async def remove(self, replica_id: str) -> None:
        """Forget the replica; fine if it is unknown."""
        try:
            backend = self.pool.get(replica_id)
        except BalancerError:
            return
        self.exchanges.settle_for(backend)
        self.pool.drain(replica_id, "deleted")
        self.exchanges.cut(backend)
        self.pool.remove(replica_id)

    async def counts(self) -> Mapping[str, RequestCounts]:
        """Return the cumulative counts of each replica that the balancer knows."""
        return _Counts(self.pool, self.stretch)

    # What live requests tell

    def refused(self, backend: Backend) -> None:
        """Check a backend at once, since it refused a connection of live traffic."""
        prober = self._probers.get(backend)
        if prober is not None and self._outliers is not None:
            prober.hurry()

    def failed(self, backend: Backend) -> None:
        """Eject a backend if it has failed too many requests in a row."""
        outliers = self._outliers
        if outliers is None or backend.counters.consecutive_failures < OutlierPolicy().consecutive:
            return
        self._eject(outliers)

    async def watch_outliers(self) -> None:
        """Look at the counters once a second; runs until it is cancelled."""
        while self._outliers is not None:
            await asyncio.sleep(1.0)
            if self.stretch is not None:
                self.stretch.flush(latencies=False)
            up = [one for one in self.pool.backends if one.state is UP]
            self._apply(self._outliers, self._outliers.sweep(up, now()))

    def _eject(self, outliers: OutlierDetector) -> None:
        up = [one for one in self.pool.backends if one.state is State.UP]
        self._apply(outliers, outliers.judge(up, now()))

    def _apply(self, outliers: OutlierDetector, decisions: list[EjectionDecision]) -> None:
        for decision in decisions:
            if decision.reason is None:
                self.pool.restore(decision.backend)
            elif self.pool.eject(decision.backend, decision.reason):
                outliers.ejected(decision.backend, now())

    # What follows from a change

    def _changed(self, change: Change) -> None:
        self.on_change(change)
        backend = change.backend
        if backend is not None:
            what = change.what
            if what == "up":
                for waiter in self._up.pop(backend.id, ()):
                    if not waiter.done():
                        waiter.set_result(None)
            elif what == "draining":
                self._probers.pop(backend, None)
                self.exchanges.drained(backend, idle=backend.keeps_idle)
            elif what == "idle_closed":
                self.exchanges.drained(backend, idle=False)
            if what in ("idle", "idle_closed", "removed") and (event := self._idle.get(backend)):
                event.set()
            if what == "removed":
                self._idle.pop(backend, None)
        self.exchanges.wake()

    def _has_idle(self, backend: Backend) -> bool:
        return self.exchanges.has_idle(backend)


class _Counts(Mapping[str, RequestCounts]):
    """The counts of each backend, made when they are asked for."""

    def __init__(self, pool: BackendPool, stretch: Stretch | None) -> None:
        self._pool = pool
        self._stretch = stretch
        self._flushed = False

    def __getitem__(self, name: str) -> RequestCounts:
        try:
            backend = self._pool.get(name)
        except BalancerError:
            raise KeyError(name) from None
        in_flight = backend.in_flight
        if self._stretch is not None and backend.routable:
            if not self._flushed:
                self._stretch.flush()
                self._flushed = True
            in_flight += self._stretch.in_flight(backend)
        counters = backend.counters
        latency = Latency(BOUNDS, tuple(counters.buckets), counters.latency_sum_ns / _NS)
        return RequestCounts(counters.requests, counters.failed, latency, in_flight)

    def __iter__(self) -> Iterator[str]:
        return iter([one.id for one in self._pool.backends])

    def __len__(self) -> int:
        return len(self._pool.backends)

    def __contains__(self, name: object) -> bool:
        try:
            self._pool.get(str(name))
        except BalancerError:
            return False
        return True


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except BalancerError as error:
        raise RouterError(f"{what}: {error}") from error
