"""What must hold in every run, whatever its knobs, its timings and its faults are.

- `capacity`: while no replica ends by itself, a rolling update has at most `replicas + max_surge`
  replicas, and at least `replicas - max_unavailable` of them serve.
- `only_up`: no request goes to a backend that is not up, or that drains and closes its idle
  connections.
- `drained`: with the order `drain-first` a replica gets its stop signal when it has nothing in
  flight and gets nothing new.
- `obeyed`: a replica that obeys its stop signal and has answered everything ends by itself, and is
  not killed after its grace period.
- `acknowledged`: an answer with success was complete before its replica ended, and a request that
  must not be sent twice was not sent again once a replica had it.
- `accounted`: each request ends once, and a backend that is removed has nothing in flight.
- `shares`: the shares of the traffic are those that were asked for, and their sum is all of it.
- `promised`: a release that completed or was rolled back leaves one version that serves, with the
  right number of replicas, and nothing else; after the run nothing runs.
- `benign`: where nothing is a reason for a request to fail, none fails.
- `orderly`: nothing ends with an error that nobody foresaw.
"""

import math
from collections import Counter
from typing import NamedTuple

from balancer.backend import Backend, State
from balancer.backend_pool import Change
from balancer.proxy.error_responses import ErrorResponse
from orchestrator.model import JournalEvent, ReleaseResult, Replica
from orchestrator.rollout import Rollout
from orchestrator.simulated.events import NEVER
from orchestrator.simulated.request import Request
from orchestrator.simulated.search.schedule import NEW, OLD, Schedule
from orchestrator.simulated.world import SimulatedWorld

_SUCCESS = 200
_WHOLE = 100.0
_ROUNDING = 0.01
_ENOUGH = 5
_LONG_GRACE, _LONG_IDLE_NS = 2.0, 1_500_000_000
"""Replicas of schedules end within this time once they have answered everything."""


class Violation(NamedTuple):
    """An invariant that did not hold.

    Attributes:
        invariant: its name.
        at_seconds: when, in virtual time.
        what: what was seen.
    """

    invariant: str
    at_seconds: float
    what: str

    def __str__(self) -> str:
        return f"{self.invariant}: at {self.at_seconds:.3f} s {self.what}"


class Watch:
    """Looks on at one run.

    Attributes:
        violations: what did not hold, in order; at most a few.
        failed: how many requests did not succeed.
    """

    def __init__(self, schedule: Schedule) -> None:
        self.violations: list[Violation] = []
        self.failed = 0
        self._schedule = schedule
        self._ended: Counter[Request] = Counter()
        self._world: SimulatedWorld | None = None
        self._rollout: Rollout | None = None
        self._deploying = False
        self._phase = ""
        self._first_failure = ""

    # What became of requests

    def answered(self, request: Request, status: int, sqlstate: str | None) -> None:
        """A replica answered."""
        self._end(request)
        if status != _SUCCESS:
            self._fail(f"{status} {sqlstate or ''}")
            return
        replica = request.replica
        ended = None if replica is None else replica.ended
        if ended is not None and (ended.ended_ns or 0) < request.done_ns:
            self._say("acknowledged", f"request {request.number} got an answer of a dead replica")

    def refused(self, request: Request, response: ErrorResponse) -> None:
        """The balancer answered by itself."""
        self._end(request)
        self._fail(response.details)

    def gave_up(self, request: Request) -> None:
        """Its user waited for too long."""
        self._end(request)
        self._fail("its user gave up")

    def _end(self, request: Request) -> None:
        self._ended[request] += 1
        if self._ended[request] > 1:
            self._say("accounted", f"request {request.number} ended twice")

    def _fail(self, why: str) -> None:
        self.failed += 1
        self._first_failure = self._first_failure or f"at {self._now():.3f} s: {why}"

    # What the world does

    def phase(self, name: str, world: SimulatedWorld, rollout: Rollout) -> None:
        """A phase begins."""
        self._phase = name
        if name == "setup":
            self._world, self._rollout = world, rollout
            self._look_on(world)
        if name == "end":
            self._look_at_the_end(world)

    def _look_on(self, world: SimulatedWorld) -> None:
        exchanges, pool, platform = world.balancer.exchanges, world.balancer.pool, world.platform
        acquire, retry, stop = pool.acquire, exchanges.retry, platform.stop

        def acquired(avoid: tuple[Backend, ...] = (), *, fresh: bool = False) -> Backend | None:
            backend = acquire(avoid, fresh=fresh)
            if backend is not None:
                self._check_choice(backend)
            return backend

        def retried(request: Request) -> None:
            if world.balancer.exchanges.is_unsafe(request):
                self._say("acknowledged", f"request {request.number} was sent twice")
            retry(request)

        async def stopped(replica: Replica, grace: float) -> object:
            self._check_stop(replica)
            end = await stop(replica, grace)
            if end.killed:
                self._check_kill(replica, grace)
            return end

        def changed(change: Change) -> None:
            backend = change.backend
            if change.what == "removed" and backend is not None and backend.in_flight:
                left = f"{backend.in_flight} in flight"
                self._say("accounted", f"{backend.id} was removed with {left}")

        exchanges.choose_with(acquired)
        world.balancer.on_change = changed
        exchanges.retry = retried  # type: ignore[method-assign]
        platform.stop = stopped  # type: ignore[assignment,method-assign]

    def _check_choice(self, backend: Backend) -> None:
        idle = backend.state is State.DRAINING and backend.keeps_idle
        if backend.state is not State.UP and not idle:
            self._say("only_up", f"{backend.id} was chosen while it was {backend.state}")
        elif backend.weight <= 0 and not idle:
            self._say("only_up", f"{backend.id} was chosen with the weight 0")

    def _check_stop(self, replica: Replica) -> None:
        world = self._world
        if world is None or self._schedule.policy.termination.order != "drain-first":
            return
        if self._schedule.strategy == "naive" and self._deploying:
            return  # it stops replicas without a drain: that is what it is for
        simulated = world.platform.of(replica)
        if simulated.ended is not None or simulated.hangs or self._is_lost(replica):
            return
        busy = [one for one in simulated.pending if one.answered_ns < NEVER]
        if busy:
            self._say("drained", f"{replica.id} was stopped with {len(busy)} requests in flight")
        backend = next((one for one in world.balancer.pool.backends if one.id == replica.id), None)
        if backend is not None and backend.state is State.UP and backend.weight > 0:
            self._say("drained", f"{replica.id} was stopped while it got requests")

    def _check_kill(self, replica: Replica, grace: float) -> None:
        world = self._world
        if world is None or self._schedule.disturbed or grace < _LONG_GRACE:
            return
        simulated = world.platform.of(replica)
        idle_ns = world.events.clock.ns - max(simulated.free)
        waits = any(one.locks for one in self._schedule.world.migrations)
        obeys = simulated.behaviour.model.on_stop == "finish" and not simulated.hangs
        if obeys and not waits and idle_ns > _LONG_IDLE_NS:
            self._say("obeyed", f"{replica.id} was killed, and had nothing left to answer")

    def _is_lost(self, replica: Replica) -> bool:
        member = None if self._rollout is None else self._rollout.fleet.find(replica.id)
        return member is None or member.lost

    # What the rollout does

    def event(self, event: JournalEvent) -> None:
        """A line of the journal."""
        if event.verb == "deploy":
            self._deploying = event.state == "started"
        if event.verb in ("weigh", "switch", "attach") and event.state == "completed":
            self._check_shares(event)
        if not self._deploying or self._schedule.strategy != "rolling":
            return
        if event.verb == "start" and event.state == "completed":
            self._check_most()
        if event.verb in ("drain", "stop") and event.state == "started":
            self._check_least(event)

    def _check_most(self) -> None:
        world, policy = self._world, self._schedule.policy
        if world is None or self._schedule.disturbed:
            return
        most = policy.replicas + _quantity(policy.max_surge, policy.replicas, up=True)
        running = [one for one in world.platform.replicas.values() if one.ended is None]
        if len(running) > most:
            self._say("capacity", f"{len(running)} replicas ran, and {most} may")

    def _check_least(self, event: JournalEvent) -> None:
        if self._rollout is None or self._schedule.disturbed or self._schedule.world.breaks:
            return
        policy = self._schedule.policy
        spare = min(_quantity(policy.max_unavailable, policy.replicas, up=False), policy.replicas)
        leaving = set(event.replicas)
        pool = {} if self._world is None else {b.id: b for b in self._world.balancer.pool.backends}
        serving = [
            one.replica.id
            for one in self._rollout.fleet
            if one.weight > 0 and not one.leaving and one.replica.id not in leaving
        ]
        up = [name for name in serving if name in pool and pool[name].state is State.UP]
        if len(up) < policy.replicas - spare:
            self._say("capacity", f"{len(up)} replicas serve, and {policy.replicas - spare} must")

    def _check_shares(self, event: JournalEvent) -> None:
        world, asked = self._world, event.detail.get("percent")
        if world is None:
            return
        weights: Counter[str] = Counter()
        for backend in world.balancer.pool.backends:
            if backend.state is not State.DRAINING:
                weights[backend.version] += backend.weight  # type: ignore[assignment]
        total = sum(weights.values())
        shares = event.detail.get("shares")
        if isinstance(shares, dict) and shares:
            said = sum(float(one) for one in shares.values())
            if abs(said - _WHOLE) > _ROUNDING * len(shares):
                self._say("shares", f"the shares of {event.verb} add up to {said:g} %")
        if event.verb == "weigh" and isinstance(asked, float | int) and total:
            if self._schedule.disturbed or event.version is None:
                return
            got = _WHOLE * weights[event.version] / total
            if abs(got - asked) > _ROUNDING and len(self._schedule.plan) == 1:
                self._say("shares", f"{event.version} got {got:g} % and not {asked:g} %")

    # How it ends

    def ended(self, result: ReleaseResult) -> None:
        """The release has ended, and the fleet was taken down."""
        world = self._world
        if world is None:
            return
        planned = world.planned
        if len(self._ended) != planned:
            self._say("accounted", f"{len(self._ended)} of {planned} requests ended")
        if self._schedule.benign and self.failed and result.outcome == "completed":
            self._say("benign", f"{self.failed} requests failed, the first {self._first_failure}")

    def released(self, result: ReleaseResult) -> None:
        """The release has ended, and the fleet still serves."""
        rollout, world = self._rollout, self._world
        if rollout is None or world is None or result.outcome not in ("completed", "rolled_back"):
            return
        versions = {one.version for one in rollout.serving()}
        wanted = _promised(self._schedule, result)
        if len(versions) > 1 or (versions and not versions <= wanted):
            names = " and ".join(sorted(versions))
            self._say("promised", f"{names} serve after a release that has {result.outcome}")
        if self._schedule.disturbed:
            return
        serving = len(rollout.serving())
        if serving != self._schedule.policy.replicas and self._schedule.strategy != "naive":
            self._say("promised", f"{serving} replicas serve at the end")
        left = len(rollout.all()) - serving
        if left:
            self._say("promised", f"{left} replicas are left over at the end")

    def _look_at_the_end(self, world: SimulatedWorld) -> None:
        left = [name for name, one in world.platform.replicas.items() if one.ended is None]
        if left:
            self._say("promised", f"{', '.join(left[:3])} still run after the end")

    def broke(self, error: BaseException) -> None:
        """The run ended with an error."""
        self._say("orderly", f"it ended with {type(error).__name__}: {error}")

    def _say(self, invariant: str, what: str) -> None:
        if len(self.violations) < _ENOUGH:
            self.violations.append(Violation(invariant, self._now(), what))

    def _now(self) -> float:
        return 0.0 if self._world is None else self._world.events.clock.ns / 1e9


def _promised(schedule: Schedule, result: ReleaseResult) -> set[str]:
    """The versions of which one may serve after the release."""
    if result.outcome == "completed":
        last = [word for word in schedule.plan if word != "migrate"][-1]
        return {NEW if last == "deploy" else OLD}
    # What was deployed before the step that failed serves again.
    return {OLD, NEW} if "undo" in schedule.plan else {OLD}


def _quantity(value: int | str, replicas: int, *, up: bool) -> int:
    """A number of replicas, or a percentage of them, with Kubernetes' rounding."""
    text = str(value)
    if not text.endswith("%"):
        return int(text)
    share = int(text.removesuffix("%")) * replicas / 100
    return math.ceil(share) if up else math.floor(share)
