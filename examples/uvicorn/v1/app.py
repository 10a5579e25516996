"""Makes the last part of an address from a title; the first version. Plain ASGI, for uvicorn."""

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def slug(title: str) -> dict[str, object]:
    """What this version says of a title."""
    return {"slug": "-".join(re.findall(r"[a-z0-9]+", title.lower()))}


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Answer one request."""
    if scope["type"] != "http":
        return  # there is nothing to do at the start and at the end
    match scope["method"], scope["path"]:
        case "GET", "/health":
            await answer(send, 200, {"healthy": True})
        case "POST", "/slugs":
            title = json.loads(await body(receive))["title"]
            await answer(send, 200, slug(title))
        case _:
            await answer(send, 404, {"error": "there is no such page"})


async def body(receive: Receive) -> bytes:
    """The body of the request."""
    whole = b""
    while True:
        part = await receive()
        whole += part.get("body", b"")
        if not part.get("more_body", False):
            return whole


async def answer(send: Send, status: int, content: object) -> None:
    """Send a response."""
    text = json.dumps(content).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(text)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
