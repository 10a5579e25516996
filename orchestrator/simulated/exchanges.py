"""The way of one request: through the balancer to a replica, and back.

It follows `balancer.proxy`, step by step: which connection a request may use, what is tried again,
what counts against a backend. The choice of a backend, the retry budget and what is known of kept
connections are the balancer's own objects.
"""

import random
from collections.abc import Callable
from heapq import heapreplace
from typing import TYPE_CHECKING

from balancer.backend import Backend
from balancer.backend_pool import BackendPool
from balancer.config import Timeouts
from balancer.connection_reuse import ANSWERED_NS
from balancer.hold_queue import HoldPolicy, HoldQueue
from balancer.proxy import error_responses
from balancer.proxy.error_responses import ErrorResponse
from balancer.retry_budget import RetryBudget
from balancer.statistics import complete
from orchestrator.simulated.chance import derived
from orchestrator.simulated.events import NEVER, Events
from orchestrator.simulated.replica import SimulatedReplica
from orchestrator.simulated.request import (
    Ended,
    Handling,
    LockedOut,
    Passive,
    Request,
    SteadyStretch,
)
from orchestrator.simulated.world_settings import Endpoint, Network

if TYPE_CHECKING:
    from orchestrator.simulated.arrays import Ints  # needs numpy, which is an extra

_NS = 1_000_000_000
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
REUSE_NS = round(Timeouts().reuse * _NS)
"""For how long the balancer uses an idle connection."""
_CONNECT_NS = round(Timeouts().connect * _NS)
_BACKOFF_LONGEST_NS = 250_000_000


class Exchanges:
    """All requests under way.

    Attributes:
        steady: carries out steady stretches; it must write back before one request is looked at.
        epoch: changes whenever a replica that may be chosen, a lock or the schema changed.
        on_locked_out: told of each request whose replica waits for a lock.
        in_flight: how many are under way.
        retries: how many were sent again.
    """

    def __init__(
        self,
        events: Events,
        pool: BackendPool,
        network: Network,
        endpoints: tuple[Endpoint, ...],
        handling: Handling,
        *,
        chance: random.Random,
        ended: Ended,
        passive: Passive,
    ) -> None:
        self._events = events
        self._clock = events.clock
        self._pool = pool
        self._delay_ns = round(network.delay_seconds * _NS)
        self._loss = network.loss
        self._retransmit_ns = round(network.retransmit_seconds * _NS)
        self._safe = [one.method in _IDEMPOTENT for one in endpoints]
        self._tables = [one.lock for one in endpoints]
        # Requests that may go on any kept connection, and wait for no lock; no packet is lost.
        self._plain = [
            one.method in _IDEMPOTENT and one.lock is None and not network.loss for one in endpoints
        ]
        self._acquire: Callable[..., Backend | None] = pool.acquire
        events.answer = self._answer
        self.steady: SteadyStretch | None = None
        self.epoch = 0
        self._handling = handling
        self._chance = chance
        self._ended = ended
        self._passive = passive
        self._budget = RetryBudget()
        self._marked_ns = 0
        self._arrived = 0
        self._hold: HoldQueue[Request] = HoldQueue(HoldPolicy(seconds=handling.hold_seconds))
        self._replicas: dict[Backend, SimulatedReplica] = {}
        self._backends: dict[SimulatedReplica, Backend] = {}
        self._locks: dict[str, tuple[int, str]] = {}
        self.on_locked_out: Callable[[LockedOut], None] = _ignore
        self.in_flight = 0
        self.retries = 0

    # What the rest of the world says

    def attach(self, backend: Backend, replica: SimulatedReplica) -> None:
        """A backend is known from now on."""
        self._replicas[backend] = replica
        self._backends[replica] = backend
        replica.on_lost = self._lost
        replica.on_resume = self._resumed
        replica.before_change = lambda: self.settle_for(backend)
        replica.on_calm = lambda: self._calm_changed(backend)
        replica.behaviour.reusable_ns = min(
            REUSE_NS, replica.behaviour.keep_alive_ns - 2 * self._delay_ns
        )

    def _calm_changed(self, backend: Backend) -> None:
        if backend.routable:
            self.epoch += 1

    def settle(self) -> None:
        """End a steady stretch: from here on every request under way is an object."""
        if self.steady is not None:
            self.steady.close()

    def settle_for(self, backend: Backend) -> None:
        """End a steady stretch if it has requests of this backend."""
        if self.steady is not None:
            self.steady.close_for(backend)

    def replica_of(self, backend: Backend) -> SimulatedReplica:
        """The replica behind a backend."""
        return self._replicas[backend]

    @property
    def all_plain(self) -> bool:
        """Whether any request may go on any kept connection, and none waits for a lock."""
        return all(self._plain)

    def choose_with(self, acquire: Callable[..., Backend | None]) -> None:
        """Choose backends with this in place of the pool's own `acquire`, which it calls."""
        self._acquire = acquire

    def is_unsafe(self, request: Request) -> bool:
        """Whether a request must not be sent twice."""
        return not self._safe[request.endpoint]

    def passed(self, at_ns: "Ints") -> None:
        """Requests have come in a steady stretch, at these instants."""
        begin, count = 0, len(at_ns)
        if at_ns[-1] - self._marked_ns >= _NS:
            while (begin := int(at_ns.searchsorted(self._marked_ns + _NS))) < count:
                self._marked_ns = int(at_ns[begin])
                self._budget.mark(self._marked_ns, self._arrived + begin + 1)
        self._arrived += count

    def under_way(
        self,
        request: Request,
        backend: Backend,
        replica: SimulatedReplica,
        *,
        arrives_ns: int,
        done_ns: int,
        reused: bool,
    ) -> None:
        """Take over a request that a steady stretch has sent, and that is not answered yet."""
        self.in_flight += 1
        backend.in_flight += 1
        request.backend = backend
        request.replica = replica
        request.attempts = 1
        request.reused = reused
        request.arrives_ns = arrives_ns
        request.connected_ns = arrives_ns - self._delay_ns
        request.done_ns = done_ns
        request.answered_ns = answered = done_ns + self._delay_ns
        replica.pending[request] = None
        self._events.answer_at(answered, request)

    def has_idle(self, backend: Backend) -> bool:
        """Whether there is an idle connection to it."""
        replica = self._replicas.get(backend)
        return replica is not None and bool(replica.idle)

    def lock(self, table: str, until_ns: int, holder: str) -> None:
        """Somebody holds the lock of a table until then."""
        self._locks[table] = until_ns, holder
        self.epoch += 1

    def drained(self, backend: Backend, *, idle: bool) -> None:
        """A backend gets no new connection; its idle ones take requests only if `idle` is."""
        replica, now = self._replicas[backend], self._clock.ns
        if not idle:
            replica.idle.clear()
        for one in [each for each in replica.pending if each.connected_ns > now]:
            # Between the choice and now it began to drain: nothing was sent, so choose again.
            self._withdraw(one)
            self._choose(one)

    def cut(self, backend: Backend) -> int:
        """End everything that a backend has under way; returns how many requests that cut."""
        self.settle_for(backend)
        pending = list(self._replicas[backend].pending)
        for one in pending:
            self._withdraw(one)
            self._passive_failure(backend)
            self._refuse(one, error_responses.CUT)
        return len(pending)

    def wake(self) -> None:
        """The choice may have changed: let waiting requests try."""
        if len(self._hold) and self._pool.ring:
            for one in self._hold.drain():
                self._choose(one)
                if not self._pool.ring:
                    return

    # One request

    def send(self, request: Request) -> None:
        """A user sends a request now."""
        now = request.at_ns
        self.in_flight += 1
        self._arrived += 1
        if now - self._marked_ns >= _NS:
            self._marked_ns = now
            self._budget.mark(now, self._arrived)
        endpoint = request.endpoint
        if not self._plain[endpoint]:
            self._choose(request)
            return
        # The way of nearly all requests, and the same as in `_choose`, without its questions.
        backend = self._acquire()
        if backend is None:
            self._none_left(request)
            return
        replica = self._replicas[backend]
        idle = replica.idle
        if not idle or not replica.calm or now - idle[-1] >= replica.behaviour.reusable_ns:
            self._send_to(request, backend, replica)
            return
        since = idle.pop()
        if now - since > backend.reuse.proven_ns:
            backend.reuse.stayed_open(now - since)
        request.backend = backend
        request.replica = replica
        request.attempts = 1
        request.reused = True
        request.connected_ns = now
        request.arrives_ns = arrives = now + self._delay_ns
        replica.pending[request] = None
        free = replica.free
        begins = free[0] if free[0] > arrives else arrives  # noqa: FURB136 - max is slower
        request.done_ns = done = begins + replica.behaviour.services[endpoint].at(request.share)
        heapreplace(free, done)
        request.answered_ns = answered = done + self._delay_ns
        if answered > request.due_ns:
            self._events.at(request.due_ns, self._give_up, (request, 0))
        else:
            self._events.answer_at(answered, request)

    def _choose(self, request: Request) -> None:
        self.settle()
        if request.tried:
            backend = self._acquire(request.tried, fresh=request.fresh)
        else:
            backend = self._acquire(fresh=request.fresh)
        if backend is None:
            self._none_left(request)
        else:
            self._send_to(request, backend, self._replicas[backend])

    def _send_to(self, request: Request, backend: Backend, replica: SimulatedReplica) -> None:
        """Send it to the backend that was chosen and claimed for it."""
        self.settle()
        now = self._clock.ns
        reused = False
        if not request.fresh and replica.idle:
            age = self._take(replica, backend, now, safe=self._safe[request.endpoint])
            reused = age >= 0
            # The race that no proxy can win: the replica closes the connection while the request
            # is on its way.
            request.raced = age + 2 * self._delay_ns > replica.behaviour.keep_alive_ns
        request.reused = reused
        if not reused and backend.keeps_idle:
            request.tried = (*request.tried, backend)
            self._pool.release(backend)
            self._choose(request)
            return
        request.backend = backend
        request.replica = replica
        request.attempts += 1
        delay = self._delay_ns
        lost = self._retransmit_ns if self._loss and self._chance.random() < self._loss else 0
        request.connected_ns = now if reused else now + 2 * delay + lost
        request.arrives_ns = arrives = request.connected_ns + delay + (lost if reused else 0)
        replica.pending[request] = None
        if not replica.accepts or replica.hangs or request.raced:
            self._send_in_vain(request, replica, now + 2 * delay + lost)
            return
        self._reach(request, replica, arrives)

    def _reach(self, request: Request, replica: SimulatedReplica, arrives_ns: int) -> None:
        """It reaches its replica, which works on it as soon as no lock is in its way."""
        table = self._tables[request.endpoint]
        if table is not None and table in self._locks:
            until_ns, holder = self._locks[table]
            if until_ns > arrives_ns:
                self._lock_out(
                    request, LockedOut(replica.replica.id, table, holder, arrives_ns, until_ns)
                )
                return
        request.done_ns = done = replica.work_on(arrives_ns, request.endpoint, request.share)
        request.answered_ns = answered = done + self._delay_ns
        if answered > request.due_ns:
            self._events.at(request.due_ns, self._give_up, (request, request.turn))
        else:
            self._events.answer_at(answered, request)

    def _lock_out(self, request: Request, wait: LockedOut) -> None:
        """Let it wait for a lock; it takes no worker of its replica before it has the lock."""
        self.on_locked_out(wait)
        request.done_ns = wait.until_ns  # not before: what replaces this is known only then
        request.answered_ns = wait.until_ns + self._delay_ns
        turn = request, request.turn
        if request.answered_ns > request.due_ns:
            self._events.at(request.due_ns, self._give_up, turn)
        else:
            self._events.at(wait.until_ns, self._let_in, turn)

    def _let_in(self, sent: tuple[Request, int]) -> None:
        request, turn = sent
        if request.over or request.turn != turn or request.replica is None:
            return
        self.settle()
        self._reach(request, request.replica, self._clock.ns)

    def _send_in_vain(self, request: Request, replica: SimulatedReplica, back_ns: int) -> None:
        """Nobody answers it: a new connection is refused, and a kept one was closed on the way."""
        request.done_ns = request.answered_ns = NEVER
        if replica.hangs:
            self._events.at(request.due_ns, self._give_up, (request, request.turn))
        else:
            what = self._reset if request.reused else self._connection_refused
            self._events.at(back_ns, what, (request, request.turn))

    def _take(self, replica: SimulatedReplica, backend: Backend, now: int, *, safe: bool) -> int:
        """Take the connection that was idle for the shortest time, if one may be used.

        Returns for how long it was idle; -1 when there is none.
        """
        idle = replica.idle
        age = now - idle[-1]
        if age >= replica.behaviour.keep_alive_ns or age >= REUSE_NS:
            # By now the balancer has seen the end of all that the replica closed.
            if age < REUSE_NS:
                backend.reuse.closed(replica.behaviour.keep_alive_ns)
            idle.clear()
            return -1
        if not safe and not self._handling.reuse_post:
            if backend.keeps_idle or age > ANSWERED_NS or age > backend.reuse.safe_ns:
                return -1
        elif age > backend.reuse.proven_ns:
            backend.reuse.stayed_open(age)
        idle.pop()
        return age

    def _answer(self, request: Request) -> None:
        now = self._clock.ns
        replica, backend = request.replica, request.backend
        if request.answered_ns != now or replica is None or backend is None:
            return  # it was lost, or sent again
        del replica.pending[request]
        request.over = True
        request.answered_ns = NEVER
        self.in_flight -= 1
        behaviour = replica.behaviour
        status, sqlstate = behaviour.answers[request.endpoint]
        if behaviour.fail_rate and derived(request.share, 1) < behaviour.fail_rate:
            status = 500
        complete(status, now - request.at_ns, 0, backend.counters)
        if replica.accepts:
            replica.idle.append(now)
        self._pool.release(backend)
        if backend.keeps_idle and not replica.accepts:
            self._forget_idle(replica)
        self._ended.answered(request, status, sqlstate)

    def _give_up(self, sent: tuple[Request, int]) -> None:
        request, turn = sent
        if request.over or request.turn != turn:
            return
        backend = request.backend
        self._withdraw(request)
        if backend is not None:
            backend.counters.abort()
        request.over = True
        self.in_flight -= 1
        self._ended.gave_up(request)

    def _none_left(self, request: Request) -> None:
        now = self._clock.ns
        if not self._pool.ring:
            request.tried = ()
            if self._hold.enter(request, 0):
                self._events.at(
                    now + round(self._handling.hold_seconds * _NS), self._hold_over, request
                )
                return
            full = self._handling.hold_seconds > 0
            self._refuse(request, error_responses.HOLD_FULL if full else error_responses.NO_BACKEND)
        elif now - request.at_ns > _CONNECT_NS:
            self._refuse(request, request.last_error or error_responses.ALL_BUSY)
        else:
            delay = request.backoff_ns * (0.5 + self._chance.random() / 2)
            request.backoff_ns = min(2 * request.backoff_ns, _BACKOFF_LONGEST_NS)
            request.tried = ()
            self._events.at(now + round(delay), self._choose, request)

    def _hold_over(self, request: Request) -> None:
        if request.over or request.backend is not None:
            return
        before = len(self._hold)
        self._hold.leave(request)
        if len(self._hold) < before:
            self._refuse(request, error_responses.HOLD_OVER)

    # What goes wrong

    def _connection_refused(self, sent: tuple[Request, int]) -> None:
        request, turn = sent
        backend = request.backend
        if request.over or request.turn != turn or backend is None:
            return
        self.settle()
        self._withdraw(request)
        self._passive.refused(backend)
        self._passive_failure(backend)
        if not self._handling.retry:
            self._refuse(request, error_responses.REFUSED)
            return
        request.tried = (*request.tried, backend)
        request.last_error = error_responses.REFUSED
        self._choose(request)

    def _reset(self, sent: tuple[Request, int]) -> None:
        request, turn = sent
        backend = request.backend
        if request.over or request.turn != turn or backend is None:
            return
        self.settle()
        reused = request.reused
        self._withdraw(request)
        again = self._handling.retry and self._safe[request.endpoint]
        if reused:
            if again:
                self.retry(request)
                return
            if not again:
                backend.reuse.request_lost()
                backend.counters.abort()
                self._refuse(request, error_responses.TERMINATED)
                return
        self._passive_failure(backend)
        if again and not request.second and self._budget.allow(self._clock.ns, self._arrived):
            request.second = True
            request.tried = (*request.tried, backend)
            self.retry(request)
            return
        self._refuse(request, error_responses.TERMINATED)

    def retry(self, request: Request) -> None:
        """Send a request again that a replica had already."""
        self.retries += 1
        request.fresh = True
        request.raced = False
        self._choose(request)

    def _lost(self, replica: SimulatedReplica, lost: list[Request]) -> None:
        """A replica closed or ended: what it had, or was about to get, is lost."""
        now, delay = self._clock.ns, self._delay_ns
        if replica.hangs and replica.ended is None:
            for one in replica.pending:
                if one.done_ns > now:
                    one.turn += 1
                    one.done_ns = one.answered_ns = NEVER
                    self._events.at(one.due_ns, self._give_up, (one, one.turn))
            return
        self._events.at(now + delay, self._forget_idle, replica)
        for one in lost:
            one.turn += 1
            one.done_ns = one.answered_ns = NEVER
            unsent = one.arrives_ns > now and not one.reused and one.connected_ns - delay > now
            what = self._connection_refused if unsent else self._reset
            self._events.at(max(now, one.arrives_ns) + delay, what, (one, one.turn))

    def _resumed(self, replica: SimulatedReplica) -> None:
        """A replica that has hung answers again."""
        now = self._clock.ns
        for one in list(replica.pending):
            if one.answered_ns != NEVER or one.raced:
                continue
            one.turn += 1
            self._reach(one, replica, max(now, one.arrives_ns))

    def _forget_idle(self, replica: SimulatedReplica) -> None:
        if not replica.accepts:
            replica.idle.clear()
            backend = self._backends.get(replica)
            if backend is not None and backend.keeps_idle and not backend.busy:
                self._pool.close_idle(backend)  # the last connection to it has closed

    def _passive_failure(self, backend: Backend) -> None:
        backend.counters.fail()
        self._passive.failed(backend)

    def _withdraw(self, request: Request) -> None:
        """Take a request back from its backend."""
        backend, replica = request.backend, request.replica
        request.backend = request.replica = None
        request.last = backend
        request.turn += 1
        if backend is not None and replica is not None:
            del replica.pending[request]
            self._pool.release(backend)

    def _refuse(self, request: Request, response: ErrorResponse) -> None:
        request.over = True
        self.in_flight -= 1
        self._ended.refused(request, response)


def _ignore(_wait: LockedOut) -> None:
    pass
