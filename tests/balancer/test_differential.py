"""What the balancer forwards is read the same by real servers, message boundaries included."""

import asyncio
import json
import random
import re
import shutil
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from balancer.proxy.write_progress import reset
from tests.support.balancer import LocalBalancer, local_balancer

SENTINEL = b"GET /sentinel HTTP/1.1\r\nHost: sentinel\r\nConnection: close\r\n\r\n"
NODE = """
const http = require('http');
http.createServer({requireHostHeader: false}, (q, s) => {
  const parts = [];
  q.on('data', d => parts.push(d));
  q.on('end', () => {
    const body = JSON.stringify([q.method, q.url, Buffer.concat(parts).toString('latin1')]);
    s.setHeader('Content-Length', Buffer.byteLength(body)); s.end(q.method === 'HEAD' ? '' : body);
  });
}).listen(0, '127.0.0.1', function () { console.log(this.address().port); });
"""
NGINX = """
daemon off; worker_processes 1; master_process off; pid {directory}/pid; error_log /dev/null;
events {{ worker_connections 64; }}
http {{
    access_log off; client_max_body_size 0; client_body_temp_path {directory}/a;
    proxy_temp_path {directory}/b; fastcgi_temp_path {directory}/c; uwsgi_temp_path {directory}/d;
    scgi_temp_path {directory}/e;
    server {{
        listen 127.0.0.1:{port};
        location / {{ return 200 '["$request_method", "$request_uri", null]'; }}
    }}
}}
"""

AMBIGUOUS = [
    b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 005\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\t\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: CHUNKED\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    (
        b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding:\tchunked\r\n\r\n"
        b"0005;a=b\r\nhello\r\n0\r\n\r\n"
    ),
    (
        b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"1\r\nh\r\n4;x\r\nello\r\n0;y=z\r\nHost: evil\r\nContent-Length: 9\r\nX-Fine: 1\r\n\r\n"
    ),
    b"GET / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello",
    b"GET / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"DELETE /x HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: t\r\nConnection: Content-Length\r\nContent-Length: 5\r\n\r\nhello",
    (
        b"POST / HTTP/1.1\r\nHost: t\r\nConnection: Transfer-Encoding\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    ),
    b"GET http://t/abs?x HTTP/1.1\r\nHost: t\r\n\r\n",
    b"GET /a/../b/./c//d HTTP/1.1\r\nHost: t\r\n\r\n",
    b"GET /?a[b]=c|d HTTP/1.1\r\nHost: t\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello",
    b"GET / HTTP/1.1\r\nHost: t\r\nX: \xff\xfe\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: t\r\nX:\r\nY:   \r\n\r\n",
    b"OPTIONS /o HTTP/1.1\r\nHost: t\r\n\r\n",
    b"PATCH / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello",
    b"GET / HTTP/1.1\r\nHost: t\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: t\r\nTE: trailers, gzip\r\n\r\n",
]
SPICE = (b"\r\n", b" ", b"\t", b"\x00", b":", b",", b";", b"chunked", b"\xff", b"0", b"\n")


def variants(count: int) -> list[bytes]:
    """The corpus, and damaged copies of it."""
    chance = random.Random(3)
    made = []
    for _ in range(count):
        data = bytearray(chance.choice(AMBIGUOUS))
        for _ in range(chance.randint(1, 2)):
            place = chance.randrange(len(data))
            data[place : place + chance.randint(0, 1)] = chance.choice(SPICE)
        made.append(bytes(data))
    return made


class Recorder:
    """A backend that keeps every byte of the one request that it is sent."""

    def __init__(self) -> None:
        self.data = b""
        self.ended = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET /health "):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            writer.close()
            return
        self.data += head
        try:
            while data := await reader.read(65536):
                self.data += data
        except OSError:
            pass
        writer.close()
        self.ended.set()


async def forwarded(local: LocalBalancer, recorder: Recorder, request: bytes) -> bytes | None:
    """The bytes that the balancer sends for a request; None if it refuses it, or waits for more."""
    recorder.data = b""
    recorder.ended.clear()
    async with local.connection() as (reader, writer):
        writer.write(request)
        # It answers by itself, or it waits for the recorder, which never answers.
        answering = asyncio.ensure_future(reader.read(20))
        for _ in range(30):
            if answering.done() or complete(recorder.data):
                break
            await asyncio.wait({answering}, timeout=0.01)
        whole = not answering.done() and complete(recorder.data)
        answering.cancel()
        reset(writer.transport)
    if recorder.data:
        await recorder.ended.wait()
    return recorder.data if whole else None


def complete(data: bytes) -> bool:
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        return False
    if b"\r\nTransfer-Encoding: chunked" in head:
        return bool(re.search(rb"(?:\A|\r\n)0\r\n(?:[^\r]+\r\n)*\r\n\Z", body))
    length = re.search(rb"\r\nContent-Length: (\d+)", head)
    return len(body) >= (int(length[1]) if length else 0)


@asynccontextmanager
async def aiohttp_origin() -> AsyncIterator[int]:
    async def echo(request: web.Request) -> web.Response:
        body = (await request.read()).decode("latin-1")
        return web.json_response([request.method, request.raw_path, body])

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", echo)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def node_origin() -> AsyncIterator[int]:
    process = await asyncio.create_subprocess_exec(
        "node", "-e", NODE, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        yield int(await process.stdout.readline())
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def nginx_origin(directory: Path) -> AsyncIterator[int]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = int(sock.getsockname()[1])
    (directory / "nginx.conf").write_text(NGINX.format(directory=directory, port=port))
    process = await asyncio.create_subprocess_exec(
        "nginx", "-e", "/dev/null", "-p", str(directory), "-c", str(directory / "nginx.conf"),
    )  # fmt: skip
    try:
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                break
        yield port
    finally:
        process.kill()
        await process.wait()


async def reading(port: int, data: bytes) -> list[list[str | None]]:
    """What an origin saw: for each request that it answered with 200, method, target and body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data + SENTINEL)
        answer = await asyncio.wait_for(reader.read(-1), 30)
    except ConnectionResetError:
        return []
    finally:
        writer.transport.abort()
    return [
        json.loads(one)
        for one in re.findall(rb"\[\"[A-Z]+\", ?\".*?\", ?(?:\".*?\"|null)\]", answer)
    ]


@pytest.fixture
async def origins(tmp_path: Path) -> AsyncIterator[dict[str, int]]:
    able: dict[str, Callable[[], object]] = {"aiohttp": aiohttp_origin}
    if shutil.which("node"):
        able["node"] = node_origin
    if shutil.which("nginx"):
        able["nginx"] = lambda: nginx_origin(tmp_path)
    async with AsyncExitStack() as stack:
        yield {name: await stack.enter_async_context(make()) for name, make in able.items()}


async def test_real_servers_read_what_we_forward_alike(origins: dict[str, int]) -> None:
    """What is forwarded is one request to every server, and the same one to all (S9)."""
    recorder = Recorder()
    server = await asyncio.start_server(recorder.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    passed: list[bytes] = []
    async with server, local_balancer(retry_minimum=0, retry_ratio=0.0) as local:
        local.balancer.control.put("a-1", address=f"127.0.0.1:{port}", version="a", weight=1)
        await local.wait(lambda: bool(local.balancer.control.pool.ring))
        for request in [*AMBIGUOUS, *variants(150)]:
            data = await forwarded(local, recorder, request)
            if data is not None:
                passed.append(data)
    assert len(passed) > len(AMBIGUOUS)
    for data in passed:
        seen = {name: await reading(port, data) for name, port in origins.items()}
        taken = {name: one for name, one in seen.items() if one}
        for name, one in taken.items():
            assert len(one) <= 2, (name, data, one)
            if len(one) == 2:
                assert one[1][1] == "/sentinel", (name, data, one)
        firsts = [one[0] for one in taken.values() if one[0][1] != "/sentinel"]
        assert len({(method, target) for method, target, _ in firsts}) <= 1, (data, seen)
        assert len({body for _, _, body in firsts if body is not None}) <= 1, (data, seen)
