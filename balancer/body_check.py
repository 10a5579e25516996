"""Finds out whether a backend reads the body of a request that it does not use.

A server that does not read it takes the body for the next request. The check sends, on a
connection of its own, two requests for the path of the health checks. The first has a body which
would itself be such a request. The second asks for the end of the connection. A server that reads
bodies answers twice and closes, or is silent. One that does not answers three times, or refuses.

All requests are for the path of the health checks, with GET, so that they change nothing.
"""

import asyncio
import time

from balancer.backend import Backend
from balancer.dialing import addresses
from balancer.errors import MessageError
from balancer.health import HealthPolicy, ProbeResult
from balancer.proxy.framing import ChunkedBody
from balancer.proxy.grammar import CHUNKED, UNTIL_CLOSE
from balancer.proxy.response_head import read_response

_LIMIT = 64 * 1024
_SILENCE = 0.25
_MAX_ANSWER = 1024 * 1024


async def reads_bodies(backend: Backend, policy: HealthPolicy) -> bool | None:
    """Check one backend; None if it could not be told.

    Args:
        backend: which; it is up.
        policy: the path, the timeout and the expected statuses of its health checks.
    """
    try:
        async with asyncio.timeout(2 * max(policy.timeout, 1.0)):
            (host, port), *_ = await addresses(backend.host, backend.port)
            reader, writer = await asyncio.open_connection(host, port, limit=_LIMIT)
            try:
                return await _ask(backend, policy, reader, writer)
            finally:
                writer.transport.abort()
    except (TimeoutError, OSError, asyncio.LimitOverrunError):
        return None
    except (asyncio.IncompleteReadError, MessageError):
        # It closed after the first answer, or what came second was no answer.
        return False


async def _ask(
    backend: Backend,
    policy: HealthPolicy,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> bool:
    start = (
        f"GET {policy.path} HTTP/1.1\r\nHost: {backend.address}\r\nUser-Agent: hitless-health\r\n"
    )
    body = f"{start}\r\n".encode("ascii")
    writer.write(f"{start}Content-Length: {len(body)}\r\n\r\n".encode("ascii") + body)
    started = time.monotonic()
    status, persistent = await _read_answer(reader)
    if not persistent or policy.judge(status) is not ProbeResult.PASSED:
        return False
    writer.write(f"{start}Connection: close\r\n\r\n".encode("ascii"))
    status, _ = await _read_answer(reader)
    if policy.judge(status) is not ProbeResult.PASSED:
        return False
    # A third answer would be one to the body. Some servers do not close although they are asked to:
    # there, silence counts for as long as several answers took.
    try:
        async with asyncio.timeout(max(_SILENCE, 4 * (time.monotonic() - started))):
            return await reader.read(1) == b""
    except TimeoutError:
        return True


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """Read one whole answer; returns its status and whether the connection stays open."""
    head = read_response(await reader.readuntil(b"\r\n\r\n"), b"GET")
    if head is None or head.length > _MAX_ANSWER:
        raise MessageError(502, "malformed response head")
    if head.length == CHUNKED:
        body = ChunkedBody(502)
        while not body.done:
            # Line by line, so that nothing of what follows is taken.
            line = await reader.readuntil(b"\n")
            body.feed(line)
    elif head.length == UNTIL_CLOSE:
        await reader.read(-1)
    else:
        await reader.readexactly(head.length)
    return head.status, head.persistent
