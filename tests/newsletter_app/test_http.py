"""The endpoints' answers, good and bad, from real replicas on a real Postgres."""

import asyncio
import io
import json
import logging

import aiohttp
import asyncpg
import pytest

from newsletter_app.store import Store
from newsletter_app.subscriber import Subscriber
from newsletter_app.telemetry import configure_logs
from tests.newsletter_app.conftest import Client, Database, replica, rows

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
VERSIONS = ["a", "bridge", "b"]


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_duplicate_is_one_row_and_no_error(version: str, database: Database) -> None:
    """Subscribing twice, also at the same time, answers 200 each time and leaves one row."""
    url = database("SD+tokens")
    async with replica(version, url) as client:
        answers = await asyncio.gather(*(client.subscribe() for _ in range(8)))
        assert [status for status, _ in answers] == [200] * 8
        assert (await client.subscribe())[0] == 200
    assert await rows(url, "SELECT email, name FROM subscriptions") == [
        ("ursula@example.com", "le guin")
    ]


async def test_an_answer_names_the_process_only_where_it_is_told_to(database: Database) -> None:
    """Behind a Service of Kubernetes nobody else could; a load balancer does it by itself."""
    url = database("SD+tokens")
    for changes, name in ({"SERVED_BY": "web-1"}, "web-1"), ({}, None):
        async with replica("b", url, **changes) as client:  # type: ignore[arg-type]
            for path in ("/health_check", "/nothing"):
                async with client.session.get(client.base + path) as response:
                    assert response.headers.get("X-Served-By") == name


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (400, FORM, b"name=le%20guin"),
        (400, FORM, b"email=ursula%40example.com"),
        (400, FORM, b""),
        (400, FORM, b"name=&email=ursula%40example.com"),
        (400, FORM, b"name=le%20guin&email=no-address"),
        (400, FORM, b"name=nul%00&email=ursula%40example.com"),
        (400, FORM, b"name=%ff&email=ursula%40example.com"),
        (413, FORM, b"name=" + b"x" * 16_380),
        (413, FORM, b"name=" + b"x" * 300_000),
        (415, {"Content-Type": "application/json"}, b"{}"),
        (415, {"Content-Type": FORM["Content-Type"] + "; charset=utf-16"}, b"name=x"),
        (415, {}, b"name=le%20guin&email=ursula%40example.com"),
    ],
)
async def test_a_bad_form_is_refused_and_nothing_is_stored(
    status: int, headers: dict[str, str], body: bytes, database: Database
) -> None:
    """Each kind of bad form has its status, says why as a problem, and leaves no row."""
    url = database("SD+tokens")
    async with replica("b", url) as client:
        answer = await client.request(
            "POST", "/subscriptions", data=body, headers=headers, skip_auto_headers=["Content-Type"]
        )
        assert answer[0] == status
    assert await rows(url, "SELECT 1 FROM subscriptions") == []


async def test_the_largest_body_is_accepted(database: Database) -> None:
    """A body of exactly 16,384 bytes is read, and one of unknown length is limited all the same."""
    form = b"name=le%20guin&email=ursula%40example.com&padding="
    async with replica("a", database("S0")) as client:
        exact = form + b"x" * (16_384 - len(form))
        assert (await client.request("POST", "/subscriptions", data=exact, headers=FORM))[0] == 200

        async def chunks() -> object:
            for _ in range(5):
                yield b"x" * 4_096

        answer = await client.request("POST", "/subscriptions", data=chunks(), headers=FORM)
        assert answer[0] == 413


@pytest.mark.parametrize("version", ["bridge", "b"])
@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 400),
        ("?tocken=x", 400),
        ("?token=x&token=y", 400),
        ("?token=", 401),
        ("?token=short", 401),
        ("?token=" + "u" * 25, 401),
        ("?token=" + "%00" * 25, 401),
        ("?token=" + "%ff" * 25, 401),
    ],
)
async def test_a_link_without_a_known_token(
    version: str, query: str, status: int, database: Database
) -> None:
    """A missing token is 400, an unknown or impossible one 401."""
    async with replica(version, database("S3")) as client:
        assert (await client.request("GET", "/subscriptions/confirm" + query))[0] == status


async def test_an_unknown_path_is_a_problem(database: Database) -> None:
    """404 and 405 are problems too, and 405 says what is allowed."""
    async with replica("a", database("S0")) as client:
        assert (await client.request("GET", "/nothing"))[0] == 404
        async with client.session.delete(client.base + "/subscriptions") as response:
            assert response.status == 405
            assert response.headers["Allow"] == "POST"
            assert response.content_type == "application/problem+json"


async def test_without_a_database_only_the_health_check_is_well() -> None:
    """With no database a replica starts, is healthy but not ready, and requests fail clearly."""
    async with replica("b", "postgresql://nobody@127.0.0.1:9/none") as client:
        assert (await client.request("GET", "/health_check"))[0] == 200
        status, problem = await client.subscribe()
        assert (status, problem["title"]) == (500, "The database cannot be reached")
        assert "sqlstate" not in problem
        assert (await client.request("GET", "/ready"))[0] == 503


async def test_the_request_id_comes_back(database: Database) -> None:
    """A request's id is returned; an unsafe one is replaced."""

    async def answered(client: Client, request_id: str) -> str:
        headers = {"X-Request-Id": request_id}
        async with client.session.get(client.base + "/health_check", headers=headers) as response:
            return response.headers["X-Request-Id"]

    async with replica("a", database("S0")) as client:
        assert await answered(client, "r-1.x:y_z") == "r-1.x:y_z"
        assert '"' not in await answered(client, 'r"1')
        assert len(await answered(client, "r" * 200)) < 129


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_changed_schema_is_no_error(version: str, database: Database) -> None:
    """DDL that makes every cached plan stale, as 0A000, is healed before the user notices."""
    url = database("SD+tokens")
    async with replica(version, url) as client:

        async def burst(name: str) -> list[int]:
            answers = await asyncio.gather(
                *(client.subscribe(f"{name}{n}@example.com") for n in range(20)),
                *(client.confirm("u" * 25) for _ in range(20)),
                *(client.request("GET", "/ready") for _ in range(5)),
            )
            return [status for status, _ in answers]

        before = await burst("before")
        assert before.count(200) == 25
        for type_name in ("varchar(200)", "text"):
            await rows(url, f"ALTER TABLE subscriptions ALTER COLUMN status TYPE {type_name}")
            await rows(url, f"ALTER TABLE subscription_tokens ALTER request_id TYPE {type_name}")
            await rows(
                url, f"ALTER TABLE subscription_tokens ALTER subscription_token TYPE {type_name}"
            )
            assert await burst(type_name[:4]) == before


@pytest.mark.parametrize("version", VERSIONS)
async def test_lost_connections_are_no_error(version: str, database: Database) -> None:
    """When the server has ended the pool's idle connections, the next requests succeed."""
    url = database("SD+tokens")
    async with replica(version, url) as client:
        first = await asyncio.gather(*(client.subscribe(f"a{n}@example.com") for n in range(10)))
        await rows(
            url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        second = await asyncio.gather(*(client.subscribe(f"b{n}@example.com") for n in range(10)))
        assert {status for status, _ in first + second} == {200}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
async def test_a_transaction_that_gave_way_is_run_again(
    sqlstate: str, version: str, database: Database
) -> None:
    """A transaction that Postgres gives up twice succeeds; after three times it is a 500."""
    url = database("SD+tokens")
    # A sequence keeps its count when the transaction is rolled back.
    await rows(url, "CREATE SEQUENCE tries")
    await rows(
        url,
        "CREATE FUNCTION give_way() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF nextval('tries') % 4 <> 3 THEN RAISE EXCEPTION USING ERRCODE = '{sqlstate}';"
        " END IF; RETURN NEW; END $$",
    )
    await rows(
        url,
        "CREATE TRIGGER give_way BEFORE INSERT ON subscriptions"
        " FOR EACH ROW EXECUTE FUNCTION give_way()",
    )
    async with replica(version, url) as client:
        assert (await client.subscribe())[0] == 200
        status, problem = await client.subscribe("other@example.com")
        assert (status, problem["sqlstate"]) == (500, sqlstate)
    assert await rows(url, "SELECT email FROM subscriptions") == [("ursula@example.com",)]


async def test_an_unexpected_error_is_an_answer_and_a_line(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of our own is a 500 that says nothing, and a log line with its type and place."""

    async def broken(_: Store, subscriber: Subscriber) -> None:
        raise LookupError(subscriber.email)

    monkeypatch.setattr(Store, "add", broken)
    log = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure_logs(replica="a-1", version="a", level=logging.INFO, stream=log)
    try:
        async with replica("a", database("S0")) as client:
            status, problem = await client.subscribe(headers={"X-Request-Id": "r-5"})
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    assert (status, problem) == (500, {"title": "Internal Server Error", "status": 500})
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    (line,) = [one for one in lines if one["message"] == "unexpected error"]
    assert (line["exception"], line["request_id"]) == ("LookupError", "r-5")
    assert any("in broken" in place for place in line["stack"])
    assert "ursula" not in log.getvalue()


async def test_a_pool_that_is_used_up_is_an_error_in_time(database: Database) -> None:
    """When every connection waits for a lock, a further request fails after 2 s, and says why."""
    url = database("S0")
    async with replica("a", url) as client:
        await asyncio.gather(*(client.subscribe(f"warm{n}@example.com") for n in range(10)))
        holder = await asyncpg.connect(url)
        try:
            transaction = holder.transaction()
            await transaction.start()
            await holder.execute("LOCK TABLE subscriptions IN ACCESS EXCLUSIVE MODE")
            async with asyncio.TaskGroup() as tasks:
                waiting = [
                    tasks.create_task(client.subscribe(f"w{n}@example.com")) for n in range(11)
                ]
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                await transaction.rollback()
            (first,) = done
            assert first.result()[0] == 500
            assert first.result()[1]["title"] == "No database connection in time"
            assert sorted(task.result()[0] for task in waiting) == [200] * 10 + [500]
        finally:
            await holder.close()


async def test_the_health_check_serves_new_and_reused_connections(database: Database) -> None:
    """`GET /health_check` answers on a fresh connection and again on the same one."""
    async with replica("a", database("S0")) as client:
        connector = aiohttp.TCPConnector(limit=1)
        async with aiohttp.ClientSession(connector=connector) as session:
            for _ in range(3):
                async with session.get(client.base + "/health_check") as response:
                    assert response.status == 200
                    assert await response.read() == b""
