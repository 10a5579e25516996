"""One user's journey, request by request: it can be begun on one replica and ended on another."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine

from orchestrator.model import Replica
from scenarios.evidence.answer_shape import shape_of
from scenarios.evidence.outcome import Outcome
from scenarios.runner.checking.replica_client import (
    Mailboxes,
    PlayedRequest,
    ReplicaClient,
    Settled,
)
from scenarios.traffic.client_exchanges import AwaitedExchange
from scenarios.traffic.journeys.compiled import CompiledJourney, CompiledStep
from scenarios.traffic.journeys.examination import Answer, Mismatch
from scenarios.traffic.journeys.links import first_target
from scenarios.traffic.journeys.population import Population
from scenarios.traffic.journeys.user import RequestFailed, User
from scenarios.traffic.wire.connection import Browser, ClientExchange


class StepsOfUser:
    """A journey that is made of steps, with where its user is."""

    def __init__(
        self,
        population: Population,
        number: int,
        mails: Mailboxes,
        settled: Settled | None,
        journey_on: Callable[[Replica], CompiledJourney],
    ) -> None:
        self._population = population
        self._number = number
        self._mails = mails
        self._settled = settled
        self._journey_on = journey_on
        self._journey = population.journeys[number]
        self._browser = Browser(population.unique(number))
        self._captured: dict[str, str] = {}
        self._link: str | None = None
        self._next = 0

    async def play(self, client: ReplicaClient) -> list[PlayedRequest]:
        """Play it to its end, or to the first request that fails."""
        return await self._play(client, len(self._journey.steps))

    async def play_until_mail(self, client: ReplicaClient) -> list[PlayedRequest]:
        """Play it as far as no mail is needed."""
        end = self._journey.mail_step
        return await self._play(client, len(self._journey.steps) if end is None else end)

    async def begin(self, client: ReplicaClient, part: int) -> bool:
        """Play its first requests; whether they succeeded, and there is something to go on with."""
        played = await self._play(client, part)
        if not played or not played[-1].outcome.ok or self._next != part:
            return False
        if part == self._journey.mail_step:
            # The mail comes from the version that the user had begun with.
            return await self._read_mail() is None and self._link is not None
        return True

    async def go_on(self, client: ReplicaClient) -> list[PlayedRequest]:
        """Play the rest of it."""
        return await self._play(client, len(self._journey.steps))

    async def _play(self, client: ReplicaClient, until: int) -> list[PlayedRequest]:
        played: list[PlayedRequest] = []
        steps = self._journey_on(client.replica).steps
        while self._next < until:
            number = self._next
            if number == self._journey.mail_step and self._link is None:
                owed = await self._read_mail()
                if owed is not None:
                    played.append(owed)
                    return played
                if self._link is None:
                    return played  # nobody mails this user, so there is nothing to click
            played.append(await self._request(client, steps[number], number))
            if not played[-1].outcome.ok:
                return played
            self._next += 1
        return played

    async def _read_mail(self) -> PlayedRequest | None:
        """Read the link that was mailed; a failure if a mail is owed and does not come."""
        recipient = self._population.user(self._number)
        now = time.monotonic_ns()
        try:
            mail = await self._mails.first(recipient, self._settled)
        except TimeoutError:
            done = time.monotonic_ns()
            return self._record(
                Outcome(
                    request_id="", journey=self._journey.name, endpoint="mail", connection="new",
                    planned_ns=now, done_ns=done, expected=(), error="timeout",
                    error_detail="the application owes a mail, and did not send it",
                ),
                self._next,
            )  # fmt: skip
        self._captured = {}
        if mail is not None:
            self._link = first_target(mail)
        return None

    async def _request(
        self, client: ReplicaClient, step: CompiledStep, number: int
    ) -> PlayedRequest:
        population = self._population
        values = population.values(self._number, self._journey, self._link, self._captured)
        request_id = population.request_id(self._number, number)
        close = step.connection == "new"
        exchange = AwaitedExchange(
            step.request(
                values,
                request_id=request_id,
                close=close,
                cookies=self._browser.cookies.field(time.time()),
            ),
            is_head=step.method == "HEAD",
            close=close,
            timeout_seconds=step.timeout_seconds,
            lasting=step.lasting,
            keep=True,
        )
        planned_ns = time.monotonic_ns()
        await client.send(exchange)
        self._browser.cookies.take(exchange.set_cookies, time.time())
        mismatch = None
        if exchange.answer is not None and exchange.status in step.expect:
            try:
                self._captured |= step.examination.apply(exchange.answer, values)
            except Mismatch as difference:
                mismatch = str(difference)
        outcome = _outcome(
            exchange,
            request_id=request_id,
            journey=self._journey.name,
            endpoint=step.endpoint_for(self._link),
            expected=step.expect,
            planned_ns=planned_ns,
            mismatch=mismatch,
            subject=step.subject(values),
            value=step.value(values),
        )
        return self._record(outcome, number, exchange.answer)

    def _record(self, outcome: Outcome, number: int, answer: Answer | None = None) -> PlayedRequest:
        where = f"{self._journey.name}, step {number + 1}"
        return PlayedRequest(outcome, where, () if answer is None else shape_of(answer.body))


class CoroutineOfUser:
    """A journey that is a coroutine. It can be held after some of its requests."""

    def __init__(
        self,
        population: Population,
        number: int,
        coroutine: Callable[[User], Awaitable[object]],
        hold: Callable[[Coroutine[None, None, None]], asyncio.Task[None]],
    ) -> None:
        self._population = population
        self._number = number
        self._coroutine = coroutine
        self._hold = hold
        self._journey = population.journeys[number]
        self._played: list[PlayedRequest] = []
        self._client: ReplicaClient | None = None
        self._hold_after: int | None = None
        self._held = asyncio.Event()
        self._resumed = asyncio.Event()
        self._sent = 0
        self._last: ClientExchange | None = None
        self._task: asyncio.Task[None] | None = None

    async def play(self, client: ReplicaClient) -> list[PlayedRequest]:
        """Play it to its end, or to the first request that fails."""
        self._client = client
        await self._act()
        return self._taken()

    async def begin(self, client: ReplicaClient, part: int) -> bool:
        """Play its first requests; whether it has more."""
        self._client, self._hold_after = client, part
        self._task = self._hold(self._act())
        self._task.add_done_callback(lambda _: self._held.set())
        await self._held.wait()  # it is held, or it has ended
        self._taken()
        return not self._task.done()

    async def go_on(self, client: ReplicaClient) -> list[PlayedRequest]:
        """Play the rest of it."""
        self._client, self._hold_after = client, None
        self._resumed.set()
        if self._task is not None:
            await self._task
        return self._taken()

    async def _act(self) -> None:
        population, number = self._population, self._number
        user = User(
            self,
            journey=self._journey.name,
            visit=population.visit(number, 0),
            unique=population.unique(number),
            uuid=population.uuid(number),
            address=population.user(number),
            host=population.host,
            values=population.shared,
            planned_ns=time.monotonic_ns(),
        )
        mismatch = None
        try:
            await self._coroutine(user)
        except RequestFailed:
            pass  # it is recorded
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the journey's finding
            mismatch = f"{type(error).__name__}: {error}"
        user.end(mismatch)

    async def exchange(
        self,
        payload: bytes,
        *,
        planned_ns: int,
        is_head: bool,
        close: bool,
        browser: Browser | None,
    ) -> ClientExchange:
        """Send a request of the coroutine; it waits here while the journey is held."""
        del planned_ns, browser
        if self._hold_after is not None and self._sent >= self._hold_after:
            self._held.set()
            await self._resumed.wait()
        self._sent += 1
        if self._client is None:
            raise RuntimeError("the journey was not begun")
        one = AwaitedExchange(payload, is_head=is_head, close=close, keep=True)
        await self._client.send(one)
        self._last = one
        return one

    def record(self, outcome: Outcome) -> None:
        """Keep an outcome of the coroutine."""
        answer = None if self._last is None else self._last.answer
        where = f"{self._journey.name}, request {self._sent}"
        self._played.append(
            PlayedRequest(outcome, where, () if answer is None else shape_of(answer.body))
        )

    def _taken(self) -> list[PlayedRequest]:
        """What was played since the last time."""
        played, self._played = self._played, []
        return played


def _outcome(
    exchange: ClientExchange,
    *,
    request_id: str,
    journey: str,
    endpoint: str,
    expected: tuple[int, ...],
    planned_ns: int,
    mismatch: str | None,
    subject: str | None,
    value: str | None,
) -> Outcome:
    return Outcome(
        request_id=request_id,
        journey=journey,
        endpoint=endpoint,
        connection="new" if exchange.opened else "reused",
        planned_ns=planned_ns,
        done_ns=exchange.done_ns,
        expected=expected,
        sent_ns=exchange.sent_ns,
        first_byte_ns=exchange.first_byte_ns,
        status=exchange.status,
        error=exchange.error,
        error_detail=exchange.error_detail,
        errno=exchange.errno,
        sqlstate=exchange.sqlstate,
        problem=exchange.problem,
        mismatch=mismatch,
        subject=subject,
        value=value,
    )
