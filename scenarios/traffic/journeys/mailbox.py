"""The users' mailbox: a real SMTP server, in the generator's own loop, that accepts everything."""

import asyncio
import email
import html
import logging
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.message import Message
from typing import cast

from aiosmtpd.smtp import SMTP, Envelope, Session

from scenarios.evidence.mail import Mail
from scenarios.traffic.errors import TrafficError
from scenarios.traffic.plan import host_and_port

# Bigger messages are refused (RFC 1870); a confirmation has a few hundred bytes.
_MAX_MESSAGE = 1024 * 1024

_LINK = re.compile(r"https?://[^\s<>\"'\\^`{|}]+")
# What stands after a link in a sentence is the sentence's.
_TRAILING = ".,;:!?)]*_"
_HREF = re.compile(r"""\bhref\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>"']+))""", re.IGNORECASE)

# aiosmtpd describes every session at INFO; warnings, such as a broken command, still reach stderr.
logging.getLogger("mail.log").setLevel(logging.WARNING)


@asynccontextmanager
async def mailbox(
    on_mail: Callable[[Mail], None], *, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[tuple[str, int]]:
    """Listen for mail until the block is left; yields the host and the port.

    Args:
        on_mail: called once for each recipient of each accepted message. When it raises, the
            sender is told that the message was not accepted, and the error goes to the loop's
            exception handler.
        host: the interface to listen on.
        port: 0 picks a free one.

    Raises:
        TrafficError: the port cannot be had.
    """
    loop = asyncio.get_running_loop()
    sessions = _Sessions()
    handler = _Handler(loop, on_mail)
    try:
        server = await loop.create_server(
            lambda: _Protocol(handler, sessions, loop=loop), host, port
        )
    except OSError as error:
        raise TrafficError(
            f"the mailbox cannot listen on {host_and_port(host, port)}: {error}"
        ) from error
    try:
        bound = server.sockets[0].getsockname()
        yield bound[0], bound[1]
    finally:
        server.close()
        await sessions.end()
        await server.wait_closed()


class _Sessions:
    """The open SMTP sessions, so that the mailbox can end them."""

    def __init__(self) -> None:
        self.open: set[_Protocol] = set()
        self._none_open = asyncio.Event()
        self._none_open.set()

    def add(self, protocol: "_Protocol") -> None:
        self.open.add(protocol)
        self._none_open.clear()

    def remove(self, protocol: "_Protocol") -> None:
        self.open.discard(protocol)
        if not self.open:
            self._none_open.set()

    async def end(self) -> None:
        for protocol in self.open:
            # Not asked for its type: uvloop's transports are none of asyncio's classes.
            if protocol.transport is not None:
                cast(asyncio.WriteTransport, protocol.transport).abort()
        await self._none_open.wait()


class _Protocol(SMTP):
    def __init__(
        self, handler: "_Handler", sessions: _Sessions, *, loop: asyncio.AbstractEventLoop
    ) -> None:
        # Without a hostname aiosmtpd asks the resolver for one, which blocks.
        super().__init__(
            handler,
            loop=loop,
            hostname="localhost",
            ident="hitless mailbox",
            data_size_limit=_MAX_MESSAGE,
            enable_SMTPUTF8=True,
        )
        self._sessions = sessions

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._sessions.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._sessions.remove(self)


class _Handler:
    """What aiosmtpd calls when a message is complete."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_mail: Callable[[Mail], None]) -> None:
        self._loop = loop
        self._on_mail = on_mail

    async def handle_DATA(  # noqa: N802 - the name that aiosmtpd looks for
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        del server, session
        now = time.monotonic_ns()
        content = envelope.content or b""
        message = content.encode() if isinstance(content, str) else content
        try:
            for mail in read_mails(message, envelope.rcpt_tos, at_ns=now):
                self._on_mail(mail)
        except Exception as error:  # noqa: BLE001 - aiosmtpd would answer 500 and say no more
            self._loop.call_exception_handler(
                {"message": "a mail could not be recorded", "exception": error}
            )
            return "451 the mail could not be recorded"
        return "250 OK"


def read_mails(content: bytes, recipients: list[str], *, at_ns: int) -> list[Mail]:
    """What one message says, once for each recipient of its envelope.

    Args:
        content: the message (RFC 5322), as it was sent after DATA.
        recipients: the envelope's recipients.
        at_ns: when it was accepted.
    """
    # The policy `default` parses every field into objects, at ten times the cost of the rest.
    message = email.message_from_bytes(content)
    links = tuple(_links(message))
    return [
        Mail(
            at_ns=at_ns,
            recipient=recipient,
            links=links,
            request_id=_field(message, "X-Request-Id"),
            sent_by=_field(message, "X-Replica-Id"),
        )
        for recipient in recipients
    ]


def _field(message: Message, name: str) -> str | None:
    value = message.get(name)
    return None if value is None else str(value).strip()


def _links(message: Message) -> list[str]:
    """The links of the plain text, in order; of the HTML when there is no plain text."""
    page: str | None = None
    for part in message.walk():
        kind = part.get_content_type()
        if kind == "text/plain" and part.get_content_disposition() != "attachment":
            return [link.rstrip(_TRAILING) for link in _LINK.findall(_text(part))]
        if kind == "text/html" and page is None:
            page = _text(part)
    if page is None:
        return []
    references = (html.unescape("".join(groups)) for groups in _HREF.findall(page))
    return [link for link in references if link.startswith(("http://", "https://"))]


def _text(part: Message) -> str:
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return ""
    charset = part.get_content_charset("utf-8")
    try:
        return payload.decode(charset, errors="replace")
    except LookupError:  # a charset that nobody knows
        return payload.decode("latin-1")
