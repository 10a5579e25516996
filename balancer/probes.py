"""Active health checks: probes each backend, and changes its state by the results."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable

from balancer.backend import Backend, State
from balancer.backend_pool import BackendPool
from balancer.dialing import addresses
from balancer.errors import MessageError
from balancer.health import HealthPolicy, ProbeResult, Streak
from balancer.proxy.response_head import read_response

_log = logging.getLogger("balancer")
_LIMIT = 64 * 1024
_LINGER_SECONDS = 0.05


class Prober:
    """Probes one backend until it drains.

    Args:
        pool: told of changes of state.
        backend: which.
        policy: how.
    """

    def __init__(self, pool: BackendPool, backend: Backend, policy: HealthPolicy) -> None:
        self._pool = pool
        self._backend = backend
        self._policy = policy
        self._streak = Streak(policy)
        self._hurry = asyncio.Event()
        self._chance: Callable[[], float] = random.random
        self.last = ""

    def hurry(self) -> None:
        """Probe at once: live traffic has seen something."""
        self._hurry.set()

    async def run(self) -> None:
        """Probe until the backend drains; the first probe comes at once."""
        backend = self._backend
        while True:
            self._hurry.clear()
            result, self.last = await self._probe()
            state = backend.state
            if state in (State.DRAINING, State.REMOVED):
                return
            new = self._streak.observe(state, result)
            if new is not None:
                self._pool.mark(backend, new, f"health check: {self.last}", check=result.value)
            if new is State.DRAINING:
                return
            try:
                async with asyncio.timeout(self._streak.pause(backend.state, self._chance())):
                    await self._hurry.wait()
            except TimeoutError:
                continue

    async def _probe(self) -> tuple[ProbeResult, str]:
        policy = self._policy
        try:
            async with asyncio.timeout(policy.timeout):
                status = await self._ask()
        except TimeoutError:
            return ProbeResult.TIMED_OUT, f"no answer within {policy.timeout:g} s"
        except ConnectionRefusedError:
            return ProbeResult.REFUSED, "the connection was refused"
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            return ProbeResult.FAILED, type(error).__name__
        except Exception as error:  # noqa: BLE001 - logged; it must not end the rest
            # Whatever one backend does, the next probe of it must come.
            _log.exception("a probe of backend %s failed unexpectedly", self._backend.id)
            return ProbeResult.FAILED, type(error).__name__
        if status is None:
            return ProbeResult.FAILED, "the answer is malformed"
        return policy.judge(status), f"status {status}"

    async def _ask(self) -> int | None:
        backend = self._backend
        reader, writer = await self._connect()
        try:
            writer.write(
                f"GET {self._policy.path} HTTP/1.1\r\nHost: {backend.address}\r\n"
                "User-Agent: hitless-health\r\nConnection: close\r\n\r\n".encode("ascii")
            )
            try:
                head = read_response(await reader.readuntil(b"\r\n\r\n"), b"GET")
            except MessageError:
                return None
            if head is None:
                return None
            await self._read_on(reader)
            return head.status
        finally:
            writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        failure = OSError("the look-up found no address")
        for host, port in await addresses(self._backend.host, self._backend.port):
            try:
                return await asyncio.open_connection(host, port, limit=_LIMIT)
            except OSError as error:
                failure = error
        raise failure

    async def _read_on(self, reader: asyncio.StreamReader) -> None:
        """Give the backend a moment to close first: it then sees an orderly end and no reset."""
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(_LINGER_SECONDS):
                while await reader.read(_LIMIT):
                    pass
