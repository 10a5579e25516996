"""HTTP at the edge: what requests must look like, and what answers to bad ones look like."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import web

from newsletter_app.errors import InvalidInputError, StoreError
from newsletter_app.subscriber import Subscriber, parse_form
from newsletter_app.telemetry import LOG, adopt_request_id

BODY_LIMIT = 16_384
"""The most bytes of a request's body; more is 413."""

REQUEST_ID = "X-Request-Id"

_FORM = "application/x-www-form-urlencoded"

SERVED_BY = web.AppKey("served_by", str)
"""What answers call this process, if they name it."""

STOPPING = web.AppKey("stopping", asyncio.Event)
"""Set when the application has begun to stop."""

_QUIET = frozenset({"/health_check", "/ready"})

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def read_subscriber(request: web.Request) -> Subscriber:
    """The subscriber in a form's body.

    Raises:
        InvalidInputError: the content type or the form is not acceptable.
        aiohttp.web.HTTPRequestEntityTooLarge: the body is over `BODY_LIMIT`.
    """
    if request.content_type != _FORM:
        raise InvalidInputError(f"The content type is not {_FORM}.", status=415)
    if (request.charset or "utf-8").lower() not in {"utf-8", "utf8"}:
        raise InvalidInputError("The form's charset is not UTF-8.", status=415)
    if (request.content_length or 0) > BODY_LIMIT:
        raise web.HTTPRequestEntityTooLarge(BODY_LIMIT, request.content_length or 0)
    return parse_form(await request.read())


def read_token(request: web.Request) -> str:
    """The one `token` of the query.

    Raises:
        InvalidInputError: it is missing or repeated.
    """
    tokens = request.query.getall("token", [])
    if len(tokens) != 1:
        raise InvalidInputError("The query needs one parameter token.")
    return tokens[0]


def problem(
    status: int,
    *,
    title: str | None = None,
    headers: dict[str, str] | None = None,
    **members: object,
) -> web.Response:
    """An answer of type `application/problem+json` (RFC 9457); absent members are left out."""
    body = {"title": title or HTTPStatus(status).phrase, "status": status}
    body |= {name: value for name, value in members.items() if value is not None}
    return web.Response(
        body=json.dumps(body).encode(),
        status=status,
        content_type="application/problem+json",
        headers=headers,
    )


@web.middleware
async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request its id, turn every error into a problem, and log one line."""
    request_id = adopt_request_id(request.headers.get(REQUEST_ID))
    started_ns = time.monotonic_ns()
    response = await _answer(request, handler)
    if request.app[STOPPING].is_set():
        response.force_close()  # so that nobody puts another request on this connection
    response.headers[REQUEST_ID] = request_id
    if SERVED_BY in request.app:
        response.headers["X-Served-By"] = request.app[SERVED_BY]
    say = LOG.debug if request.path in _QUIET else LOG.info
    say(
        "request",
        extra={
            "fields": {
                "method": request.method,
                "route": _route(request),
                "status": response.status,
                "total_ns": time.monotonic_ns() - started_ns,
            }
        },
    )
    return response


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except InvalidInputError as error:
        return problem(error.status, detail=error.detail)
    except StoreError as error:
        LOG.error(
            error.title, extra={"fields": {"sqlstate": error.sqlstate, "refusal": error.refusal}}
        )
        return problem(500, title=error.title, sqlstate=error.sqlstate)
    except web.HTTPException as error:
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        return problem(error.status, headers=allow)
    except Exception:  # noqa: BLE001 - whatever it is, the user gets an answer and we a log line
        LOG.exception("unexpected error")
        return problem(500)


def _route(request: web.Request) -> str | None:
    # The path as it was declared: what a client made up may hold anything.
    resource = request.match_info.route.resource
    return resource.canonical if resource else None
