"""Finds out what a server can be asked: what nobody said is tried, or left out by name."""

import asyncio
import time

import msgspec

from scenarios.errors import UsageError
from scenarios.probe.plans import (
    BODY,
    LEAST_SLOW_SECONDS,
    ProbeRoutes,
    Slow,
    StreamExperiment,
    get,
    post,
    upgrade,
)
from scenarios.probe.profile import LeftOut
from scenarios.probe.server import Server

OURS = "/.hitless-probe/"
HEADER = "x-hitless-probe"
GETS = ("/", "/health", "/healthz", "/health_check", "/ready", "/ping")
WEBSOCKETS = ("/ws", "/websocket", "/socket", "/")
_QUICK_SECONDS = 5.0
_SLOW_SECONDS = 20.0
_UPLOAD_SECONDS = 0.7


class RouteError(UsageError):
    """A path that was given does not do what it was given for; one line for its author."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The paths that somebody gave; None: find one.

    Attributes:
        get: a path that answers quickly.
        health: the path of the health check.
        slow: a path that answers slowly; `{seconds}` in it is how slowly.
        upload: a path that reads a body.
        stream: a path that answers in pieces; `{chunks}` in it is how many, 0 for no end.
        websocket: a path that becomes a WebSocket.
    """

    get: str | None = None
    health: str | None = None
    slow: str | None = None
    upload: str | None = None
    stream: str | None = None
    websocket: str | None = None


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What the server can be asked.

    Attributes:
        routes: the paths.
        server: its name, where it told.
        left_out: the experiments that cannot be made.
    """

    routes: ProbeRoutes
    server: str | None
    left_out: tuple[LeftOut, ...]


async def discover(server: Server, asked: Asked) -> Found:
    """Find out what the server can be asked.

    Raises:
        RouteError: a path that was given does not do what it was given for.
    """
    left: list[LeftOut] = []
    name = await _ours(server)
    plain = asked.get or await _first_good(server)
    slow = await _slow(server, asked.slow, ours=name is not None)
    if slow is None:
        names = ("in_flight", "long_request", "second_signal", "queue")
        left += [LeftOut(one, "no slow path is known: --slow PATH") for one in names]
    elif slow.seconds is not None:
        left.append(
            LeftOut("long_request", "the slow path takes what it takes: --slow '/path?s={seconds}'")
        )
    upload = asked.upload or (OURS + "upload" if name else None)
    if upload is None and await _waits_for_body(server, plain):
        upload = plain
    if upload is None:
        left.append(LeftOut("upload", f"POST {plain} does not read its body: --upload PATH"))
    stream = await _stream(server, asked.stream, ours=name is not None)
    if stream is None:
        left += [
            LeftOut(one, "no streaming path is known: --stream PATH")
            for one in ("stream", "endless_stream")
        ]
    elif stream.endless is not None:
        missing = "stream" if stream.endless else "endless_stream"
        left.append(LeftOut(missing, "the stream has no {chunks}: --stream '/path?n={chunks}'"))
    socket = await _websocket(server, asked)
    if socket is None:
        tried = ", ".join(WEBSOCKETS)
        left.append(LeftOut("websocket", f"none at {tried}: --websocket PATH"))
    routes = ProbeRoutes(
        get=plain,
        health=asked.health or plain,
        slow=slow,
        upload=upload,
        stream=stream,
        websocket=socket,
    )
    return Found(routes=routes, server=name, left_out=tuple(left))


async def _ours(server: Server) -> str | None:
    """The server's name, when it answers our own paths."""
    connection = await server.ask(get(OURS + "slow?seconds=0"), _QUICK_SECONDS)
    answers = connection.reader.answers
    return answers[0].headers.get(HEADER) if answers else None


async def _first_good(server: Server) -> str:
    """The first usual path that answers well; `/` if none does."""
    for path in GETS:
        connection = await server.ask(get(path), _QUICK_SECONDS)
        answers = connection.reader.answers
        if answers and answers[0].status < 400:  # noqa: PLR2004 - RFC 9110, 15.5
            return path
    return GETS[0]


async def _slow(server: Server, given: str | None, *, ours: bool) -> Slow | None:
    if given is None:
        return Slow(OURS + "slow?seconds={seconds}") if ours else None
    fixed = "{seconds}" not in given
    path = Slow(given).path(LEAST_SLOW_SECONDS)
    began = time.monotonic()
    connection = await server.ask(get(path), _SLOW_SECONDS)
    took = time.monotonic() - began
    answers = connection.reader.answers
    if not connection.reader.complete:
        raise RouteError(f"--slow {given}: it was not answered within {_SLOW_SECONDS:g} s")
    if answers[0].status >= 400:  # noqa: PLR2004 - RFC 9110, 15.5
        raise RouteError(f"--slow {given}: it was answered with {answers[0].status}")
    if took < 0.9 * LEAST_SLOW_SECONDS:
        wanted = "it must take a second or more" if fixed else "it must take as long as it says"
        raise RouteError(f"--slow {given}: it was answered after {took:.2f} s; {wanted}")
    return Slow(given, seconds=round(took, 2) if fixed else None)


async def _stream(server: Server, given: str | None, *, ours: bool) -> StreamExperiment | None:
    if given is None:
        return StreamExperiment(OURS + "stream?chunks={chunks}") if ours else None
    if "{chunks}" in given:
        return StreamExperiment(given)
    connection = await server.ask(get(given), _QUICK_SECONDS)
    reader = connection.reader
    if not reader.answers:
        raise RouteError(f"--stream {given}: nothing came within {_QUICK_SECONDS:g} s")
    if reader.answers[0].status >= 400:  # noqa: PLR2004 - RFC 9110, 15.5
        raise RouteError(f"--stream {given}: it was answered with {reader.answers[0].status}")
    return StreamExperiment(given, endless=not reader.complete)


async def _waits_for_body(server: Server, path: str) -> bool:
    """Whether a POST of which half the body is there is left waiting, not answered at once."""
    connection = await server.ask(post(path) + BODY[: len(BODY) // 2], _UPLOAD_SECONDS)
    return not connection.reader.answers and not connection.ended.is_set()


async def _websocket(server: Server, asked: Asked) -> str | None:
    if asked.websocket is not None:
        connection = await server.ask(upgrade(asked.websocket), _QUICK_SECONDS)
        if not connection.reader.upgraded:
            answers = connection.reader.answers
            said = f"it was answered with {answers[0].status}" if answers else "it was not answered"
            raise RouteError(f"--websocket {asked.websocket}: {said}, not with 101")
        return asked.websocket
    # Beside one another: some servers leave an upgrade that they do not know unanswered.
    async with asyncio.TaskGroup() as group:
        tries = {
            path: group.create_task(server.ask(upgrade(path), _QUICK_SECONDS))
            for path in WEBSOCKETS
        }
    return next((path for path, task in tries.items() if task.result().reader.upgraded), None)
