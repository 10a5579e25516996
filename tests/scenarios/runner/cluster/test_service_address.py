"""Where users reach a Service, and whether an address leads to it."""

import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import EnvironmentFailure
from orchestrator.kubernetes.client import Cluster, connected
from scenarios.errors import UsageError
from scenarios.runner.cluster import service_address as module
from scenarios.runner.cluster.service_address import (
    address_in,
    address_of,
    check_reach,
    own_address,
    until_answered,
)
from tests.support.stored_objects import StoredObjects, serving

Json = dict[str, Any]
CORE = "/api/v1/namespaces"


@pytest.fixture
def api() -> StoredObjects:
    """A cluster without objects."""
    return StoredObjects()


@pytest.fixture
async def cluster(
    api: StoredObjects, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Cluster]:
    """Its client."""
    async with serving(api, tmp_path) as config:
        monkeypatch.setenv("KUBECONFIG", str(config))
        async with connected(None) as client:
            yield client


def service(name: str = "web", namespace: str = "shop", **spec: object) -> Json:
    """A Service."""
    return {"metadata": {"name": name, "namespace": namespace}, "spec": spec}


def node(kind: str, address: str, *, cordoned: bool = False) -> Json:
    """A node."""
    status = {
        "addresses": [{"type": "Hostname", "address": "n"}, {"type": kind, "address": address}]
    }
    return {"spec": {"unschedulable": cordoned}, "status": status}


async def test_a_node_port_is_reached_on_a_node(api: StoredObjects, cluster: Cluster) -> None:
    """An address inside of the cluster's network first; a node that is drained is none."""
    await api.put("/api/v1/nodes/n1", node("InternalIP", "10.0.0.1", cordoned=True))
    await api.put("/api/v1/nodes/n2", node("ExternalIP", "203.0.113.1"))
    ports = [{"name": "metrics", "port": 1, "nodePort": 2}]
    ports.append({"name": "http", "port": 80, "nodePort": 31000})
    found = service(type="NodePort", ports=ports)
    assert await address_of(cluster, found) == ("203.0.113.1", 31000)
    await api.put("/api/v1/nodes/n3", node("InternalIP", "10.0.0.3"))
    assert await address_of(cluster, found) == ("10.0.0.3", 31000)


async def test_a_load_balancer_is_waited_for(api: StoredObjects, cluster: Cluster) -> None:
    """A cloud gives it an address some time later."""
    one = service(type="LoadBalancer", ports=[{"port": 80, "nodePort": 31000}])
    balanced = {"loadBalancer": {"ingress": [{"hostname": "lb.example.com"}]}}
    await api.put(f"{CORE}/shop/services/web", {**one, "status": balanced})
    assert await address_of(cluster, one) == ("lb.example.com", 80)


async def test_an_address_inside_of_the_cluster_is_the_last_choice(cluster: Cluster) -> None:
    """A headless Service has none at all."""
    ports = [{"port": 8080}]
    inside = service(clusterIP="10.96.0.1", ports=ports)
    assert await address_of(cluster, inside) == ("10.96.0.1", 8080)
    with pytest.raises(UsageError, match="service/web has no address of its own"):
        await address_of(cluster, service(clusterIP="None", ports=ports))


async def test_a_url_that_reaches_another_service_is_refused(
    api: StoredObjects, cluster: Cluster
) -> None:
    """Also one of another namespace; an address that no Service has may be an Ingress."""
    ports = [{"port": 80, "nodePort": 31000}]
    await api.put("/api/v1/services/1", service("web", ports=ports))
    others = [{"port": 80, "nodePort": 32000}]
    await api.put("/api/v1/services/2", service("web", "prod", ports=others))
    assert not await check_reach(cluster, "shop", "web", ("10.0.0.1", 31000))
    said = await check_reach(cluster, "shop", "web", ("10.0.0.1", 80))
    assert "nobody checked that it leads to these pods" in said
    with pytest.raises(UsageError, match="reaches service/web of the namespace 'prod'"):
        await check_reach(cluster, "shop", "web", ("10.0.0.1", 32000))


async def test_somebody_must_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Service that leads nowhere is told before there is traffic."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        await until_answered(server.getsockname())
        address = server.getsockname()
    monkeypatch.setattr(module, "_ANSWER_SECONDS", 0.05)
    with pytest.raises(EnvironmentFailure, match="nobody accepts a connection on 127"):
        await until_answered(address)


def test_the_address_of_this_machine_depends_on_the_way() -> None:
    """Pods find the mailbox there."""
    assert own_address("127.0.0.1") == "127.0.0.1"
    with pytest.raises(EnvironmentFailure, match=r"platform\.address names the address"):
        own_address("no-such-host.invalid")


def test_a_url_names_host_and_port() -> None:
    """Without a port it is that of HTTP."""
    assert address_in("http://shop.test/") == ("shop.test", 80)
    assert address_in("http://[::1]:8080") == ("::1", 8080)
