"""Version B: a subscription becomes active when the link in a mail is opened."""

from collections.abc import AsyncIterator

from aiohttp import web

from newsletter_app.http import read_subscriber
from newsletter_app.outbox import SENDERS, Outbox
from newsletter_app.schema import Needs
from newsletter_app.settings import Settings
from newsletter_app.store import STORE, open_store
from newsletter_app.telemetry import current_request_id
from newsletter_app.versions import Release
from newsletter_app.versions.confirmation import confirm

OUTBOX = web.AppKey("outbox", Outbox)


async def subscribe(request: web.Request) -> web.Response:
    """`POST /subscriptions`: 200 once the subscriber and the mail that is owed are committed."""
    subscriber = await read_subscriber(request)
    entry = await request.app[STORE].add_pending(subscriber, request_id=current_request_id())
    if entry:
        request.app[OUTBOX].offer(entry)
    return web.Response()


def configure(app: web.Application, settings: Settings) -> None:
    """Add the routes, and the outbox worker beside them."""
    app.router.add_post("/subscriptions", subscribe)
    app.router.add_get("/subscriptions/confirm", confirm)

    async def outbox(app: web.Application) -> AsyncIterator[None]:
        name = f"newsletter_app {settings.replica_id} outbox"
        async with open_store(settings.database_url, name=name, connections=SENDERS + 1) as store:
            app[OUTBOX] = Outbox(store, settings)
            async with app[OUTBOX].running():
                yield

    app.cleanup_ctx.append(outbox)


RELEASE = Release(
    version="b",
    configure=configure,
    needs=Needs(
        columns={
            "subscriptions": frozenset({"id", "email", "name", "subscribed_at", "status"}),
            "subscription_tokens": frozenset(
                {
                    "subscription_token",
                    "subscriber_id",
                    "request_id",
                    "due_at",
                    "attempts",
                    "sent_at",
                }
            ),
        },
        filled=frozenset({"subscriptions", "subscription_tokens"}),
    ),
    sends_mail=True,
)
