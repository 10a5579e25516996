"""Load from inside the cluster: N generators send what one would, and leave nothing."""

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from scenarios.cli.main import status
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.run_folder import RunFolder
from scenarios.verdict import Verdict
from scenarios.verdict.causes.undrained import CAUSE as UNDRAINED
from tests.kubernetes.machine.hitless_image import NAME as HITLESS
from tests.kubernetes.support import IMAGE, Kubectl, Shop

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(150)]

USERS = """
name = "users"
application = { command = ["serve", "{port}"] }
versions = { a = {}, b = {} }
release = { from = "a", steps = [{ deploy = "b" }] }

[[traffic.journeys]]
name = "look twice"
steps = [
    { path = "/", connection = "new" },
    { path = "/again", connection = "new", delay_seconds = 0.2 },
]

[[traffic.journeys]]
name = "stay"
users = 10
every_seconds = 1.0
steps = [{ path = "/", connection = "new" }]
"""


def inside(shop: Shop) -> str:
    """The URL of the Service, which only pods and nodes reach."""
    found = json.loads(shop.kubectl("get", "service", "web", "-o", "json"))
    return f"http://{found['spec']['clusterIP']}/"


def leftovers(kubectl: Kubectl) -> list[str]:
    names = kubectl("get", "namespaces", "-o", "name").split()
    return [name for name in names if name.startswith("namespace/hitless-load-")]


def watched(
    shop: Shop, folder: Path, generators: int, *flags: str, command: list[str] | None = None
) -> tuple[int, Verdict, dict[str, Outcome]]:
    """A rolling update without a preStop delay under the load of so many generators."""
    shop.kubectl("set", "image", "deployment/web", f"web={IMAGE}:a")
    shop.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    update = shop.command("set", "image", "deployment/web", f"web={IMAGE}:b")
    code, verdict = shop.watch(
        inside(shop),
        folder,
        command or update,
        *("--generators", str(generators), "--generator-image", HITLESS, "--seed", "7"),
        *flags,
    )
    (run,) = folder.iterdir()
    requests = list(RunFolder(run).requests.read())
    found = {one.request_id: one for one in requests}
    assert len(found) == len(requests), "two generators sent the same request"
    return code, verdict, found


def first_requests(outcomes: Iterable[str]) -> set[str]:
    """The ids of what arriving users requested first: one for each arrival."""
    return {one for one in outcomes if one.endswith("-1") and "-u" not in one}


def test_two_generators_against_one(shop: Shop, kubectl: Kubectl, tmp_path: Path) -> None:
    """The same users make the same requests, which fail for the same causes."""
    (tmp_path / "users.toml").write_text(USERS)
    users = ("--scenario", str(tmp_path / "users.toml"), "--rate", "60")
    shop.deploy()
    runs = [watched(shop, tmp_path / str(count), count, *users) for count in (1, 2)]
    arrived = [first_requests(found) for _, _, found in runs]
    fewest = min(map(len, arrived))
    assert fewest > 300
    for (code, verdict, _), ids in zip(runs, arrived, strict=True):
        assert ids == {f"s7-{number:06d}-1" for number in range(len(ids))}
        assert (code, verdict.verdict) == (1, "fail"), verdict.reasons
        assert {one.cause for one in verdict.causes} == {UNDRAINED}, verdict.causes
    (one, two) = (
        {
            key: (value.journey, value.endpoint, value.user)
            for key, value in found.items()
            if "-u" not in key and int(key.split("-")[1]) < fewest - 60
        }
        for _, _, found in runs
    )
    missing = one.keys() ^ two.keys()  # who failed first requests nothing a second time
    assert all(
        one_run[2].get(f"{key.rpartition('-')[0]}-1", None) is not None
        and not all(run[2][f"{key.rpartition('-')[0]}-1"].ok for run in runs)
        for key in missing
        for one_run in runs
    ), missing
    assert {key: one[key] for key in one.keys() & two.keys()} == {
        key: two[key] for key in one.keys() & two.keys()
    }
    assert [len(verdict.harness.generators) for _, verdict, _ in runs] == [1, 2]
    for _, verdict, _ in runs:
        for generator in verdict.harness.generators:
            assert generator.lost is None
            # All nodes of these tests are under one kernel, so the clocks are the same one.
            assert 0 < generator.clock_error < 0.1
    assert leftovers(kubectl) == []


def test_a_generator_that_is_evicted(shop: Shop, kubectl: Kubectl, tmp_path: Path) -> None:
    """The run says nothing of the release then, whatever failed; and the generator is named."""
    shop.deploy()
    script = tmp_path / "evict.py"
    script.write_text(EVICT)
    code, verdict, found = watched(
        *(shop, tmp_path / "runs", 2, "--rate", "60"),
        command=[sys.executable, str(script), *kubectl.command()],
    )
    assert (code, verdict.verdict) == (3, "invalid"), verdict.reasons
    assert verdict.reasons[0].startswith("generator 2 was evicted or deleted"), verdict.reasons
    assert found
    assert leftovers(kubectl) == []


EVICT = """
import json, subprocess, sys
kubectl = sys.argv[1:]
pods = subprocess.check_output(
    [*kubectl, "get", "pods", "-A", "-l", "hitless/generator=2", "-o", "json"]
)
meta = json.loads(pods)["items"][0]["metadata"]
about = {"name": meta["name"], "namespace": meta["namespace"]}
body = {"apiVersion": "policy/v1beta1", "kind": "Eviction", "metadata": about}
path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/eviction"
subprocess.run(
    [*kubectl, "create", "--raw", path, "-f", "-"], input=json.dumps(body).encode(), check=True
)
"""
"""What `kubectl drain` does to a pod."""


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs a watch that must not begin; returns its status and its one line."""

    def run(shop: Shop, url: str, image: str = HITLESS) -> tuple[int, str]:
        marker = tmp_path / "deployed"
        words = ["watch", "--cluster", f"{shop.namespace}:deployment/web", "--url", url]
        flags = ["--generators", "1", "--generator-image", image, "--no-live"]
        code = status([*words, *flags, "--out", str(tmp_path / "runs"), "--", "touch", str(marker)])
        told = [one for one in capsys.readouterr().err.splitlines() if one.startswith("hitless:")]
        assert not marker.exists(), "the command ran"
        assert len(told) == 1, told
        return code, told[0]

    return run


def test_what_cannot_be_started_is_one_line(
    refused: Callable[..., tuple[int, str]], shop: Shop, kubectl: Kubectl
) -> None:
    """An image that cannot be pulled, one without hitless, a URL that no pod can resolve."""
    shop.deploy(replicas=1)
    code, told = refused(shop, inside(shop), "hitless.test/no-such-image:1")
    assert code == 4
    assert "generator 1 did not start: " in told
    assert "hitless.test/no-such-image:1" in told
    code, told = refused(shop, inside(shop), f"{IMAGE}:a")
    assert code == 4
    assert "generator 1 " in told
    code, told = refused(shop, "http://no-such-host.invalid/")
    assert code == 4
    assert "generator 1: host no-such-host.invalid: " in told
    assert leftovers(kubectl) == []


def test_no_rights(
    refused: Callable[..., tuple[int, str]],
    limited: Callable[[list[dict[str, Any]]], None],
    shop: Shop,
    kubectl: Kubectl,
) -> None:
    """Each missing right is named, and nothing is created."""
    shop.deploy(replicas=1)
    url = inside(shop)
    limited(
        [
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
            {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["list", "watch"]},
        ]
    )
    code, told = refused(shop, url)
    assert code == 4
    assert "--generators: no rights to create namespaces, " in told
    assert "create jobs, " in told
    assert leftovers(kubectl) == []
