"""Where users reach a Service, and from where pods reach this machine."""

import asyncio
import socket
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from orchestrator.errors import EnvironmentFailure
from orchestrator.kubernetes.client import Cluster
from orchestrator.kubernetes.errors import FORBIDDEN, ApiError
from orchestrator.platforms.local import accepts
from scenarios.errors import UsageError
from scenarios.recording.cluster.reach import reached

Json = Mapping[str, Any]
Address = tuple[str, int]

_HTTP_PORT = 80
_BALANCER_SECONDS = 180.0
_ANSWER_SECONDS = 30.0
_PAUSE_SECONDS = 0.1


def address_in(url: str) -> Address:
    """The host and the port of a URL that was checked."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or _HTTP_PORT


async def address_of(cluster: Cluster, service: Json) -> Address:
    """Where users reach a Service: its load balancer, its port on a node, or its cluster IP.

    Raises:
        UsageError: nobody can tell without `platform.url`.
        EnvironmentFailure: the load balancer does not come up.
        ApiError: a question was refused.
    """
    name, spec = service["metadata"]["name"], service["spec"]
    port = _port(spec.get("ports") or ())
    if spec.get("type") == "LoadBalancer":
        return await _balancer(cluster, service), int(port["port"])
    if port.get("nodePort"):
        return await _node(cluster, name), int(port["nodePort"])
    host = spec.get("clusterIP") or "None"
    if host == "None":
        raise UsageError(f"service/{name} has no address of its own; name one in platform.url")
    return str(host), int(port["port"])


async def check_reach(cluster: Cluster, namespace: str, service: str, address: Address) -> str:
    """See that an address leads to a Service; returns what could not be found out, or nothing.

    Raises:
        UsageError: it leads to another one.
        ApiError: a question was refused.
    """
    host, port = address
    try:
        listed = await cluster.get("/api/v1/services")
    except ApiError as error:
        if error.status != FORBIDDEN:
            raise
        listed = await cluster.get(f"/api/v1/namespaces/{namespace}/services")
    for one in listed.get("items", ()):
        place = one["metadata"]["namespace"]
        if reached([one], place, host, port) is None:
            continue
        if (place, one["metadata"]["name"]) == (namespace, service):
            return ""
        raise UsageError(
            f"platform.url http://{host}:{port} reaches service/{one['metadata']['name']} of the "
            f"namespace {place!r}, and not service/{service} of the run"
        )
    return (
        "no Service has the address of platform.url, so nobody checked that it leads to these pods"
    )


async def until_answered(address: Address) -> None:
    """Wait until somebody accepts a connection there: nodes learn of a new Service a moment later.

    Raises:
        EnvironmentFailure: nobody does.
    """
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            while True:
                if await accepts(*address):
                    return
                await asyncio.sleep(_PAUSE_SECONDS)
    except TimeoutError:
        host, port = address
        raise EnvironmentFailure(
            f"nobody accepts a connection on {host}:{port} after {_ANSWER_SECONDS:.0f} s, although "
            "the pods are available; platform.url names another address of the Service"
        ) from None


def own_address(towards: str) -> str:
    """The address of this machine from which it reaches a host.

    Raises:
        EnvironmentFailure: it does not reach it.
    """
    try:
        found = socket.getaddrinfo(towards, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(found[0], socket.SOCK_DGRAM) as probe:
            probe.connect(found[4])  # sends nothing
            return str(probe.getsockname()[0])
    except OSError as error:
        raise EnvironmentFailure(
            f"this machine has no way to {towards} ({error.strerror}); platform.address names the "
            "address that pods can reach"
        ) from error


def _port(ports: Iterable[Json]) -> Json:
    """The port that users request: the one called http, else the first."""
    every = list(ports)
    return next((one for one in every if one.get("name") == "http"), every[0])


async def _node(cluster: Cluster, service: str) -> str:
    try:
        nodes = (await cluster.get("/api/v1/nodes")).get("items", ())
    except ApiError as error:
        if error.status != FORBIDDEN:
            raise
        raise UsageError(
            f"no rights to list nodes, so nobody knows the address of service/{service}; name it "
            "in platform.url"
        ) from error
    every = [
        one
        for node in nodes
        if not node.get("spec", {}).get("unschedulable")
        for one in node["status"].get("addresses", ())
    ]
    for kind in ("InternalIP", "ExternalIP"):
        for one in every:
            if one["type"] == kind:
                return str(one["address"])
    raise UsageError(f"no node has an address; name that of service/{service} in platform.url")


async def _balancer(cluster: Cluster, service: Json) -> str:
    meta = service["metadata"]
    path = f"/api/v1/namespaces/{meta['namespace']}/services"
    changes = cluster.follow(path, lambda _: None, fieldSelector=f"metadata.name={meta['name']}")
    try:
        async with asyncio.timeout(_BALANCER_SECONDS):
            async for one in changes:
                balancer = one.object.get("status", {}).get("loadBalancer", {})
                for ingress in balancer.get("ingress") or ():
                    return str(ingress.get("ip") or ingress["hostname"])
    except TimeoutError:
        pass
    finally:
        await changes.aclose()
    raise EnvironmentFailure(
        f"service/{meta['name']} got no load balancer in {_BALANCER_SECONDS:.0f} s; platform.url "
        "names another address"
    )
