"""How replicas end is part of the verdict."""

from collections.abc import Sequence
from typing import Any

import pytest

from scenarios.evidence.event import Event
from scenarios.evidence.machine import MachineSample
from scenarios.evidence.manifest import Objectives
from scenarios.reports.junit import junit
from scenarios.reports.markdown import summary
from scenarios.verdict.model import Verdict
from tests.support.evidence import Evidence, at, clean, event

ASKED = {"stop_asked_ns": at(3.4)}
GOOD = {**ASKED, "stopped_listening_ns": at(3.5), "ended_ns": at(3.8), "exit_status": 0}
KILLED = {**GOOD, "ended_ns": at(6.4), "exit_status": -9, "killed": True}
UNHEARD = {**KILLED, "stopped_listening_ns": at(6.4)}
WRAPPED = {
    **GOOD, "ended_ns": at(3.41), "stopped_listening_ns": at(5.4), "children_ended_ns": at(5.4),
    "exit_status": -15, "left_behind": 1,
}  # fmt: skip


def ending(departure: dict[str, Any], *more: Event) -> Evidence:
    """The release in which a-1 leaves so."""
    run = clean()
    stopped = event(
        3.81, "stop", "completed", 70, version="a", replicas=("a-1",),
        detail={"departures": {"a-1": departure}},
    )  # fmt: skip
    return run.but(events=[*run.events, stopped, *more])


def starved() -> Sequence[MachineSample]:
    return [
        MachineSample(at_ns=at(n / 2), seconds=0.5, cores=2, busy=1.0, own=0.4, cpu_pressure=0.9)
        for n in range(6, 14)
    ]


def held(verdict: Verdict) -> bool | None:
    return next(check.held for check in verdict.checks if check.check == "termination")


def test_a_replica_that_stops_as_asked_is_told_and_passes() -> None:
    """Asked, port closed, ended with its status: all of it is in the verdict."""
    verdict = ending(GOOD).judge()
    assert verdict.verdict == "pass"
    (one,) = verdict.replica_ends
    assert (one.replica, one.way, one.exit_status, one.stop_asked) == ("a-1", "stopped", 0, 3.4)
    assert "a-1" in summary(verdict)


@pytest.mark.parametrize(
    ("departure", "way", "said"),
    [
        (KILLED, "killed", "killed after its grace period"),
        (UNHEARD, "unheard", "did not reach the process that listens"),
        (WRAPPED, "left_behind", "left the one that listens behind"),
    ],
)
def test_a_replica_that_does_not_stop_fails_the_run(
    departure: dict[str, Any], way: str, said: str
) -> None:
    """Each kind has its finding, and one line says how wrappers pass the signal on."""
    verdict = ending(departure).judge()
    assert verdict.verdict == "fail"
    assert [one.way for one in verdict.replica_ends] == [way]
    (reason,) = verdict.reasons
    assert said in reason
    assert "exec" in reason
    assert said in junit(verdict).decode()
    assert said in summary(verdict)


@pytest.mark.parametrize("departure", [KILLED, UNHEARD, WRAPPED])
def test_its_neighbours_are_silent(departure: dict[str, Any]) -> None:
    """Where no request was lost, only the objective `termination` is missed; no cause is told."""
    verdict = ending(departure).judge()
    assert [check.check for check in verdict.checks if check.held is False] == ["termination"]
    assert (verdict.causes, verdict.rescued.died) == ((), 0)


def test_the_scenario_can_allow_it() -> None:
    """With `termination = false` it is told, and does not fail the run."""
    run = ending(KILLED).asked(objectives=Objectives(termination=False))
    verdict = run.judge()
    assert (verdict.verdict, held(verdict)) == ("pass", True)
    assert verdict.replica_ends[0].way == "killed"


def test_helpers_that_outlive_a_server_are_no_finding() -> None:
    """The port was closed before the first process ended: no server was left behind."""
    departure = {**GOOD, "left_behind": 2, "children_ended_ns": at(4.5)}
    verdict = ending(departure).judge()
    assert verdict.replica_ends[0].way == "stopped"
    assert verdict.verdict == "pass"


def test_a_fault_excuses_a_replica_that_had_to_be_killed() -> None:
    """A paused process cannot stop: that is the fault's doing."""
    fault: dict[str, Any] = {"replicas": ("a-1",), "detail": {"name": "pause"}}
    run = ending(UNHEARD, event(3.3, "fault", "started", 71, **fault)).asked(faults=())
    verdict = run.judge()
    assert held(verdict) is True
    assert verdict.replica_ends[0].excused == "fault: pause a-1"


def test_a_starved_machine_excuses_it_and_makes_the_run_invalid() -> None:
    """Others had the machine while it was to stop: the run cannot tell."""
    verdict = ending(KILLED).judge(machine_samples=starved())
    assert verdict.verdict == "invalid"
    assert "1 replica had to be killed while the machine was starved" in verdict.reasons[0]


def test_a_server_that_was_left_behind_is_not_excused_by_a_starved_machine() -> None:
    """A signal that never arrives does not arrive on a quiet machine either."""
    assert ending(WRAPPED).judge(machine_samples=starved()).verdict == "fail"


def test_requests_under_way_are_counted() -> None:
    """Requests that broke off as the replica ended are its."""
    run = ending(GOOD)
    run = run.failing(
        3.35, 3.41, error="reset", status=None, first_byte_ns=None, done_ns=at(3.45),
        served_by="a-1",
    )  # fmt: skip
    (one,) = run.judge().replica_ends
    assert one.way == "under_way"
    assert one.cut > 0


def test_failures_at_its_beginning_are_none_of_its_end() -> None:
    """A replica that failed while it was young had no requests under way when it ended."""
    run = clean(rate=400)
    stopped = event(
        5.9, "stop", "completed", 70, version="b", replicas=("b-2",),
        detail={"departures": {"b-2": {**GOOD, "stop_asked_ns": at(5.8), "ended_ns": at(5.9)}}},
    )  # fmt: skip
    run = run.but(events=[*run.events, stopped]).failing(3.2, 4.0, status=503)
    verdict = run.judge()
    assert "lifecycle:warming" in {one.cause for one in verdict.causes}
    assert [one.way for one in verdict.replica_ends] == ["stopped"]


def test_a_replica_that_dies_in_service_is_told() -> None:
    """Nobody asked it to: the section names it, whatever became of the requests."""
    died = event(2.2, "replica", "noted", 72, version="a", replicas=("a-1",), error="exited")
    run = clean()
    (one,) = run.but(events=[*run.events, died]).judge().replica_ends
    assert (one.replica, one.way) == ("a-1", "died")


def test_a_replica_ends_once() -> None:
    """One that died and was stopped afterwards has died; later records of it change nothing."""
    died = event(2.2, "replica", "noted", 72, version="a", replicas=("a-1",), error="exited")
    (one,) = ending(KILLED, died).judge().replica_ends
    assert (one.replica, one.version, one.way, one.ended) == ("a-1", "a", "died", 2.2)


def test_what_a_stop_says_is_told() -> None:
    """When it was asked, closed its port and ended, how, and what it cut and left behind."""
    departure = {**GOOD, "cut": 3, "left_behind": 2, "children_ended_ns": at(4.5)}
    (one,) = ending(departure).judge().replica_ends
    assert (one.version, one.stop_asked, one.stopped_listening) == ("a", 3.4, 3.5)
    assert (one.ended, one.children_ended, one.exit_status) == (3.8, 4.5, 0)
    assert (one.cut, one.left_behind, one.way) == (3, 2, "under_way")


def test_a_fault_that_killed_a_replica_is_named() -> None:
    """Whoever kills a replica on purpose learns that it was that."""
    fault: dict[str, Any] = {"replicas": ("a-1",), "detail": {"name": "kill"}}
    died = event(2.2, "replica", "noted", 72, version="a", replicas=("a-1",), error="signal 9")
    run = clean()
    made = [event(2.19, "fault", "started", 71, **fault), died]
    (one,) = run.but(events=[*run.events, *made]).judge().replica_ends
    assert (one.way, one.excused) == ("died", "fault: kill a-1")


def test_a_run_without_records_of_it_has_no_such_objective() -> None:
    """Older runs and foreign platforms did not record how replicas left."""
    verdict = clean().judge()
    assert verdict.replica_ends == ()
    assert all(check.check != "termination" for check in verdict.checks)
