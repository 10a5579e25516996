"""The page behind a mailed link, the same in every release that has it."""

from aiohttp import web

from newsletter_app.errors import InvalidInputError
from newsletter_app.http import read_token
from newsletter_app.store import STORE


async def confirm(request: web.Request) -> web.Response:
    """`GET /subscriptions/confirm?token=`: 200, however often; 401 for a token nobody was sent."""
    if not await request.app[STORE].confirm(read_token(request)):
        raise InvalidInputError("The token is unknown.", status=401)
    return web.Response()
