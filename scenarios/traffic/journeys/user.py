"""A user whose journey is a coroutine, for what a template cannot say.

    async def checkout(user):
        basket = await user.post("/baskets", json={"owner": user.unique})
        path = f"/baskets/{basket.json()['id']}"
        for item in user.random.sample(range(100), 3):
            await user.put(f"{path}/items/{item}", name="/baskets/{id}/items/{item}")
        answer = await user.get(path, name="/baskets/{id}")
        user.check(len(answer.json()["items"]) == 3, "an item is missing")

Each request is recorded as any other. One that fails ends the journey, and so does a check that
does not hold, or an exception: that makes the request before it a failure.
"""

import importlib.util
import inspect
import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode

from scenarios.evidence.outcome import Outcome
from scenarios.evidence.request_id import id_of
from scenarios.evidence.subject import as_text
from scenarios.traffic.errors import Location, TrafficError
from scenarios.traffic.journeys.compiled import WITH_CONTENT, with_cookies
from scenarios.traffic.journeys.examination import Answer
from scenarios.traffic.wire.connection import Browser, ClientExchange
from scenarios.traffic.wire.cookies import CookieJar


class RequestFailed(Exception):  # noqa: N818 - an outcome: it is recorded already
    """A request failed, which ends the user's journey."""


class Response:
    """A complete response with an expected status.

    Attributes:
        status: its status.
        headers: its fields; the names are in lower case, the last one of a name counts.
        body: its body.
    """

    def __init__(self, status: int, answer: Answer) -> None:
        self.status = status
        self.headers = {name.lower(): value for name, value in answer.fields}
        self.body = answer.body

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:  # noqa: ANN401 - JSON is anything
        """The body as JSON.

        Raises:
            ValueError: it is not.
        """
        return json.loads(self.body)


class Sender(Protocol):
    """Who sends for a user."""

    async def exchange(
        self,
        payload: bytes,
        *,
        planned_ns: int,
        is_head: bool,
        close: bool,
        browser: Browser | None,
    ) -> ClientExchange:
        """Send a request and wait for its outcome."""

    def record(self, outcome: Outcome) -> None:
        """Write an outcome down."""


class User:
    """One user; a journey's coroutine gets it, and a staying user's gets it in each visit.

    Attributes:
        unique: a word that no other user of the run has; a staying user has it in all visits.
        uuid: a UUID, likewise.
        address: an email address, likewise.
        visit: a word that no other visit of the run has; for users who come once, the same.
        random: the randomness of this visit, which follows from the run's seed.
        values: what the set-up captured.
    """

    def __init__(
        self,
        sender: Sender,
        *,
        journey: str,
        unique: str,
        uuid: str,
        address: str,
        host: str,
        values: Mapping[str, str],
        planned_ns: int,
        visit: str | None = None,
        browser: Browser | None = None,
    ) -> None:
        self.unique = unique
        self.uuid = uuid
        self.address = address
        self.visit = visit or unique
        self.random = random.Random(self.visit)  # noqa: S311 - reproducible, and guards nothing
        self.values = values
        self._sender = sender
        self._journey = journey
        self._host = host
        self._browser = browser
        self._cookies = CookieJar() if browser is None else browser.cookies
        self._planned_ns: int | None = planned_ns
        self._number = 0
        self._last: Outcome | None = None

    async def request(
        self,
        method: str,
        path: str,
        *,
        name: str | None = None,
        headers: Mapping[str, str] | None = None,
        json: object = None,
        form: Mapping[str, str] | None = None,
        body: bytes | str | None = None,
        expect: tuple[int, ...] = (200,),
        subject: str | None = None,
        value: str | float | bool | None = None,
        new_connection: bool = False,
    ) -> Response:
        """Send a request and wait for its response.

        Args:
            method: its method.
            path: its target, path and query.
            name: what evidence calls the path; absent: the path without the query. Give one where
                paths hold ids.
            headers: further fields.
            json: the body, as JSON.
            form: the body, as a form's fields.
            body: the body as it is.
            expect: the statuses that are a success.
            subject: what the request is about, so that the final state can be checked against it.
            value: what it sends as the value of the subject, so that the stored one can be
                compared with it.
            new_connection: whether it opens a connection for itself.

        Raises:
            RequestFailed: it failed; that is recorded.
        """
        self._settle(None)
        planned_ns = time.monotonic_ns() if self._planned_ns is None else self._planned_ns
        self._planned_ns = None
        self._number += 1
        request_id = id_of(self.visit, self._number)
        fields = {"Host": self._host, "User-Agent": "hitless", "Accept": "*/*", **(headers or {})}
        content = _content(json, form, body, fields)
        fields["X-Request-Id"] = request_id
        if new_connection:
            fields["Connection"] = "close"
        payload = self._payload(method, path, fields, content)
        exchange = await self._sender.exchange(
            payload,
            planned_ns=planned_ns,
            is_head=method == "HEAD",
            close=new_connection,
            browser=self._browser,
        )
        if self._browser is None and exchange.set_cookies:
            self._cookies.take(exchange.set_cookies, time.time())
        outcome = Outcome(
            request_id=request_id,
            journey=self._journey,
            endpoint=f"{method} {name or path.partition('?')[0]}",
            connection="new" if exchange.opened else "reused",
            planned_ns=planned_ns,
            done_ns=exchange.done_ns,
            expected=expect,
            sent_ns=exchange.sent_ns,
            first_byte_ns=exchange.first_byte_ns,
            status=exchange.status,
            error=exchange.error,
            error_detail=exchange.error_detail,
            errno=exchange.errno,
            served_by=exchange.served_by,
            proxy_status=exchange.proxy_status,
            sqlstate=exchange.sqlstate,
            problem=exchange.problem,
            subject=subject,
            value=value if value is None else as_text(value),
            shape=None if exchange.shape is None else exchange.shape.name,
            shape_values=None if exchange.shape is None else exchange.shape.values,
            cause_id=id_of(self.visit, self._number - 1) if self._number > 1 else None,
            user=None if self._browser is None else self._browser.user,
            http2=exchange.http2,
        )
        if not outcome.ok:
            self._sender.record(outcome)
            raise RequestFailed(request_id)
        self._last = outcome
        return Response(exchange.status or 0, exchange.answer or Answer())

    def _payload(
        self, method: str, path: str, fields: dict[str, str], content: bytes | None
    ) -> bytes:
        """The whole request as it goes over the wire (RFC 9112)."""
        if content is not None or method in WITH_CONTENT:
            fields["Content-Length"] = str(len(content or b""))
        cookies = self._cookies.field(time.time())
        lines = (f"{key}: {text}" for key, text in with_cookies(fields.items(), cookies))
        head = [f"{method} {path} HTTP/1.1", *lines]
        return "\r\n".join([*head, "", ""]).encode("latin-1") + (content or b"")

    async def get(self, path: str, **options: Any) -> Response:  # noqa: ANN401 - those of `request`
        """Send a GET: see `request`."""
        return await self.request("GET", path, **options)

    async def post(self, path: str, **options: Any) -> Response:  # noqa: ANN401 - those of `request`
        """Send a POST: see `request`."""
        return await self.request("POST", path, **options)

    async def put(self, path: str, **options: Any) -> Response:  # noqa: ANN401 - those of `request`
        """Send a PUT: see `request`."""
        return await self.request("PUT", path, **options)

    async def delete(self, path: str, **options: Any) -> Response:  # noqa: ANN401 - those of `request`
        """Send a DELETE: see `request`."""
        return await self.request("DELETE", path, **options)

    def check(self, condition: object, otherwise: str) -> None:
        """Make the request before this a failure, and end the journey, unless the condition holds.

        Raises:
            RequestFailed: it does not; that is recorded.
        """
        if not condition:
            self._settle(otherwise)
            raise RequestFailed(otherwise)

    def end(self, mismatch: str | None = None) -> None:
        """The coroutine has ended; called by who runs it.

        Args:
            mismatch: the exception that ended it, if one did.

        Raises:
            TrafficError: an exception ended it before it sent anything: the coroutine is wrong.
        """
        if mismatch is not None and self._last is None:
            raise TrafficError(f"journey {self._journey}: its coroutine failed: {mismatch}")
        self._settle(mismatch)

    def _settle(self, mismatch: str | None) -> None:
        """Record the last request, which nothing can be said against any more."""
        if self._last is not None:
            outcome, self._last = self._last, None
            self._sender.record(_with_mismatch(outcome, mismatch))


Coroutine = Callable[[User], Awaitable[object]]


def load_coroutine(reference: str, *, where: Location) -> Coroutine:
    """The coroutine function that `file.py:function` names.

    Raises:
        PlanError: there is none, or the file cannot be executed.
    """
    file, _, name = reference.rpartition(":")
    path = Path(file)
    if not name or not path.is_file():
        raise where.error(f"python {reference!r}: expected file.py:function; no file {file}")
    spec = importlib.util.spec_from_file_location(f"hitless_journeys_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise where.error(f"python {reference!r}: {file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise where.error(f"{file}: {type(error).__name__}: {error}") from error
    function = getattr(module, name, None)
    if not inspect.iscoroutinefunction(function):
        raise where.error(f"python {reference!r}: there is no `async def {name}` in {file}")
    found: Coroutine = function
    return found


def _content(
    value: object,
    form: Mapping[str, str] | None,
    body: bytes | str | None,
    fields: dict[str, str],
) -> bytes | None:
    if value is not None:
        fields.setdefault("Content-Type", "application/json")
        return json.dumps(value).encode()
    if form is not None:
        fields.setdefault("Content-Type", "application/x-www-form-urlencoded")
        return urlencode(form).encode()
    return body.encode() if isinstance(body, str) else body


def _with_mismatch(outcome: Outcome, mismatch: str | None) -> Outcome:
    if mismatch is None:
        return outcome
    fields = {name: getattr(outcome, name) for name in Outcome.__struct_fields__}
    return Outcome(**{**fields, "mismatch": mismatch})
