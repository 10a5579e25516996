"""What is under way when its replica has to go: downloads, uploads, and open websockets."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from scenarios.evidence.event import Event
from scenarios.evidence.outcome import Outcome
from scenarios.verdict.causes.drain import DRAIN
from tests.support.runs import released

pytestmark = [pytest.mark.matrix, pytest.mark.timeout(180)]

LONG = {"GET /download", "POST /upload", "GET /socket"}


SMALL = ("--replicas", "2", "--rate", "30", "--baseline", "1", "--settle", "0.5")


def straddling(outcomes: Sequence[Outcome], events: Sequence[Event]) -> list[Outcome]:
    """The requests that were under way with a replica when its drain began."""
    began = {
        name: event.at_ns
        for event in events
        if (event.verb, event.state) == ("drain", "started")
        for name in event.replicas
        if name.startswith("a-")
    }
    return [
        one
        for one in outcomes
        if one.served_by in began
        and (one.sent_ns or one.planned_ns) < began[one.served_by] < one.done_ns
    ]


@pytest.mark.parametrize("strategy", ["rolling", "blue-green"])
def test_what_is_under_way_is_completed(strategy: str, tmp_path: Path) -> None:
    """Long requests of each kind straddle the departure of their replica, and none is cut."""
    run = released("long-requests", tmp_path, "--strategy", strategy, *SMALL)
    verdict, outcomes = run.verdict, run.requests
    assert (verdict.requests.failed, verdict.verdict) == (0, "pass"), verdict.causes
    assert {one.endpoint for one in straddling(outcomes, run.events)} >= LONG
    # That their users take their time makes nobody slow.
    assert verdict.requests.slow == 0, verdict.slow_causes
    assert verdict.latency.max is not None
    # Those that are under way when the traffic ends are shorter, but not all of them.
    assert verdict.latency.max < max(one.latency_seconds for one in outcomes if one.paced)


def test_a_drain_that_is_too_short_cuts_them(tmp_path: Path) -> None:
    """What a drain has no time for is cut, and each of those requests says so."""
    short = ("--set", "policy.drain_timeout_seconds=0.2")
    run = released("long-requests", tmp_path, "--strategy", "blue-green", *SMALL, *short)
    verdict, outcomes = run.verdict, run.requests
    assert verdict.verdict == "fail"
    assert {cause.cause for cause in verdict.causes} == {"lifecycle:drain_exceeded"}
    # What a replica has written is in the sockets' buffers by then, perhaps a whole download.
    cut = {one.endpoint for one in outcomes if not one.ok}
    assert LONG - {"GET /download"} <= cut <= LONG
    assert verdict.unattributed == 0
    # What would have let them end: as long as such requests took where nothing cut them.
    (advice,) = verdict.advice
    assert (advice.setting, advice.covers) == (DRAIN, verdict.requests.failed)
    assert advice.value is not None
    assert advice.value > 0.2
