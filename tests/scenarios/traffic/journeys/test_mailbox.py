"""The mailbox takes every mail, and reads it as a user would."""

import asyncio
import email.policy
from email.message import EmailMessage

import aiosmtplib
import pytest

from scenarios.evidence.mail import Mail
from scenarios.traffic.errors import TrafficError
from scenarios.traffic.journeys.mailbox import mailbox, read_mails


def message(text: str | None = None, html: str | None = None, **fields: str) -> EmailMessage:
    made = EmailMessage()
    made["From"] = "newsletter@example.com"
    made["To"] = "s7-000001@example.com"
    made["Subject"] = "Welcome!"
    for name, value in fields.items():
        made[name.replace("_", "-")] = value
    if text is not None:
        made.set_content(text)
    if html is not None and text is not None:
        made.add_alternative(html, subtype="html")
    elif html is not None:
        made.set_content(html, subtype="html")
    return made


def read(made: EmailMessage) -> Mail:
    (mail,) = read_mails(made.as_bytes(policy=email.policy.SMTP), ["x@example.com"], at_ns=5)
    return mail


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ("Visit http://h:1/confirm?token=Ab1 to confirm.", ("http://h:1/confirm?token=Ab1",)),
        (
            "Visit http://h/a. Or (https://h/b), or <https://h/c>!",
            ("http://h/a", "https://h/b", "https://h/c"),
        ),
        ("No link; ftp://h/x is none.", ()),
        ("Größe: http://h/ü?x=1", ("http://h/ü?x=1",)),
        ("http://h/" + "x" * 300, ("http://h/" + "x" * 300,)),
    ],
)
def test_links_are_read_from_the_text(text: str, links: tuple[str, ...]) -> None:
    """Links stand in order, without the sentence's punctuation, whatever the encoding."""
    assert read(message(text)).links == links


def test_the_text_is_read_before_the_html() -> None:
    """Two bodies that say the same are one text: its links are not counted twice."""
    mail = read(message("http://h/text", '<a href="http://h/html">here</a>'))
    assert mail.links == ("http://h/text",)


def test_html_alone_is_read_by_its_references() -> None:
    """Without a text part the references of the HTML are the links, unescaped."""
    page = (
        """<a href="http://h/a?x=1&amp;y=2">a</a> <a href='mailto:x@y'>m</a> <A HREF=http://h/b>"""
    )
    assert read(message(html=page)).links == ("http://h/a?x=1&y=2", "http://h/b")


def test_the_message_says_where_it_comes_from() -> None:
    """The request that led to a mail and the replica that sent it are kept."""
    mail = read(message("-", X_Request_Id="s7-000001-1", X_Replica_Id="b-4"))
    assert (mail.request_id, mail.sent_by) == ("s7-000001-1", "b-4")
    plain = read(message("-"))
    assert (plain.request_id, plain.sent_by) == (None, None)


def test_a_broken_message_is_still_a_mail() -> None:
    """What is no proper message is recorded all the same."""
    for content in (
        b"",
        b"\xff\xfe",
        b"Content-Type: text/plain; charset=klingon\r\n\r\nhttp://h/a",
    ):
        (mail,) = read_mails(content, ["x@example.com"], at_ns=5)
        assert mail.recipient == "x@example.com"
    assert mail.links == ("http://h/a",)


async def test_mail_arrives_over_smtp() -> None:
    """Several mails over one session, and one for two recipients, are one Mail for each."""
    got: list[Mail] = []
    async with (
        mailbox(got.append) as (host, port),
        aiosmtplib.SMTP(hostname=host, port=port) as smtp,
    ):
        await smtp.send_message(message("http://h/1"))
        await smtp.send_message(message("http://h/2"), recipients=["a@x.com", "b@x.com"])
    assert [(mail.recipient, mail.links) for mail in got] == [
        ("s7-000001@example.com", ("http://h/1",)),
        ("a@x.com", ("http://h/2",)),
        ("b@x.com", ("http://h/2",)),
    ]
    assert got[0].at_ns < got[1].at_ns


async def test_a_sender_that_dies_in_the_middle_leaves_no_mail() -> None:
    """A message that was never completed was never accepted, and disturbs no other."""
    got: list[Mail] = []
    failures: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    async with mailbox(got.append) as (host, port):
        reader, writer = await asyncio.open_connection(host, port)
        await reader.readline()
        for line in (b"EHLO x", b"MAIL FROM:<a@x.com>", b"RCPT TO:<b@x.com>", b"DATA"):
            writer.write(line + b"\r\n")
        while b"354" not in await reader.readline():
            pass
        writer.write(b"Subject: half\r\n")
        await writer.drain()
        writer.transport.abort()
        async with aiosmtplib.SMTP(hostname=host, port=port) as smtp:
            await smtp.send_message(message("whole"))
    assert len(got) == 1
    assert not failures


async def test_a_mail_that_cannot_be_recorded_is_refused_and_reported() -> None:
    """A recording that fails is neither swallowed nor answered with success."""
    failures: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))

    def full(_: Mail) -> None:
        raise OSError("disk full")

    async with mailbox(full) as (host, port), aiosmtplib.SMTP(hostname=host, port=port) as smtp:
        with pytest.raises(aiosmtplib.SMTPDataError, match="could not be recorded"):
            await smtp.send_message(message("x"))
    assert str(failures[0]["exception"]) == "disk full"


async def test_a_port_that_is_taken_is_one_clear_line() -> None:
    """The error names the address that cannot be had."""
    async with mailbox(lambda _: None) as (host, port):
        with pytest.raises(TrafficError, match=f"^the mailbox cannot listen on {host}:{port}: "):
            async with mailbox(lambda _: None, host=host, port=port):
                pass


async def test_leaving_ends_open_sessions() -> None:
    """A session that is still open when the block is left is closed, not waited for."""
    async with mailbox(lambda _: None) as (host, port):
        reader, writer = await asyncio.open_connection(host, port)
        await reader.readline()
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
