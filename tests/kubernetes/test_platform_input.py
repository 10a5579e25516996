"""What a run on a real cluster refuses, how it applies, and what it leaves: nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.kubernetes.ownership import MANAGED_BY
from scenarios.cli.main import status
from scenarios.verdict import Verdict, decode
from tests.kubernetes.support import IMAGE, Kubectl, Shop, deployment, documented, service

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(300)]

SCENARIO = """
extends = "good"
phases = { baseline_seconds = 2, settle_seconds = 1 }

[platform]
kind = "kubernetes"
"""
FILES = 'manifests = "web.json"\n'
_SECONDS = 90.0


@pytest.fixture(autouse=True)
def nothing_left(kubectl: Kubectl) -> Iterator[None]:
    """After each run, whatever became of it, no namespace of it is there."""
    yield
    assert not owned(kubectl)


def owned(kubectl: Kubectl) -> list[str]:
    """The namespaces of runs."""
    return kubectl("get", "namespaces", "-l", f"{MANAGED_BY}=hitless", "-o", "name").split()


class Release:
    """A release of the small service, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "scenario.toml"

    def write(self, platform: str = FILES, *, more: str = "", **how: Any) -> None:
        """Write the scenario and its manifests."""
        self.file.write_text(SCENARIO + platform + more)
        image = how.pop("image", f"{IMAGE}:{{version}}")
        objects = [service("web"), deployment(image=image, replicas=2, pre_stop=2, **how)]
        items = {"apiVersion": "v1", "kind": "List", "items": objects}
        (self.folder / "web.json").write_text(json.dumps(items))

    @property
    def words(self) -> list[str]:
        """The words of the command that runs it."""
        out = str(self.folder / "runs")
        return ["run", str(self.file), "--rate", "20", "--no-live", "--out", out]

    def run(self, *flags: str) -> int:
        """Run it; its exit status."""
        return status([*self.words, *flags])

    def verdict(self) -> Verdict:
        """The verdict of its one run."""
        (folder,) = (self.folder / "runs").iterdir()
        return decode((folder / "verdict.json").read_bytes())


@pytest.fixture
def release(tmp_path: Path) -> Release:
    """A release to be written."""
    return Release(tmp_path)


Refused = Callable[..., tuple[int, str]]


@pytest.fixture
def refused(release: Release, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Runs a release that must not begin; its status and its one line."""

    def run(*flags: str) -> tuple[int, str]:
        code = release.run(*flags)
        lines = [one for one in capsys.readouterr().err.splitlines() if one.startswith("hitless:")]
        assert len(lines) == 1, lines
        return code, lines[0]

    return run


def test_manifests_of_a_command(release: Release, capsys: pytest.CaptureFixture[str]) -> None:
    """A kustomization is printed by kubectl, and applied by hitless; also without a release."""
    release.write('manifests = ["kubectl", "kustomize", "overlays/{version}"]\n')
    for version in "ab":
        overlay = release.folder / "overlays" / version
        overlay.mkdir(parents=True)
        found = json.loads((release.folder / "web.json").read_text())["items"]
        found[1]["spec"]["template"]["spec"]["containers"][0]["image"] = IMAGE
        text = yaml.safe_dump_all(found)
        (overlay / "web.yaml").write_text(text)
        (overlay / "kustomization.yaml").write_text(
            f"resources: [web.yaml]\nimages: [{{name: {IMAGE}, newTag: {version}}}]\n"
        )
    assert release.run("--dry-run", "--out", str(release.folder / "dry")) == 0
    assert "Nothing was deployed." in capsys.readouterr().out
    release.run()
    verdict = release.verdict()
    assert verdict.rollout.outcome == "completed", verdict.rollout.reason
    assert len(verdict.replica_ends) == 2


def test_a_command_that_applies(release: Release) -> None:
    """It is told the namespace, and its Service is found where it put it."""
    script = (
        "sed s/VERSION/{version}/ web.json"
        " | kubectl --context {context} --namespace {namespace} apply -f -"
    )
    release.write(f'apply = ["sh", "-c", "{script}"]\n', image=f"{IMAGE}:VERSION")
    release.run()
    verdict = release.verdict()
    assert verdict.rollout.outcome == "completed", verdict.rollout.reason
    assert len(verdict.replica_ends) == 2


def test_the_documented_role_is_everything(
    release: Release, limited_everywhere: Callable[[list[dict[str, Any]]], None]
) -> None:
    """With the ClusterRole of the documentation, a run sees all that it can see."""
    limited_everywhere(yaml.safe_load(documented("ClusterRole"))["rules"])
    release.write()
    release.run()
    verdict = release.verdict()
    assert verdict.rollout.outcome == "completed", verdict.rollout.reason
    assert not [one for one in verdict.limits if one.startswith("of the cluster: ")]


def test_missing_rights(
    release: Release,
    refused: Refused,
    limited_everywhere: Callable[[list[dict[str, Any]]], None],
) -> None:
    """Each missing right is named, and nothing is made."""
    rules = yaml.safe_load(documented("ClusterRole"))["rules"]
    limited_everywhere([one for one in rules if "namespaces" not in one["resources"]])
    release.write()
    code, said = refused()
    assert code == 4
    assert "no rights to create namespaces, delete namespaces" in said


def test_a_namespace_of_somebody_else(release: Release, refused: Refused, shop: Shop) -> None:
    """It is left as it is."""
    release.write(FILES + f'namespace = "{shop.namespace}"\n')
    code, said = refused()
    assert (code, "exists and is none of hitless'" in said) == (2, True), said
    assert not shop.kubectl("get", "pods", "-o", "name")


def test_a_url_that_reaches_another_service(release: Release, refused: Refused, shop: Shop) -> None:
    """A node port of a Service of another namespace."""
    url = shop.deploy(replicas=1)
    release.write(FILES + f'url = "{url}"\n')
    code, said = refused()
    assert (code, f"of the namespace '{shop.namespace}'" in said) == (2, True), said


def test_an_image_that_does_not_exist(release: Release, refused: Refused) -> None:
    """The version before the release cannot start: nothing can be said of the release."""
    release.write(image=f"{IMAGE}:none")
    code, said = refused()
    assert code == 4
    assert "version a did not become available, so there is nothing to release: pod/web-" in said
    assert "image hitless.test/service:none" in said


def test_a_manifest_that_the_cluster_refuses(release: Release, refused: Refused) -> None:
    """That of the new version is checked before there is traffic."""
    release.write('manifests = { a = "web.json", b = "b.json" }\n')
    text = (release.folder / "web.json").read_text()
    (release.folder / "b.json").write_text(text.replace('"replicas": 2', '"replicas": "two"'))
    code, said = refused()
    assert code == 2
    assert "deployment/web: the cluster: " in said


def test_a_job_that_fails(release: Release) -> None:
    """The release has failed, with the Job's last words; nothing was deployed after it."""
    job = '\n[platform.migrations]\nimage = "hitless.test/service:a"\n'
    command = '["python3", "-c", "raise SystemExit(\'no such column\')"]'
    steps = f"\n[release]\nsteps = [{{ migrate = {command} }}, {{ deploy = 'b' }}]\n"
    release.write(more=job + steps)
    code, verdict = release.run(), release.verdict()
    assert (code, verdict.rollout.outcome) == (1, "failed")
    assert "migration: job/migrate-1-python3 failed: BackoffLimitExceeded" in str(
        verdict.rollout.reason
    )
    assert "no such column" in str(verdict.rollout.reason)
    assert not verdict.replica_ends


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_ended_early(
    number: int, release: Release, kubectl: Kubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C leaves nothing. After kill -9, `clean` does; before, it leaves the run alone."""
    release.write()
    words = [sys.executable, "-P", "-m", "hitless", *release.words]
    process = subprocess.Popen(words, cwd=Path(__file__).parents[2], env=os.environ)
    try:
        deadline = time.monotonic() + _SECONDS
        while not (found := owned(kubectl)):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.2)
        name = found[0].removeprefix("namespace/")
        assert status(["clean", "--cluster"]) == 0
        said = capsys.readouterr().out
        assert f"left alone: {name}" in said, said
        assert "which still goes on" in said
        process.send_signal(number)
        code = process.wait(_SECONDS)
    finally:
        process.kill()
        process.wait()
    if number == signal.SIGKILL:
        assert owned(kubectl) == [f"namespace/{name}"]
        assert status(["clean", "--cluster"]) == 0
        assert f"removed {name}" in capsys.readouterr().out
    else:
        assert code == 130
