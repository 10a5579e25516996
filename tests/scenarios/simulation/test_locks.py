"""Waits for locks are predicted, and are a cause."""

from pathlib import Path

import pytest

from scenarios.evidence.run_folder import RunFolder
from tests.support.predicted import Predicted, predicted

SLOW = (
    'simulation.migrations=[{name="expand_contract.0001.status-nullable", seconds=4.0, '
    'locks="subscriptions"}]'
)


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Predicted:
    """A run in which a migration holds the lock of a table for longer than users wait."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    return predicted("expand-contract", folder, SLOW, "traffic.timeout_seconds=1", rate=60.0)


def test_a_lock_is_the_cause_of_what_waits_for_it(locked: Predicted) -> None:
    """Requests that time out while a migration holds their table fail for that lock."""
    causes = {one.cause: one.count for one in locked.verdict.causes}
    assert causes["lock_wait"] > 20
    assert set(causes) == {"lock_wait"}


def test_the_waits_are_recorded_as_those_of_a_database(locked: Predicted) -> None:
    """Each wait has its table, its replica and who held the lock, and a fault holds one, too."""
    waits = list(RunFolder(locked.folder).lock_waits.read())
    assert {one.relation for one in waits} == {"subscriptions"}
    assert {one.root.application for one in waits if one.root} == {"hitless-migrator"}
    assert {one.waiter.application for one in waits} == {"a-1", "a-2", "a-3"}
    assert all(0 < one.seconds <= 4.0 for one in waits)
    (blocker,) = locked.verdict.locks.blockers
    assert blocker.during == "migrate expand_contract.0001.status-nullable"


def test_a_scenario_without_locks_says_nothing_of_them(tmp_path: Path) -> None:
    """Where no endpoint needs a lock, no waits are recorded, and none are claimed to be absent."""
    run = predicted("good", tmp_path / "run", rate=20.0)
    assert not RunFolder(run.folder).lock_waits.exists
    assert not run.verdict.locks.watched
