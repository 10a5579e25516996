"""The bridge between A and B: it knows B's schema and B's links, and asks nobody to confirm.

It writes the status that B will demand, so that NOT NULL may follow; its subscribers are active,
for they were never asked. It serves the links that B mails, so that a click in a mixed fleet
finds its page.
"""

from aiohttp import web

from newsletter_app.http import read_subscriber
from newsletter_app.schema import Needs
from newsletter_app.settings import Settings
from newsletter_app.store import STORE
from newsletter_app.versions import Release
from newsletter_app.versions.confirmation import confirm


async def subscribe(request: web.Request) -> web.Response:
    """`POST /subscriptions`: 200 for a new address and for a known one."""
    await request.app[STORE].add_active(await read_subscriber(request))
    return web.Response()


def configure(app: web.Application, _: Settings) -> None:
    """Add the routes."""
    app.router.add_post("/subscriptions", subscribe)
    app.router.add_get("/subscriptions/confirm", confirm)


RELEASE = Release(
    version="bridge",
    configure=configure,
    needs=Needs(
        columns={
            "subscriptions": frozenset({"id", "email", "name", "subscribed_at", "status"}),
            "subscription_tokens": frozenset({"subscription_token", "subscriber_id"}),
        },
        filled=frozenset({"subscriptions"}),
    ),
)
