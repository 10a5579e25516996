"""Each cause has a planted fault that only it finds, and its place among its neighbours.

A *plant* is the evidence that a fault leaves: fields of the request, and what went on around it.
Two plants of one request are the hard case: the ladder must say which of them counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import pytest

from scenarios.evidence.backend import BackendChange
from scenarios.evidence.event import Event
from scenarios.evidence.locks import DatabaseSession, LockWait
from scenarios.evidence.logged_error import LoggedError
from scenarios.evidence.machine import MachineSample
from scenarios.evidence.server_log import ServerLine
from scenarios.verdict.causes.answer_rules import status
from scenarios.verdict.causes.exchange_rules import balancer, transport
from scenarios.verdict.causes.failure import Failure
from scenarios.verdict.causes.ladder import attribute, matching
from scenarios.verdict.causes.logged import LoggedErrors
from scenarios.verdict.causes.machine import Machine
from scenarios.verdict.causes.surroundings import Surroundings
from scenarios.verdict.timeline import Timeline
from tests.support import evidence as make

SYMPTOMS = (status, transport, balancer)
"""The rules that say what was seen; they match beside any other."""


@dataclass(frozen=True)
class Plant:
    """What a fault leaves behind.

    Attributes:
        request: fields of the failed request.
        around: arguments of `Surroundings`.
        logged: errors in the log of a-1.
        events: of the journal.
        starved: whether others had the machine.
    """

    request: Mapping[str, Any] = field(default_factory=dict)
    around: Mapping[str, Any] = field(default_factory=dict)
    logged: tuple[LoggedError, ...] = ()
    events: tuple[Event, ...] = ()
    starved: bool = False

    def __or__(self, other: "Plant") -> "Plant":
        """Both faults at once, about one request."""
        return Plant(
            {**self.request, **other.request},
            {**self.around, **other.around},
            (*self.logged, *other.logged),
            (*self.events, *other.events),
            self.starved or other.starved,
        )

    def failure(self) -> Failure:
        """A request of 1.0 s of a-1 that failed so."""
        fields: dict[str, Any] = {"served_by": "a-1", "took": 1.0, **self.request}
        around = Surroundings(Timeline([*make.journal(), *self.events]), **self.around)
        around.logged = LoggedErrors(self.logged)
        if self.starved:
            around.machine = Machine(
                MachineSample(
                    at_ns=make.at(n / 2), seconds=0.5, cores=2, busy=1.0, own=0.3, cpu_pressure=0.9
                )
                for n in range(-4, 12)
            )
        return Failure.join(make.request(1, 1.0, **fields), None, around)


def says(message: str, kind: str = "ValueError") -> tuple[LoggedError, ...]:
    return (
        LoggedError(
            at_ns=make.at(1.5), source="a-1", language="python", type=kind, message=message
        ),
    )


BARE: dict[str, Any] = {"status": 500}
SILENT: dict[str, Any] = {
    "status": None,
    "error": "timeout",
    "served_by": None,
    "first_byte_ns": None,
}
NOBODY: dict[str, Any] = {
    "status": 503,
    "proxy_status": "hitless; error=destination_unavailable",
    "served_by": None,
}
REWRITTEN = make.event(0.5, "table", "noted", 99, detail={"table": "things"})
LOCKED = LockWait(
    at_ns=make.at(-1.0),
    end_ns=make.at(2.0),
    gone_ns=make.at(2.0),
    waiter=DatabaseSession(pid=1, application="shop a-1"),
    mode="AccessShareLock",
    kind="relation",
    relation="things",
    chain=(DatabaseSession(pid=2, application="hitless-migrator"),),
)
REFUSED = ServerLine(
    at_ns=make.at(1.5),
    pid=3,
    severity="ERROR",
    sqlstate="42703",
    message="no column",
    application="shop a-1",
)
DOWN = BackendChange(at_ns=make.at(0.5), id="a-1", change="down", check="timed_out")
TOO_LARGE = says("value out of int32 range")

PLANTS: dict[str, Plant] = {
    "lock_wait of the fleet": Plant(NOBODY, {"backends": [DOWN], "locks": [LOCKED]}),
    "machine:starved, the fleet": Plant(NOBODY, {"backends": [DOWN]}, starved=True),
    "no_backend": Plant(NOBODY),
    "sqlstate:23502": Plant({**BARE, "sqlstate": "23502"}),
    "driver:stale_plan": Plant(BARE, logged=says("cached plan must not change result type")),
    "driver:stale_parameter": Plant(BARE, logged=TOO_LARGE, events=(REWRITTEN,)),
    "driver:parameter": Plant(BARE, logged=TOO_LARGE),
    "sqlstate:42703": Plant(BARE, {"server_log": [REFUSED]}),
    "sqlstate:42P01": Plant(BARE, logged=says("no table", "asyncpg.UndefinedTableError")),
    "lock_wait": Plant(BARE, {"locks": [LOCKED]}),
    "machine:starved": Plant(SILENT, starved=True),
    "lifecycle:unresponsive": Plant({**SILENT, "served_by": "a-1"}, {"backends": [DOWN]}),
    "application:rate_limit": Plant({"status": 429}),
    "status:500": Plant(BARE, logged=says("order 7 is gone")),
}
"""By the cause (and whose it is), from the top of the ladder down."""

_ALSO = {
    # These stand for what all others of their kind have, too.
    "lock_wait of the fleet": {"no_backend"},
    "machine:starved, the fleet": {"no_backend"},
    "driver:stale_plan": {"status:500"},
    "driver:stale_parameter": {"status:500"},
    "driver:parameter": {"status:500"},
    "sqlstate:42P01": {"status:500"},
}
"""Which more general cause matches as well: it says less of the same evidence."""


def cause_of(name: str) -> str:
    return name.partition(" of ")[0].partition(",")[0]


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_fault_is_found_by_its_own_rule_alone(name: str) -> None:
    """Its cause is the one that is told, and its neighbours on the ladder are silent."""
    failure = PLANTS[name].failure()
    assert attribute(failure).cause == cause_of(name)
    told = {finding.cause for rule, finding in matching(failure) if rule not in SYMPTOMS}
    assert told == {cause_of(name)} | _ALSO.get(name, set())


@pytest.mark.parametrize("name", [one for one in PLANTS if PLANTS[one] != Plant(NOBODY)])
def test_it_is_silent_without_its_fault(name: str) -> None:
    """The same request without what the fault leaves around it has another cause."""
    plain = {key: value for key, value in PLANTS[name].request.items() if key != "sqlstate"}
    if plain.get("status") == 429:
        plain["status"] = 500
    finding = attribute(Plant(plain).failure())
    assert (finding.cause, finding.confidence) != (cause_of(name), "likely")
    assert finding.confidence == "symptom" or finding.cause == "no_backend"


def _alike(upper: str, lower: str) -> bool:
    """Whether both faults can be about one request, and are two."""
    first, second = PLANTS[upper], PLANTS[lower]
    same = {key: value for key, value in first.request.items() if key != "sqlstate"} == {
        key: value for key, value in second.request.items() if key != "sqlstate"
    }
    return same and not (first.logged and second.logged)


PAIRS = [pair for pair in combinations(PLANTS, 2) if _alike(*pair)]


@pytest.mark.parametrize(("upper", "lower"), PAIRS)
def test_of_two_faults_the_upper_one_counts(upper: str, lower: str) -> None:
    """Where both are planted, the ladder's order decides, whatever else is known."""
    assert attribute((PLANTS[upper] | PLANTS[lower]).failure()).cause == cause_of(upper)


def test_enough_pairs_are_tried() -> None:
    """Each cause but the rate limit has a neighbour with which it can be confused."""
    neighbours = {name for pair in PAIRS for name in pair}
    assert set(PLANTS) - neighbours <= {
        "application:rate_limit",
        "lifecycle:unresponsive",
        "machine:starved",
    }


def test_a_starved_machine_stands_before_a_replica_that_does_not_answer() -> None:
    """A replica that others starve answers nobody and fails its checks: the machine is named."""
    both = PLANTS["lifecycle:unresponsive"] | Plant(starved=True)
    assert attribute(both.failure()).cause == "machine:starved"


def test_a_lock_stands_before_a_starved_machine() -> None:
    """A request that waited for a lock is told so, however busy the machine was."""
    both = PLANTS["lock_wait"] | Plant({"status": None, "error": "timeout"}, starved=True)
    assert attribute(both.failure()).cause == "lock_wait"
