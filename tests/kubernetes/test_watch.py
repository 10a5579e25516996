"""`hitless watch --cluster` around real rollouts on a real cluster."""

import json
import os
from pathlib import Path

import pytest

from scenarios.verdict.causes.undrained import CAUSE as UNDRAINED
from tests.kubernetes.support import IMAGE, Shop, deployment

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(300)]

RATE = os.environ.get("HITLESS_TEST_RATE", "60")
"""Arrivals a second; two cores carry two nodes, the service and the users at this rate."""

ON_NEW_CONNECTIONS = """
name = "users"
application = { command = ["serve", "{port}"] }
versions = { a = {}, b = {} }
release = { from = "a", steps = [{ deploy = "b" }] }

[[traffic.journeys]]
name = "look"
steps = [{ path = "/", connection = "new" }]
"""
"""kube-proxy picks a pod for each connection; a kept one stays with its pod until that pod ends, so
that no preStop delay helps it."""


def test_the_advised_pre_stop_delay_ends_the_failures(shop: Shop, tmp_path: Path) -> None:
    """A rolling update without a delay fails requests, each with its pod; with that delay, none."""
    (tmp_path / "new.toml").write_text(ON_NEW_CONNECTIONS)
    users = ("--scenario", str(tmp_path / "new.toml"), "--rate", RATE)
    url = shop.deploy()
    update = shop.command("set", "image", "deployment/web", f"web={IMAGE}:b")
    code, verdict = shop.watch(url, tmp_path / "without", update, *users)
    assert (code, verdict.verdict) == (1, "fail"), verdict.reasons
    assert {one.cause for one in verdict.causes} == {UNDRAINED}, verdict.causes
    (cause,) = verdict.causes
    assert cause.count == verdict.requests.failed
    assert cause.evidence.undrained is not None
    assert cause.evidence.undrained.longest_seconds is not None
    assert all(name.startswith("web-") for name in cause.evidence.replicas)
    assert all(one.replica for one in cause.evidence.examples)
    advised = {one.value for one in verdict.advice if one.setting == "lifecycle.preStop"}
    (delay,) = advised
    assert delay is not None

    shop.deploy(pre_stop=int(delay))
    code, verdict = shop.watch(url, tmp_path / "with", update, *users)
    assert verdict.requests.failed == 0, verdict.causes
    assert verdict.rollout.outcome == "completed"
    assert len(verdict.replica_ends) == 3
    assert {one.way for one in verdict.replica_ends} == {"stopped"}


def test_an_image_that_does_not_exist(shop: Shop, tmp_path: Path) -> None:
    """The rollout stalls, nothing fails for users, and the verdict has the words of the cluster."""
    url = shop.deploy(progress=10)
    update = shop.command("set", "image", "deployment/web", f"web={IMAGE}:none")
    code, verdict = shop.watch(url, tmp_path, update)
    assert (code, verdict.verdict) == (1, "fail")
    assert "makes no progress: ProgressDeadlineExceeded" in (verdict.rollout.reason or "")
    assert verdict.requests.failed == 0
    (cause,) = [one for one in verdict.causes if one.cause == "lifecycle:image"]
    assert "service:none did not start: " in cause.title


def test_a_pod_without_a_readiness_probe(shop: Shop, tmp_path: Path) -> None:
    """Pods that get requests before they can serve are told from pods that leave."""
    flags = ("--start-seconds", "2")
    url = shop.deploy(probed=False, pre_stop=4, flags=flags)
    update = shop.command("set", "image", "deployment/web", f"web={IMAGE}:b")
    _, verdict = shop.watch(url, tmp_path, update)
    counts = {one.cause: one.count for one in verdict.causes}
    assert max(counts, key=lambda one: counts[one]) == "lifecycle:ready_too_early", counts
    assert any(one.setting == "readinessProbe" for one in verdict.advice)


def test_a_pod_that_exceeds_its_memory_limit(shop: Shop, tmp_path: Path) -> None:
    """A container that the kernel kills for its memory limit is named as such."""
    flags = ("--leak", "300", "--memory", "100000")
    url = shop.deploy(replicas=2)
    manifest = json.dumps(deployment(replicas=2, flags=flags, memory="64Mi", pre_stop=3))
    file = tmp_path / "leaky.json"
    file.write_text(manifest)
    apply = shop.command("apply", "-f", str(file))
    _, verdict = shop.watch(url, tmp_path / "runs", apply, "--settle", "8")
    assert "lifecycle:oom_killed" in {one.cause for one in verdict.causes}, verdict.causes
    assert any(one.way == "died" for one in verdict.replica_ends)


def test_the_strategy_recreate(shop: Shop, tmp_path: Path) -> None:
    """Nobody is left meanwhile, and the verdict says why."""
    url = shop.deploy(replicas=1, strategy={"type": "Recreate"})
    update = shop.command("set", "image", "deployment/web", f"web={IMAGE}:b")
    _, verdict = shop.watch(url, tmp_path, update)
    first = verdict.causes[0]
    assert first.cause == "no_backend"
    assert "the strategy of deployment/web is Recreate" in first.title


def test_a_migration_job_that_fails(shop: Shop, tmp_path: Path) -> None:
    """A Job of the release that fails makes the release fail, by name."""
    url = shop.deploy(replicas=1)
    pod = deployment()["spec"]["template"]["spec"]["containers"][0]
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "migrate"},
        "spec": {
            "backoffLimit": 0,
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [
                        {"name": "migrate", "image": pod["image"], "args": ["--no-such-flag"]}
                    ],
                }
            },
        },
    }
    file = tmp_path / "job.json"
    file.write_text(json.dumps(job))
    wait = shop.command("wait", "--for=condition=failed", "job/migrate", "--timeout=60s")
    script = " && ".join(map(" ".join, (shop.command("apply", "-f", str(file)), wait)))
    code, verdict = shop.watch(url, tmp_path / "runs", ["sh", "-c", script])
    assert (code, verdict.rollout.outcome) == (1, "failed")
    assert "job/migrate failed: BackoffLimitExceeded" in (verdict.rollout.reason or "")
    assert "job:failed" in {one.cause for one in verdict.causes}


def test_a_node_that_is_drained(shop: Shop, tmp_path: Path) -> None:
    """Draining a node deletes its pods as a rollout does; the requests that met them are joined."""
    (tmp_path / "new.toml").write_text(ON_NEW_CONNECTIONS)
    url = shop.deploy(replicas=4)
    steps = (
        ("drain", "node-2", "--ignore-daemonsets", "--force", "--timeout=150s"),
        ("rollout", "status", "deployment/web", "--timeout=60s"),
        ("uncordon", "node-2"),
    )
    script = " && ".join(" ".join(shop.command(*one)) for one in steps)
    users = ("--scenario", str(tmp_path / "new.toml"), "--rate", RATE)
    _, verdict = shop.watch(url, tmp_path / "runs", ["sh", "-c", script], *users)
    assert verdict.rollout.outcome == "completed"
    assert verdict.replica_ends, "the drain deleted no pod"
    assert {one.cause for one in verdict.causes} <= {UNDRAINED}, verdict.causes
