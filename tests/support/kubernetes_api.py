"""An API server that stores objects and tells of changes, but moves nothing by itself."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

Json = dict[str, Any]
NAMESPACE = "shop"
_CORE = f"/api/v1/namespaces/{NAMESPACE}"
PATHS = {
    "Pod": f"{_CORE}/pods",
    "Deployment": f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments",
    "EndpointSlice": f"/apis/discovery.k8s.io/v1beta1/namespaces/{NAMESPACE}/endpointslices",
    "Event": f"{_CORE}/events",
    "Job": f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs",
    "Node": "/api/v1/nodes",
    "Service": f"{_CORE}/services",
}


_KNOWN: dict[str, Json] = {
    "/version": {"gitVersion": "v1.20.2"},
    f"/api/v1/namespaces/{NAMESPACE}": {"metadata": {"name": NAMESPACE}},
    "/apis/discovery.k8s.io": {"versions": [{"version": "v1beta1"}]},
    "/apis/batch": {"versions": [{"version": "v1"}, {"version": "v1beta1"}]},
}


class KubernetesApi:
    """The state of one namespace.

    Attributes:
        denied: what nobody may do, such as `watch events`.
        forgotten: lists of which the next watch is answered with 410 Gone.
    """

    def __init__(self) -> None:
        self.denied: set[str] = set()
        self.forgotten: set[str] = set()
        self._objects: dict[str, dict[str, Json]] = {path: {} for path in PATHS.values()}
        self._told: dict[str, list[tuple[int, str, Json]]] = {path: [] for path in PATHS.values()}
        self._version = 100
        self._news = asyncio.Condition()

    async def put(self, kind: str, thing: Json, change: str = "MODIFIED") -> None:
        """Store an object, and tell everybody who watches."""
        self._version += 1
        path = PATHS[kind]
        thing["metadata"]["resourceVersion"] = str(self._version)
        if change == "DELETED":
            self._objects[path].pop(thing["metadata"]["name"], None)
        else:
            self._objects[path][thing["metadata"]["name"]] = thing
        async with self._news:
            self._told[path].append((self._version, change, json.loads(json.dumps(thing))))
            self._news.notify_all()

    async def forget(self, kind: str, name: str) -> None:
        """Remove an object without telling, and end the watches: their versions are too old."""
        self._objects[PATHS[kind]].pop(name, None)
        self.forgotten.add(PATHS[kind])
        async with self._news:
            self._news.notify_all()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        path = request.path
        if path in self._objects:
            if "watch" in request.query:
                return await self._watch(request, int(request.query["resourceVersion"]))
            return web.json_response(
                {
                    "metadata": {"resourceVersion": str(self._version)},
                    "items": list(self._objects[path].values()),
                }
            )
        if path.endswith("selfsubjectaccessreviews"):
            about = (await request.json())["spec"]["resourceAttributes"]
            asked = f"{about['verb']} {about['resource']}"
            return web.json_response({"status": {"allowed": asked not in self.denied}})
        if path.endswith("/log"):
            return web.Response(text=f"a line of {request.path.split('/')[-2]}\n")
        known = _KNOWN.get(path)
        if known is None:
            return web.json_response({"message": f"{path} not found"}, status=404)
        return web.json_response(known)

    async def _watch(self, request: web.Request, since: int) -> web.StreamResponse:
        path = request.path
        if path in self.forgotten:
            self.forgotten.discard(path)
            return web.json_response({"message": "too old"}, status=410)
        response = web.StreamResponse()
        await response.prepare(request)
        while path not in self.forgotten:
            for version, change, thing in self._told[path]:
                if version > since:
                    since = version
                    line = json.dumps({"type": change, "object": thing})
                    await response.write(f"{line}\n".encode())
            async with self._news:
                if path not in self.forgotten and all(
                    one <= since for one, _, _ in self._told[path]
                ):
                    await self._news.wait()
        return response


@asynccontextmanager
async def serving(api: KubernetesApi, folder: Path) -> AsyncIterator[Path]:
    """Serve it; yields the kubeconfig."""
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
