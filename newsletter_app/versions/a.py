"""Version A: a subscription is a row, and that is all."""

from aiohttp import web

from newsletter_app.http import read_subscriber
from newsletter_app.schema import Needs
from newsletter_app.settings import Settings
from newsletter_app.store import STORE
from newsletter_app.versions import Release


async def subscribe(request: web.Request) -> web.Response:
    """`POST /subscriptions`: 200 for a new address and for a known one."""
    await request.app[STORE].add(await read_subscriber(request))
    return web.Response()


def configure(app: web.Application, _: Settings) -> None:
    """Add the routes."""
    app.router.add_post("/subscriptions", subscribe)


RELEASE = Release(
    version="a",
    configure=configure,
    needs=Needs(
        columns={"subscriptions": frozenset({"id", "email", "name", "subscribed_at"})},
        filled=frozenset({"subscriptions"}),
    ),
)
