"""Replicas that are pods: what goes wrong with one is one line in the cluster's own words."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import PlatformError
from orchestrator.kubernetes.client import connected
from orchestrator.kubernetes.namespace_view import NamespaceView
from orchestrator.model import Version
from orchestrator.platforms.kubernetes import KubernetesPlatform
from tests.kubernetes.contract_subject import subject, template_of
from tests.kubernetes.support import IMAGE, Json, Shop

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(240)]
A = Version(name="a", command=())


async def _failure(
    shop: Shop, folder: Path, template: Json, *, seconds: float = 25.0, ends: bool = False
) -> str:
    """Why a pod of this template does not start, or how it ended."""

    async def given(_version: Version, _replica_id: str) -> Mapping[str, Any]:
        return template

    shop.wait_for_accounts()
    async with (
        connected(None) as cluster,
        NamespaceView(cluster, shop.namespace) as view,
        KubernetesPlatform(view, given, log_directory=folder, address_seconds=seconds) as platform,
        asyncio.timeout(120),
    ):
        if ends:
            replica = await platform.start(A, "a-1")
            return (await platform.wait_ended(replica)).reason
        with pytest.raises(PlatformError) as refused:
            await platform.wait_listening(await platform.start(A, "a-1"))
    assert "\n" not in str(refused.value)
    return str(refused.value)


def _changed(**container: Any) -> Json:
    template = template_of("", "a", "a-1")
    template["spec"]["containers"][0] |= container
    return template


async def test_an_image_that_does_not_exist(shop: Shop, tmp_path: Path) -> None:
    """The kubelet's own reason is told, although it repeats only that it waits."""
    said = await _failure(shop, tmp_path, _changed(image=f"{IMAGE}:none"))
    assert said.startswith("a-1 cannot start: ErrImagePull: "), said
    assert f"{IMAGE}:none" in said


async def test_a_secret_that_does_not_exist(shop: Shop, tmp_path: Path) -> None:
    """A pod that refers to what is not there is told with the name of it."""
    given = {"name": "X", "valueFrom": {"secretKeyRef": {"name": "nowhere", "key": "x"}}}
    said = await _failure(shop, tmp_path, _changed(env=[given]))
    assert said == 'a-1 cannot start: CreateContainerConfigError: secret "nowhere" not found'


async def test_a_pod_that_no_node_takes(shop: Shop, tmp_path: Path) -> None:
    """The scheduler's words are told once the time for an address is over."""
    asked = {"requests": {"memory": "4000Gi"}}
    said = await _failure(shop, tmp_path, _changed(resources=asked), seconds=3)
    assert said.startswith("a-1: it has no address after 3 s: Unschedulable: 0/"), said


async def test_a_pod_that_the_cluster_refuses(shop: Shop, tmp_path: Path) -> None:
    """A quota that is used up is told at once, in the words of the API server."""
    shop.kubectl("create", "quota", "few", "--hard=pods=0")
    shop.kubectl("get", "quota", "few")
    said = await _failure(shop, tmp_path, _changed())
    assert "exceeded quota: few" in said or "status unknown for quota: few" in said, said


async def test_a_program_that_is_not_in_the_image(shop: Shop, tmp_path: Path) -> None:
    """It ends before it has begun, and the reason names the program."""
    said = await _failure(shop, tmp_path, _changed(command=["no-such-program"]), ends=True)
    assert "no-such-program" in said, said


async def test_a_pod_that_exceeds_its_memory_limit(shop: Shop, tmp_path: Path) -> None:
    """The kernel's kill for memory is told from any other kill."""
    program = template_of("", "a", "a-1")["spec"]["containers"][0]["command"][0]
    hungry = [program, "-c", "kept = [bytes([1]) * 2**20 for _ in range(300)]"]
    template = _changed(command=hungry, resources={"limits": {"memory": "64Mi"}})
    said = await _failure(shop, tmp_path, template, ends=True)
    assert said == "was killed because it exceeded its memory limit (OOMKilled)"


async def test_a_pod_that_is_never_ready(shop: Shop, tmp_path: Path) -> None:
    """The router says what the readiness probe met, as the kubelet reported it."""
    async with subject(shop, tmp_path) as given, asyncio.timeout(120):
        sick = await given.replica("a", "sick")
        while "statuscode: 503" not in (said := str(await given.router.why_not_up([sick.id]))):
            await given.view.wait_for_change()
        assert "its pod is not ready: Readiness probe failed" in said


async def test_a_pod_that_somebody_else_deletes(shop: Shop, tmp_path: Path) -> None:
    """A replica whose pod is deleted is told of as one that ended by itself, with the reason."""
    async with subject(shop, tmp_path) as given, asyncio.timeout(120):
        replica = await given.up("a")
        shop.kubectl("delete", "pod", replica.id, "--wait=false")
        await given.exited.wait()
        assert given.exits == [
            (replica.id, "was deleted by somebody else, and exited with status 0")
        ]
        assert set(await given.router.why_not_up([replica.id])) == {replica.id}
