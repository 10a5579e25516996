"""Causes behind a router that is not ours: its own log says why, as far as it can tell."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from scenarios.evidence.backend import BackendChange
from scenarios.evidence.exchange import ExchangeRecord
from scenarios.review import review
from scenarios.verdict.causes.failure import Failure
from scenarios.verdict.causes.ladder import attribute
from scenarios.verdict.causes.surroundings import Surroundings
from scenarios.verdict.timeline import Timeline
from tests.support import evidence as make
from tests.support.evidence import Evidence


def logged(when: float, **fields: Any) -> ExchangeRecord:
    given = {"status": 502, "backend": "a-1", "version": "a", "resolution_ns": 1000, **fields}
    return ExchangeRecord(at_ns=make.at(when), request_id="s7-000001-1", **given)


@pytest.mark.parametrize(
    ("when", "line", "cause", "confidence"),
    [
        (
            1.0,
            {"end": "connection_refused", "reason": "SC"},
            "router:connection_refused",
            "certain",
        ),
        (
            1.0,
            {"end": "connection_terminated", "confidence": "likely"},
            "router:connection_terminated",
            "likely",
        ),
        (1.0, {"end": "destination_unavailable", "backend": None}, "no_backend", "certain"),
        (1.0, {"end": "destination_not_found"}, "router:destination_not_found", "certain"),
        (3.5, {"end": "connection_refused", "reason": "UF"}, "lifecycle:stopped", "likely"),
        # The router does not say why: at the end of its replica that is likely the reason.
        (3.5, {"end": "unknown", "confidence": "symptom"}, "lifecycle:stopped", "likely"),
        (1.0, {"end": "unknown", "confidence": "symptom"}, "status:502", "symptom"),
        (1.0, {"end": "complete"}, "status:502", "symptom"),
        (1.0, {"end": "client_gone"}, "status:502", "symptom"),
    ],
)
def test_the_routers_own_log_gives_the_cause(
    when: float, line: dict[str, Any], cause: str, confidence: str
) -> None:
    """What another router says of a request counts as `Proxy-Status` does, no surer than it is."""
    outcome = make.request(1, when, status=502)
    failure = Failure.join(outcome, logged(when, **line), Timeline(make.journal()))
    finding = attribute(failure)
    assert (finding.cause, finding.confidence) == (cause, confidence)


def test_our_own_log_does_not_stand_for_the_answer() -> None:
    """Our balancer says why in the answer itself; its log alone is no reason."""
    line = logged(1.0, end="connection_refused", resolution_ns=0)
    failure = Failure.join(make.request(1, 1.0, status=502), line, Timeline(make.journal()))
    assert attribute(failure).cause == "status:502"


def around(*changes: tuple[float, str]) -> Surroundings:
    said = [BackendChange(at_ns=make.at(when), change=change) for when, change in changes]
    return Surroundings(Timeline(make.journal()), backends=said)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        (((0.9, "reload"), (0.95, "reloaded")), "router:reload"),
        (((0.9, "reload"),), "router:reload"),
        (((0.1, "reload"), (0.2, "reloaded")), "transport:reset"),
        (((1.2, "reload"), (1.3, "reloaded")), "transport:reset"),
        ((), "transport:reset"),
    ],
)
def test_a_connection_that_a_reload_lost_is_the_routers(
    changes: tuple[tuple[float, str], ...], cause: str
) -> None:
    """A lost connection that the router never logged, during its reload, is the reload's."""
    outcome = make.request(1, 1.0, connection="new", status=None, error="reset", first_byte_ns=None)
    assert attribute(Failure.join(outcome, None, around(*changes))).cause == cause


def test_what_the_router_logged_is_not_the_reloads() -> None:
    """A request that the router did log was not lost by its reload."""
    outcome = make.request(1, 1.0, connection="new", status=None, error="reset", first_byte_ns=None)
    found = Failure.join(outcome, logged(1.0, end="client_gone"), around((0.9, "reload")))
    assert attribute(found).cause == "transport:reset"


def test_the_log_names_who_answered(clean_run: Evidence, tmp_path: Path) -> None:
    """Where no answer names its replica, another router's log does, and versions are counted."""
    silent = clean_run.but(
        outcomes=[msgspec.structs.replace(one, served_by=None) for one in clean_run.outcomes]
    )
    lines = [
        ExchangeRecord(
            at_ns=one.planned_ns,
            request_id=one.request_id,
            status=one.status,
            backend=one.served_by,
            resolution_ns=1000,
        )
        for one in clean_run.outcomes
    ]
    named = {share.version: share.requests for share in clean_run.judge().versions}
    for router, expected in (("haproxy", named), ("hitless", dict.fromkeys(named, 0))):
        folder = tmp_path / router
        folder.mkdir()
        manifest = msgspec.structs.replace(silent.manifest, router=router)
        silent.but(manifest=manifest, access_log=lines).write(folder)
        found = {share.version: share.requests for share in review(folder).verdict.versions}
        assert {name: found.get(name, 0) for name in named} == expected


def test_what_a_router_cannot_do_is_a_limit(clean_run: Evidence) -> None:
    """The verdict says what its router cannot do, in the same words as the run."""
    lacks = ("it cannot keep a user on one version", "its drain waits for nothing")
    manifest = msgspec.structs.replace(
        clean_run.manifest, router="traefik", router_version="Traefik 3.7.15", router_lacks=lacks
    )
    (limit,) = [one for one in clean_run.but(manifest=manifest).judge().limits if "Traefik" in one]
    assert all(words in limit for words in lacks)


def test_a_connection_that_the_replica_closed_makes_think_of_keep_alive(
    clean_run: Evidence,
) -> None:
    """Where a living replica closed the connection, the note names keep-alive timeouts.

    A cause of another kind, also that of a replica that ends, has no such note.
    """
    closed = {"status": 502, "proxy_status": "hitless; error=connection_terminated; next-hop=a-2"}
    run = clean_run.failing(0.4, 0.5, **closed)
    run = run.failing(0.7, 0.8, status=502, proxy_status="hitless; error=connection_refused")
    notes = {one.cause: one.evidence.note or "" for one in run.judge().causes}
    assert "keep-alive timeouts" in notes["balancer:connection_terminated"]
    assert "keep-alive" not in notes["balancer:connection_refused"]
