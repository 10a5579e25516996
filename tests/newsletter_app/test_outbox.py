"""The mails that subscriptions owe: one each, none lost, none in the way of a request."""

import asyncio
import re
from contextlib import aclosing
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

import aiohttp
import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from newsletter_app import outbox
from newsletter_app.email import Mail, Mailer, confirmation_mail
from newsletter_app.errors import MailError
from newsletter_app.outbox import retry_seconds
from newsletter_app.settings import SmtpServer
from newsletter_app.store import OutboxEntry, open_store
from newsletter_app.subscriber import Subscriber
from tests.newsletter_app.conftest import (
    DRAINED,
    Database,
    Mailbox,
    drained,
    link_of,
    replica,
    replica_process,
    rows,
    running_mailbox,
    settings_for,
)


async def test_a_subscriber_is_mailed_a_link_that_confirms(
    database: Database, mailbox: Mailbox
) -> None:
    """One mail comes, its texts hold the same single link, and that makes the subscriber active."""
    url = database("S3")
    async with replica("b", url, mailbox) as client:
        answer = await client.subscribe("ursula@bücher.example", headers={"X-Request-Id": "r-17"})
        assert answer[0] == 200
        mail = await mailbox.arrived.get()
        assert mail["X-Envelope-To"] == mail["To"] == "ursula@xn--bcher-kva.example"
        assert mail["X-Request-Id"] == "r-17"
        assert mail["X-Replica-Id"] == "b-1"
        link = link_of(mail)
        html = mail.get_body(("html",))
        assert html
        assert re.findall(r'href="([^"]+)"', html.get_content()) == [link]
        base, _, token = link.partition("?token=")
        assert base == "http://127.0.0.1:8000/subscriptions/confirm"
        assert re.fullmatch("[A-Za-z0-9]{25}", token)
        assert await rows(url, "SELECT status FROM subscriptions") == [("pending_confirmation",)]
        assert (await client.confirm(token))[0] == 200
        assert await rows(url, "SELECT status FROM subscriptions") == [("active",)]
        assert (await client.confirm(token))[0] == 200
    assert mailbox.arrived.empty()


async def test_two_workers_send_one_mail_each_subscriber(
    database: Database, mailbox: Mailbox
) -> None:
    """With two replicas on one outbox, each subscriber gets exactly one mail."""
    url = database("S3")
    addresses = [f"user{n}@example.com" for n in range(60)]
    async with replica("b", url, mailbox) as one, replica("b", url, mailbox) as two:
        answers = await asyncio.gather(
            *((one, two)[n % 2].subscribe(address) for n, address in enumerate(addresses))
        )
        assert {status for status, _ in answers} == {200}
    # Both have stopped, so nothing is under way.
    assert await rows(url, DRAINED) == [(True,)]
    mails = [mailbox.arrived.get_nowait()["To"] for _ in range(mailbox.arrived.qsize())]
    assert sorted(mails) == sorted(addresses)
    assert len(mailbox.sessions) <= 6, "a connection serves more than one mail"


async def test_a_duplicate_is_mailed_again_only_while_pending(
    database: Database, mailbox: Mailbox
) -> None:
    """A pending subscriber who subscribes again gets the same link again; an active one nothing."""
    url = database("S3")
    async with replica("b", url, mailbox) as client:
        await client.subscribe(headers={"X-Request-Id": "first"})
        first = await mailbox.arrived.get()
        await drained(url)
        await client.subscribe(headers={"X-Request-Id": "second"})
        second = await mailbox.arrived.get()
        assert second["X-Request-Id"] == "second"
        assert second["Message-ID"] != first["Message-ID"]
        assert link_of(second) == link_of(first)
        await drained(url)
        await client.confirm(link_of(first).partition("=")[2])
        assert (await client.subscribe())[0] == 200
    assert mailbox.arrived.empty()


@pytest.mark.parametrize("refusal", ["451 try again later", "550 no such mailbox"])
async def test_a_refused_mail_is_tried_again(
    refusal: str, database: Database, mailbox: Mailbox
) -> None:
    """A mail server that refuses once changes nothing but the time."""
    url = database("S3")
    mailbox.refusals.append(refusal)
    async with replica("b", url, mailbox) as client:
        assert (await client.subscribe())[0] == 200
        await mailbox.arrived.get()
    assert await rows(url, "SELECT attempts, sent_at IS NULL FROM subscription_tokens") == [
        (1, False)
    ]


async def test_a_claim_is_held_by_one(database: Database) -> None:
    """An entry can be claimed once at a time, again after a failure, and never once it is sent."""
    url = database("S3")
    async with (
        open_store(url, name="one", connections=2) as one,
        open_store(url, name="two", connections=2) as two,
    ):
        entry = await one.add_pending(Subscriber("le guin", "u@example.com"), request_id="r")
        assert entry
        async with one.claimed(entry.token) as first, two.claimed(entry.token) as second:
            assert first
            assert second is None
            await first.postpone(0.0)
        assert await two.due(10) == [entry]
        async with two.claimed(entry.token) as third:
            assert third
            assert third.attempts == 1
            await third.sent()
        async with one.claimed(entry.token) as fourth:
            assert fourth is None
        assert await two.due(10) == []


async def test_a_kept_connection_that_breaks_is_no_failure(mailbox: Mailbox) -> None:
    """A mail server that hangs up on a kept connection is called again; on a new one it failed."""
    mail = Mail("newsletter@example.com", "ursula@example.com", b"Subject: x\r\n\r\nx\r\n")
    async with aclosing(Mailer(SmtpServer("127.0.0.1", mailbox.port))) as mailer:
        mailbox.hang_up = True
        with pytest.raises(MailError, match="SMTPServerDisconnected"):
            await mailer.send(mail)
        await mailer.send(mail)
        mailbox.hang_up = True
        await mailer.send(mail)
    assert not mailbox.hang_up
    assert mailbox.arrived.qsize() == 2


async def test_a_mail_server_that_is_away_delays_mails_only(database: Database) -> None:
    """Subscriptions are answered 200 without a mail server, and mailed once there is one."""
    async with running_mailbox() as gone:
        port = gone.port
    url = database("S3")
    async with replica("b", url, gone) as client:
        assert (await client.subscribe())[0] == 200
        assert await rows(url, DRAINED) == [(False,)]
        async with running_mailbox(port) as back:
            await back.arrived.get()
        # The connection that the replica kept is closed now: the next mail opens another.
        async with running_mailbox(port) as again:
            assert (await client.subscribe("second@example.com"))[0] == 200
            assert (await again.arrived.get())["To"] == "second@example.com"


async def test_a_worker_killed_while_it_sends_loses_nothing(
    database: Database, mailbox: Mailbox
) -> None:
    """What a replica had claimed when it was killed is sent by another, once."""
    url = database("S3")
    mailbox.hold = asyncio.Event()
    mailbox.refusals.append("451 the first one is refused")
    async with (
        replica_process("b", url, mailbox) as process,
        aiohttp.ClientSession() as session,
    ):
        form = {"name": "le guin", "email": "ursula@example.com"}
        async with session.post(process.base + "/subscriptions", data=form) as answer:
            assert answer.status == 200
        await mailbox.in_data.wait()
        process.process.kill()
        await process.ended()
        assert await rows(url, DRAINED) == [(False,)]
    mailbox.hold.set()
    async with replica("b", url, mailbox):
        assert (await mailbox.arrived.get())["To"] == "ursula@example.com"
    assert mailbox.arrived.empty()
    assert await rows(url, DRAINED) == [(True,)]


async def test_a_slow_mail_server_is_in_nobodys_way(database: Database, mailbox: Mailbox) -> None:
    """While a mail is handed over, neither a duplicate, nor a click, nor DDL has to wait."""
    url = database("S3")
    mailbox.hold = asyncio.Event()
    async with replica("b", url, mailbox) as client:
        await client.subscribe()
        await mailbox.in_data.wait()
        assert (await client.subscribe())[0] == 200
        ((token,),) = await rows(url, "SELECT subscription_token FROM subscription_tokens")
        connection = await asyncpg.connect(url, server_settings={"lock_timeout": "100ms"})
        try:
            await connection.execute("ALTER TABLE subscriptions ADD COLUMN further text")
        finally:
            await connection.close()
        assert (await client.confirm(token))[0] == 200
        mailbox.hold.set()
        await mailbox.arrived.get()
    assert mailbox.arrived.empty()


async def test_stopping_delivers_what_is_queued(database: Database, mailbox: Mailbox) -> None:
    """A replica that stops has delivered the mails of all its subscriptions."""
    url = database("S3")
    async with replica("b", url, mailbox) as client:
        await asyncio.gather(*(client.subscribe(f"user{n}@example.com") for n in range(30)))
    assert await rows(url, DRAINED) == [(True,)]
    assert mailbox.arrived.qsize() == 30


async def test_stopping_does_not_wait_for_a_dead_mail_server(
    database: Database, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica whose mail server never answers stops all the same, and leaves the mail owed."""
    monkeypatch.setattr(outbox, "STOP_SECONDS", 0.1)
    url = database("S3")
    mailbox.hold = asyncio.Event()
    async with replica("b", url, mailbox) as client:
        await client.subscribe()
        await mailbox.in_data.wait()
    assert await rows(url, DRAINED) == [(False,)]


async def test_an_entry_that_cannot_be_mailed_is_in_nobodys_way(
    database: Database, mailbox: Mailbox
) -> None:
    """An address that a foreign hand has stored, and that is none, harms no other mail."""
    url = database("S3")
    await rows(
        url,
        "WITH s AS (INSERT INTO subscriptions VALUES (gen_random_uuid(), 'no\nbody', 'x', now(),"
        " 'pending_confirmation') RETURNING id)"
        " INSERT INTO subscription_tokens SELECT 'foreign', id, 'r', now() FROM s",
    )
    async with replica("b", url, mailbox) as client:
        attempts = "SELECT attempts FROM subscription_tokens WHERE subscription_token = 'foreign'"
        while await rows(url, attempts) == [(0,)]:
            pass
        await client.subscribe()
        assert (await mailbox.arrived.get())["To"] == "ursula@example.com"


async def test_a_token_that_was_lost_is_made_anew(database: Database, mailbox: Mailbox) -> None:
    """A pending subscriber whose token went with a rolled back table gets another."""
    url = database("S3")
    async with replica("b", url, mailbox) as client:
        await client.subscribe()
        await mailbox.arrived.get()
        await rows(url, "DELETE FROM subscription_tokens")
        await client.subscribe()
        token = link_of(await mailbox.arrived.get()).partition("=")[2]
        assert (await client.confirm(token))[0] == 200


@given(st.integers(min_value=0, max_value=2**31))
def test_retries_come_ever_later_up_to_a_minute(attempts: int) -> None:
    """Pauses between deliveries begin with a second, double, and stay at a minute."""
    assert retry_seconds(0) == 1.0
    assert retry_seconds(attempts + 1) == min(2 * retry_seconds(attempts), 60.0)


def test_a_mail_says_what_mail_programs_need() -> None:
    """It names its sender, is no answer to anybody, and keeps its id when it is sent again."""
    settings = settings_for("postgresql://x/y", MAIL_FROM="news@example.org", BASE_URL="https://n/")
    entry = OutboxEntry("t" * 25, "ursula@example.com")

    def written(request_id: str) -> EmailMessage:
        mail = confirmation_mail(entry, request_id=request_id, settings=settings)
        assert (mail.sender, mail.recipient) == ("news@example.org", "ursula@example.com")
        return message_from_bytes(mail.content, policy=default)

    first, again, other = written("r-1"), written("r-1"), written("r-2")
    assert first["From"] == "news@example.org"
    assert first["Auto-Submitted"] == "auto-generated"
    assert first["Date"].datetime is not None
    assert first["Message-ID"] == again["Message-ID"] != other["Message-ID"]
    assert first["Message-ID"].endswith("@n>")
    assert link_of(first) == f"https://n/subscriptions/confirm?token={entry.token}"


async def test_what_is_due(database: Database) -> None:
    """Due are unsent mails of pending subscribers, longest owed first, and none before its time."""
    url = database("S3")
    async with open_store(url, name="one", connections=2) as store:
        entries = []
        for name in ("late", "early", "active", "sent", "postponed"):
            entry = await store.add_pending(Subscriber(name, f"{name}@x.com"), request_id="r")
            assert entry
            entries.append(entry)
        late, early, active, sent, postponed = entries
        assert await store.due(10) == [], "it is left to the replica that made it"
        await rows(url, "UPDATE subscription_tokens SET due_at = now() - interval '1 minute'")
        await rows(
            url,
            "UPDATE subscription_tokens SET due_at = now() - interval '1 hour'"
            " WHERE subscription_token = $1",
            early.token,
        )
        assert await store.confirm(active.token)
        async with store.claimed(sent.token) as claim:
            assert claim
            await claim.sent()
        async with store.claimed(postponed.token) as claim:
            assert claim
            await claim.postpone(3600.0)
        assert await store.due(10) == [early, late]
        assert await store.due(1) == [early]
