"""`kill -9` of a replica loses what was in flight on it, nothing else, and the verdict says which.

What was lost is found out without the verdict's help: the application writes down each request that
it begins and ends (`witness_app.py`), and the balancer's log has those that were handed to the
replica in its last moments, before it read them.
"""

from pathlib import Path
from typing import NamedTuple

import pytest

from scenarios.evidence.event import Event
from scenarios.evidence.exchange import ExchangeRecord
from scenarios.evidence.ndjson import read_lines
from scenarios.evidence.run_folder import RunFolder
from scenarios.verdict import Verdict
from tests.support.runs import released
from tests.support.witness import write_scenario

pytestmark = [pytest.mark.matrix, pytest.mark.timeout(180)]

MORE = """
[phases]
baseline_seconds = 1.5
settle_seconds = 2.5

[[traffic.journeys]]
name = "look"
steps = [{{ path = "/orders", connection = "any" }}]

[[faults]]
do = "kill"
phase = "{phase}"
after_seconds = 0.6
"""


class Seen(NamedTuple):
    """A request in one replica, as the application wrote it down."""

    replica: str
    method: str
    request_id: str


class Witness:
    """The application's own account: which requests it began, was to answer, and answered."""

    def __init__(self, path: Path) -> None:
        self.lines: dict[str, set[Seen]] = {"begun": set(), "answering": set(), "answered": set()}
        for line in path.read_text().splitlines():
            what, *rest = line.split(" ")
            self.lines[what].add(Seen(*rest))

    def unfinished(self, replica: str, method: str) -> set[str]:
        """What the replica began, and was not yet to answer when it was killed."""
        found = self.lines["begun"] - self.lines["answering"]
        return {one.request_id for one in found if (one.replica, one.method) == (replica, method)}

    def unsure(self, replica: str) -> set[str]:
        """What it was answering at that very moment."""
        found = self.lines["answering"] - self.lines["answered"]
        return {one.request_id for one in found if one.replica == replica}

    def began(self, request_id: str) -> set[str]:
        """Which replicas began it."""
        return {one.replica for one in self.lines["begun"] if one.request_id == request_id}


def unread(folder: Path, died: Event, witness: Witness) -> set[str]:
    """The POSTs that the balancer gave to the replica before its end was noted, and nobody read."""
    return {
        line.request_id
        for line in read_lines(folder / "balancer.ndjson", Posted)
        if line.method == "POST"
        and line.backend in died.replicas
        and line.at_ns + max(line.wait_ns, 0) <= died.at_ns
        and not witness.began(line.request_id)
    }


class Posted(ExchangeRecord, frozen=True, kw_only=True):
    """A line of the balancer's log, with the method."""

    method: str = ""


def killed_run(phase: str, strategy: str, tmp_path: Path) -> tuple[Verdict, Path, Witness]:
    """A run in which a replica is killed; its verdict, its folder, the application's account."""
    seen = tmp_path / "seen"
    scenario = write_scenario(tmp_path, seen, MORE.format(phase=phase))
    run = released(scenario, tmp_path / "runs", "--strategy", strategy, "--rate", "60")
    return run.verdict, run.folder, Witness(seen)


@pytest.mark.parametrize(
    ("phase", "strategy"),
    [
        pytest.param("settle", "blue-green", id="while nothing is deployed"),
        pytest.param("rollout", "rolling", id="amid a rolling release"),
    ],
)
def test_exactly_what_was_in_flight_on_a_killed_replica_is_lost(
    phase: str, strategy: str, tmp_path: Path
) -> None:
    """The failed requests are the POSTs that the killed replica began and never ended, by name.

    A POST is never sent twice (K1, T4). A GET is (T3), so none of those fails.
    """
    verdict, folder, witness = killed_run(phase, strategy, tmp_path)
    events = list(RunFolder(folder).events.read())
    fault, made = (one for one in events if one.verb == "fault")
    (died,) = (one for one in events if one.verb == "replica")
    (killed,) = fault.replicas
    assert made.state == "completed"
    assert died.replicas == (killed,)
    assert verdict.rollout.outcome == "completed"
    if phase == "rollout":
        (ended,) = (one for one in events if (one.verb, one.state) == ("release", "completed"))
        assert died.at_ns < ended.at_ns

    lost = witness.unfinished(killed, "POST") | unread(folder, died, witness)
    bad = [one for one in RunFolder(folder).requests.read() if not one.ok]
    failed = {one.request_id for one in bad}
    assert len(lost) >= 5
    assert len(witness.unsure(killed)) <= 1  # it does one thing at a time
    assert lost <= failed <= lost | witness.unsure(killed)
    assert {one.status for one in bad} == {502}
    again = witness.unfinished(killed, "GET")
    assert again
    assert all(witness.began(one) - {killed} for one in again)

    (cause,) = verdict.causes
    assert cause.cause == "lifecycle:died"
    assert set(cause.evidence.requests) == failed
    assert cause.count == len(cause.evidence.requests) == verdict.requests.failed
    assert cause.evidence.replicas == {killed: cause.count}
    assert verdict.unattributed == 0
