"""What a run on a cluster refuses: one line each, nothing is made, and nothing is left."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.kubernetes.ownership import NAMESPACES
from scenarios.cli import run as command
from scenarios.cli.main import status
from tests.support.stored_objects import KINDS, StoredObjects, serving

Json = dict[str, Any]
SCENARIO = """
extends = "good"

[platform]
kind = "kubernetes"
namespace = "ours"
"""
FILES = 'manifests = "{version}.json"\n'


def service(**selector: str) -> Json:
    """A Service with an address inside of the cluster."""
    spec = {"selector": selector, "clusterIP": "127.0.0.1", "ports": [{"port": 1}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec}


def deployment(**labels: str) -> Json:
    """A Deployment."""
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"image": "shop:a"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"template": template},
    }


def manifests(*objects: Json) -> str:
    """The text of a file of manifests."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})


GOOD = manifests(service(app="web"), deployment(app="web"))


@pytest.fixture
def api() -> StoredObjects:
    """A cluster where everything may be done."""
    found = StoredObjects()
    found.documents |= KINDS
    return found


Refused = Callable[..., Awaitable[tuple[int, str]]]


@pytest.fixture
def refused(
    api: StoredObjects,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Refused:
    """Runs the scenario; returns its status and its one line."""
    monkeypatch.setattr(command, "run_interruptibly", asyncio.run)

    async def run(
        *flags: str, a: str = GOOD, b: str = GOOD, text: str = "", files: str = FILES
    ) -> tuple[int, str]:
        file = tmp_path / "scenario.toml"
        file.write_text(SCENARIO + files + text)
        (tmp_path / "a.json").write_text(a)
        (tmp_path / "b.json").write_text(b)
        words = ["run", str(file), "--no-live", "--out", str(tmp_path / "runs"), *flags]
        async with serving(api, tmp_path) as config:
            monkeypatch.setenv("KUBECONFIG", str(config))
            code = await asyncio.to_thread(status, words)
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        return code, lines[0]

    return run


async def test_a_context_that_does_not_exist(api: StoredObjects, refused: Refused) -> None:
    """The line has those that exist."""
    code, said = await refused("--context", "nowhere")
    assert (code, "has no context 'nowhere'; it has: here" in said) == (2, True)
    assert not api.asked


async def test_missing_rights(api: StoredObjects, refused: Refused) -> None:
    """Each is named, that of the whole cluster as well as those of the manifests."""
    api.denied = {"create namespaces", "patch deployments"}
    code, said = await refused()
    assert code == 4
    assert "no rights to create namespaces, patch deployments in the cluster of the" in said
    assert not api.asked


@pytest.mark.parametrize(
    ("changed", "code", "said"),
    [
        ({"a": "a: ["}, 2, "a.json is no YAML"),
        ({"b": manifests(deployment(app="web"))}, 2, "users request one Service, and there are"),
        (
            {"a": manifests(service(app="wed"), deployment(app="web"))},
            2,
            "service/web selects pods with app=wed, and those of deployment/web have app=web",
        ),
        (
            {"b": manifests(service(app="web"), deployment(app="web"), {**service(), "kind": "X"})},
            2,
            "x/web: the cluster has no X of v1",
        ),
        ({"text": 'service = "api"\n'}, 2, "there is no service/api; there are: web"),
    ],
)
async def test_manifests_that_cannot_work(
    changed: dict[str, str], code: int, said: str, api: StoredObjects, refused: Refused
) -> None:
    """Those of every version are looked at before anything is made."""
    found, line = await refused(**changed)
    assert (found, said in line) == (code, True), line
    assert not api.asked


async def test_a_namespace_of_somebody_else(api: StoredObjects, refused: Refused) -> None:
    """It is left as it is."""
    await api.put(f"{NAMESPACES}/ours", {})
    code, said = await refused()
    assert (code, "namespace 'ours' exists and is none of hitless'" in said) == (2, True), said
    assert list(api.objects) == [f"{NAMESPACES}/ours"]


async def test_a_url_of_another_service(api: StoredObjects, refused: Refused) -> None:
    """What was made by then is removed, as always."""
    other = service()
    other["metadata"] = {"name": "web", "namespace": "prod"}
    await api.put("/api/v1/services/1", other)
    api.complete = True
    code, said = await refused(text='url = "http://127.0.0.1:1"\n')
    assert (code, "reaches service/web of the namespace 'prod'" in said) == (2, True), said
    assert api.asked[-1] == f"DELETE {NAMESPACES}/ours"


async def test_a_service_that_nobody_answers(
    api: StoredObjects, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version does not become available: its environment is at fault, not the release."""
    monkeypatch.setattr("scenarios.runner.cluster.bringing_up.PATIENCE_SECONDS", 0.2)
    code, said = await refused()
    assert code == 4
    assert "version a did not become available, so there is nothing to release" in said
    assert api.asked[-1] == f"DELETE {NAMESPACES}/ours"


async def test_a_command_that_prints_no_manifests(refused: Refused, api: StoredObjects) -> None:
    """Its own message is the reason."""
    text = 'manifests = ["sh", "-c", "echo no such overlay >&2; exit 3"]\n'
    code, said = await refused(files=text)
    assert (code, "ended with status 3: no such overlay" in said) == (2, True), said
    assert api.asked[-1] == f"DELETE {NAMESPACES}/ours"
