"""Each version on each schema state: the table that every release plan is judged by."""

import asyncpg
import pytest

from tests.newsletter_app.conftest import STATES, Database, replica, rows

OK = None
A, BRIDGE, B = "a", "bridge", "b"
TOKEN = "t" * 25

# The SQLSTATE with which Postgres refuses; None where it does not.
POST = {
    "S0": {A: OK, BRIDGE: "42703", B: "42703"},
    "S0+tokens": {A: OK, BRIDGE: "42703", B: "42703"},
    "S1": {A: OK, BRIDGE: OK, B: "42P01"},
    "S1+tokens": {A: OK, BRIDGE: OK, B: OK},
    "S2": {A: "23502", BRIDGE: OK, B: "42P01"},
    "S3": {A: "23502", BRIDGE: OK, B: OK},
    "SD": {A: OK, BRIDGE: OK, B: "42P01"},
    "SD+tokens": {A: OK, BRIDGE: OK, B: OK},
}
CONFIRM = {
    "S0": "42P01",
    "S0+tokens": "42703",
    "S1": "42P01",
    "S1+tokens": OK,
    "S2": "42P01",
    "S3": OK,
    "SD": "42P01",
    "SD+tokens": OK,
}


def has_status(state: str) -> bool:
    return not state.startswith("S0")


async def insert_known(url: str, state: str) -> None:
    """A pending subscriber with a token, as far as the schema knows either."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "INSERT INTO subscriptions (id, email, name, subscribed_at, status) VALUES"
            " (gen_random_uuid(), 'known@example.com', 'known', now(), 'pending_confirmation')"
            if has_status(state)
            else "INSERT INTO subscriptions (id, email, name, subscribed_at) VALUES"
            " (gen_random_uuid(), 'known@example.com', 'known', now())"
        )
        if await connection.fetchval("SELECT to_regclass('subscription_tokens')"):
            await connection.execute(
                "INSERT INTO subscription_tokens SELECT $1, id, 'r', now(), 0, now()"
                " FROM subscriptions",
                TOKEN,
            )
    finally:
        await connection.close()


@pytest.mark.parametrize("version", [A, BRIDGE, B])
@pytest.mark.parametrize("state", STATES)
async def test_compatibility(state: str, version: str, database: Database) -> None:
    """Subscribing, confirming and readiness end on each schema state as the table says."""
    url = database(state)
    await insert_known(url, state)
    async with replica(version, url) as client:
        assert (await client.request("GET", "/health_check"))[0] == 200

        status, problem = await client.subscribe()
        sqlstate = POST[state][version]
        assert (status, problem.get("sqlstate")) == (500 if sqlstate else 200, sqlstate)
        expected = {
            A: {"S1": None, "S1+tokens": None}.get(state, "active"),
            BRIDGE: "active",
            B: "pending_confirmation",
        }[version]
        if sqlstate is None and has_status(state):
            query = "SELECT status FROM subscriptions WHERE email = $1"
            assert await rows(url, query, "ursula@example.com") == [(expected,)]

        status, problem = await client.confirm(TOKEN)
        if version == A:
            assert status == 404
        else:
            sqlstate = CONFIRM[state]
            assert (status, problem.get("sqlstate")) == (500 if sqlstate else 200, sqlstate)

        needed = [POST[state][version]] + ([CONFIRM[state]] if version != A else [])
        status, problem = await client.request("GET", "/ready")
        assert status == (503 if any(needed) else 200), problem


async def test_an_unknown_token_reveals_nothing_of_the_status_column(database: Database) -> None:
    """With the tokens' table but no status, an unknown token is 401 and a known one 42703."""
    async with replica(B, database("S0+tokens")) as client:
        assert (await client.confirm("u" * 25))[0] == 401


@pytest.mark.parametrize("state", ["S2", "S3"])
async def test_readiness_names_what_the_schema_demands(state: str, database: Database) -> None:
    """A is not ready where NOT NULL would refuse its inserts, and says which column does."""
    async with replica(A, database(state)) as client:
        status, problem = await client.request("GET", "/ready")
        assert status == 503
        (lacking,) = problem["lacking"]
        assert lacking.startswith("subscriptions.status")
