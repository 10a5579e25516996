"""Failures that other processes caused, by using the machine, are no verdict on the release."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.evidence.backend import BackendChange
from scenarios.evidence.event import Event
from scenarios.evidence.machine import MachineSample
from scenarios.verdict.causes.machine import Machine
from scenarios.verdict.model import Verdict
from tests.support.evidence import SECOND, Evidence, at, clean, event

NOBODY = "hitless; error=destination_unavailable; received-status=503"


def sample(end: float, **fields: Any) -> MachineSample:
    """Half a second in which others took half of a machine that was full."""
    full = {"seconds": 0.5, "busy": 1.0, "own": 0.5, "cpu_pressure": 0.97}
    return MachineSample(at_ns=at(end), cores=2, **{**full, **fields})


def load(first: float = 0.0, last: float = 6.0, **fields: Any) -> list[MachineSample]:
    return [sample(end / 2, **fields) for end in range(int(first * 2) + 1, int(last * 2) + 1)]


STARVED = load()
QUIET = load(busy=0.3, own=0.28, cpu_pressure=0.05)


def timeouts(start: float = 2.6, end: float = 3.0) -> Evidence:
    """Requests that got no answer within two seconds."""
    found = clean()
    outcomes = [
        one
        if not at(start) <= one.planned_ns < at(end)
        else type(one)(
            request_id=one.request_id,
            journey=one.journey,
            endpoint=one.endpoint,
            connection=one.connection,
            planned_ns=one.planned_ns,
            sent_ns=one.sent_ns,
            done_ns=one.planned_ns + 2 * SECOND,
            expected=one.expected,
            error="timeout",
            served_by=None,
        )
        for one in found.outcomes
        if one.subject is None
    ]
    return found.but(outcomes=outcomes, before=None, after=None, mails=[])


def nobody(start: float, end: float) -> Evidence:
    """Requests that the balancer had no replica for."""
    found = clean().but(before=None, after=None, mails=[])
    found = found.but(outcomes=[one for one in found.outcomes if one.subject is None])
    return found.failing(start, end, status=503, proxy_status=NOBODY, served_by=None)


def down(replica: str, start: float, end: float, check: str | None) -> list[BackendChange]:
    return [
        BackendChange(at_ns=at(start), change="down", id=replica, check=check),
        BackendChange(at_ns=at(end), change="up", id=replica, check="passed"),
    ]


def causes(verdict: Verdict) -> set[str]:
    return {cause.cause for cause in verdict.causes}


def test_timeouts_on_a_machine_that_others_use_make_the_run_invalid() -> None:
    """Requests that time out while others have the machine: invalid, with the figure."""
    verdict = timeouts().judge(machine_samples=STARVED)
    assert verdict.verdict == "invalid"
    assert causes(verdict) == {"machine:starved"}
    assert verdict.causes[0].kind == "machine"
    said = " ".join(verdict.reasons)
    assert "other processes used 50 % of the processors for 6.0 s" in said
    assert "97 %" in said


@pytest.mark.parametrize(
    "samples",
    [
        QUIET,
        [],
        pytest.param(load(own=0.95), id="the run itself uses the machine"),
        pytest.param(load(busy=0.8, own=0.3), id="some of the machine is left"),
        pytest.param(load(cpu_pressure=0.05), id="nobody waits for a processor"),
        pytest.param(load(0.0, 2.0), id="before the failures"),
        pytest.param(load(5.5, 6.0), id="after the failures"),
    ],
)
def test_timeouts_on_any_other_machine_fail(samples: Sequence[MachineSample]) -> None:
    """The same requests, but others did not have the machine at that time: the run fails."""
    verdict = timeouts().judge(machine_samples=samples)
    assert verdict.verdict == "fail"
    assert "machine:starved" not in causes(verdict)


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, "invalid"),
        ({"seconds": 1.0}, "fail"),
        ({"own": 0.7}, "fail"),
        ({"cpu_pressure": 0.2}, "fail"),
    ],
)
def test_a_sample_that_was_late_itself_shows_a_starved_machine(
    changed: dict[str, Any], verdict: str
) -> None:
    """The process that samples could not run, while others used the machine and somebody waited."""
    fields = {"seconds": 2.35, "busy": 0.85, "own": 0.24, "cpu_pressure": 0.6, **changed}
    assert timeouts().judge(machine_samples=[sample(4.9, **fields)]).verdict == verdict


def test_a_platform_of_others_is_starved_only_by_what_is_taken_from_all() -> None:
    """In a watched deployment a busy process may be the application: only steal counts."""
    foreign = timeouts().asked(platform="foreign")
    assert foreign.judge(machine_samples=STARVED).verdict == "fail"
    stolen = load(busy=0.55, own=0.1, steal=0.4)
    assert foreign.judge(machine_samples=stolen).verdict == "invalid"


def test_a_fleet_that_health_checks_took_out_for_want_of_processors_is_no_failure() -> None:
    """All replicas down since their checks got no answer, while others had the machine."""
    run = nobody(2.2, 2.7)
    checks = down("a-1", 2.1, 2.8, "timed_out")
    verdict = run.judge(machine_samples=STARVED, backend_changes=checks)
    assert (verdict.verdict, causes(verdict)) == ("invalid", {"machine:starved"})


@pytest.mark.parametrize(
    ("checks", "samples"),
    [
        (down("a-1", 2.1, 2.8, "timed_out"), QUIET),
        (down("a-1", 2.1, 2.8, "refused"), STARVED),
        (down("a-1", 2.1, 2.8, "failed"), STARVED),
        ([], STARVED),
    ],
)
def test_a_fleet_that_is_gone_for_another_reason_still_fails(
    checks: list[BackendChange], samples: Sequence[MachineSample]
) -> None:
    """A refused or failed check, or none at all, is not made good by a starved machine."""
    verdict = nobody(2.2, 2.7).judge(machine_samples=samples, backend_changes=checks)
    assert (verdict.verdict, causes(verdict)) == ("fail", {"no_backend"})


def test_a_release_that_leaves_no_replica_in_service_still_fails_on_a_starved_machine() -> None:
    """All old replicas were stopped before a new one was there: no health check is to blame."""
    old = {"version": "a", "replicas": ("a-1",)}
    stopped: list[Event] = [
        event(2.55, "stop", "started", 40, **old),
        event(2.56, "stop", "completed", 40, **old),
    ]
    run = nobody(2.6, 2.95)
    run = run.but(events=[*run.events, *stopped])
    checks = down("a-1", 2.57, 2.58, "timed_out")
    verdict = run.judge(machine_samples=STARVED, backend_changes=checks)
    assert (verdict.verdict, causes(verdict)) == ("fail", {"no_backend"})


def test_what_the_database_refuses_fails_under_the_same_pressure() -> None:
    """A refused statement is no artefact of load; the starved requests beside it are a doubt."""
    run = timeouts().failing(3.0, 3.3, status=500, sqlstate="42703", problem="no such column")
    verdict = run.judge(machine_samples=STARVED)
    assert verdict.verdict == "fail"
    assert causes(verdict) == {"machine:starved", "sqlstate:42703"}
    refused = next(one.count for one in verdict.causes if one.cause == "sqlstate:42703")
    assert f"failed {refused} of" in " ".join(verdict.reasons)
    assert any("other processes used 50 %" in doubt for doubt in verdict.doubts)


def test_a_fault_of_the_run_is_blamed_before_the_machine() -> None:
    """What a planned fault does to a replica is not taken for the machine's doing."""
    run = timeouts().asked(faults=("pause",))
    fault = {"replicas": (), "detail": {"name": "pause"}}
    events = [
        event(2.5, "fault", "started", 50, **fault),
        event(4.6, "fault", "completed", 50, **fault),
    ]
    run = run.but(events=[*run.events, *events])
    assert "machine:starved" not in causes(run.judge(machine_samples=STARVED))


def test_a_clean_run_on_a_starved_machine_passes() -> None:
    """Pressure alone is no doubt: every request was answered all the same."""
    assert clean().judge(machine_samples=STARVED).verdict == "pass"


def test_slow_answers_on_a_starved_machine_do_not_break_the_objective() -> None:
    """Slowness while others had the machine counts neither for nor against the release."""
    run = clean()
    slow = [
        one
        if one.subject is not None or not at(2.2) <= one.planned_ns < at(2.6)
        else type(one)(
            **{
                **{f: getattr(one, f) for f in one.__struct_fields__},
                "done_ns": one.planned_ns + 2 * SECOND,
                "first_byte_ns": one.planned_ns + 2 * SECOND - 1,
            }
        )
        for one in run.outcomes
    ]
    objectives = type(run.manifest.objectives)(latency_seconds=1.0, slow_requests=0)
    run = run.but(outcomes=slow).asked(objectives=objectives)
    assert run.judge(machine_samples=QUIET).verdict == "fail"
    verdict = run.judge(machine_samples=STARVED)
    assert verdict.verdict == "invalid"
    assert {one.cause for one in verdict.slow_causes} == {"machine:starved"}
    assert "took too long" in " ".join(verdict.reasons)


def test_a_replica_that_is_not_ready_in_time_on_a_starved_machine_proves_nothing() -> None:
    """The release failed at its deadline for new replicas, while others had the machine."""
    run = clean().asked(outcome="failed", outcome_reason="not ready within 2 s")
    events = [
        event(one_at, "wait_ready", state, 60, version="b", detail=detail)
        for one_at, state, detail in ((4.0, "started", {}), (6.0, "failed", {"timed_out": True}))
    ]
    run = run.but(events=[*run.events, *events])
    assert run.judge(machine_samples=QUIET).verdict == "fail"
    verdict = run.judge(machine_samples=STARVED)
    assert verdict.verdict == "invalid"
    assert "did not become ready" in " ".join(verdict.reasons)


@given(
    busy=st.floats(0, 1),
    own=st.floats(0, 1),
    steal=st.floats(0, 1),
    pressure=st.none() | st.floats(0, 1),
    seconds=st.floats(0.5, 4),
)
def test_a_run_that_uses_the_machine_alone_is_never_starved(
    busy: float, own: float, steal: float, pressure: float | None, seconds: float
) -> None:
    """Without a considerable foreign share nothing is excused, whatever the pressure is."""
    one = sample(1.0, busy=busy, own=own, steal=steal, cpu_pressure=pressure, seconds=seconds)
    machine = Machine([one])
    starved = machine.starved(at(0.5), at(1.0))
    assert (starved is not None) == machine.is_starved(one)
    if one.foreign < 0.25:
        assert starved is None


def test_an_instant_counts_as_the_sample_that_it_falls_into() -> None:
    """A stretch without length is judged by the interval around it; outside there is none."""
    machine = Machine([sample(1.0)])
    assert machine.starved(at(0.7), at(0.7)) is not None
    assert machine.starved(at(1.2), at(1.2)) is None
    assert machine.starved(at(0.2), at(0.2)) is None
    assert machine.starved(at(0.5), at(3.0)) is None


def test_a_replica_that_is_taken_out_for_want_of_processors_during_its_soak_proves_nothing() -> (
    None
):
    """The release was rolled back since a new replica did not answer its checks on that machine."""
    run = clean().asked(outcome="rolled_back", outcome_reason="no longer up: b-2")
    soak: dict[str, Any] = {"version": "b", "replicas": ("b-2",)}
    events = [event(4.4, "soak", "started", 61, **soak), event(5.4, "soak", "failed", 61, **soak)]
    run = run.but(events=[*run.events, *events])
    for check, word in (("timed_out", "invalid"), ("refused", "fail"), ("failed", "fail")):
        changes = down("b-2", 5.3, 5.8, check)
        assert run.judge(machine_samples=STARVED, backend_changes=changes).verdict == word
    changes = down("b-2", 5.3, 5.8, "timed_out")
    assert run.judge(machine_samples=QUIET, backend_changes=changes).verdict == "fail"


def test_a_request_that_began_while_the_fleet_was_down_counts_though_it_ended_later() -> None:
    """The client of a starved machine may hear of the answer only when the fleet is up again."""
    checks = down("a-1", 2.1, 2.699, "timed_out")
    verdict = nobody(2.2, 2.699).judge(machine_samples=STARVED, backend_changes=checks)
    assert (verdict.verdict, causes(verdict)) == ("invalid", {"machine:starved"})


@pytest.mark.parametrize(
    ("problem", "machine", "verdict"),
    [
        ("There is no free connection to the database", STARVED, "invalid"),
        ("There is no free connection to the database", QUIET, "fail"),
        ("FATAL: sorry, too many clients already; the pool is closed", STARVED, "fail"),
    ],
)
def test_no_free_connection_in_time_is_a_timeout(
    problem: str, machine: Sequence[MachineSample], verdict: str
) -> None:
    """On a starved machine connections come back late; a server that is full refuses at once."""
    run = clean().but(before=None, after=None, mails=[])
    run = run.but(outcomes=[one for one in run.outcomes if one.subject is None])
    run = run.failing(2.6, 2.9, status=503, problem=problem)
    assert run.judge(machine_samples=machine).verdict == verdict


@pytest.mark.parametrize(
    ("machine", "verdict"),
    [
        (STARVED, "invalid"),
        ([*load(0, 5), *load(5, 6, busy=0.3, own=0.28, cpu_pressure=0.05)], "invalid"),
        ([*load(0, 5, busy=0.3, own=0.28, cpu_pressure=0.05), *load(5, 6)], "invalid"),
        (QUIET, "fail"),
    ],
    ids=["always", "until the work was waited for", "while it was waited for", "never"],
)
def test_work_that_a_starved_machine_left_undone_is_not_lost(
    machine: Sequence[MachineSample], verdict: str
) -> None:
    """A mail that is late may still come; on a quiet machine it is a violation."""
    run = clean()
    phases = [
        event(5.0, "phase", "started", 80, detail={"name": "settle"}),
        event(5.9, "phase", "noted", 81, error="not settled after 1 s", detail={"name": "settle"}),
    ]
    late = run.but(mails=run.mails[:-1], events=[*run.events, *phases])
    found = late.judge(machine_samples=machine)
    assert found.verdict == verdict
    said = " ".join(found.reasons)
    assert ("work was not finished in time (1 mail not sent)" in said) == (verdict == "invalid")
    lost = late.but(after=[one for one in run.after or () if one.subject != "old-1"])
    assert lost.judge(machine_samples=machine).verdict == "fail"


FREE = {"busy": 0.3, "own": 0.28, "cpu_pressure": 0.05}
DISKS = {**FREE, "io_pressure": 0.8, "foreign_disk": 0.95, "disk_bytes": 80_000_000}
MEMORY = {**FREE, "memory_pressure": 0.6, "foreign_memory": 0.8}


@pytest.mark.parametrize(
    ("short", "words"),
    [
        (DISKS, "moved 95 % of all bytes to and from the disks"),
        (MEMORY, "used 80 % of the memory"),
    ],
)
def test_a_machine_is_starved_of_disks_and_memory_as_well(
    short: dict[str, Any], words: str
) -> None:
    """Timeouts while others keep the disks busy or hold the memory are a doubt with its figure."""
    verdict = timeouts().judge(machine_samples=load(**short))
    assert (verdict.verdict, causes(verdict)) == ("invalid", {"machine:starved"})
    assert f"other processes {words}" in " ".join(verdict.reasons)
    refused = timeouts().failing(3.0, 3.3, status=500, sqlstate="42703")
    assert refused.judge(machine_samples=load(**short)).verdict == "fail"


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({**DISKS, "io_pressure": 0.3}, id="nobody waits much for the disks"),
        pytest.param({**DISKS, "foreign_disk": 0.5}, id="the run moves half of the bytes"),
        pytest.param({**DISKS, "disk_bytes": 3_000_000}, id="a journal's few bytes"),
        pytest.param({**MEMORY, "memory_pressure": 0.1}, id="nobody waits for memory"),
        pytest.param({**MEMORY, "foreign_memory": 0.2}, id="the run holds the memory"),
    ],
)
def test_disks_and_memory_that_the_run_itself_uses_excuse_nothing(changed: dict[str, Any]) -> None:
    """What is short must be short because of others."""
    assert timeouts().judge(machine_samples=load(**changed)).verdict == "fail"
