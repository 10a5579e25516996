"""Failures that a service behind the application causes are told by the service and its version."""

import random
from collections.abc import Callable, Iterator, Sequence

import hypothesis.strategies as some
import pytest
from hypothesis import given, settings

from scenarios.evidence.event import Event
from scenarios.evidence.exchange import ExchangeRecord
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.service_facts import ServiceFacts
from scenarios.verdict.causes.service_calls import ServiceCall, ServiceCalls
from scenarios.verdict.model import Verdict
from scenarios.verdict.story import tell_story
from scenarios.verdict.timeline import describe
from tests.support import evidence as make
from tests.support.evidence import Evidence

PRICES = ServiceFacts(name="prices", versions=("v1", "v2"), replicas=2)
SECONDS, NEW, ALL_NEW = 12, 4.0, 8.0
"""From `NEW` on, half of the calls are answered by v2; from `ALL_NEW` on, all of them."""

Fault = Callable[[float, str, str], bool]
"""Whether a request fails, by its time, the replica that it met, and the service's replica."""


def journal() -> list[Event]:
    """The application has one version for the whole run; of the service v2 replaces v1."""
    events = [
        make.event(0.0, "phase", "started", 1, detail={"name": "baseline"}),
        make.event(3.0, "phase", "started", 2, detail={"name": "rollout"}),
        make.event(11.0, "phase", "started", 4, detail={"name": "settle"}),
    ]
    for number, replica in enumerate(("a-1", "a-2")):
        about = {"version": "a", "replicas": (replica,)}
        events.append(make.event(-1.0, "attach", "started", 10 + number, **about))
    for number, replica in enumerate(("v1-1", "v1-2", "v2-3", "v2-4")):
        about = {"version": replica[:2], "replicas": (f"prices-{replica}",)}
        when = -1.0 if replica.startswith("v1") else NEW
        detail = {"processes": "prices"}
        events.append(make.event(when, "attach", "started", 20 + number, detail=detail, **about))
    return events


def run(
    fault: Fault,
    seed: int = 1,
    *,
    followed: bool = True,
    status: int = 200,
) -> tuple[Evidence, list[ExchangeRecord]]:
    """A request in each twentieth of a second, each of which calls the service once.

    Args:
        fault: which requests fail.
        seed: of who answers what.
        followed: whether the calls name their requests.
        status: what the service answers to calls of failed requests.
    """
    chance = random.Random(seed)
    outcomes: list[Outcome] = []
    calls: list[ExchangeRecord] = []
    for number in range(SECONDS * 20):
        at = number / 20
        share = 0.0 if at < NEW else 0.5 if at < ALL_NEW else 1.0
        new = chance.random() < share
        service = chance.choice(["v2-3", "v2-4"] if new else ["v1-1", "v1-2"])
        replica = chance.choice(["a-1", "a-2"])
        bad = fault(at, replica, service)
        name = f"s7-{number:06}-1"
        outcomes.append(
            make.request(
                number, at, journey="look", served_by=replica, **({"status": 500} if bad else {})
            )
        )
        calls.append(
            ExchangeRecord(
                at_ns=make.at(at + 0.001),
                request_id=name if followed else f"other-{number}",
                status=status if bad else 200,
                backend=f"prices-{service}",
                version=service[:2],
                attempts=1,
                end="complete",
                total_ns=1_000_000,
            )
        )
    evidence = Evidence(make.MANIFEST, outcomes, journal(), make.clean().ticks, (), None, None)
    return evidence.asked(services=(PRICES,), versions=("a",)), calls


def judged(given: tuple[Evidence, Sequence[ExchangeRecord]]) -> Verdict:
    evidence, calls = given
    return evidence.judge(service_calls={"prices": calls})


def of_new(_at: float, _replica: str, service: str) -> bool:
    return service.startswith("v2")


def test_a_caller_that_does_not_understand_a_version_is_told_by_it() -> None:
    """All calls were answered with 200, and yet each request failed that v2 answered for."""
    verdict = judged(run(of_new))
    (cause,) = verdict.causes
    assert (cause.cause, cause.kind) == ("service:prices:v2", "service")
    assert "version a fails only where version v2 of service prices answered" in cause.title
    (prices,) = verdict.services
    assert (prices.calls, prices.failed, prices.followed) == (240, 0, 240)
    assert [one.version for one in prices.by_version] == ["v1", "v2"]


def test_without_ids_the_time_tells() -> None:
    """Nobody passes the header on, so the sentence says from when on requests failed, and why."""
    (cause,) = judged(run(of_new, followed=False)).causes
    assert cause.cause == "service:prices:v2"
    assert "only after version v2 of service prices first answered" in cause.title
    assert "do not pass X-Request-Id on" in cause.title


def test_a_service_that_fails_is_the_cause() -> None:
    """Its own 500 is known by the id of the request, whichever version gave it."""
    (cause,) = judged(run(lambda at, *_: int(at * 20) % 29 == 0, status=500)).causes
    assert cause.cause == "service:prices"
    assert "answered its call with 500" in cause.title


def test_a_version_of_a_service_that_fails_always_is_told_with_its_answer() -> None:
    """That all of v2's calls fail says more than each of them; the symptom stays in the title."""
    (cause,) = judged(run(of_new, status=503)).causes
    assert cause.cause == "service:prices:v2"
    assert "the symptom: service prices (version v2) answered its call with 503" in cause.title


def test_the_story_of_a_request_has_its_call() -> None:
    """Who looks at a single failed request sees which version of the service it met, and when."""
    evidence, calls = run(of_new)
    judgement = evidence.judgement(service_calls={"prices": calls})
    one = judgement.failed[0]
    story = tell_story(one.failure, one, judgement.verdict.origin_ns)
    told = [moment.text for moment in story.moments if moment.source == "service prices"]
    assert told == [
        "a call for the request arrives",
        "service prices (version v2) answered its call with 200",
    ]


def test_a_fault_of_the_run_that_hits_a_service_is_named() -> None:
    """A killed replica of a service is what the run did, and not what a version did."""
    evidence, calls = run(lambda at, *_: 6.0 <= at < 6.5, status=503)
    about = {"version": "v2", "replicas": ("prices-v2-3",)}
    fault = make.event(5.9, "fault", "completed", 90, detail={"name": "kill"}, **about)
    begun = make.event(5.8, "fault", "started", 90, detail={"name": "kill"}, **about)
    hit = evidence.but(events=[*evidence.events, begun, fault])
    (cause,) = judged((hit, calls)).causes
    assert cause.cause == "service:prices"
    assert cause.evidence.faults == {"kill prices-v2-3": cause.count}


@settings(max_examples=25, deadline=None, derandomize=True)  # one in a thousand may be deceived
@given(seed=some.integers(0, 10_000), followed=some.booleans())
def test_failures_that_follow_no_service_are_not_blamed_on_one(
    seed: int, *, followed: bool
) -> None:
    """Three of a hundred requests fail at random, from the beginning on: no service is named."""
    chance = random.Random(seed)
    verdict = judged(run(lambda *_: chance.random() < 0.03, seed, followed=followed))
    assert {one.cause for one in verdict.causes} <= {"status:500"}


@pytest.mark.parametrize("followed", [True, False])
def test_a_disturbance_of_a_moment_is_not_blamed_on_a_service(*, followed: bool) -> None:
    """All requests fail for half a second while both versions answer."""
    verdict = judged(run(lambda at, *_: 6.0 <= at < 6.5, followed=followed))
    assert [one.cause for one in verdict.causes] == ["status:500"]


def test_one_sick_replica_is_not_blamed_on_its_version() -> None:
    """Only calls of prices-v2-3 break their requests, while its sister answers well."""
    verdict = judged(run(lambda _, __, service: service == "v2-3"))
    assert [one.cause for one in verdict.causes] == ["status:500"]


@pytest.mark.parametrize(
    ("version", "detail", "said"),
    [
        ("b", {"replaces": "a"}, "deploy b"),
        (None, {"services": {"prices": "v2", "stock": "v3"}}, "deploy prices v2 and stock v3"),
        ("b", {"services": {"prices": "v2"}}, "deploy b and prices v2"),
        ("v2", {"processes": "prices"}, "deploy prices v2"),
    ],
)
def test_a_deployment_is_named_by_what_it_deploys(
    version: str | None, detail: dict[str, object], said: str
) -> None:
    """Each line of the journal says whose version it is."""
    assert describe(make.event(0, "deploy", "started", 1, version=version, detail=detail)) == said


LINES = some.builds(
    ExchangeRecord,
    at_ns=some.integers(0, 1000),
    request_id=some.sampled_from(["s7-000001-1", "s7-000002-1", "x"]),
    status=some.sampled_from([0, 200, 404, 500, 503, None]),
    backend=some.sampled_from([None, "prices-v1-1"]),
    version=some.sampled_from([None, "v1", "v2"]),
    end=some.sampled_from(["complete", "client_gone", "connection_terminated", None]),
)


@given(some.lists(LINES, max_size=30))
def test_calls_are_counted_whatever_their_log_has(lines: list[ExchangeRecord]) -> None:
    """Each line is one call of one version; a failed one is one that `ServiceCall` calls so."""
    (found,) = ServiceCalls((PRICES,), {"prices": iter(lines)}, prefix="s7-").services
    failed = [one for one in lines if ServiceCall("prices", one).failed]
    assert (found.calls, found.failed) == (len(lines), len(failed))
    assert sum(one.calls for one in found.by_version) == len(lines)
    assert sum(one.failed for one in found.by_version) == len(failed)
    assert found.followed == sum(one.request_id != "x" for one in lines)
    assert all(_words(lines))


def _words(lines: Sequence[ExchangeRecord]) -> Iterator[str]:
    yield from (ServiceCall("prices", one).words for one in lines)
