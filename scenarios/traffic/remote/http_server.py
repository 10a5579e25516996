"""A load generator that is commanded over HTTP: `messages` has what is asked and answered.

The generator itself is a child process, the same as in a run on one machine, so that no request of
the harness makes the traffic late. It ends when it is asked to, at SIGTERM, and when nobody has
asked for anything for a minute: then the harness is dead, and traffic that nobody looks at must
not go on.
"""

import argparse
import asyncio
import contextlib
import hmac
import os
import signal
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import msgspec
from aiohttp import web

from scenarios.exit_status import ExitStatus
from scenarios.traffic.errors import TrafficError
from scenarios.traffic.journeys.set_up import set_up
from scenarios.traffic.process.control import allow_descriptors
from scenarios.traffic.remote.hosted import HostedGenerator, boot_id, write_files
from scenarios.traffic.remote.messages import (
    ANSWER_HEADER,
    PORT,
    SILENCE_SECONDS,
    TOKEN_HEADER,
    TOKEN_VARIABLE,
    About,
    Assignment,
    GeneratorClock,
    SetUpRequests,
    TrafficTarget,
    token_digest,
)
from scenarios.traffic.remote.plan_files import place_of, tls_with_files
from scenarios.traffic.wire.tls import tls_context

T = TypeVar("T")

_LARGEST_BODY = 64 * 1024 * 1024
_CHECK_SECONDS = 10.0
_REFUSED = 422
"""The status of an answer whose text says what is wrong with what was asked for."""


def main() -> int:
    """Serve one run; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m scenarios.traffic.remote", description=__doc__)
    parser.add_argument("--host", help="the address to listen on; all of them by default")
    parser.add_argument("--port", type=int, default=PORT, help="the port; 0: any")
    parser.add_argument("--folder", type=Path, help="where the evidence is kept; a new folder")
    parser.add_argument("--silence-seconds", type=float, default=SILENCE_SECONDS)
    flags = parser.parse_args()
    digest = os.environ.get(TOKEN_VARIABLE, "")
    if not digest:
        print(f"generator: the variable {TOKEN_VARIABLE} is not set", file=sys.stderr)  # noqa: T201
        return ExitStatus.USAGE
    allow_descriptors()
    with contextlib.ExitStack() as stack:
        folder = flags.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        server = GeneratorServer(folder, digest)
        return asyncio.run(_serve(server, flags.host, flags.port, flags.silence_seconds))


async def _serve(server: "GeneratorServer", host: str | None, port: int, silence: float) -> int:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop, ExitStatus.INTERRUPTED)
    try:
        async with server.listening(host, port) as bound:
            print(f"listening on port {bound}", flush=True)  # noqa: T201 - who started it reads it
            return await server.ended(silence)
    except OSError as error:
        print(f"generator: port {port}: {error.strerror}", file=sys.stderr)  # noqa: T201
        return ExitStatus.ENVIRONMENT


class GeneratorServer:
    """The HTTP server, and the generator that it starts.

    Args:
        folder: where the evidence is kept.
        digest: the SHA-256 of the token that every request must have.
    """

    def __init__(self, folder: Path, digest: str) -> None:
        self._folder = folder
        self._digest = digest
        self._hosted = HostedGenerator(folder)
        self._commands = 0
        self._answering = 0
        self._heard = time.monotonic()
        self._stopped = asyncio.Event()
        self._status = ExitStatus.PASS

    def stop(self, status: ExitStatus) -> None:
        """Let `ended` return this."""
        self._status = status
        self._stopped.set()

    async def ended(self, silence_seconds: float) -> int:
        """Wait for the end; returns the exit status."""
        while not self._stopped.is_set():
            since = time.monotonic() if self._answering else self._heard
            left = since + silence_seconds - time.monotonic()
            if left <= 0:
                print(  # noqa: T201 - the log of a pod is where people look
                    f"generator: nobody asked for anything for {silence_seconds:g} s, so the "
                    "traffic ends",
                    file=sys.stderr,
                )
                self.stop(ExitStatus.INTERRUPTED)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(left, 0)):
                    await self._stopped.wait()
        return self._status

    @asynccontextmanager
    async def listening(self, host: str | None, port: int) -> AsyncIterator[int]:
        """Answer requests for the length of the block; yields the port.

        Raises:
            OSError: the port cannot be had.
        """
        application = web.Application(client_max_size=_LARGEST_BODY, middlewares=[self._guarded])
        application.router.add_get("/about", self._about)
        application.router.add_get("/clock", self._clock)
        application.router.add_post("/check", self._check)
        application.router.add_post("/set-up", self._set_up)
        application.router.add_post("/plan", self._plan)
        application.router.add_post("/command", self._command)
        application.router.add_get("/report", self._report)
        application.router.add_post("/end", self._end)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, host, port)
            await site.start()
            yield runner.addresses[0][1]
        finally:
            await self._hosted.end()
            await runner.cleanup()

    @web.middleware
    async def _guarded(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        told = token_digest(request.headers.get(TOKEN_HEADER, ""))
        if hmac.compare_digest(told, self._digest):
            self._answering += 1
            try:
                response = await handler(request)
            except TrafficError as error:
                response = web.Response(status=_REFUSED, text=str(error))
            except (msgspec.MsgspecError, ValueError) as error:
                response = web.Response(status=400, text=str(error))
            finally:
                self._answering -= 1
                self._heard = time.monotonic()
        else:
            response = web.Response(status=401, text=f"{TOKEN_HEADER}: another token")
        response.headers[ANSWER_HEADER] = "1"
        return response

    async def _about(self, request: web.Request) -> web.Response:
        del request
        return _answer(About(hitless=version("hitless"), boot_id=boot_id()))

    async def _clock(self, request: web.Request) -> web.Response:
        del request
        return _answer(GeneratorClock(at_ns=time.monotonic_ns()))

    async def _check(self, request: web.Request) -> web.Response:
        target = await _body(request, TrafficTarget)
        await self._connect(target)
        return _answer(None)

    async def _set_up(self, request: web.Request) -> web.Response:
        asked = await _body(request, SetUpRequests)
        write_files(self._folder, dict(asked.files))
        captured = await set_up(
            asked.host,
            asked.port,
            asked.steps,
            seed=asked.seed,
            timeout_seconds=asked.timeout_seconds,
            tls=tls_with_files(asked.tls, self._placed),
        )
        return _answer(captured)

    async def _plan(self, request: web.Request) -> web.Response:
        assignment = await _body(request, Assignment)
        write_files(self._folder, dict(assignment.files))
        await self._hosted.begin(assignment)
        return _answer(None)

    async def _command(self, request: web.Request) -> web.Response:
        number, line = _number(request, "number"), await request.read()
        if number > self._commands:  # else it was asked again, since the answer got lost
            self._hosted.command(line)
            self._commands = number
        return _answer(None)

    async def _report(self, request: web.Request) -> web.Response:
        message, byte = _number(request, "message"), _number(request, "byte")
        return _answer(await self._hosted.report(message, byte))

    async def _end(self, request: web.Request) -> web.Response:
        del request
        self.stop(ExitStatus.PASS)
        return _answer(None)

    async def _connect(self, target: TrafficTarget) -> None:
        """Connect to the target once.

        Raises:
            TrafficError: its name has no address, or TLS does not come about. A service that does
                not accept a connection is left to the traffic.
        """
        write_files(self._folder, dict(target.files))
        loop = asyncio.get_running_loop()
        try:
            await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise TrafficError(f"host {target.host}: {error.strerror or error}") from error
        tls = tls_with_files(target.tls, self._placed)
        if tls is None:
            return
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                _, writer = await asyncio.open_connection(
                    target.host, target.port, ssl=tls_context(tls), server_hostname=tls.server_name
                )
        except ssl.SSLCertVerificationError as error:
            raise TrafficError(
                f"the certificate is not accepted ({error.verify_message}); --cacert FILE trusts "
                "another one, and --insecure any"
            ) from error
        except ssl.SSLError as error:
            raise TrafficError(
                f"no encrypted connection came about ({error.reason or error})"
            ) from error
        except (OSError, TimeoutError):
            return
        writer.transport.abort()

    def _placed(self, path: str) -> str:
        return str(self._folder / place_of(path))


def _number(request: web.Request, name: str) -> int:
    try:
        return int(request.query[name])
    except (KeyError, ValueError):
        raise ValueError(f"expected ?{name}=NUMBER") from None


async def _body(request: web.Request, kind: type[T]) -> T:
    return msgspec.msgpack.decode(await request.read(), type=kind)


def _answer(value: object) -> web.Response:
    return web.Response(body=msgspec.msgpack.encode(value), content_type="application/vnd.msgpack")
