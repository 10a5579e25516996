"""The mails that reached the users' mailbox, as recorded in `mails.ndjson`."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from scenarios.evidence.ndjson import read_lines


class Mail(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
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


def read_mails(path: Path) -> Iterator[Mail]:
    """Read `mails.ndjson`, line by line.

    Raises:
        EvidenceError: a line is not a Mail, or the last one is cut short.
    """
    yield from read_lines(path, Mail)
