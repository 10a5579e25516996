"""What the requests of a check go through: one replica's connections, and the users' mailboxes."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import NamedTuple, Self

from orchestrator.model import Replica
from scenarios.evidence.mail import Mail
from scenarios.evidence.outcome import Outcome
from scenarios.traffic.client_exchanges import AwaitedExchange
from scenarios.traffic.wire.client import Client
from scenarios.traffic.wire.connection import ClientExchange

_NO_MAIL_SECONDS = 2.0


class PlayedRequest(NamedTuple):
    """One request of a journey that was played.

    Attributes:
        outcome: what became of it, as a run records it.
        where: the journey and the number of its request.
        shape: what its JSON answer looks like; empty if it has none.
        invariant: the promise about data that its answer broke; None if it broke none.
    """

    outcome: Outcome
    where: str
    shape: tuple[str, ...] = ()
    invariant: str | None = None


Settled = Callable[[], Awaitable[bool]]
"""Waits until the application owes no mail any more; whether it came to that in time."""


class Mailboxes:
    """The mails of the users of all journeys, by recipient."""

    def __init__(self) -> None:
        self._mails: dict[str, list[Mail]] = {}
        self._arrived = asyncio.Event()

    def deliver(self, mail: Mail) -> None:
        """A mail has reached the mailbox."""
        self._mails.setdefault(mail.recipient.lower(), []).append(mail)
        self._arrived.set()
        self._arrived = asyncio.Event()

    async def first(self, recipient: str, settled: Settled | None) -> Mail | None:
        """The recipient's first mail; None if the application owes this user none.

        Raises:
            TimeoutError: the application still owes mails after its time was over.
        """
        if settled is not None:
            if not await settled() and recipient.lower() not in self._mails:
                raise TimeoutError
        else:
            deadline = time.monotonic() + _NO_MAIL_SECONDS
            while recipient.lower() not in self._mails:
                try:
                    async with asyncio.timeout(deadline - time.monotonic()):
                        await self._arrived.wait()
                except TimeoutError:
                    return None
        return next(iter(self._mails.get(recipient.lower(), ())), None)


class ReplicaClient:
    """Sends requests to one replica, and waits for each; a context manager that disconnects.

    Attributes:
        replica: the replica.
    """

    def __init__(self, replica: Replica, timeout_seconds: float) -> None:
        self.replica = replica
        self._client = Client(
            asyncio.get_running_loop(),
            family=socket.AF_INET6 if ":" in replica.host else socket.AF_INET,
            address=(replica.host, replica.port),
            timeout_seconds=timeout_seconds,
            on_done=_told,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._client.close()

    async def send(self, exchange: AwaitedExchange) -> None:
        """Send a request, and wait until its outcome is known."""
        exchange.done = asyncio.get_running_loop().create_future()
        self._client.send(exchange)
        await exchange.done


def _told(exchange: ClientExchange) -> None:
    if isinstance(exchange, AwaitedExchange) and not exchange.done.done():
        exchange.done.set_result(None)
