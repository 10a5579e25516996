"""The open loop: sends what the plan says when it says so, whatever becomes of it.

Arrivals and the visits of users who stay come from the schedule. Later steps of a journey are
planned when their cause happened (a response, a mail) plus the reader's pause. A request is sent as
soon as its planned time has come; how late that was is in its outcome, since every latency counts
from the planned time.
"""

import asyncio
import socket
import time
from array import array
from collections.abc import Mapping
from types import MappingProxyType, TracebackType
from typing import Self

import msgspec

from scenarios.evidence.mail import Mail
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.recorder import Recorder
from scenarios.traffic.agenda import Agenda, PlannedRequest, Reopened
from scenarios.traffic.client_exchanges import AwaitedExchange, JourneyExchange
from scenarios.traffic.coroutine_users import CoroutineUsers
from scenarios.traffic.errors import PlanError, TrafficError
from scenarios.traffic.intervals import Interval, IntervalCounter
from scenarios.traffic.journeys.links import first_target
from scenarios.traffic.journeys.population import Population
from scenarios.traffic.journeys.shapes import Shapes
from scenarios.traffic.plan import Plan
from scenarios.traffic.schedule.clock import Alarm
from scenarios.traffic.settings import WebSocket
from scenarios.traffic.wire.client import Address, Client
from scenarios.traffic.wire.connection import Browser, ClientExchange
from scenarios.traffic.wire.cookies import CookieJar
from scenarios.traffic.wire.tls import tls_context

# After a stall many requests are due at once. Between such batches the loop reads responses, so
# that catching up does not itself delay what has already arrived.
_BATCH = 64
RETRY_NS = 1_000_000_000
"""How long a client that could not reconnect waits before it tries again, on top of its pause."""

_ERROR = 400
_COROUTINES = "coroutines"
"""Stands for the steps of all coroutines, which nobody knows before they send."""


class Generator:
    """Follows one plan; an async context manager that drops every connection at its end.

    Args:
        plan: what to send.
        requests: where each outcome is written.
        mails: where each mail is written; None when somebody else writes them.

    Raises:
        PlanError: the plan cannot be followed.
        TrafficError: on entering, the plan's host has no address.
    """

    def __init__(
        self, plan: Plan, *, requests: Recorder[Outcome], mails: Recorder[Mail] | None
    ) -> None:
        self._plan = plan
        self._requests = requests
        self._mails = mails
        self._population = Population(plan)
        self._agenda = Agenda(plan, self._population)
        self._counter = IntervalCounter(at_ns=time.monotonic_ns(), cpu_ns=time.process_time_ns())
        # How many mails each journey's user got: all that is kept of a journey, four bytes.
        self._mail_counts = array("I")
        self._browsers: dict[int, Browser] = {}  # of users who stay, by their numbers
        self._shapes = Shapes()
        self._started = False
        self._stopped = False
        self._finishing = False
        self._released = False
        self._waiting: list[PlannedRequest] = []  # for the end of the release
        self._sending = False
        self._drained = asyncio.Event()
        self._users = CoroutineUsers(
            self, self._population, browser_of=self._browser, on_left=self._look_for_the_end
        )

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        family, address = await _resolve(self._plan.host, self._plan.port)
        self._loop = loop
        self._client = Client(
            loop,
            family=family,
            address=address,
            timeout_seconds=self._plan.timeout_seconds,
            on_done=self._ended,
            tls=None if self._plan.tls is None else tls_context(self._plan.tls),
            server_name="" if self._plan.tls is None else self._plan.tls.server_name,
            tls_http2=None
            if self._plan.tls is None or not self._plan.tls.http2
            else tls_context(self._plan.tls, http2=True),
        )
        self._alarm = Alarm(loop, self._send_due)
        await self._users.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._alarm.close()
        self._client.close()
        await self._users.__aexit__(kind, error, traceback)

    @property
    def arrived(self) -> int:
        """The number below which every journey of this process has started."""
        return self._agenda.arrived

    @property
    def count(self) -> int:
        """How many requests have been recorded."""
        return self._requests.count

    def start(
        self, at_ns: int | None = None, values: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """Let arrivals begin.

        Args:
            at_ns: what their offsets count from; now, when it is absent.
            values: what fills the plan's `known` placeholders.

        Raises:
            PlanError: they have begun, or have been stopped, before.
        """
        if self._started or self._stopped:
            raise PlanError("start is accepted only once, and only before stop and finish")
        if missing := set(self._plan.known) - values.keys():
            raise PlanError(f"start: no value for {', '.join(sorted(missing))}")
        self._population.shared.update(values)
        self._started = True
        now = time.monotonic_ns()
        self._counter = IntervalCounter(at_ns=now, cpu_ns=time.process_time_ns())
        self._agenda.start(now if at_ns is None else at_ns)
        self._set_alarm()

    def released(self) -> None:
        """Let those go on who wait for the end of the release, and everybody who comes later."""
        self._released = True
        waiting, self._waiting = self._waiting, []
        now_ns = time.monotonic_ns()
        for planned in waiting:
            self._agenda.go_on(planned, now_ns)
        self._set_alarm()

    def stop(self, at_ns: int | None = None) -> None:
        """End the arrivals; what follows from those before, mails included, goes on.

        Args:
            at_ns: nobody arrives after this time; now, when it is absent.
        """
        if not self._stopped:
            self._stopped = True
            self._agenda.stop(time.monotonic_ns() if at_ns is None else at_ns)

    def finish(self) -> None:
        """Complete what is under way or planned, and plan nothing for mails that come now.

        Websockets are closed in order instead of being waited for. Coroutines get as long as a
        request does.
        """
        self.stop()
        self._finishing = True
        self._loop.call_later(self._plan.timeout_seconds, self._users.dismiss)
        self._client.hang_up()
        self._set_alarm()
        self._look_for_the_end()

    async def drained(self) -> None:
        """Wait until nothing is under way or planned any more; that is so only after `finish`."""
        await self._drained.wait()

    def deliver(self, mail: Mail) -> None:
        """A mail has reached the mailbox: record it, and plan the click of a user who waits."""
        if self._mails is not None:
            self._mails.write(mail)
        number = self._population.number_of(mail.recipient)
        if number is None or number >= self._agenda.arrived or self._finishing:
            return
        journey = self._population.journey(number)
        if journey.mail_step is None:
            return
        link = first_target(mail)
        if link is None and journey.steps[journey.mail_step].needs_link:
            return  # nothing to click; the mail's own line says so
        self._agenda.plan(
            mail.at_ns,
            number=number,
            step=journey.mail_step,
            repetition=self._count_mail(number),
            link=link,
            cause_id=self._cause_of(mail, number, journey.mail_step),
        )
        self._set_alarm()

    def tick(self) -> Interval:
        """What happened since the tick before; flushes the files."""
        self._requests.flush()
        if self._mails is not None:
            self._mails.flush()
        return self._counter.tick(
            at_ns=time.monotonic_ns(),
            cpu_ns=time.process_time_ns(),
            in_flight=self._client.in_flight,
        )

    def _count_mail(self, number: int) -> int:
        """How many mails this journey's user had before this one."""
        missing = number + 1 - len(self._mail_counts)
        if missing > 0:
            self._mail_counts.extend([0] * missing)
        before = self._mail_counts[number]
        self._mail_counts[number] = before + 1
        return before

    def _cause_of(self, mail: Mail, number: int, step: int) -> str:
        """The request that led to a mail: its own word, if that names one of this journey's."""
        if mail.request_id is not None and mail.request_id.startswith(
            f"{self._population.unique(number)}-"
        ):
            return mail.request_id
        return self._population.request_id(number, step - 1)

    def _set_alarm(self) -> None:
        at_ns = self._agenda.next_ns()
        if at_ns is not None:
            self._alarm.set(at_ns)

    def _send_due(self) -> None:
        self._sending = True
        for _ in range(_BATCH):
            planned = self._agenda.pop(time.monotonic_ns())
            if planned is None:
                break
            self._send(planned)
        self._sending = False
        self._set_alarm()
        self._look_for_the_end()

    def _send_between(self, now_ns: int) -> None:
        """Send one request that is due, if there is one, between two responses.

        When a stalled system wakes, thousands of responses are ready in one turn of the loop; the
        alarm would have to wait for all of them. A request that fails while it is being sent
        sends no other one from within.
        """
        if self._sending:
            return
        planned = self._agenda.pop(now_ns)
        if planned is not None:
            self._sending = True
            self._send(planned)
            self._sending = False

    async def exchange(
        self,
        payload: bytes,
        *,
        planned_ns: int,
        is_head: bool,
        close: bool,
        browser: Browser | None,
    ) -> ClientExchange:
        """Send a request of a user's coroutine, and wait for its outcome."""
        exchange = AwaitedExchange(
            payload, is_head=is_head, close=close, keep=True, browser=browser
        )
        exchange.done = self._loop.create_future()
        self._dispatch(exchange, planned_ns)
        await exchange.done
        return exchange

    def record(self, outcome: Outcome) -> None:
        """Write an outcome down."""
        self._requests.write(outcome)
        self._counter.ended(outcome)

    def _send(self, planned: PlannedRequest) -> None:
        journey = self._population.journey(planned.number)
        if journey.python is not None:
            self._users.begin(planned, journey)
            return
        browser = self._browser(planned.number)
        if browser is not None and planned.step == 0 and browser.logged_in:
            planned = msgspec.structs.replace(
                planned, step=journey.login, captured=browser.captured
            )
        step = journey.steps[planned.step]
        values = self._population.values(planned.number, journey, planned.link, planned.captured)
        before, lasting, last = planned.reopened, step.lasting, ""
        if before is not None and lasting is not None:
            last = "" if before.last_id is None else str(before.last_id)
            left = max(0.0, (before.until_ns - time.monotonic_ns()) / 1e9)
            lasting = msgspec.structs.replace(lasting, seconds=left)
        if last:
            values["last"] = last
        request_id = self._population.request_id(
            planned.number, planned.step, planned.repetition, before.times if before else 0
        )
        jar = planned.cookies if browser is None else browser.cookies
        cookies = "" if jar is None else jar.field(time.time())
        look = step.lasting is None and self._shapes.wanted(step)
        exchange = JourneyExchange(
            step.request(
                values,
                request_id=request_id,
                close=planned.close,
                cookies=cookies,
                last_event_id=last,
            ),
            is_head=step.method == "HEAD",
            close=planned.close,
            pace=step.pace if step.is_paced else None,
            timeout_seconds=step.timeout_seconds,
            lasting=lasting,
            keep=look or not step.examination.is_empty,
            browser=browser,
        )
        exchange.look = look
        exchange.planned = planned
        exchange.journey = journey
        exchange.request_id = request_id
        exchange.subject = step.subject(values)
        exchange.value = step.value(values)
        exchange.values = None if step.examination.is_empty else values
        exchange.last_id = before.last_id if before else None
        self._dispatch(exchange, planned.planned_ns)

    def _browser(self, number: int) -> Browser | None:
        """What the user with this number has, if it stays."""
        if number >= 0:
            return None
        browser = self._browsers.get(number)
        if browser is None:
            browser = self._browsers[number] = Browser(self._population.unique(number))
        return browser

    def _dispatch(self, exchange: ClientExchange, planned_ns: int) -> None:
        """Send it, unless too many are under way."""
        if self._client.in_flight >= self._plan.max_in_flight:
            self._counter.planned(None)
            exchange.opened = exchange.close  # it would have
            exchange.error = "undispatched"
            exchange.error_detail = f"{self._plan.max_in_flight} requests were in flight"
            exchange.done_ns = time.monotonic_ns()
            self._ended(exchange)
            return
        lag_ns = time.monotonic_ns() - planned_ns
        self._counter.planned(lag_ns)
        self._client.send(exchange)

    def _ended(self, exchange: ClientExchange) -> None:
        if exchange.browser is not None and exchange.set_cookies:
            exchange.browser.cookies.take(exchange.set_cookies, time.time())
        if isinstance(exchange, AwaitedExchange):
            if self._shapes.wanted(_COROUTINES):
                exchange.shape = self._shapes.of(_COROUTINES, exchange.answer)
            if not exchange.done.done():  # else its user was dismissed
                exchange.done.set_result(None)
            return
        if not isinstance(exchange, JourneyExchange):
            raise TypeError("this generator sends only exchanges of its own")
        if exchange.look:
            step = exchange.journey.steps[exchange.planned.step]
            exchange.shape = self._shapes.of(step, exchange.answer)
        mismatch, captured = exchange.examine()
        outcome = exchange.outcome(mismatch)
        self.record(outcome)
        if outcome.closed is not None or _could_not_reopen(exchange, outcome):
            self._reopen(exchange, outcome)
        elif outcome.ok:
            self._go_on(exchange, outcome, captured)
        self._send_between(outcome.done_ns)
        self._look_for_the_end()

    def _reopen(self, exchange: JourneyExchange, outcome: Outcome) -> None:
        """Plan that a client reconnects, or tries it again, if it wants to stay for longer."""
        planned, lasting = exchange.planned, exchange.lasting
        if lasting is None or self._finishing:
            return
        opened_ns = outcome.first_byte_ns or outcome.planned_ns
        before = planned.reopened
        until_ns = opened_ns + round(lasting.seconds * 1e9) if before is None else before.until_ns
        times = 1 if before is None else before.times + 1
        pause = self._population.reconnect_pause(
            planned.number, planned.step, times, lasting.reconnect_seconds
        )
        cause = outcome.request_id
        if outcome.closed is None:
            # It still continues the connection that it had before its tries.
            cause, pause = planned.cause_id or cause, pause + RETRY_NS
        at_ns = outcome.done_ns + pause
        if at_ns < until_ns:
            reopened = Reopened(times, until_ns, exchange.last_id)
            self._agenda.reopen(planned, at_ns, reopened, cause)
            self._set_alarm()

    def _go_on(
        self,
        exchange: JourneyExchange,
        outcome: Outcome,
        captured: Mapping[str, str] | None,
    ) -> None:
        """Plan the journey's next step, unless that one waits for mail."""
        planned, journey, browser = exchange.planned, exchange.journey, exchange.browser
        step = planned.step + 1
        cookies = planned.cookies
        if browser is None and exchange.set_cookies:
            cookies = cookies or CookieJar()
            cookies.take(exchange.set_cookies, time.time())
        if browser is not None and 0 < journey.login == step:
            browser.logged_in, browser.captured = True, captured
        if step < len(journey.steps) and step != journey.mail_step:
            following = PlannedRequest(
                outcome.done_ns,
                planned.number,
                step,
                planned.repetition,
                close=False,
                link=planned.link,
                cause_id=outcome.request_id,
                captured=captured,
                cookies=cookies,
            )
            if journey.steps[step].after_release and not self._released:
                self._waiting.append(following)
                return
            self._agenda.go_on(following, outcome.done_ns)
            self._set_alarm()

    def _look_for_the_end(self) -> None:
        if self._users.acting:
            return
        if self._finishing and self._agenda.next_ns() is None and self._client.in_flight == 0:
            self._drained.set()


def _could_not_reopen(exchange: JourneyExchange, outcome: Outcome) -> bool:
    """Whether a client that reconnects found nobody, and will try it again.

    `EventSource` gives up at an answer other than 200 (HTML Living Standard, 9.2.3), and tries
    again where there was no answer. Libraries for websockets try again in both cases.
    """
    if exchange.planned.reopened is None or exchange.lasting is None or outcome.ok:
        return False
    if outcome.status is None:
        return True
    return outcome.status >= _ERROR and isinstance(exchange.lasting, WebSocket)


async def _resolve(host: str, port: int) -> tuple[int, Address]:
    """The address to connect to; IPv4 where a name has both, as local servers listen on it.

    Raises:
        TrafficError: the name has no address.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise TrafficError(f"host {host}: {error.strerror or error}") from error
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    family, _, _, _, address = found[0]
    return family, address
