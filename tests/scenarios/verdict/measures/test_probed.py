"""What a probe found out about the servers of a run becomes a part of the verdict."""

import math

import msgspec
import pytest

from scenarios.errors import EvidenceError
from scenarios.evidence.leaving import LeavingSettings, RequestHandling
from scenarios.evidence.manifest import Manifest
from scenarios.probe.profile import Delivery, LateResponses
from scenarios.probe.words import rows
from scenarios.verdict.measures.probed import probed_of
from tests.support.evidence import clean
from tests.support.probe import GONE, profile

KUBERNETES = LeavingSettings(order="together", deregistration_lag_seconds=(0.2, 1.0))


def manifest(termination: LeavingSettings | None) -> Manifest:
    return msgspec.structs.replace(
        clean().manifest, versions=("a", "b"), termination=termination, persona="kubernetes"
    )


def encoded(**changes: object) -> bytes:
    return msgspec.json.encode(profile(**changes))


def refusing() -> bytes:
    late = profile().new_connections
    assert late is not None
    tries = (LateResponses(at=0.5, fate="refused"), LateResponses(at=2.0, fate="refused"))
    return encoded(new_connections=msgspec.structs.replace(late, tries=tries))


def test_it_says_what_the_probe_says() -> None:
    """Each finding has the title and the text that `hitless probe` prints."""
    (one,) = probed_of({"b": encoded()}, manifest(None), 1.0)
    assert list(one.findings.items()) == [(title, text) for _, title, text in rows(profile())]
    assert one.predicted == ()


def test_versions_come_in_the_order_of_the_release() -> None:
    """The version that was served first is told first."""
    found = probed_of({"b": encoded(), "a": encoded()}, manifest(None), 1.0)
    assert [one.version for one in found] == ["a", "b"]


def test_the_terms_of_the_run_decide_what_is_predicted() -> None:
    """With a lag and no preStop a server that refuses loses requests; with a preStop none."""
    (now,) = probed_of({"b": refusing()}, manifest(KUBERNETES), 1.0)
    assert any("routers send new connections for 1 s" in why for why in now.predicted)
    waits = msgspec.structs.replace(KUBERNETES, pre_stop_seconds=5.0)
    (then,) = probed_of({"b": refusing()}, manifest(waits), 1.0)
    assert then.predicted == ()


def test_connections_that_the_run_kept_are_counted() -> None:
    """A server that cuts loses requests on connections that our balancer went on using, only."""
    cuts = encoded(in_flight=Delivery(fate="cut", seconds=0.0, exit=GONE))
    waits = msgspec.structs.replace(KUBERNETES, pre_stop_seconds=5.0)
    for close_idle, handling, lost in (
        (False, RequestHandling(), True),
        (True, RequestHandling(), False),
        (False, None, False),
    ):
        how = msgspec.structs.replace(waits, close_idle=close_idle)
        run = msgspec.structs.replace(manifest(how), handling=handling)
        (one,) = probed_of({"b": cuts}, run, 1.0)
        assert any("in flight at SIGTERM" in why for why in one.predicted) is lost


def test_no_limit_of_the_run_kills_nobody() -> None:
    """Where the run set no grace period, no kill is predicted, however long requests take."""
    waits = msgspec.structs.replace(KUBERNETES, pre_stop_seconds=5.0, grace_seconds=None)
    (one,) = probed_of({"b": encoded()}, manifest(waits), math.inf)
    assert not any("kills" in why for why in one.predicted)


def test_a_damaged_profile_is_named() -> None:
    """What is no profile is evidence that cannot be read, and says whose it is."""
    with pytest.raises(EvidenceError, match="version b is damaged"):
        probed_of({"b": b"{}"}, manifest(None), 1.0)
