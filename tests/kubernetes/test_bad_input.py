"""What `hitless watch --cluster` refuses before it does anything: one clear line each."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from scenarios.cli.main import status
from tests.kubernetes.support import Shop, documented

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(180)]
NEEDED: list[dict[str, Any]] = [
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
    {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["list", "watch"]},
]


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs a watch that must not begin; returns its status and its one line."""

    def run(cluster: str, url: str = "http://127.0.0.1:1/") -> tuple[int, str]:
        marker = tmp_path / "deployed"
        words = ["watch", "--cluster", cluster, "--url", url, "--out", str(tmp_path / "runs")]
        code = status([*words, "--no-live", "--", "touch", str(marker)])
        told = [one for one in capsys.readouterr().err.splitlines() if one.startswith("hitless:")]
        assert not marker.exists(), "the command ran"
        assert len(told) == 1, told
        return code, told[0]

    return run


def test_no_cluster(
    refused: Callable[..., tuple[int, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No kubeconfig, another context, and a server that does not answer."""
    code, told = refused("no-such-context/shop")
    assert code == 2
    assert "the kubeconfig has no context 'no-such-context'; it has: " in told
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    code, told = refused("shop")
    assert code == 2
    assert "there is no kubeconfig" in told
    away = tmp_path / "away.yaml"
    away.write_text(
        "{current-context: a, clusters: [{name: a, cluster: {server: 'https://127.0.0.1:1'}}], "
        "contexts: [{name: a, context: {cluster: a, user: a}}], users: [{name: a, user: {}}]}"
    )
    monkeypatch.setenv("KUBECONFIG", str(away))
    code, told = refused("shop")
    assert code == 4
    assert "https://127.0.0.1:1 does not answer" in told


def test_a_namespace_or_a_deployment_that_does_not_exist(
    refused: Callable[..., tuple[int, str]], shop: Shop
) -> None:
    """The message says what is missing, and what there is."""
    assert refused("no-such-namespace")[0] == 2
    code, told = refused(f"{shop.namespace}:deployment/web")
    assert (code, "it has no Deployment" in told) == (2, True)
    shop.deploy(replicas=1)
    code, told = refused(f"{shop.namespace}:deployment/wed")
    assert (code, "did you mean 'web'?" in told) == (2, True)


def test_a_url_that_reaches_another_service(
    refused: Callable[..., tuple[int, str]], shop: Shop
) -> None:
    """A node port of another Service is refused, with both sets of labels."""
    shop.deploy(replicas=1)
    url = shop.deploy("other", replicas=1)
    code, told = refused(f"{shop.namespace}:deployment/web", url)
    assert code == 2
    assert "service/other has this address and selects app=other" in told


def test_missing_rights(
    refused: Callable[..., tuple[int, str]],
    limited: Callable[[list[dict[str, Any]]], None],
    shop: Shop,
) -> None:
    """Each missing right is named."""
    shop.deploy(replicas=1)
    limited([NEEDED[0]])
    code, told = refused(shop.namespace)
    assert code == 4
    assert "no rights to list deployments, watch deployments in the namespace" in told


def test_the_documented_role_is_everything(
    limited: Callable[[list[dict[str, Any]]], None], shop: Shop, tmp_path: Path
) -> None:
    """With the Role of the documentation, only the nodes are not seen."""
    url = shop.deploy(replicas=1)
    limited(yaml.safe_load(documented("Role").replace("shop", shop.namespace))["rules"])
    _, verdict = shop.watch(url, tmp_path / "runs", ["true"], "--rate", "20")
    assert verdict.requests.failed == 0
    unseen = [one for one in verdict.limits if one.startswith("of the cluster: ")]
    assert len(unseen) == 1, unseen
    assert "nodes were not watched" in unseen[0]


def test_two_rights_suffice(
    limited: Callable[[list[dict[str, Any]]], None], shop: Shop, tmp_path: Path
) -> None:
    """With two rights a run succeeds, and the verdict says what was not seen."""
    url = shop.deploy(replicas=1)
    limited(NEEDED)
    _, verdict = shop.watch(url, tmp_path / "runs", ["true"], "--rate", "20")
    assert verdict.requests.failed == 0
    limits = " ".join(verdict.limits)
    assert "endpointslices were not watched (no rights to watch them)" in limits
    assert "the logs of pods were not read" in limits
    assert "no rights to list services" in limits
