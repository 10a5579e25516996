"""Failures while the containers of a compose project come and go."""

from typing import Any

import pytest

from scenarios.evidence.event import Event
from scenarios.verdict.model import Cause
from tests.support import evidence as make
from tests.support.evidence import Evidence


def told(when: float, verb: str, state: str, replica: str, **fields: Any) -> Event:
    detail = {"compose_service": replica.partition("-")[0], **fields.pop("detail", {})}
    return make.event(when, verb, state, 900, replicas=(replica,), detail=detail, **fields)


def ran(replica: str) -> list[Event]:
    """It had been running before anybody looked."""
    return [
        told(0.0, "start", "completed", replica),
        told(0.0, "wait_ready", "completed", replica),
    ]


STOPPED = [
    told(3.0, "stop", "started", "web-1.aaaaaa"),
    told(3.05, "stop", "completed", "web-1.aaaaaa", detail={"how": "ended with status 0"}),
]
DIED = [told(3.0, "replica", "noted", "web-1.aaaaaa", error="ended with status 137, out of memory")]
STARTED = [told(2.9, "start", "completed", "web-2.bbbbbb")]


def causes(clean_run: Evidence, *events: Event, **failing: Any) -> list[Cause]:
    run = clean_run.asked(platform="foreign", router="foreign").failing(
        3.05, 3.15, **{"status": None, "error": "connect_refused", "served_by": None, **failing}
    )
    return list(run.but(events=[*run.events, *events]).judge().causes)


@pytest.mark.parametrize(
    ("events", "cause", "title"),
    [
        (STOPPED, "lifecycle:stopped", "web-1.aaaaaa had been stopped (ended with status 0)"),
        (DIED, "lifecycle:died", "web-1.aaaaaa had ended by itself (ended with status 137, out of"),
        ([*STOPPED, *STARTED], "lifecycle:not_ready", "web-2.bbbbbb had been started and did not"),
    ],
)
def test_a_service_without_a_container(
    events: list[Event], cause: str, title: str, clean_run: Evidence
) -> None:
    """Where no container of a service can serve, that is why, and the container is named."""
    (found,) = causes(clean_run, *ran("web-1.aaaaaa"), *events)
    assert (found.cause, found.confidence, found.kind) == (cause, "likely", "lifecycle")
    assert title in found.title


@pytest.mark.parametrize("failing", [{}, {"status": 502, "error": None}])
def test_a_service_with_another_container(failing: dict[str, Any], clean_run: Evidence) -> None:
    """Another container of the service runs, so nobody knows that the missing one was needed."""
    events = [*ran("web-1.aaaaaa"), *ran("web-2.cccccc"), *STOPPED]
    (found,) = causes(clean_run, *events, **failing)
    assert found.confidence == "symptom"


def test_an_answer_of_the_application_needs_no_container(clean_run: Evidence) -> None:
    """What an application answered, it answered: no missing container explains it."""
    (found,) = causes(clean_run, *ran("web-1.aaaaaa"), *STOPPED, status=404, error=None)
    assert found.cause == "status:404"


@pytest.mark.parametrize("how", ["ended with status 0", "ended with status 1"])
def test_a_container_that_only_migrates_is_no_service(how: str, clean_run: Evidence) -> None:
    """It starts in the release and ends by itself; no request ever needed it."""
    events = [
        *ran("web-1.aaaaaa"),
        told(2.2, "start", "completed", "migrate-1.dddddd"),
        told(2.8, "replica", "noted", "migrate-1.dddddd", error=how),
    ]
    (found,) = causes(clean_run, *events, status=502, error=None)
    assert found.confidence == "symptom"
    (found,) = causes(clean_run, *events, *STOPPED)
    assert "no container of web was running" in found.title
