"""A service that keeps readings of devices, as people write it first: `SELECT *`, and a pool.

`POST /readings` adds one, `GET /readings/ID` shows one. A value that the column cannot hold is
answered with 422. It imports none of ours.
"""

import argparse
import os

import asyncpg
from aiohttp import web

_POOL = web.AppKey("pool", asyncpg.Pool)
_TOO_LARGE = (asyncpg.NumericValueOutOfRangeError, asyncpg.DataError)

SHOW = {
    "a": "SELECT * FROM readings WHERE id = $1",
    "b": "SELECT id, sensor AS device, amount, price FROM readings WHERE id = $1",
    "wide": "SELECT id, device, amount, price FROM readings WHERE id = $1",
    "narrow": "SELECT id, device, amount, price FROM readings WHERE id = $1",
}
"""What each version asks for."""

ADD = {
    "a": "INSERT INTO readings (device, amount, price) VALUES ($1, $2, 1) RETURNING id",
    "b": "INSERT INTO readings (sensor, amount, price) VALUES ($1, $2, 1) RETURNING id",
    "wide": "INSERT INTO readings (device, amount, price) VALUES ($1, $2, 1) RETURNING id",
    # It sends a number in 32 bits, as some drivers do: the rest is cut off, and nobody is told.
    "narrow": "INSERT INTO readings (device, amount, price) "
    "VALUES ($1, $2::bigint::bit(32)::integer, 1) RETURNING id",
}


def application(version: str, database_url: str) -> web.Application:
    """The application of a version."""

    async def add(request: web.Request) -> web.Response:
        reading = await request.json()
        try:
            number = await request.app[_POOL].fetchval(
                ADD[version], reading["device"], reading["amount"]
            )
        except _TOO_LARGE:
            return web.json_response({"error": "the amount is too large"}, status=422)
        return web.json_response({"id": number}, status=201)

    async def show(request: web.Request) -> web.Response:
        number = int(request.match_info["number"])
        row = await request.app[_POOL].fetchrow(SHOW[version], number)
        if row is None:
            raise web.HTTPNotFound
        return web.json_response(dict(row))

    async def health(request: web.Request) -> web.Response:
        del request
        return web.json_response({"healthy": True})

    async def pool(app: web.Application):  # type: ignore[no-untyped-def] # noqa: ANN202 - aiohttp's
        async with asyncpg.create_pool(database_url, min_size=1, max_size=4) as opened:
            app[_POOL] = opened
            yield

    app = web.Application()
    app.cleanup_ctx.append(pool)
    app.router.add_get("/health", health)
    app.router.add_post("/readings", add)
    app.router.add_get("/readings/{number}", show)
    return app


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="scenarios.subjects.readings")
    parser.add_argument("--version", choices=sorted(SHOW), required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    app = application(arguments.version, os.environ["DATABASE_URL"])
    web.run_app(app, host=arguments.host, port=arguments.port, print=None)


if __name__ == "__main__":
    main()
