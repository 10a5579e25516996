"""Kubernetes as the subject of the contracts of platforms and of routers.

The replicas run the same small application as elsewhere: its text is given to the Python of the
image of these tests, so no image of its own is needed.
"""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.interfaces import ReplicaExit
from orchestrator.kubernetes.client import connected
from orchestrator.kubernetes.namespace_view import NamespaceView
from orchestrator.kubernetes.pod_manifest import selecting_served
from orchestrator.model import Replica, Version
from orchestrator.platforms.kubernetes import KubernetesPlatform
from orchestrator.routers.capabilities import Capabilities
from orchestrator.routers.kubernetes_service import ServiceRouter
from tests.contract import test_router_contract as routers
from tests.kubernetes.support import IMAGE, PORT, Json, Shop, service

_KEYS = ("MODE", "ID")
SERVICE = "web"


def template_of(mode: str, version: str, replica_id: str) -> Json:
    """The pod template of the small application."""
    program = str(Path(sys.executable).resolve())
    probe = {"httpGet": {"path": "/health", "port": PORT}, "periodSeconds": 1}
    return {
        "metadata": {"labels": {"app": SERVICE}},
        "spec": {
            "dnsPolicy": "Default",
            "containers": [
                {
                    "name": "app",
                    "image": f"{IMAGE}:a",
                    "imagePullPolicy": "IfNotPresent",
                    "command": [program, "-u", "-c", routers.APP.read_text()],
                    "args": [str(PORT), version],
                    "ports": [{"containerPort": PORT}],
                    "readinessProbe": {**probe, "failureThreshold": 1},
                    "env": [
                        {"name": "HOST", "value": "0.0.0.0"},
                        {"name": "MODE", "value": mode},
                        {"name": "ID", "value": replica_id},
                    ],
                }
            ],
        },
    }


async def _template(version: Version, replica_id: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = template_of(version.env.get("MODE", ""), version.name, replica_id)
    return found


@dataclass
class Subject:
    """A namespace with a Service, as the cases of both contracts know their subjects."""

    view: NamespaceView
    folder: Path
    address: str
    numbers: "count[int]" = field(default_factory=lambda: count(1))
    exits: list[tuple[str, str]] = field(default_factory=list)
    exited: asyncio.Event = field(default_factory=asyncio.Event)
    dies: tuple[str, tuple[str, ...]] = ("exited with status 3", ("no configuration; giving up",))
    tells_port = False

    def __post_init__(self) -> None:
        self.platform = KubernetesPlatform(
            self.view, _template, log_directory=self.folder, on_exit=self.on_exit
        )
        self.running = SimpleNamespace(kind="service", address=self.address)
        self.router = ServiceRouter(self.view, SERVICE, probed=True)

    @property
    def can(self) -> Capabilities:
        return self.router.capabilities

    def need(self, **capabilities: object) -> None:
        for name, wanted in capabilities.items():
            if getattr(self.can, name) != wanted:
                pytest.skip(f"a Service declares {name}={getattr(self.can, name)!r}")

    def on_exit(self, replica: Replica, ended: ReplicaExit) -> None:
        self.exits.append((replica.id, ended.reason))
        self.exited.set()

    def version(self, mode: str = "", name: str = "a") -> Version:
        return Version(name=name, command=(), env={"MODE": mode})

    async def kill(self, replica: Replica) -> None:
        """Kill the first process of its container, as the kernel or somebody on the node may."""
        wanted = f"ID={replica.id}".encode()
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    environment = (folder / "environ").read_bytes().split(b"\0")
                except OSError:
                    continue
                if wanted in environment:
                    os.kill(int(folder.name), signal.SIGKILL)
                    return
        pytest.skip("the processes of the cluster's nodes cannot be seen from here")

    async def accepts(self, replica: Replica) -> bool:
        try:
            async with asyncio.timeout(2):  # the address of a pod that is gone may lead nowhere
                _, writer = await asyncio.open_connection(replica.host, replica.port)
        except OSError:
            return False
        writer.close()
        return True

    async def replica(self, version: str, mode: str = "") -> Replica:
        replica = await self.platform.start(
            self.version(mode, version), f"{version}-{next(self.numbers)}"
        )
        await self.platform.wait_listening(replica)
        await self.router.register(replica)
        return replica

    async def up(self, version: str, mode: str = "") -> Replica:
        replica = await self.replica(version, mode)
        async with asyncio.timeout(60):
            await self.router.wait_up([replica.id])
        return replica

    async def get(
        self, path: str = "/", request_id: str = "", method: str = "GET"
    ) -> tuple[int, str]:
        host, _, port = self.address.rpartition(":")
        return await routers._ask(host, int(port), path, request_id or "x", method)

    async def meets_nobody(self) -> bool:
        try:
            async with asyncio.timeout(5):
                await self.get()
        except OSError:  # kube-proxy answers nothing by itself
            return True
        return False

    async def get_from(self, replica: Replica, path: str) -> tuple[int, str]:
        return await routers._ask(replica.host, replica.port, path, "direct-1")

    async def at_the_replica(
        self, path: str, replica: Replica, method: str = "GET"
    ) -> "asyncio.Future[tuple[int, str]]":
        asked = asyncio.ensure_future(self.get(path, method=method))
        log, word = self.folder / f"{replica.id}.log", "hanging" if path == "/hang" else "begun"
        async with asyncio.timeout(30):
            while word not in log.read_text():  # noqa: ASYNC110 - the log is all that tells
                await asyncio.sleep(0.05)
        return asked

    async def answers(self, requests: int) -> Counter[str]:
        got = [await self.get() for _ in range(requests)]
        return Counter(body for _, body in got)


@asynccontextmanager
async def subject(shop: Shop, folder: Path) -> AsyncIterator[Subject]:
    """A subject in the namespace of a test."""
    shop.wait_for_accounts()
    shop.apply(selecting_served(service(SERVICE)))
    address = shop.address(SERVICE)
    async with connected(None) as cluster, NamespaceView(cluster, shop.namespace) as view:
        found = Subject(view, folder, address)
        async with found.platform:
            yield found
