"""Our own strategies on pods of a real cluster, behind its own Service."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.kubernetes.ownership import MANAGED_BY
from scenarios.cli.main import status
from scenarios.verdict.causes.undrained import CAUSE as UNDRAINED
from tests.kubernetes.postgres import Server
from tests.kubernetes.support import Kubectl
from tests.kubernetes.test_platform import HERE, NO_PRE_STOP, ONE_ROLLOUT, Plan

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(400)]

TWO = (
    *("--replicas", "2", "--set", "policy.max_surge=2"),
    *("--set", "policy.progress_deadline_seconds=90"),  # the machine may be busy
)


def plan(folder: Path, database: Server, name: str = "expand-contract", *, more: str = "") -> Plan:
    """A plan whose pods have no preStop delay: a drain by the label needs none."""
    web = (HERE / "web.yaml").read_text()
    assert NO_PRE_STOP in web
    return Plan(folder, database, name, web=web.replace(NO_PRE_STOP, ""), more=more)


@contextmanager
def promoting(runs: Path) -> Iterator[list[str]]:
    """Promotes whatever waits for a person, as somebody does in another terminal."""
    done, said = threading.Event(), list[str]()

    def work() -> None:
        while not done.wait(1.0):
            for folder in runs.glob("*"):
                command = [sys.executable, "-m", "hitless", "ctl", str(folder), "promote"]
                told = subprocess.run(command, check=False, capture_output=True, text=True)
                said.extend([told.stdout] if told.returncode == 0 else [])

    thread = threading.Thread(target=work, name="promote")
    thread.start()
    try:
        yield said
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize(
    ("strategy", "flags"),
    [("rolling", ()), ("blue-green", ("--set", "policy.auto_promotion=false"))],
)
def test_small_compatible_steps_drop_nothing(
    tmp_path: Path, database: Server, strategy: str, flags: tuple[str, ...]
) -> None:
    """Pods leave the Service before they are stopped, so no request meets one that stops.

    Blue-green waits here until somebody promotes the new pods, once for each deployment.
    """
    with promoting(tmp_path / "runs") as promoted:
        code, verdict = plan(tmp_path, database).run("--strategy", strategy, *TWO, *flags)
    assert len(promoted) >= (2 if flags else 0)
    assert verdict.requests.failed == 0, verdict.causes
    assert (code, verdict.verdict) == (0, "pass"), (verdict.reasons, verdict.doubts)
    assert verdict.rollout.outcome == "completed"
    assert {one.version for one in verdict.versions} >= {"a", "bridge", "b"}
    assert {one.way for one in verdict.replica_ends} == {"stopped"}
    assert len(verdict.replica_ends) == 6
    assert (verdict.strategy, verdict.replicas) == (strategy, 2)
    assert "of service/web: " in " ".join(verdict.limits)


def test_a_breaking_migration_fails_as_on_processes(tmp_path: Path, database: Server) -> None:
    """The Job makes a column NOT NULL while the old pods still insert rows: SQLSTATE 23502.

    Of a canary, the verdict says that its share was one of the pods, and that nobody judged it.
    """
    steps = ("--set", "policy.canary_steps=[50, 100]")
    given = plan(tmp_path, database, "big-bang")
    code, verdict = given.run("--strategy", "canary", *TWO, *steps)
    assert (code, verdict.verdict) == (1, "fail"), verdict.reasons
    assert verdict.rollout.outcome == "completed", verdict.rollout.reason
    causes = {one.cause: one for one in verdict.causes}
    assert "sqlstate:23502" in causes, list(causes)
    assert "(version a)" in causes["sqlstate:23502"].title
    assert set(causes) <= {"sqlstate:23502", "status:404"}
    limits = " ".join(verdict.limits)
    assert "the share of a canary is its share of the replicas" in limits
    assert "it counts and logs none" in limits


def test_pods_that_are_stopped_before_their_service_knows(tmp_path: Path, database: Server) -> None:
    """The order `together` is that of a Deployment without a preStop delay, and loses requests."""
    given = plan(tmp_path, database, more=ONE_ROLLOUT)
    together = ("--set", "policy.termination.order=together")
    _, verdict = given.run("--strategy", "rolling", *TWO, *together)
    assert verdict.rollout.outcome == "completed", verdict.rollout.reason
    assert UNDRAINED in {one.cause for one in verdict.causes if one.count}, verdict.causes


def test_an_image_that_does_not_exist_is_rolled_back(tmp_path: Path, database: Server) -> None:
    """The release fails in one line with the cluster's words, and nobody lost a request."""
    given = plan(tmp_path, database, more=ONE_ROLLOUT)
    web = (tmp_path / "web.yaml").read_text()
    (tmp_path / "none.yaml").write_text(web.replace("newsletter:{version}", "newsletter:none"))
    text = given.file.read_text()
    both = '{ a = "web.yaml", bridge = "none.yaml" }'
    given.file.write_text(text.replace('manifests = "web.yaml"', f"manifests = {both}"))
    code, verdict = given.run("--strategy", "rolling", *TWO)
    assert (code, verdict.rollout.outcome) == (1, "rolled_back")
    reason = verdict.rollout.reason or ""
    assert "cannot start: ErrImagePull: " in reason
    assert "newsletter:none" in reason
    assert "\n" not in reason
    assert verdict.requests.failed == 0, verdict.causes


def test_a_killed_run_leaves_nothing_after_clean(
    tmp_path: Path, database: Server, kubectl: Kubectl
) -> None:
    """After `kill -9` in the middle of a run, `hitless clean --cluster` removes all of it."""
    words = plan(tmp_path, database).words("--strategy", "rolling", *TWO)
    run = subprocess.Popen([sys.executable, "-m", "hitless", *words], start_new_session=True)
    ours = ("get", "pods", "--all-namespaces", "-l", f"{MANAGED_BY}=hitless", "-o", "name")
    try:
        deadline = time.monotonic() + 120
        while len(kubectl(*ours).split()) < 2:
            assert run.poll() is None, "the run has ended"
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
    assert kubectl(*ours).split()
    assert status(["clean", "--cluster"]) == 0
    assert not kubectl(*ours).split()
