"""Failures that nobody explains are explained by where the same requests succeed."""

import random
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as some
import msgspec
import pytest
from hypothesis import given, settings

from scenarios.evidence.event import Event
from scenarios.evidence.outcome import Outcome
from scenarios.verdict.causes.contrast_lines import WARM_SECONDS
from scenarios.verdict.model import Cause, Verdict
from tests.support import evidence as make
from tests.support.evidence import Evidence

Fault = Callable[["Asked"], bool]
READ, WRITE = "GET /things", "POST /things"
SECONDS = 16
START_B, ALL_B = 6.0, 10.0
"""From the one on, half of the requests are answered by b; from the other on, all of them."""


class Asked:
    """A request as a planted fault sees it."""

    def __init__(self, at: float, step: int, replica: str, previous: str | None) -> None:
        self.at, self.step, self.replica, self.previous = at, step, replica, previous
        self.version = replica[0]
        self.age = at - {"a": -1.0, "b": START_B}[self.version]


def journal() -> list[Event]:
    """Version a from the beginning, a migration at 4.0, and b from 6.0 on."""
    events = [
        make.event(0.0, "phase", "started", 1, detail={"name": "baseline"}),
        make.event(3.0, "phase", "started", 2, detail={"name": "rollout"}),
        make.event(3.8, "migrate", "started", 3, detail={"migration": "0002.new"}),
        make.event(4.0, "migrate", "completed", 3, detail={"migration": "0002.new"}),
        make.event(14.0, "phase", "started", 4, detail={"name": "settle"}),
    ]
    for number, (replica, at) in enumerate(
        [("a-1", -1.0), ("a-2", -1.0), ("b-3", START_B), ("b-4", START_B)]
    ):
        about = {"version": replica[0], "replicas": (replica,)}
        events.append(make.event(at - 0.5, "start", "started", 10 + number, **about))
        events.append(make.event(at - 0.1, "wait_ready", "completed", 20 + number, **about))
        events.append(make.event(at, "attach", "started", 30 + number, **about))
    for number, replica in enumerate(("a-1", "a-2")):
        about = {"version": "a", "replicas": (replica,)}
        events.append(make.event(ALL_B, "drain", "started", 40 + number, **about))
    return events


def run(
    fault: Fault,
    seed: int = 1,
    writes_b: float = START_B,
    shares_b: tuple[float, float] = (0.5, 1.0),
    **fields: Any,
) -> Evidence:
    """Users who write and then read, 20 a second; what the fault wants fails.

    Args:
        fault: which requests fail.
        seed: of who answers what.
        writes_b: from when on b is asked to write.
        shares_b: the share of b between START_B and ALL_B, and from then on.
        fields: what the failed requests have.
    """
    chance = random.Random(seed)
    outcomes: list[Outcome] = []

    def replica_at(at: float, step: int) -> str:
        share = 0.0 if at < START_B else shares_b[0] if at < ALL_B else shares_b[1]
        if step == 1 and at < writes_b:
            share = 0.0
        return chance.choice(["b-3", "b-4"] if chance.random() < share else ["a-1", "a-2"])

    for number in range(SECONDS * 20):
        previous = None
        for step, endpoint in ((1, WRITE), (2, READ)):
            at = number / 20 + (step - 1) * 0.5
            asked = Asked(at, step, replica_at(at, step), previous)
            bad = fault(asked)
            outcomes.append(
                make.request(
                    number,
                    at,
                    endpoint=endpoint,
                    journey="use",
                    request_id=f"s7-{number:06}-{step}",
                    cause_id=f"s7-{number:06}-{step - 1}" if step > 1 else None,
                    served_by=asked.replica,
                    **({"status": 500, **fields} if bad else {}),
                )
            )
            previous = asked.version
    return Evidence(make.MANIFEST, outcomes, journal(), make.clean().ticks, (), None, None)


def only(verdict: Verdict) -> Cause:
    """The one cause."""
    (cause,) = verdict.causes
    return cause


FAULTS: dict[str, tuple[Fault, str]] = {
    "mixed_fleet:version": (
        lambda one: one.version == "b" and one.step == 2,
        "only version b fails",
    ),
    "mixed_fleet:after_write": (
        lambda one: one.version == "a" and one.step == 2 and one.at > START_B + 0.3,
        "a cannot read what b writes",
    ),
    "mixed_fleet:after_migration": (
        lambda one: one.version == "a" and one.step == 2 and one.at > 4.0,
        "only after the migration 0002.new",
    ),
    "mixed_fleet:previous_version": (
        lambda one: one.previous is not None and one.previous != one.version,
        "fail only where another version answered the request before",
    ),
    "lifecycle:warming": (
        lambda one: one.version == "b" and one.step == 2 and one.age < 1.9,
        "only within 2 s of a replica's start",
    ),
}

SERVES_FIRST: dict[str, Any] = {"writes_b": ALL_B, "seed": 2}
"""b answers reads for some seconds before it is asked to write."""

TOLD_TO_STOP = {"a-1": 6.7, "a-2": 8.2}
"""When the replicas of a are told to leave, in a run whose router asks them until all ask b."""


def leaving(evidence: Evidence) -> Evidence:
    """The same run, in which the replicas of a were told to leave earlier."""
    events = [event for event in evidence.events if event.verb != "drain"]
    for number, (replica, at) in enumerate(TOLD_TO_STOP.items()):
        about = {"version": "a", "replicas": (replica,)}
        events.append(make.event(at, "drain", "started", 40 + number, **about))
    return evidence.but(events=events)


def test_one_that_does_not_work_beside_another() -> None:
    """A fails from when b first served, though b wrote much later: `after_served` alone."""

    def fault(one: Asked) -> bool:
        return one.version == "a" and one.step == 2 and one.at > START_B + 0.2

    cause = only(run(fault, **SERVES_FIRST).judge())
    assert (cause.cause, cause.confidence) == ("mixed_fleet:after_served", "likely")
    assert "only after b served: a does not work beside b" in cause.title
    # Its neighbours need what is missing here; where b writes at once, that is the more specific.
    assert only(run(fault).judge()).cause == "mixed_fleet:after_write"


def test_one_that_stops_badly() -> None:
    """Each replica of a fails from when it was told to leave: `stopping` alone."""

    def fault(one: Asked) -> bool:
        told = TOLD_TO_STOP.get(one.replica)
        return one.step == 2 and told is not None and one.at >= told

    cause = only(leaving(run(fault)).judge())
    assert (cause.cause, cause.confidence) == ("lifecycle:stopping", "likely")
    assert "version a fails only after its replica was told to stop" in cause.title
    # Nobody told them to leave: the same failures follow no line then.
    found = {one.cause for one in run(fault).judge().causes}
    assert "lifecycle:stopping" not in found


@pytest.mark.parametrize(
    ("fault", "changed"),
    [
        # Failures that end before the line, or begin long after it, are not its.
        (lambda one: one.step == 2 and one.replica == "a-1" and 5.5 < one.at < 6.5, {}),
        (lambda one: one.step == 2 and one.version == "a" and one.at < 5.9, SERVES_FIRST),
        (lambda one: one.step == 2 and one.version == "b" and one.at > 9.0, SERVES_FIRST),
    ],
)
def test_neither_is_found_where_it_is_not(fault: Fault, changed: dict[str, Any]) -> None:
    """Failures beside the line are not told as `stopping` or `after_served`."""
    found = {one.cause for one in leaving(run(fault, **changed)).judge().causes}
    assert found
    assert not found & {"lifecycle:stopping", "mixed_fleet:after_served"}


PLACES: tuple[tuple[dict[str, Any], str], ...] = (
    ({"sqlstate": "23502"}, "sqlstate:23502"),
    ({"status": 503, "proxy_status": "p; error=connection_timeout"}, "balancer:connection_timeout"),
    ({"status": 429}, "application:rate_limit"),
)
"""What has a cause of its own, and which; each stands above the contrasts."""


@pytest.mark.parametrize("name", [*FAULTS, "lifecycle:stopping", "mixed_fleet:after_served"])
@pytest.mark.parametrize(("fields", "known"), PLACES)
def test_contrasts_stand_below_what_is_known(name: str, fields: dict[str, Any], known: str) -> None:
    """Failures on one side of any line keep the cause that their own evidence gives."""
    faults: dict[str, Fault] = {
        "lifecycle:stopping": lambda one: one.at >= TOLD_TO_STOP.get(one.replica, 99.0),
        "mixed_fleet:after_served": lambda one: one.version == "a" and one.at > START_B + 0.2,
    }
    fault = faults[name] if name in faults else FAULTS[name][0]
    assert only(leaving(run(fault, **fields)).judge()).cause == known


@pytest.mark.parametrize("name", FAULTS)
def test_each_planted_fault_is_found_by_its_own_contrast_alone(name: str) -> None:
    """A fault on one side of a line gets that line as its cause, with its counts."""
    fault, words = FAULTS[name]
    cause = only(run(fault).judge())
    assert (cause.cause, cause.confidence) == (name, "likely")
    assert words in cause.title
    assert "HTTP 500" in cause.title
    assert f"{cause.count:,} of " in cause.title


@pytest.mark.parametrize(
    "fields",
    [
        {"status": 200, "mismatch": "the body has no 'export'"},
        {"status": 404},
        {"status": 500, "problem": "The printer is on fire"},
    ],
)
def test_every_kind_of_symptom_is_contrasted(fields: dict[str, Any]) -> None:
    """A wrong answer with status 200, a 404 and an application's own problem are told alike."""
    fault, _ = FAULTS["mixed_fleet:after_write"]
    cause = only(run(fault, **fields).judge())
    assert cause.cause == "mixed_fleet:after_write"


@pytest.mark.parametrize("seconds", [2.8, 3.4, 6.5, 8.0])
def test_a_replica_may_be_young_for_any_time(seconds: float) -> None:
    """The smallest of the times is told in which it fails, also if it hardly lives longer."""

    def fault(one: Asked) -> bool:
        return one.version == "b" and one.step == 2 and one.age < seconds

    cause = only(run(fault).judge())
    assert cause.cause == "lifecycle:warming"
    wanted = min(one for one in WARM_SECONDS if one >= seconds)
    assert f"only within {wanted} s of a replica's start" in cause.title


def test_only_one_direction_of_two() -> None:
    """Where b alone does not know what a hands out, both are named."""
    cause = only(run(lambda one: one.version == "b" and one.previous == "a").judge())
    assert cause.cause == "mixed_fleet:previous_version"
    assert "version b fails only where version a answered the request before" in cause.title


def test_steps_that_only_together_show_a_contrast_are_counted_once() -> None:
    """Each step has too few failures; the numbers of the title are those of both together."""
    cause = only(run(lambda one: one.version == "b" and int(one.at * 20) % 19 == 0).judge())
    assert cause.cause == "mixed_fleet:version"
    assert len(cause.evidence.endpoints) == 2
    assert f"({cause.count} of " in cause.title


def test_a_step_with_few_failures_gets_the_contrast_of_its_kin() -> None:
    """Three failures prove nothing; beside a hundred alike in another step, they are the same."""
    few = run(lambda one: one.previous not in (None, one.version))
    rare = [
        msgspec.structs.replace(one, journey="rare")
        if one.request_id.endswith("-2") and int(one.request_id[3:9]) % 50 == 7
        else one
        for one in few.outcomes
    ]
    cause = only(few.but(outcomes=rare).judge())
    assert cause.cause == "mixed_fleet:previous_version"


def crossing(*numbers: int, fails: Callable[[int], bool]) -> Evidence:
    """Sticky users: each keeps to one version, but for the few whose version goes meanwhile."""
    evidence = run(lambda _: False)
    outcomes = []
    for one in evidence.outcomes:
        number = int(one.request_id[3:9])
        replica = "a-1" if number < SECONDS * 10 else "b-3"
        if one.request_id.endswith("-2") and number in numbers:
            replica = "b-3"
        status = 404 if one.request_id.endswith("-2") and fails(number) else one.status
        outcomes.append(msgspec.structs.replace(one, served_by=replica, status=status))
    return evidence.but(outcomes=outcomes)


def test_one_request_that_crosses_from_one_version_to_another_is_enough() -> None:
    """With sticky sessions one stale page may be all there is: it failed, and no other did."""
    cause = only(crossing(158, fails=lambda number: number == 158).judge())
    assert (cause.cause, cause.count) == ("mixed_fleet:previous_version", 1)
    assert "(1 of 1 failed there, 0 of 160 where b itself had answered)" in cause.title


@pytest.mark.parametrize(
    "fails",
    [
        lambda number: number == 157,  # another crossed as well, and was served
        lambda number: number in {157, 158, 200},  # one failed that had not crossed
        lambda number: number == 200,  # none that crossed
    ],
)
def test_one_exception_and_a_single_request_shows_nothing(fails: Callable[[int], bool]) -> None:
    """So few failures say something only where there is no exception on either side."""
    cause = only(crossing(157, 158, fails=fails).judge())
    assert (cause.cause, cause.confidence) == ("status:404", "symptom")


TAKEN_BACK = (0.1, 0.0)
"""A canary that gets a tenth of the requests, and is taken back then."""


def test_a_canary_that_is_taken_back_has_harmed_the_stable_version() -> None:
    """It answered too few requests to be compared with, but the failures came and went with it."""

    def fault(one: Asked) -> bool:
        return one.version == "a" and one.step == 2 and START_B + 0.6 < one.at < ALL_B

    cause = only(run(fault, shares_b=TAKEN_BACK).judge())
    assert (cause.cause, cause.confidence) == ("mixed_fleet:after_write", "likely")
    assert "failed on a after b first wrote and until b was gone, 0 of " in cause.title
    assert " before and after that" in cause.title


def test_a_canary_whose_few_requests_all_fail_is_a_version_that_fails() -> None:
    """Three of three failed on b, and none on a at that time; nobody waits for more of them."""

    def fault(one: Asked) -> bool:
        return one.version == "b" and one.step == 2

    cause = only(run(fault, shares_b=(0.05, 0.0)).judge())
    assert (cause.cause, cause.count) == ("mixed_fleet:version", 3)
    # Of so few nobody knows whether they fail by themselves, or since a had answered before.
    few = only(run(fault, seed=7, shares_b=(0.03, 0.0)).judge())
    assert (few.cause, few.count, few.confidence) == ("status:500", 2, "symptom")


@pytest.mark.parametrize(
    "fault",
    [
        lambda one: one.version == "a" and 7.0 < one.at < 7.6,  # a moment of the canary's time
        lambda one: one.version == "a" and 9.5 < one.at < 13.0,  # it outlives the canary
        lambda one: one.version == "a" and 4.5 < one.at < 9.0,  # it began before the canary
    ],
)
def test_failures_that_do_not_come_and_go_with_a_canary_are_not_its_doing(fault: Fault) -> None:
    """A disturbance that meets the canary's time by accident lies otherwise in it."""
    found = {one.cause for one in run(fault, shares_b=TAKEN_BACK).judge().causes}
    assert not [name for name in found if name.startswith("mixed_fleet:after_")]


def test_failures_of_several_steps_are_counted_together() -> None:
    """A version that fails now and then, in every step, fails too rarely in each of them."""
    chance = random.Random(3)
    evidence = run(lambda one: one.version == "b" and chance.random() < 0.08)
    split = [
        msgspec.structs.replace(one, journey=f"use {number // 2 % 4}")
        for number, one in enumerate(evidence.outcomes)
    ]
    cause = only(evidence.but(outcomes=split).judge())
    assert cause.cause == "mixed_fleet:version"


def test_a_cause_that_is_known_needs_no_contrast() -> None:
    """What the database said is not overruled by where it was said."""
    fault, _ = FAULTS["mixed_fleet:after_write"]
    assert only(run(fault, sqlstate="42703").judge()).cause == "sqlstate:42703"


def test_a_rate_limit_is_no_fault_of_a_version() -> None:
    """A 429 comes with the number of requests, and so may begin with a new version."""
    fault, _ = FAULTS["mixed_fleet:after_migration"]
    assert "mixed_fleet" not in only(run(fault, status=429).judge()).cause


@pytest.mark.parametrize(
    "fault",
    [
        lambda one: 7.0 < one.at < 7.6,  # everybody, for a moment
        lambda one: 12.0 < one.at < 12.6,  # the same when only b is there
        lambda one: one.version == "b" and 8.0 < one.at < 8.4,  # b alone, for a moment
        lambda one: one.replica == "a-1" and one.at > 2.0,  # one replica of two, at any time
    ],
)
def test_a_disturbance_of_a_moment_or_of_one_replica_is_no_contrast(fault: Fault) -> None:
    """Many failures at once lie on one side of some line by accident."""
    causes = {cause.cause for cause in run(fault).judge().causes}
    assert not [name for name in causes if name.startswith("mixed_fleet")]


@settings(max_examples=50, deadline=None)
@given(some.integers(0, 10**6), some.sampled_from([0.0, 0.01, 0.05, 0.3]))
def test_failures_that_follow_no_line_get_no_contrast(seed: int, rate: float) -> None:
    """Fifty runs whose failures, if any, fall anywhere yield no finding."""
    chance = random.Random(seed)
    verdict = run(lambda _: chance.random() < rate, seed).judge()
    assert {cause.cause for cause in verdict.causes} <= {"status:500"}


@settings(max_examples=5, deadline=None)
@given(some.randoms(use_true_random=False), some.sampled_from(sorted(FAULTS)))
def test_the_order_of_the_evidence_does_not_matter(order: random.Random, name: str) -> None:
    """The same evidence in another order gives the same verdict."""
    evidence = run(FAULTS[name][0])
    shuffled = list(evidence.outcomes)
    order.shuffle(shuffled)
    assert evidence.but(outcomes=shuffled).judge() == evidence.judge()
