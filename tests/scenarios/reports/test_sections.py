"""Each view has a section for each thing that a verdict tells, with its numbers, and only then."""

import io
import re
from collections.abc import Callable
from html import unescape
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from scenarios.reports import words
from scenarios.reports.cause_words import line_of
from scenarios.reports.github import annotations
from scenarios.reports.junit import junit
from scenarios.reports.markdown import summary
from scenarios.reports.page.report import html_report
from scenarios.reports.prometheus import metrics
from scenarios.reports.terminal import print_verdict
from scenarios.verdict import Verdict
from scenarios.verdict.model import (
    Advice,
    Blocker,
    Budget,
    CacheChange,
    JobCauseFound,
    JobFinding,
    Jobs,
    JobStop,
    Latency,
    Locks,
    ReplicaEnd,
    Rescued,
    Rewrite,
    ServiceCalled,
    ServiceVersionCalls,
    Users,
    WindowedUptime,
    WorstUser,
)

BLOCKER = Blocker(
    application="hitless-migrator",
    during="migrate 0007",
    query="ALTER TABLE readers",
    state="active",
    mode="AccessShareLock",
    relation="readers",
    waits=17,
    seconds=1.31,
    first=2.0,
    last=3.31,
    requests=23,
    slowest=1.4,
    examples=("s7-000201-1", "s7-000202-1"),
    queue="AccessShareLock on readers, at the head of the queue: psql",
)
LOCKS = Locks(
    watched=True,
    waits=17,
    longest=1.31,
    requests=23,
    blockers=(BLOCKER,),
    deadlocks=5,
    gave_way=6,
    rewrites=(Rewrite(table="readers", during="migrate 0008", at=2.75),),
    invalid_indexes=("readers_by_name",),
)
ENDS = (
    ReplicaEnd(replica="a-1", way="stopped", exit_status=0),
    ReplicaEnd(
        replica="a-2",
        way="killed",
        stop_asked=3.41,
        stopped_listening=3.52,
        ended=6.43,
        children_ended=6.54,
        exit_status=-9,
    ),
)
JOBS = Jobs(
    system="celery",
    asked=31,
    ended=29,
    stored=True,
    causes=(
        JobCauseFound(
            cause="job:hidden",
            kind="job:hidden",
            title="nobody began the job",
            count=2,
            examples=(
                JobFinding(job="17", name="mail", sentence="the queue holds it for worker-b-7"),
            ),
            remedy="lower the visibility_timeout",
        ),
    ),
    stops=(JobStop(processes="worker", process="worker-a-1", seconds=14.2, grace_seconds=20.0),),
)
SERVICE = ServiceCalled(
    service="prices",
    versions=("v1", "v2"),
    replicas=2,
    calls=71,
    failed=4,
    followed=70,
    by_version=(
        ServiceVersionCalls(version="v1", calls=41),
        ServiceVersionCalls(version="v2", calls=30, failed=4),
    ),
)
CHANGE = CacheChange(
    pattern="cart:*",
    before="json object",
    after="gzip",
    first=3.0,
    new=7,
    written=9,
    sentence="values of cart:* were json object; from +3.00 s on, 7 of 9 are gzip",
)
ADVICE = Advice(
    setting="policy.termination.pre_stop_seconds",
    value=0.4,
    covers=12,
    sentence="a preStop of 0.4 s would have covered 12 requests",
)
STAYED = Users(
    staying=True,
    users=41,
    uptime=0.875,
    windows=(WindowedUptime(seconds=1.0, worst=0.25, start=2.5),),
    uptime_windows=(WindowedUptime(seconds=3.0, worst=0.625, start=2.25),),
    worst=WorstUser(user="s1-u000003", uptime=0.5, down_seconds=3.0),
)
LATENCY = Latency(p50=0.0012, p99=0.023, p999=0.34, max=4.5)
BUDGET = Budget(
    name="three nines",
    objective=0.999,
    allowed=0.6,
    failed=42,
    spent=70.0,
    month=0.0123,
    downtime_a_year_seconds=31_558.0,
)


def flat(text: str) -> str:
    return " ".join(text.split())


def terminal(verdict: Verdict) -> str:
    out = io.StringIO()
    print_verdict(Console(file=out, width=160), verdict, "runs/x", verbose=True)
    return flat(out.getvalue())


def markdown(verdict: Verdict) -> str:
    return flat(re.sub(r"\\(.)", r"\1", summary(verdict, "runs/x")))


def page(verdict: Verdict) -> str:
    text = html_report(verdict, [], [], "runs/x")
    return flat(unescape(re.sub(r"<[^>]+>", " ", text.partition("<script")[0])))


VIEWS: dict[str, Callable[[Verdict], str]] = {
    "terminal": terminal,
    "markdown": markdown,
    "page": page,
}
EVERYWHERE = tuple(VIEWS)


@pytest.mark.parametrize(
    ("changes", "views", "facts"),
    [
        (
            {"locks": LOCKS},
            ("terminal", "page"),
            (
                *("Locks", "hitless-migrator", "migrate 0007", "ALTER TABLE readers (active)"),
                *("AccessShareLock on readers", "23", "17", "1.31 s", "s7-000201-1 s7-000202-1"),
                "readers was rewritten during migrate 0008",
                "the index readers_by_name was left invalid",
            ),
        ),
        (
            {"locks": Locks(watched=True, deadlocks=5)},
            ("terminal", "page"),
            ("Locks", "5", "deadlocks", "40P01"),
        ),
        (
            {"locks": Locks(watched=True, gave_way=6)},
            ("terminal", "page"),
            ("Locks", "6", "migration attempts", "55P03"),
        ),
        (
            {"locks": Locks(watched=True, invalid_indexes=("by_name",))},
            ("terminal", "page"),
            ("Locks", "the index by_name was left invalid"),
        ),
        (
            {"rescued": Rescued(retried=7, held=8, died=1)},
            EVERYWHERE,
            (
                "Saved by the balancer",
                *("7 answered by a retry", "8 held until a replica", "1 replica died in service"),
            ),
        ),
        (
            {"replica_ends": ENDS},
            EVERYWHERE,
            (
                *("How replicas ended", "a-2", "+3.41 s", "+3.52 s", "+6.43 s", "+6.54 s", "-9"),
                *("killed after its grace period", "stopped as asked"),
            ),
        ),
        (
            {"jobs": JOBS},
            EVERYWHERE,
            (
                *("Jobs", "31 asked for", "29 done", "job:hidden", "visibility_timeout"),
                *("17", "holds it for worker-b-7", "14.2 s", "worker-a-1", "20.0 s"),
            ),
        ),
        (
            {"services": (SERVICE,)},
            EVERYWHERE,
            ("Services", "prices", "v1 → v2", "71", "v2: 30, 4 failed"),
        ),
        (
            {"cache": (CHANGE,)},
            EVERYWHERE,
            ("Cache", CHANGE.sentence),
        ),
        (
            {"advice": (ADVICE,)},
            EVERYWHERE,
            ("Settings that would have prevented failures", ADVICE.sentence),
        ),
        (
            {"users": STAYED},
            EVERYWHERE,
            ("41 users who stayed had service for 87.50 %", "50.00 % (s1-u000003)"),
        ),
        (
            {"users": STAYED},
            ("page",),
            ("Availability for users", "25.00 %", "+2.50 s", "62.50 %", "+2.25 s"),
        ),
        (
            {"budget": BUDGET},
            EVERYWHERE,
            (
                "spent 70 times the error budget of three nines: 42 failed, 0.6 allowed",
                *("1.2 % of the budget for 30 days", "8 h 46 min of downtime a year"),
            ),
        ),
        (
            {"doubts": ("the generator was late",)},
            EVERYWHERE,
            ("the generator was late",),
        ),
        ({"protocols": {"HTTP/2": 70}}, EVERYWHERE, ("HTTP/2",)),
        (
            {"protocols": {"HTTP/2": 70, "HTTP/1.1": 3}},
            EVERYWHERE,
            ("HTTP/2 (70 requests), HTTP/1.1 (3 requests)",),
        ),
    ],
)
def test_a_section_is_there_where_there_is_something_to_tell(
    passed: Verdict, changes: dict[str, Any], views: tuple[str, ...], facts: tuple[str, ...]
) -> None:
    """What a verdict tells is in each view with its numbers; without it, its title is not."""
    plain = msgspec.structs.replace(
        passed, users=Users(), budget=None, replica_ends=(), locks=Locks()
    )
    for view in views:
        with_it, without = (
            VIEWS[view](one) for one in (msgspec.structs.replace(plain, **changes), plain)
        )
        for fact in facts:
            assert fact in with_it, view
        assert facts[0] not in without, view


def test_slow_causes_have_their_section(failed: Verdict) -> None:
    """Why requests were slow is told as why they failed, also where none failed."""
    slow = msgspec.structs.replace(failed, causes=(), slow_causes=failed.causes)
    cause = failed.causes[0]
    for view, show in VIEWS.items():
        text = show(slow)
        assert "Why requests were slow" in text, view
        assert "Why requests failed" not in text, view
        assert cause.cause in text, view
        assert cause.evidence.requests[0] in text, view
        assert "Why requests were slow" not in show(failed), view


def test_a_cause_is_told_with_its_evidence(failed: Verdict) -> None:
    """How many, which, where, on which version, when, at which step and schema, and what else."""
    cause = failed.causes[0]
    evidence = msgspec.structs.replace(
        cause.evidence,
        note="the server said so",
        contributing={"migration: 0002.expand": 9},
        schemas={"0002.expand": 11},
    )
    verdict = msgspec.structs.replace(
        failed, causes=(msgspec.structs.replace(cause, confidence="likely", evidence=evidence),)
    )
    everywhere = (f"{cause.count:,}", "start b-2", "POST /subscriptions")
    for view, show in VIEWS.items():
        for fact in everywhere:
            assert fact in show(verdict), view
    for view in ("terminal", "page"):
        for fact in (
            *("the server said so", "migration: 0002.expand (9)", "0002.expand (11)", "likely"),
            *("+2.40 s", f"{evidence.last:+.2f} s", "a-1"),
        ):
            assert fact in VIEWS[view](verdict), view
    assert "a (" in page(verdict)
    assert "reused (" in page(verdict)


def test_violations_are_told(failed: Verdict) -> None:
    """Whom a promise was broken for, what was expected, what was found, and by which requests."""
    integrity = failed.integrity
    verdict = msgspec.structs.replace(
        failed, integrity=msgspec.structs.replace(integrity, logged=("KeyError, once",))
    )
    violation = integrity.violations[0]
    assert violation.requests
    for view, show in VIEWS.items():
        text = show(verdict)
        for fact in (
            *(violation.subject, violation.expected, violation.found, violation.requests[0]),
            f"{integrity.checked:,} checked",
        ):
            assert fact in text, view
    assert "not from a failed request: KeyError, once" in terminal(verdict)
    for invariant in integrity.invariants:
        assert invariant.title in page(verdict)
        assert f"{invariant.checked:,}" in page(verdict)


def test_the_numbers_are_the_verdicts(failed: Verdict) -> None:
    """Counts, availability, latency, downtime, release and how it was run are in each view."""
    slowest = failed.latency.slowest
    failed = msgspec.structs.replace(
        failed, latency=msgspec.structs.replace(LATENCY, slowest=slowest)
    )
    requests, window = failed.requests, failed.downtime[0]
    for view, show in VIEWS.items():
        text = show(failed)
        for fact in (
            f"{requests.planned:,} planned · {requests.ok:,} ok · {requests.failed:,} failed",
            f"{requests.slow:,} slow · {requests.undispatched:,} not sent",
            failed.availability.text,
            "p50 1.20 ms · p99 23.0 ms · p99.9 340 ms · max 4.50 s",
            "completed in 2.00 s (fastest possible: 1.10 s)",
            failed.replay,
            "runs/x",
        ):
            assert fact in text, view
    for view in ("terminal", "page"):
        text = VIEWS[view](failed)
        for fact in (
            f"{window.start:+.2f} s",
            f"{window.failed:,} of {window.requests:,}",
            *("seed 7", "3 replicas", "2 existing rows", "100"),
            "requests sent late by 200 µs (p99)",
        ):
            assert fact in text, view
    assert f"{failed.availability.slots.good:,} of" in terminal(failed)
    whole = page(failed)
    for phase in failed.phases:
        row = f"{phase.name} {phase.requests.planned:,} {phase.requests.failed:,}"
        assert (row in whole) == (phase.requests.planned > 0)
    for share in failed.versions:
        assert f"{share.version} {share.requests:,} {share.failed:,}" in whole
    for one in failed.latency.slowest:
        assert f"{one.request_id} {one.endpoint} {one.at:+.2f} s" in whole
    for one in failed.downtime_by_endpoint:
        assert f"{words.clean(one.endpoint)}, {one.connection}" in whole


def samples(verdict: Verdict) -> dict[str, dict[tuple[str, ...], float]]:
    """The Prometheus samples by name, and by their labels beside the run's."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(metrics(verdict).decode()):
        for sample in family.samples:
            assert sample.labels["scenario"] == verdict.scenario
            assert sample.labels["strategy"] == verdict.strategy
            rest = tuple(v for k, v in sample.labels.items() if k not in ("scenario", "strategy"))
            found.setdefault(sample.name.removeprefix("hitless_"), {})[rest] = sample.value
    return found


def test_every_metric_is_the_verdicts_number(failed: Verdict) -> None:
    """Each gauge has the verdict's number; what is not known is left out."""
    verdict = msgspec.structs.replace(
        failed, locks=LOCKS, budget=BUDGET, slow_causes=failed.causes[:1], latency=LATENCY
    )
    found, first = samples(verdict), failed.causes[0]
    assert found["lock_wait_longest_seconds"] == {(): 1.31}
    assert found["error_budget_spent_ratio"] == {(): 70.0}
    assert found["slow_requests"] == {(first.cause,): first.count}
    assert found["availability_ratio"] == {(): failed.availability.request_based}
    assert found["failure_rate_upper_95"] == {(): failed.availability.failure_rate_upper_95}
    assert found["downtime_seconds"] == {
        (): pytest.approx(sum(window.seconds_lower for window in failed.downtime))
    }
    assert found["latency_seconds"] == {
        ("0.5",): 0.0012,
        ("0.99",): 0.023,
        ("0.999",): 0.34,
        ("1",): 4.5,
    }
    assert found["rollout_seconds"] == {("completed",): 2.0}
    assert found["rollout_floor_seconds"] == {(): 1.1}
    assert found["schedule_lag_p99_seconds"] == {(): failed.harness.schedule_lag_p99}
    requests = failed.requests
    assert found["requests"] == {
        ("ok",): requests.ok,
        ("failed",): requests.failed,
        ("slow",): requests.slow,
        ("undispatched",): requests.undispatched,
    }
    unchecked = msgspec.structs.replace(
        verdict,
        locks=Locks(),
        budget=None,
        integrity=msgspec.structs.replace(failed.integrity, status="unchecked"),
    )
    assert not {
        *("lock_wait_longest_seconds", "error_budget_spent_ratio", "integrity_violations"),
    } & set(samples(unchecked))


def test_junit_tells_what_explains_a_failure(failed: Verdict) -> None:
    """The text of a failed case has causes, their evidence, downtime and broken promises."""
    suite = ET.fromstring(junit(failed))[0]  # noqa: S314 - what we wrote ourselves
    properties = {one.get("name"): one.get("value") for one in suite.iter("property")}
    assert properties == {
        "seed": "7",
        "replicas": "3",
        "rate": "100.0",
        "platform": "local",
        "predicted": "false",
        "hitless": failed.hitless,
        "replay": failed.replay,
    }
    assert (suite.get("timestamp"), suite.get("time")) == (
        failed.started_at,
        f"{failed.seconds:.3f}",
    )
    cases = {one.get("name") or "": one.findtext("failure") or "" for one in suite.iter("testcase")}
    text, cause = cases["no request fails"], failed.causes[0]
    for fact in (
        f"{cause.count:,} {line_of(cause)}",
        "endpoints: ",
        "during start b-2",
        f"examples: {' '.join(cause.evidence.requests[:3])}",
        f"downtime from {failed.downtime[0].start:+.2f} s: at least",
        f"run again: {failed.replay}",
    ):
        assert fact in text
    violation = failed.integrity.violations[0]
    broken = next(text for name, text in cases.items() if name.startswith(violation.invariant))
    assert f"{violation.subject}: expected {violation.expected}, found" in broken
    assert violation.requests[0] in broken
    doubtful = msgspec.structs.replace(failed, doubts=("the generator was late",))
    assert b"<system-out>the generator was late</system-out>" in junit(doubtful)
    killed = msgspec.structs.replace(failed, replica_ends=ENDS)
    assert annotations(killed) == annotations(failed)
