"""A replica as a process: its start, its end, and what it says meanwhile."""

import asyncio
import io
import logging
import os
import socket
import subprocess
import sys

import aiohttp
import asyncpg
import pytest

from newsletter_app.settings import SmtpServer
from newsletter_app.telemetry import LOG, configure_logs
from tests.newsletter_app.conftest import (
    Database,
    Mailbox,
    drained,
    link_of,
    replica_process,
    rows,
    settings_for,
)

DATABASE = "postgresql://nobody@127.0.0.1:9/none"


async def test_sigterm_finishes_what_is_in_flight(database: Database) -> None:
    """SIGTERM closes idle connections, refuses new ones, and lets requests be answered."""
    url = database("S0")
    blocker = await asyncpg.connect(url)
    try:
        async with replica_process("a", url) as process, aiohttp.ClientSession() as session:
            idle, idle_writer = await asyncio.open_connection("127.0.0.1", process.port)
            idle_writer.write(b"GET /health_check HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200 OK" in await idle.readuntil(b"\r\n\r\n")
            lock = blocker.transaction()
            await lock.start()
            await blocker.execute("LOCK TABLE subscriptions IN ACCESS EXCLUSIVE MODE")

            async def subscribe() -> tuple[int, str | None]:
                form = {"name": "le guin", "email": "ursula@example.com"}
                target = process.base + "/subscriptions"
                async with session.post(target, data=form) as answer:
                    return answer.status, answer.headers.get("Connection")

            waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            async with asyncio.TaskGroup() as tasks:
                request = tasks.create_task(subscribe())
                while await blocker.fetchval(waits) == 0:
                    assert not request.done()
                process.process.terminate()
                assert await idle.read() == b""
                idle_writer.close()
                with pytest.raises(ConnectionRefusedError):
                    await asyncio.open_connection("127.0.0.1", process.port)
                assert not request.done()
                await lock.rollback()
            assert request.result() == (200, "close")
            assert await process.ended() == 0
        assert await rows(url, "SELECT email FROM subscriptions") == [("ursula@example.com",)]
    finally:
        await blocker.close()


async def test_sigterm_ends_an_idle_replica_that_never_saw_its_database() -> None:
    """A replica with idle connections and no database ends by itself with 0."""
    async with replica_process("b", DATABASE) as process:
        _, writer = await asyncio.open_connection("127.0.0.1", process.port)
        async with aiohttp.ClientSession() as session:
            async with session.get(process.base + "/health_check") as answer:
                assert answer.status == 200
            process.process.terminate()
            async with asyncio.timeout(20):  # far below aiohttp's own 60
                assert await process.ended() == 0
        writer.close()


async def test_sigterm_delivers_the_current_mail(database: Database, mailbox: Mailbox) -> None:
    """A mail that is being handed over at SIGTERM is finished and marked as sent."""
    url = database("S3")
    mailbox.hold = asyncio.Event()
    async with replica_process("b", url, mailbox) as process, aiohttp.ClientSession() as session:
        form = {"name": "le guin", "email": "ursula@example.com"}
        async with session.post(process.base + "/subscriptions", data=form) as answer:
            assert answer.status == 200
        await mailbox.in_data.wait()
        process.process.terminate()
        mailbox.hold.set()
        assert await process.ended() == 0
    assert mailbox.arrived.qsize() == 1
    assert await rows(url, "SELECT sent_at IS NOT NULL FROM subscription_tokens") == [(True,)]


async def test_logs_join_by_request_and_hold_no_secret(
    database: Database, mailbox: Mailbox
) -> None:
    """Every line is JSON with its stamp and origin; no line holds an address or a token."""
    url = database("S3")
    headers = {"X-Request-Id": "request-17"}
    mailbox.refusals.append("550 ursula@example.com is not here")
    async with (
        replica_process("b", url, mailbox, REPLICA_ID="b-9") as process,
        aiohttp.ClientSession() as session,
    ):
        target = process.base + "/subscriptions"
        form = {"name": "le guin", "email": "ursula@example.com"}

        async def post(**options: object) -> int:
            async with session.post(target, headers=headers, **options) as answer:  # type: ignore[arg-type]
                return answer.status

        assert await post(data=form) == 200
        token = link_of(await mailbox.arrived.get()).partition("=")[2]
        await drained(url)
        assert await post(data=form) == 200
        await mailbox.arrived.get()
        assert await post(data={**form, "name": ""}) == 400
        async with session.get(f"{target}/confirm", params={"token": token}) as answer:
            assert answer.status == 200
        async with session.get(f"{process.base}/ursula@example.com/{token}") as answer:
            assert answer.status == 404
        await rows(url, "ALTER TABLE subscriptions ADD CHECK (email <> 'ursula2@example.com')")
        assert await post(data={**form, "email": "ursula2@example.com"}) == 500
        # The server repeats the value in its message.
        await rows(url, "ALTER TABLE subscriptions ADD CHECK (email <> '3@x.com' OR name::int > 0)")
        assert await post(data={**form, "email": "3@x.com"}) == 500
        async with session.get(f"{process.base}/health_check") as answer:
            assert answer.status == 200
        await rows(url, "ALTER TABLE subscriptions DROP COLUMN status")
        assert await post(data=form) == 500
        reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
        writer.write(f"nonsense ursula@example.com {token}\r\n\r\n".encode())
        assert b"400" in await reader.readline()
        writer.close()
        process.process.terminate()
        assert await process.ended() == 0
    text = repr(process.lines)
    assert "ursula" not in text
    assert "le guin" not in text
    assert token not in text
    for line in process.lines:
        assert {"at_ns", "level", "message", "replica", "version"} <= line.keys()
        assert (line["replica"], line["version"]) == ("b-9", "b")
    of_request = [line for line in process.lines if line.get("request_id") == "request-17"]
    assert [line["status"] for line in of_request if line["message"] == "request"] == [
        200, 200, 400, 500, 500, 500,
    ]  # fmt: skip
    assert {line["sqlstate"] for line in of_request if "sqlstate" in line} == {
        *("23514", "22P02", "42703")
    }
    refusals = {line["sqlstate"]: line["refusal"] for line in of_request if "refusal" in line}
    assert refusals["22P02"] is None
    assert "violates check constraint" in refusals["23514"]
    routes = {line["route"] for line in process.lines if line["message"] == "request"}
    assert routes == {"/subscriptions", "/subscriptions/confirm", None}, "checks are not logged"
    assert any(line["message"] == "mail not accepted" for line in of_request)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"DATABASE_URL": ""}, "DATABASE_URL"),
        ({"DATABASE_URL": "mysql://u:secret@h/d"}, "DATABASE_URL"),
        ({"DATABASE_URL": "postgresql://u:secret@h:port/d"}, "DATABASE_URL"),
        ({"SMTP_URL": ""}, "SMTP_URL"),
        ({"SMTP_URL": "http://u:secret@h"}, "SMTP_URL"),
        ({"BASE_URL": ""}, "BASE_URL"),
        ({"BASE_URL": "newsletter.example.com"}, "BASE_URL"),
        ({"LOG_LEVEL": "LOUD"}, "LOG_LEVEL"),
    ],
)
def test_settings_that_cannot_work_are_one_clear_line(changes: dict[str, str], named: str) -> None:
    """A missing or senseless setting ends the start with 2 and one line that names it."""
    ended = start(changes)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert named in line
    assert "secret" not in line


def test_a_port_that_none_can_be_is_one_clear_line() -> None:
    """A port out of range ends the start with 2 and says so."""
    ended = start({}, "--port", "65536")
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].endswith("argument --port: 65536 is not from 0 to 65535")


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail.test", SmtpServer("mail.test", 25)),
        ("smtps://mail.test", SmtpServer("mail.test", 465, tls=True)),
        ("smtp://mail.test:2525/", SmtpServer("mail.test", 2525)),
        (
            "smtps://le%40guin:p%3Aw@mail.test",
            SmtpServer("mail.test", 465, tls=True, username="le@guin", password="p:w"),
        ),
    ],
)
def test_a_mail_server_is_one_url(url: str, server: SmtpServer) -> None:
    """`SMTP_URL` says where, whether TLS is spoken from the first byte, and as whom."""
    settings = settings_for(DATABASE, SMTP_URL=url)
    assert settings.smtp == server
    assert "p:w" not in repr(settings)


def test_the_log_level_is_a_setting() -> None:
    """`LOG_LEVEL=WARNING` leaves out what goes as it should; `DEBUG` tells errors' messages."""
    said = {}
    root = logging.getLogger()
    handlers, before = root.handlers[:], root.level
    try:
        for level in ("debug", "info", "WARNING"):
            number, log = settings_for(DATABASE, LOG_LEVEL=level).log_level, io.StringIO()
            configure_logs(replica="a-1", version="a", level=number, stream=log)
            LOG.info("as it should")
            try:
                {}["secret"]
            except KeyError:
                LOG.exception("not as it should")
            said[level] = log.getvalue()
    finally:
        root.handlers[:] = handlers
        root.setLevel(before)
    assert ["as it should" in line for line in said["info"].splitlines()] == [True, True]
    assert len(said["WARNING"].splitlines()) == 1
    assert ["secret" in said[level] for level in said] == [True, False, False]


def test_an_address_in_use_is_one_clear_line() -> None:
    """A port that somebody has ends the start with 1 and one line that names it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = start({}, "--port", str(port))
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert f"127.0.0.1:{port}" in line


def start(changes: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "newsletter_app", "--version", "b", *arguments],
        env={
            **os.environ,
            "DATABASE_URL": DATABASE,
            "SMTP_URL": "smtp://127.0.0.1:9",
            "BASE_URL": "http://127.0.0.1",
            **changes,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
