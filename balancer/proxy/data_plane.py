"""What all connections of the data plane share."""

import asyncio
import ipaddress
import random
import secrets
from collections.abc import Callable
from time import monotonic_ns as now_ns

from balancer.access_log import AccessLog, AccessRecord
from balancer.affinity import Affinity
from balancer.backend import Backend
from balancer.backend_pool import BackendPool
from balancer.config import Config
from balancer.hold_queue import HoldQueue
from balancer.proxy.connection_pool import ConnectionPool
from balancer.proxy.error_responses import ErrorResponse
from balancer.proxy.interfaces import ClientConnection, HeldRequest
from balancer.proxy.timing_wheel import TICKS_PER_SECOND, TimingWheel, ticks
from balancer.retry_budget import RetryBudget
from balancer.statistics import Counters, complete


class DataPlane:
    """The data plane: one for each balancer.

    Args:
        config: what the operator said.
        pool: the backends.
        tasks: owns the tasks that connect; they never raise.
        log: takes the access lines; None for none.
        refused: told of each backend that refused a live connection.
        failed: told of each backend that gave no complete response.
        check_bodies: told of each backend that may or may not read bodies, to find that out.

    Attributes:
        counters: what clients saw, over all backends.
        in_flight: exchanges under way.
        clients: open client connections.
        retries: requests that were sent a second time.
        retry: whether a request may be sent to a second backend, or a second time.
        reuse_losses: requests that were lost on a kept connection and not sent again.
        stopping: whether the balancer is stopping: every response closes its connection.
    """

    def __init__(
        self,
        config: Config,
        pool: BackendPool,
        *,
        tasks: asyncio.TaskGroup,
        log: AccessLog | None,
        refused: Callable[[Backend], None],
        failed: Callable[[Backend], None],
        check_bodies: Callable[[Backend], None],
    ) -> None:
        self.config = config
        self.limits = config.limits
        self.header_bytes = config.limits.header_bytes
        self.header_count = config.limits.header_count
        self.target_bytes = config.limits.target_bytes
        self.body_bytes = config.limits.body_bytes
        self.pool = pool
        self.tasks = tasks
        self.log = log
        self.refused = refused
        self._failed = failed
        self._check_bodies = check_bodies
        self.wheel = TimingWheel(self._tick)
        self.connection_pool = ConnectionPool(
            self.wheel,
            reuse=config.timeouts.reuse,
            head_limit=config.limits.response_header_bytes,
            reuse_always=config.reuse_post,
            last_closed=pool.close_idle,
        )
        self.hold: HoldQueue[HeldRequest] = HoldQueue(config.hold)
        self.budget = RetryBudget(ratio=config.retry_ratio, minimum=config.retry_minimum)
        self.random = random.Random()  # noqa: S311 - spreads retries, hides nothing
        self.counters = Counters()
        self.in_flight = 0
        self.arrived = 0
        self.retry = config.retry
        self.retries = 0
        self.reuse_losses = 0
        self.refused_connections = 0
        self.stopping = False
        self.clients: set[ClientConnection] = set()
        self.empty = asyncio.Event()
        self.client_counts: dict[str, int] = {}
        self._next_mark = 0
        self._id_prefix = secrets.token_hex(8).encode("ascii")
        self._id_count = 0
        wait = config.timeouts
        self.affinity = Affinity(config.affinity) if config.affinity else None
        self.reads_cookies = self.affinity is not None
        self.replay_bytes = config.replay_bytes
        self.underscores = config.underscores
        self.loop = asyncio.get_running_loop()
        self.ticks_head = ticks(wait.head)
        self.ticks_body = _ticks(wait.body)
        rate = config.limits.body_rate
        self.ticks_per_body_byte = TICKS_PER_SECOND / rate if rate else float(self.ticks_body)
        self.ticks_keep_alive = _ticks(wait.keep_alive)
        self.ticks_connect = ticks(wait.connect)
        self.ticks_first_byte = _ticks(wait.first_byte)
        self.ticks_stream = _ticks(wait.stream)
        self.ticks_total = _ticks(wait.total)
        self.ticks_tunnel = _ticks(wait.tunnel)
        self.ticks_hold = ticks(config.hold.seconds)
        self.connect_ns = round(wait.connect * 1e9)

    def new_request_id(self) -> bytes:
        """Make an id that no other request on this machine has."""
        self._id_count += 1
        return b"%b-%x" % (self._id_prefix, self._id_count)

    def count_refused(
        self, response: ErrorResponse, request_id: bytes, client: ClientConnection
    ) -> None:
        """Count and log the refusal of bytes that are no request."""
        complete(response.status, 0, 0, self.counters)
        if self.log is not None:
            self.log.add(
                AccessRecord(
                    now_ns(), request_id.decode("ascii"), "", "", response.status, None, None,
                    -1, -1, -1, 0, False, 0, 0, response.error, client.kind, client.peer,
                )
            )  # fmt: skip

    def client_left(self) -> None:
        """Note the loss of a client; the last one ends a graceful stop."""
        if self.stopping and not self.clients:
            self.empty.set()

    def close_idle_clients(self) -> None:
        """Close the connections of clients that have no request under way."""
        for client in list(self.clients):
            client.leave()

    def cut_off_clients(self) -> None:
        """Close all that are left; the last act of a stop."""
        for client in list(self.clients):
            client.cut_off()

    def count_failure(self, backend: Backend) -> None:
        """Count an attempt that got no complete response."""
        backend.counters.fail()
        self._failed(backend)

    def may_keep_after_body(self, backend: Backend, now: int) -> bool:
        """Whether a connection to this backend may be kept after it carried a body."""
        if self.connection_pool.may_keep_after_body(backend):
            return True
        if backend.reuse.may_check_bodies(now):
            self._check_bodies(backend)
        return False

    def may_retry(self) -> bool:
        """Claim one retry from the budget."""
        return self.budget.allow(now_ns(), self.arrived)

    def is_trusted(self, peer: str) -> bool:
        """Whether to believe what this peer says about its own client."""
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return False
        return any(address in network for network in self.config.trust)

    def wake(self) -> None:
        """Let waiting requests go on, in order, for as long as there is a backend for them."""
        if not self.hold or not self.pool.ring:
            return
        for held in self.hold.drain():
            held.resume()
            if not self.pool.ring:
                return

    def _tick(self, now_ns: int) -> None:
        if self.log is not None:
            self.log.flush()
        if now_ns >= self._next_mark:
            self._next_mark = now_ns + 1_000_000_000
            self.budget.mark(now_ns, self.arrived)


def _ticks(seconds: float) -> int:
    """A time limit in ticks; 0 means no limit, which is written as a century."""
    return ticks(seconds or 100 * 365 * 86400.0)
