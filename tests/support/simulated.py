"""A simulated release, and an account of all that became of its requests."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from balancer.proxy.error_responses import ErrorResponse
from orchestrator.model import Deploy, JournalEvent, Release, ReleaseResult, Step, Version
from orchestrator.policy import Policy
from orchestrator.rollout import Rollout
from orchestrator.simulated.request import AnsweredMany, Request
from orchestrator.simulated.world import SimulatedRun, SimulatedWorld, simulate

A, B = Version(name="a", command=("a",)), Version(name="b", command=("b",))


@dataclass
class Account:
    """What became of each request.

    Attributes:
        ends: how often each status, or reason, was the end.
        by_backend: how many requests each replica answered.
        failed: the instants, in ns, and the reasons of those that were not answered with success.
        digest: of everything, in order.
    """

    ends: Counter[str] = field(default_factory=Counter)
    by_backend: Counter[str] = field(default_factory=Counter)
    failed: list[tuple[int, str]] = field(default_factory=list)
    digest: Any = field(default_factory=hashlib.sha256)

    def answered(self, request: Request, status: int, sqlstate: str | None) -> None:
        assert request.backend is not None
        word = f"{status} {sqlstate}" if sqlstate else str(status)
        self._end(request, word, request.backend.id)
        self.by_backend[request.backend.id] += 1

    def refused(self, request: Request, response: ErrorResponse) -> None:
        self._end(request, response.details, "")

    def gave_up(self, request: Request) -> None:
        self._end(request, "gave up", "")

    def _end(self, request: Request, word: str, who: str) -> None:
        self.ends[word] += 1
        if word != "200":
            self.failed.append((request.at_ns, word))
        self.digest.update(f"{request.number} {request.at_ns} {word} {who}\n".encode())

    def answered_many(self, many: AnsweredMany) -> None:
        assert len({len(column) for column in many[1:]}) == 1
        self.ends["200"] += len(many.places)
        for place in many.places.tolist():
            self.by_backend[many.backends[place].id] += 1


@dataclass
class Simulated:
    """A simulated release that has ended.

    Attributes:
        account: what became of the requests.
        result: how the release ended.
        events: of the journal.
        planned: how many requests users wanted to send.
        batched: how many of them were worked out in batches.
        phases: when each phase began, in ns.
        left: the replicas that run after the end.
        counters: of the balancer, by version.
    """

    account: Account
    result: ReleaseResult
    events: list[JournalEvent]
    planned: int
    batched: int
    phases: dict[str, int]
    left: list[str]
    counters: dict[str, dict[str, object]]

    @property
    def digest(self) -> str:
        """Of all requests and of the journal."""
        whole = self.account.digest.copy()
        for event in self.events:
            whole.update(repr(event).encode())
        return str(whole.hexdigest())


def release(*steps: Step, strategy: str = "rolling", **settings: Any) -> Simulated:
    """Carry out a release; without steps it deploys B."""
    knobs = settings.pop("policy", {})
    return carried_out(
        SimulatedRun(
            release=Release(name="r", start=A, steps=steps or (Deploy(version=B),)),
            policy=Policy(**knobs),
            strategy=strategy,
            **settings,
        )
    )


def carried_out(run: SimulatedRun) -> Simulated:
    """Carry out a run."""
    account, events = Account(), list[JournalEvent]()
    phases: dict[str, int] = {}
    worlds: list[SimulatedWorld] = []

    def on_phase(name: str, world: SimulatedWorld, rollout: Rollout) -> None:
        assert run.policy.autoscaling is not None or rollout.policy is run.policy
        phases[name] = world.events.clock.ns
        worlds.append(world)

    result = simulate(run, account, listeners=[events.append], on_phase=on_phase)
    world = worlds[-1]
    steady = world.events.steady
    return Simulated(
        account=account,
        result=result,
        events=events,
        planned=world.planned,
        batched=getattr(steady, "requests", 0),
        phases=phases,
        left=[name for name, one in world.platform.replicas.items() if one.ended is None],
        counters={name: one.as_dict() for name, one in world.balancer.pool.retired.items()},
    )
