"""`[platform] kind = "kubernetes"`: hitless deploys on a real cluster, and judges."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.kubernetes.ownership import MANAGED_BY
from scenarios.cli.main import status
from scenarios.verdict import Verdict, decode
from scenarios.verdict.causes.undrained import CAUSE as UNDRAINED
from tests.kubernetes.postgres import Server
from tests.kubernetes.support import Kubectl

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(400)]

RATE = os.environ.get("HITLESS_TEST_RATE", "30")
HERE = Path(__file__).parent / "newsletter"
NO_PRE_STOP = """
          lifecycle:
            preStop:
              exec:
                command: [sleep, "3"]"""


ONE_ROLLOUT = """
[release]
from = "a"

[[release.steps]]
migrate = "newsletter_app:migrations/expand_contract"
through = "expand_contract.0004.tokens-foreign-key-valid"

[[release.steps]]
deploy = "bridge"

[[release.steps]]
migrate = "newsletter_app:migrations/expand_contract"
"""


@pytest.fixture(autouse=True)
def nothing_left(kubectl: Kubectl) -> Iterator[None]:
    """After each run, whatever became of it, no namespace of it is there."""
    yield
    left = kubectl("get", "namespaces", "-l", f"{MANAGED_BY}=hitless", "-o", "name")
    assert not left.split()


class Plan:
    """A plan of the newsletter on the cluster, in a folder of its own."""

    def __init__(
        self,
        folder: Path,
        database: Server,
        name: str = "expand-contract",
        *,
        web: str | None = None,
        more: str = "",
        subscribers: int = 50,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.file = folder / "scenario.toml"
        added = (HERE / "on_cluster.toml").read_text()
        added = added.replace("weight = 50", f"weight = {subscribers}", 1)
        self.file.write_text(f'extends = "{name}"\n{added}{more}')
        (folder / "web.yaml").write_text(web or (HERE / "web.yaml").read_text())
        self._database = database

    def words(self, *flags: str) -> list[str]:
        """The words of the command that runs it."""
        return [
            *("run", str(self.file), "--database", self._database.url),
            *("--database-log", str(self._database.log), "--rate", RATE),
            *("--existing-rows", "500", "--no-live", "--out", str(self.folder / "runs"), *flags),
        ]

    def run(self, *flags: str) -> tuple[int, Verdict]:
        """Run it; its exit status and its verdict."""
        code = status(self.words(*flags))
        (folder,) = (self.folder / "runs").iterdir()
        return code, decode((folder / "verdict.json").read_bytes())


def assert_good(verdict: Verdict) -> None:
    """The release dropped nothing; on a busy machine the run may say too little of it to pass."""
    assert verdict.requests.failed == 0, verdict.causes
    assert verdict.rollout.outcome == "completed", verdict.rollout.reason
    assert verdict.integrity.status == "held", verdict.integrity
    assert verdict.verdict != "fail", verdict.reasons


def test_a_breaking_migration_fails_as_on_processes(tmp_path: Path, database: Server) -> None:
    """The Job makes a column NOT NULL while the old pods still insert rows: SQLSTATE 23502."""
    code, verdict = Plan(tmp_path, database, "big-bang").run()
    assert (code, verdict.verdict) == (1, "fail"), verdict.reasons
    assert verdict.rollout.outcome == "completed", verdict.rollout.reason
    causes = {one.cause: one for one in verdict.causes}
    assert "sqlstate:23502" in causes, list(causes)
    assert "(version a)" in causes["sqlstate:23502"].title
    assert set(causes) <= {"sqlstate:23502", "status:404"}
    assert verdict.strategy == "deployment"
    assert verdict.replicas == 3


def test_small_compatible_steps_drop_nothing(tmp_path: Path, database: Server) -> None:
    """Two migrations and two rollouts by the cluster's controller, and no request fails."""
    _, verdict = Plan(tmp_path, database).run()
    assert_good(verdict)
    assert len(verdict.replica_ends) == 6
    assert {one.version for one in verdict.versions} >= {"a", "bridge", "b"}


def test_the_advised_delay_ends_the_failures(tmp_path: Path, database: Server) -> None:
    """Without a preStop delay, requests meet pods that were told to stop; with the delay, none."""
    web = (HERE / "web.yaml").read_text()
    assert NO_PRE_STOP in web
    fast = ("--rate", "100")
    # Most users only connect, so that a busy machine carries them, too.
    users: Any = {"more": ONE_ROLLOUT, "subscribers": 5}
    without = Plan(tmp_path / "without", database, web=web.replace(NO_PRE_STOP, ""), **users)
    code, verdict = without.run(*fast)
    assert (code, verdict.verdict) == (1, "fail"), verdict.reasons
    assert {one.cause for one in verdict.causes} == {UNDRAINED}, verdict.causes
    assert all(one.replica for one in verdict.causes[0].evidence.examples)
    (advice,) = [one for one in verdict.advice if one.setting == "lifecycle.preStop"]
    assert advice.value is not None
    delay = f'[sleep, "{advice.value:.0f}"]'
    advised = web.replace('[sleep, "3"]', delay)
    assert delay in advised
    _, verdict = Plan(tmp_path / "with", database, web=advised, **users).run(*fast)
    assert_good(verdict)
