"""Tests on a real cluster: `make test-kubernetes` starts one, and KUBECONFIG names another."""

import json
import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from scenarios.runner.cluster.service_address import own_address
from tests.kubernetes.postgres import Server, postgres_on
from tests.kubernetes.support import Kubectl, Shop

KUBECONFIG = os.environ.get("HITLESS_TEST_KUBECONFIG")
if KUBECONFIG is None:
    collect_ignore_glob = ["test_*.py"]  # without a cluster there is nothing to test


@pytest.fixture(autouse=True)
def kubeconfig(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration that everybody finds."""
    assert KUBECONFIG is not None
    monkeypatch.setenv("KUBECONFIG", KUBECONFIG)
    return Path(KUBECONFIG)


@pytest.fixture(scope="session")
def kubectl() -> Kubectl:
    """The command kubectl, with all rights."""
    assert KUBECONFIG is not None
    return Kubectl(KUBECONFIG)


@pytest.fixture(scope="session")
def database(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that this machine and the pods reach."""
    config = yaml.safe_load(kubectl("config", "view", "--minify", "-o", "json"))
    host = urlsplit(config["clusters"][0]["cluster"]["server"]).hostname
    with postgres_on(own_address(host), tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture
def shop(kubectl: Kubectl) -> Iterator[Shop]:
    """A namespace of its own, and what is deployed there; removed at the end."""
    name = f"hitless-test-{secrets.token_hex(4)}"
    kubectl("create", "namespace", name)
    try:
        yield Shop(kubectl, name)
    finally:
        kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def limited(
    kubectl: Kubectl, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[list[dict[str, Any]]], None]:
    """Lets everybody use an account with these rights in the namespace, and no others."""

    def use(rules: list[dict[str, Any]]) -> None:
        meta = {"name": "limited", "namespace": shop.namespace}
        subject = {"kind": "ServiceAccount", **meta}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "limited"}
        group = "rbac.authorization.k8s.io/v1"
        shop.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta})
        shop.apply({"apiVersion": group, "kind": "Role", "metadata": meta, "rules": rules})
        shop.apply(
            {
                "apiVersion": group,
                "kind": "RoleBinding",
                "metadata": meta,
                "roleRef": role,
                "subjects": [subject],
            }
        )
        _become(kubectl, shop, tmp_path, monkeypatch)

    return use


@pytest.fixture
def limited_everywhere(
    kubectl: Kubectl, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[list[dict[str, Any]]], None]]:
    """Lets everybody use an account with these rights in the whole cluster, and no others."""
    name, group = shop.namespace, "rbac.authorization.k8s.io"
    kinds = ("clusterrole", "clusterrolebinding")

    def use(rules: list[dict[str, Any]]) -> None:
        account = {"name": "limited", "namespace": name}
        shop.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
        common = {"apiVersion": f"{group}/v1", "metadata": {"name": name}}
        shop.apply({**common, "kind": "ClusterRole", "rules": rules})
        shop.apply(
            {
                **common,
                "kind": "ClusterRoleBinding",
                "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
                "subjects": [{"kind": "ServiceAccount", **account}],
            }
        )
        _become(kubectl, shop, tmp_path, monkeypatch)

    yield use
    for kind in kinds:
        kubectl("delete", kind, name, "--ignore-not-found")


def _become(kubectl: Kubectl, shop: Shop, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let everybody use the account `limited` of the namespace."""
    config = json.loads(kubectl("config", "view", "--raw", "--flatten", "-o", "json"))
    config["users"][0]["user"] = {"token": shop.token("limited")}
    file = folder / "limited.json"
    file.write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(file))


def pytest_sessionfinish() -> None:
    """Remove what a test that was cut short may have left."""
    if KUBECONFIG is not None:
        kubectl = Kubectl(KUBECONFIG)
        for name in kubectl("get", "namespaces", "-o", "name").split():
            if name.startswith("namespace/hitless-test-"):
                subprocess.run(kubectl.command("delete", name, "--wait=false"), check=False)
