"""An API server that stores whatever objects it is sent, and lets labels and names select them."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

Json = dict[str, Any]

_GROUP_DEPTH = 3
_COMPLETE = {"observedGeneration": 1, "updatedReplicas": 1, "replicas": 1, "availableReplicas": 1}

KINDS: Mapping[str, Json] = {
    "/api/v1": {
        "resources": [
            {"name": "namespaces", "kind": "Namespace", "namespaced": False},
            {"name": "services", "kind": "Service", "namespaced": True},
            {"name": "services/status", "kind": "Service", "namespaced": True},
            {"name": "configmaps", "kind": "ConfigMap", "namespaced": True},
        ]
    },
    "/apis/apps/v1": {
        "resources": [{"name": "deployments", "kind": "Deployment", "namespaced": True}]
    },
    "/apis/batch/v1": {"resources": [{"name": "jobs", "kind": "Job", "namespaced": True}]},
}
"""What a cluster says of the kinds that it has, by the path of the question."""


class StoredObjects:
    """What a cluster holds, by the path of each object.

    Attributes:
        objects: the objects.
        documents: other answers, by path, such as what an API group has.
        denied: what nobody may do, such as `create namespaces`.
        refused: methods that are answered with a status, so often, such as `{("POST", 503): 1}`.
        asked: each request that changes something, as its method and its path.
        complete: whether each Deployment has its pods as soon as it is applied.
        lingering: whether what is deleted stays until `vanish` is called.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Json] = {}
        self.documents: dict[str, Json] = {"/version": {"gitVersion": "v1.20.2"}}
        self.denied: set[str] = set()
        self.refused: Counter[tuple[str, int]] = Counter()
        self.asked: list[str] = []
        self.lingering = False
        self.complete = False
        self._version = 100
        self._told: list[tuple[int, str, str, Json]] = []
        self._news = asyncio.Condition()

    async def put(self, path: str, thing: Json) -> Json:
        """Store an object."""
        change = "MODIFIED" if path in self.objects else "ADDED"
        self._version += 1
        meta = thing.setdefault("metadata", {})
        meta.setdefault("name", path.rpartition("/")[2])
        meta.setdefault("uid", f"uid-{self._version}")
        meta["resourceVersion"] = str(self._version)
        self.objects[path] = thing
        await self._tell(change, path, thing)
        return thing

    async def vanish(self, path: str) -> None:
        """Remove an object."""
        self._version += 1
        await self._tell("DELETED", path, self.objects.pop(path))

    async def _tell(self, change: str, path: str, thing: Json) -> None:
        async with self._news:
            self._told.append((self._version, change, path, json.loads(json.dumps(thing))))
            self._news.notify_all()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        path, method = request.path, request.method
        for (refused, status), left in self.refused.items():
            if refused == method and left:
                self.refused[refused, status] -= 1
                return _error(status, "refused")
        if path.endswith("selfsubjectaccessreviews"):
            about = (await request.json())["spec"]["resourceAttributes"]
            allowed = f"{about['verb']} {about['resource']}" not in self.denied
            return web.json_response({"status": {"allowed": allowed}})
        if method == "GET":
            return await self._get(request)
        async with self._news:
            self.asked.append(f"{method} {path}")
            self._news.notify_all()
        return await self._change(method, path, await request.json(), request.content_type)

    async def until_asked(self) -> None:
        """Wait until a request has asked for a change."""
        async with self._news:
            await self._news.wait_for(lambda: self.asked)

    async def _change(self, method: str, path: str, body: Json, media: str) -> web.Response:
        if method == "POST":
            target = f"{path}/{body['metadata']['name']}"
            if target in self.objects:
                return _error(409, f"{target} already exists")
            return web.json_response(await self.put(target, body), status=201)
        if method == "PATCH":
            before = self.objects.get(path, {})
            if media == "application/merge-patch+json":
                if not before:
                    return _error(404, f"{path} not found")
                body = {**before, **body, "metadata": before["metadata"]}
            elif media != "application/apply-patch+yaml":
                return _error(415, f"{media} is not supported")
            body.setdefault("metadata", {}).setdefault("uid", before.get("metadata", {}).get("uid"))
            if self.complete and "/deployments/" in path:
                body["metadata"]["generation"] = 1
                body["status"] = _COMPLETE
            return web.json_response(await self.put(path, body))
        return await self._delete(path, body)

    async def _delete(self, path: str, body: Json) -> web.Response:
        thing = self.objects.get(path)
        if thing is None:
            return _error(404, f"{path} not found")
        wanted = body.get("preconditions", {}).get("uid")
        if wanted not in (None, thing["metadata"]["uid"]):
            return _error(409, "the uid is another one")
        if not self.lingering:
            await self.vanish(path)
        return web.json_response({})

    async def _get(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path in self.objects:
            return web.json_response(self.objects[path])
        if path in self.documents:
            return web.json_response(self.documents[path])
        if path.startswith("/apis/") and path.count("/") <= _GROUP_DEPTH:
            return _error(404, f"{path} not found")
        if "watch" in request.query:
            return await self._watch(request, int(request.query["resourceVersion"]))
        items = [one for one in self.objects if self._selected(request, one, self.objects[one])]
        return web.json_response(
            {
                "metadata": {"resourceVersion": str(self._version)},
                "items": [self.objects[one] for one in items],
            }
        )

    def _selected(self, request: web.Request, path: str, thing: Json) -> bool:
        if path.rpartition("/")[0] != request.path:
            return False
        meta = thing["metadata"]
        name = request.query.get("fieldSelector", "").removeprefix("metadata.name=")
        labels: Mapping[str, str] = meta.get("labels") or {}
        for one in filter(None, request.query.get("labelSelector", "").split(",")):
            key, given, value = one.partition("=")
            if key not in labels or (given and labels[key] != value):
                return False
        return name in ("", meta["name"])

    async def _watch(self, request: web.Request, since: int) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            for version, change, path, thing in tuple(self._told):
                if version > since:
                    since = version
                    if self._selected(request, path, thing):
                        line = json.dumps({"type": change, "object": thing})
                        await response.write(f"{line}\n".encode())
            async with self._news:
                if self._told[-1][0] <= since:
                    await self._news.wait()


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"message": message}, status=status)


@asynccontextmanager
async def serving(api: StoredObjects, folder: Path) -> AsyncIterator[Path]:
    """Serve it; yields the kubeconfig, whose current context is `here`."""
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", api.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server = f"http://127.0.0.1:{runner.addresses[0][1]}"
    config = folder / "kubeconfig"
    config.write_text(
        json.dumps(
            {
                "current-context": "here",
                "clusters": [{"name": "c", "cluster": {"server": server}}],
                "contexts": [{"name": "here", "context": {"cluster": "c"}}],
            }
        )
    )
    try:
        yield config
    finally:
        await runner.cleanup()
