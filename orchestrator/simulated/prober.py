"""The health checks of the simulated balancer: the real policy, and only the checks that matter."""

from balancer.backend import Backend, State
from balancer.backend_pool import BackendPool
from balancer.health import HealthPolicy, ProbeResult, Streak
from orchestrator.simulated.chance import stream
from orchestrator.simulated.events import Events
from orchestrator.simulated.replica import SimulatedReplica

_NS = 1_000_000_000


class SimulatedProber:
    """The active health checks of one backend.

    Each check is an event as long as its result may change something. While a backend is up and its
    replica answers well, or is down and its replica does not, every check ends like the one before
    it: these are not carried out. As soon as the replica changes, the checks that were left out are
    counted, with their drawn pauses, so that the next one comes at the same instant.
    """

    __slots__ = (
        "_backend", "_chance", "_delay_ns", "_events", "_last_ns", "_number", "_policy", "_pool",
        "_replica", "_streak", "calm", "last",
    )  # fmt: skip

    def __init__(
        self,
        pool: BackendPool,
        backend: Backend,
        replica: SimulatedReplica,
        policy: HealthPolicy,
        events: Events,
        *,
        delay_ns: int,
        seed: int,
    ) -> None:
        self._pool = pool
        self._backend = backend
        self._replica = replica
        self._policy = policy
        self._events = events
        self._delay_ns = delay_ns
        self._chance = stream(seed, "probe", backend.id)
        self._streak = Streak(policy)
        self._number = 0
        self._last_ns = events.clock.ns
        self.calm = False
        self.last = ""
        self._probe_at(events.clock.ns)

    def hurry(self) -> None:
        """Check at once: live traffic has seen something."""
        if self.calm and self._policy.active:
            self._catch_up()
        self.calm = False
        self._probe_at(self._events.clock.ns)

    def replica_changed(self) -> None:
        """The replica answers otherwise than before: the checks matter again."""
        if self.calm and (self._policy.active or self._backend.state is not State.UP):
            self.calm = False
            self._probe_at(self._catch_up())

    def _catch_up(self) -> int:
        """Count the checks that were left out; returns when the next one is due."""
        now, at, chance = self._events.clock.ns, self._last_ns, self._chance.random
        interval, jitter, trip = self._policy.interval, self._policy.jitter, self._round_trip()
        while True:
            # The pause of `Streak.pause` in a settled state, without a call for each of millions.
            at += round(interval * (1 + jitter * (2 * chance() - 1)) * _NS)
            if at > now:
                return at
            at += trip
            self._last_ns = at

    def _round_trip(self) -> int:
        return 2 * self._delay_ns

    def _probe_at(self, at_ns: int) -> None:
        self._number += 1
        self._events.at(at_ns, self._probe, self._number)

    def _probe(self, number: int) -> None:
        if number != self._number or self._gone():
            return
        at = self._events.clock.ns
        took = self._round_trip()
        if self._replica.accepts and self._replica.hangs:
            took = round(self._policy.timeout * _NS)
        self._events.at(at + took, self._judge, number)

    def _gone(self) -> bool:
        return self._backend.state in (State.DRAINING, State.REMOVED)

    def _judge(self, number: int) -> None:
        if number != self._number or self._gone():
            return
        self._last_ns = self._events.clock.ns
        result, self.last = self._result()
        backend, before = self._backend, self._backend.state
        new = self._streak.observe(before, result)
        if new is not None:
            self._pool.mark(backend, new, f"health check: {self.last}", check=result.value)
        if self._gone():
            return
        if new is None and _settled(before, result):
            self.calm = True
            return
        pause = self._streak.pause(backend.state, self._chance.random())
        if pause is None:
            self.calm = True
        else:
            self._probe_at(self._last_ns + round(pause * _NS))

    def _result(self) -> tuple[ProbeResult, str]:
        replica = self._replica
        if not replica.accepts:
            return ProbeResult.REFUSED, "the connection was refused"
        if replica.hangs:
            return ProbeResult.TIMED_OUT, f"no answer within {self._policy.timeout:g} s"
        status = 200 if replica.ready else 503
        return self._policy.judge(status), f"status {status}"


def _settled(state: State, result: ProbeResult) -> bool:
    """Whether further results like this one would change nothing."""
    if state is State.UP:
        return result is ProbeResult.PASSED
    return state is State.DOWN and result is not ProbeResult.PASSED
