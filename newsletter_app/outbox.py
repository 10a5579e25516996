"""The outbox worker: delivers the mails that committed subscriptions owe.

An entry is the row of a token (`Store.add_pending`). The replica that commits one delivers it at
once; what a crashed or overrun replica leaves is found by every other's poll.

Delivery is at least once. An entry is locked, the mail is handed over, and the entry is marked as
sent in the same transaction. Whoever dies before the mail server's answer leaves an entry that
is sent by another; only a death between that answer and the commit, about a millisecond, sends a
mail twice, with the same Message-ID and the same link.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from newsletter_app.email import Mailer, confirmation_mail
from newsletter_app.errors import MailError, StoreError
from newsletter_app.settings import Settings
from newsletter_app.store import OutboxEntry, Store
from newsletter_app.telemetry import LOG, about_request

SENDERS = 3
"""Mails that are under way at a time: with 50 ms for a mail, 60 a second from each replica."""

POLL_SECONDS = 1.0
QUEUE_LIMIT = 500
STOP_SECONDS = 5.0
_FIRST_RETRY_SECONDS = 1.0
_LAST_RETRY_SECONDS = 60.0


def retry_seconds(attempts: int) -> float:
    """The pause after a delivery failed that had failed so many times before: it doubles."""
    return min(_FIRST_RETRY_SECONDS * 2.0 ** min(attempts, 30), _LAST_RETRY_SECONDS)


class Outbox:
    """The entries that this process delivers.

    Args:
        store: with `SENDERS` + 1 connections of its own, so that a slow mail server cannot take
            those of the requests.
        settings: what mails say, and where they go.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        if settings.smtp is None:
            raise ValueError("an outbox needs settings.smtp")
        self._store = store
        self._settings = settings
        self._smtp = settings.smtp
        self._queue: asyncio.Queue[OutboxEntry | None] = asyncio.Queue()
        self._poll_error: str | None = None

    def offer(self, entry: OutboxEntry) -> None:
        """Deliver an entry that is committed. Never waits; what finds no place is polled later."""
        if self._queue.qsize() < QUEUE_LIMIT:
            self._queue.put_nowait(entry)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Deliver for the length of the block; what is queued at its end is delivered still.

        What takes longer than `STOP_SECONDS` then is left to other replicas.
        """
        try:
            async with asyncio.timeout(None) as grace, asyncio.TaskGroup() as tasks:
                for number in range(SENDERS):
                    tasks.create_task(self._deliver_all(), name=f"outbox sender {number}")
                poll = tasks.create_task(self._poll(), name="outbox poll")
                yield
                poll.cancel()
                for _ in range(SENDERS):
                    self._queue.put_nowait(None)
                grace.reschedule(asyncio.get_running_loop().time() + STOP_SECONDS)
        except TimeoutError:
            LOG.warning("mails are left in the outbox: the mail server is slow")

    async def _deliver_all(self) -> None:
        async with aclosing(Mailer(self._smtp)) as mailer:
            while (entry := await self._queue.get()) is not None:
                try:
                    await self._deliver(entry, mailer)
                except StoreError as error:
                    LOG.warning("mail not settled", extra={"fields": {"sqlstate": error.sqlstate}})
                except Exception:  # noqa: BLE001 - one entry must not end the replica
                    LOG.exception("unexpected error")
                finally:
                    self._queue.task_done()

    async def _deliver(self, entry: OutboxEntry, mailer: Mailer) -> None:
        async with self._store.claimed(entry.token) as claim:
            if claim is None:
                return
            with about_request(claim.request_id):
                try:
                    await mailer.send(
                        confirmation_mail(
                            entry, request_id=claim.request_id, settings=self._settings
                        )
                    )
                except MailError as error:
                    pause = retry_seconds(claim.attempts)
                    LOG.warning(
                        "mail not accepted",
                        extra={"fields": {"reason": str(error), "retry_seconds": pause}},
                    )
                    await claim.postpone(pause)
                else:
                    await claim.sent()
                    LOG.info("mail sent")

    async def _poll(self) -> None:
        while True:
            # Only an empty queue is filled, so that no entry waits in it twice.
            await self._queue.join()
            if not await self._take_over():
                await asyncio.sleep(POLL_SECONDS)

    async def _take_over(self) -> bool:
        """Queue what is overdue; returns whether there may be more."""
        try:
            entries = await self._store.due(QUEUE_LIMIT)
        except StoreError as error:
            # A schema without the outbox fails every second: once is enough to know.
            if str(error) != self._poll_error:
                self._poll_error = str(error)
                LOG.warning("outbox not read", extra={"fields": {"sqlstate": error.sqlstate}})
            return False
        self._poll_error = None
        for entry in entries:
            self.offer(entry)
        return len(entries) == QUEUE_LIMIT
