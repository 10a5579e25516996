"""One simulated replica: how it starts, serves, and stops."""

import asyncio
import random
from collections.abc import Callable
from heapq import heapreplace
from typing import TYPE_CHECKING

from orchestrator.interfaces import ReplicaExit
from orchestrator.model import Replica
from orchestrator.simulated.chance import Distribution, stream
from orchestrator.simulated.events import NEVER, Events
from orchestrator.simulated.world_settings import ReplicaModel, distribution

if TYPE_CHECKING:
    from orchestrator.simulated.request import Request

_NS = 1_000_000_000
_KILLED, _CRASHED = -9, 1


class Behaviour:
    """What all replicas of one version share: the model, ready to draw from.

    Attributes:
        version: its name.
        answers: by the number of an endpoint, the status and SQLSTATE of its answer; the schema
            changes them.
        ready: whether its readiness check succeeds on the present schema.
        healthy: whether the balancer's health check does.
        services: by the number of an endpoint, how long its work takes.
        keep_alive_ns: for how long a replica keeps an idle connection open.
        reusable_ns: for how long one may have been idle to be safe for another request.
    """

    __slots__ = (
        "answers",
        "cuts",
        "fail_rate",
        "healthy",
        "ignores",
        "keep_alive_ns",
        "model",
        "readies",
        "ready",
        "reusable_ns",
        "services",
        "starts",
        "stops",
        "version",
        "workers",
    )

    def __init__(self, version: str, model: ReplicaModel, factors: list[float]) -> None:
        self.version = version
        self.model = model
        service = distribution(model.service_seconds)
        self.services = [
            Distribution(tuple(round(one * factor) for one in service.quantiles))
            for factor in factors
        ]
        self.answers: list[tuple[int, str | None]] = [(200, None)] * len(factors)
        self.ready = self.healthy = True
        self.fail_rate = model.fail_rate
        self.workers = model.workers
        self.starts = distribution(model.start_seconds)
        self.readies = distribution(model.ready_seconds)
        self.stops = distribution(model.stop_seconds)
        self.keep_alive_ns = self.reusable_ns = round(model.keep_alive_seconds * _NS)
        self.cuts = model.on_stop == "cut"
        self.ignores = model.on_stop == "ignore"


class SimulatedReplica:
    """A replica in virtual time.

    Attributes:
        replica: as the orchestrator knows it.
        behaviour: what its version does.
        accepts: whether its port is open.
        calm: whether it serves, is warm, and is not about to stop.
        free: when each of its workers is free, the first one first.
        pending: the requests that were sent to it and not answered, in order.
        idle: when each idle connection of the balancer to it was last answered on, ascending.
        hangs: whether it has stopped answering.
        ended: how it ended; None while it runs.
        on_change: told after its port opened or closed, or it became ready, hung or ended, so that
            health checks notice.
        before_change: told before it closes, hangs or ends, so that `pending` can be made complete.
        on_calm: told when `calm` may have changed.
        on_end: told when it has ended.
        on_lost: told of requests that it had or was about to get when it closed or ended.
        on_resume: told when it answers again after it has hung.
    """

    __slots__ = (
        "_asked_ns", "_chance", "_closed_ns", "_ends", "_events", "_killed", "_listening",
        "_ready_ns", "_warm_ns", "accepts", "before_change", "behaviour", "calm", "ended", "free",
        "hangs", "idle", "on_calm", "on_change", "on_end", "on_lost", "on_resume", "pending",
        "replica",
    )  # fmt: skip

    def __init__(self, replica: Replica, behaviour: Behaviour, events: Events, seed: int) -> None:
        self.replica = replica
        self.behaviour = behaviour
        self._events = events
        self._chance: random.Random = stream(seed, "replica", replica.id)
        self.accepts = False
        self.calm = False
        self.hangs = False
        self.pending: dict[Request, None] = {}
        self.idle: list[int] = []
        self.ended: ReplicaExit | None = None
        self.on_change: Callable[[SimulatedReplica], None] = _ignore
        self.on_lost: Callable[[SimulatedReplica, list[Request]], None] = _ignore_lost
        self.on_resume: Callable[[SimulatedReplica], None] = _ignore
        self.before_change: Callable[[], None] = _nothing
        self.on_calm: Callable[[], None] = _nothing
        self.on_end: Callable[[SimulatedReplica], None] = _ignore
        self.free = [0] * behaviour.workers
        self._ready_ns = NEVER
        self._warm_ns = 0
        self._asked_ns: int | None = None
        self._closed_ns: int | None = None
        self._killed = False
        self._listening: list[asyncio.Future[None]] = []
        self._ends: list[asyncio.Future[ReplicaExit]] = []
        start = behaviour.starts.at(self._chance.random())
        events.at(events.clock.ns + start, self._listen)

    # Its life

    @property
    def ready(self) -> bool:
        """Whether its health check succeeds now."""
        return self.has_started and self.behaviour.healthy

    @property
    def has_started(self) -> bool:
        """Whether it answers, and is ready as far as the schema does not matter."""
        return self.accepts and not self.hangs and self._events.clock.ns >= self._ready_ns

    def _listen(self, _about: None) -> None:
        if self.ended is not None or self._asked_ns is not None:
            return
        model, now = self.behaviour.model, self._events.clock.ns
        self.accepts = True
        self._ready_ns = now + self.behaviour.readies.at(self._chance.random())
        self._warm_ns = self._ready_ns + round(model.warm_up_seconds * _NS)
        for waiter in self._listening:
            if not waiter.done():
                waiter.set_result(None)
        self._listening.clear()
        if self._ready_ns > now:
            self._events.at(self._ready_ns, self._changed)
        self._events.at(self._warm_ns, self._warm)
        if model.crash_rate:
            hours = Distribution.exponential(1 / model.crash_rate).at(self._chance.random())
            self._events.at(now + hours * 3600, self._crash)
        self.on_change(self)

    def _changed(self, _about: None) -> None:
        if self.ended is None:
            self.on_change(self)

    def _warm(self, _about: None) -> None:
        self.calm = self.accepts and not self.hangs
        self.on_calm()

    def _crash(self, _about: None) -> None:
        if self.ended is None and self._asked_ns is None:
            self.end(_CRASHED)

    def hang(self) -> None:
        """Stop answering until `resume`: its port stays open (SIGSTOP, a deadlock)."""
        if self.ended is None:
            self.before_change()
            self.hangs = True
            self.calm = False
            self.on_calm()
            self.on_lost(self, [])
            self.on_change(self)

    def resume(self) -> None:
        """Answer again, and what was sent meanwhile, too (SIGCONT)."""
        if self.ended is not None or not self.hangs:
            return
        now = self._events.clock.ns
        self.hangs = False
        self.calm = self.accepts and now >= self._warm_ns
        self.on_resume(self)
        self.on_calm()
        self.on_change(self)
        if self._asked_ns is not None and not self.behaviour.ignores:
            self._obey(now)

    def ask_to_stop(self) -> None:
        """Send it its stop signal."""
        if self.ended is not None or self._asked_ns is not None:
            return
        self.before_change()
        now = self._events.clock.ns
        self._asked_ns = now
        if not (self.hangs or self.behaviour.ignores):
            self._obey(now)

    def _obey(self, now: int) -> None:
        """Do what its version does with a stop signal."""
        if self._closed_ns is not None:
            self._end_when_done(None)
            return
        if self.behaviour.cuts or not self.accepts:
            self.end(0)
            return
        wait = round(self.behaviour.model.stop_listening_seconds * _NS)
        self._events.at(now + wait, self._close)

    def _close(self, _about: None) -> None:
        """Close its port and its idle connections; what it has already is answered."""
        if self.ended is not None or self.hangs or self._closed_ns is not None:
            return
        self.before_change()
        now = self._events.clock.ns
        self.accepts = self.calm = False
        self.on_calm()
        self._closed_ns = now
        late = [one for one in self.pending if one.arrives_ns > now]
        self.on_lost(self, late)
        self.on_change(self)
        self._end_when_done(None)

    def _end_when_done(self, _about: None) -> None:
        """End once everything that it has is answered; what was lost never is."""
        if self.ended is not None or self.hangs:
            return
        now = self._events.clock.ns
        answers = [one.answered_ns for one in self.pending if one.answered_ns != NEVER]
        last = max(answers, default=now)
        if last > now:
            self._events.at(last, self._end_when_done)  # a lock may make it later yet
            return
        stop = self.behaviour.stops.at(self._chance.random())
        self._events.at(now + stop, self._end_orderly)

    def _end_orderly(self, _about: None) -> None:
        if self.ended is None and not self.hangs:
            self.end(0)

    def kill(self) -> None:
        """Send it SIGKILL."""
        if self.ended is None:
            self._killed = self._asked_ns is not None
            self.end(_KILLED)

    def end(self, status: int) -> None:
        """It ends now, with an exit status or, if negative, by a signal."""
        self.before_change()
        now = self._events.clock.ns
        self.accepts = self.calm = False
        self.on_calm()
        if self._closed_ns is None:
            self._closed_ns = now
        asked = self._asked_ns
        self.ended = ReplicaExit(
            reason=f"exited with status {status}"
            if status >= 0
            else f"was ended by signal {-status}",
            killed=self._killed,
            seconds=0.0 if asked is None else (now - asked) / _NS,
            exit_status=status,
            stop_asked_ns=asked,
            stopped_listening_ns=None if asked is None else self._closed_ns,
            ended_ns=now,
            children_ended_ns=now,
        )
        # What was on its way back when it ended still arrives.
        lost = [one for one in self.pending if one.done_ns > now]
        self.on_lost(self, lost)
        for waiter in self._ends:
            if not waiter.done():
                waiter.set_result(self.ended)
        self._ends.clear()
        self.on_change(self)
        self.on_end(self)

    # Its requests

    def work_on(self, arrives_ns: int, endpoint: int, share: float) -> int:
        """Let its next free worker take a request; returns when the answer is done.

        Args:
            arrives_ns: when the request reaches it.
            endpoint: the number of its kind.
            share: a random number from 0 to 1.
        """
        free = self.free
        begins = free[0] if free[0] > arrives_ns else arrives_ns  # noqa: FURB136 - max is slower
        service = self.behaviour.services[endpoint].at(share)
        if begins < self._warm_ns:
            model = self.behaviour.model
            left = (self._warm_ns - begins) / (model.warm_up_seconds * _NS)
            service = round(service * (1 + (model.warm_up_factor - 1) * min(1.0, left)))
        done = begins + service
        heapreplace(free, done)
        return done

    # Who waits for it

    def listening(self) -> "asyncio.Future[None]":
        """Done when it listens."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.accepts:
            future.set_result(None)
        else:
            self._listening.append(future)
        return future

    def end_of_life(self) -> "asyncio.Future[ReplicaExit]":
        """Done when it has ended."""
        future: asyncio.Future[ReplicaExit] = asyncio.get_running_loop().create_future()
        if self.ended is not None:
            future.set_result(self.ended)
        else:
            self._ends.append(future)
        return future


def _nothing() -> None:
    pass


def _ignore(_replica: SimulatedReplica) -> None:
    pass


def _ignore_lost(_replica: SimulatedReplica, _lost: "list[Request]") -> None:
    pass
