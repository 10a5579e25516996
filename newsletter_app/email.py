"""The confirmation mail, and its delivery by SMTP."""

import asyncio
import contextlib
import hashlib
import html
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from urllib.parse import urlsplit

import aiosmtplib

from newsletter_app.errors import InvalidInputError, MailError
from newsletter_app.settings import Settings, SmtpServer
from newsletter_app.store import OutboxEntry
from newsletter_app.subscriber import ascii_email

SMTP_SECONDS = 10.0
"""How long each answer of the mail server may take."""

_QUIT_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail that is ready to be sent.

    Attributes:
        sender: the envelope's sender.
        recipient: the envelope's only recipient.
        content: the message, as it goes over the wire.
    """

    sender: str
    recipient: str
    content: bytes


def confirmation_mail(entry: OutboxEntry, *, request_id: str, settings: Settings) -> Mail:
    """Write the mail that asks for a confirmation, with one link in its text and in its HTML.

    Its Message-ID is the same however often this entry is delivered for the same request, so that
    a mail server can drop a repetition.

    Raises:
        MailError: the entry's address is none; only a foreign hand can have stored it.
    """
    link = f"{settings.base_url}/subscriptions/confirm?token={entry.token}"
    try:
        recipient = ascii_email(entry.email)
    except InvalidInputError as error:
        raise MailError("the address is not valid") from error
    digest = hashlib.sha256(f"{entry.token} {request_id}".encode()).hexdigest()[:32]
    message = EmailMessage(policy=SMTP)
    message["From"] = settings.mail_from
    message["To"] = recipient
    message["Subject"] = "Please confirm your subscription"
    message["Date"] = formatdate()
    message["Message-ID"] = f"<{digest}@{urlsplit(settings.base_url).hostname}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office replies
    message["X-Request-Id"] = request_id
    message["X-Replica-Id"] = settings.replica_id
    message.set_content(f"Welcome to our newsletter!\nOpen this page to confirm:\n{link}\n")
    message.add_alternative(
        "<p>Welcome to our newsletter!</p>\n"
        f'<p><a href="{html.escape(link)}">\nConfirm your subscription</a></p>\n',
        subtype="html",
    )
    return Mail(settings.mail_from, recipient, message.as_bytes())


class Mailer:
    """One connection to the mail server, opened when it is needed and kept for the next mail."""

    def __init__(self, server: SmtpServer, *, local_hostname: str = "localhost") -> None:
        # The host name is given, since finding it out may ask DNS and take seconds.
        self._client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            username=server.username,
            password=server.password,
            use_tls=server.tls,
            local_hostname=local_hostname,
            timeout=SMTP_SECONDS,
        )

    async def send(self, mail: Mail) -> None:
        """Hand over a mail; when this returns, the server has accepted it.

        Raises:
            MailError: it has not, or it did not say so.
        """
        reused = self._client.is_connected
        try:
            try:
                await self._send(mail)
            except aiosmtplib.SMTPServerDisconnected:
                # A server may close an idle connection at any time: that says nothing of the mail.
                if not reused:
                    raise
                self._client.close()
                await self._send(mail)
        except (aiosmtplib.SMTPException, OSError) as error:
            self._client.close()
            raise _without_address(error) from error

    async def aclose(self) -> None:
        """Say goodbye, if that is quick."""
        if self._client.is_connected:
            with contextlib.suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
                async with asyncio.timeout(_QUIT_SECONDS):
                    await self._client.quit()
        self._client.close()

    async def _send(self, mail: Mail) -> None:
        if not self._client.is_connected:
            await self._client.connect()
        await self._client.sendmail(mail.sender, [mail.recipient], mail.content)


def _without_address(error: Exception) -> MailError:
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused) and error.recipients:
        error = error.recipients[0]
    code = error.code if isinstance(error, aiosmtplib.SMTPResponseException) else None
    return MailError(type(error).__name__, code=code)
