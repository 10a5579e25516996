"""The mails that reached the users' mailbox, as recorded in `mails.ndjson`."""

import msgspec


class Mail(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One delivered message.

    Attributes:
        at_ns: when the mailbox accepted it.
        recipient: the envelope's recipient, which is the subject of the request that led to it.
        links: the links in its text, in order.
        request_id: the message's own `X-Request-Id`, when the application sets one.
        sent_by: the message's `X-Replica-Id`, when the application sets one.
    """

    at_ns: int
    recipient: str
    links: tuple[str, ...] = ()
    request_id: str | None = None
    sent_by: str | None = None
