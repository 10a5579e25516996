"""The open loop keeps to its schedule, and its journeys go on as the plan says."""

import asyncio
import time
from pathlib import Path
from urllib.parse import parse_qs

import aiosmtplib
import pytest

from scenarios.evidence.mail import Mail
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.run_folder import RunFolder
from scenarios.traffic.errors import TrafficError
from scenarios.traffic.journeys.mailbox import mailbox
from scenarios.traffic.settings import Journey, Step
from tests.support.generator import Run, outcomes
from tests.support.servers import Site, serving

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Served-By: a-1\r\n\r\n"
HEALTH = Journey(name="health", steps=(Step(path="/health_check"),))
SUBSCRIBE = Journey(
    name="subscribe",
    steps=(
        Step(method="POST", path="/subscriptions", form={"email": "{user}"}, subject="{user}"),
        Step(path="{link}", after="mail", subject="{user}", delay_seconds=0.02),
        Step(path="{link}&again=1", expect=(200, 204)),
    ),
)


class Stalling(Site):
    """Answers the first requests, and the others once it may go on."""

    def __init__(self, answered: int) -> None:
        super().__init__(OK)
        self.answered = answered
        self.go_on = asyncio.Event()

    async def respond(self, request: bytes, writer: asyncio.StreamWriter) -> None:
        if len(self.requests) > self.answered:
            await self.go_on.wait()
        await super().respond(request, writer)


class Newsletter(Site):
    """Mails a link for each subscription, and answers everything with 200."""

    def __init__(self, copies: int = 1) -> None:
        super().__init__(OK)
        self.copies = copies
        self.smtp: tuple[str, int] = ("", 0)

    async def respond(self, request: bytes, writer: asyncio.StreamWriter) -> None:
        if request.startswith(b"POST"):
            (user,) = parse_qs(request.rpartition(b"\r\n\r\n")[2].decode())["email"]
            for copy in range(self.copies):
                await self.mail(user, f"http://h/confirm?token={copy}")
        await super().respond(request, writer)

    async def mail(self, recipient: str, link: str) -> None:
        await aiosmtplib.send(
            f"From: n@x.com\r\nSubject: Hi\r\n\r\nVisit {link}",
            sender="n@x.com",
            recipients=[recipient],
            hostname=self.smtp[0],
            port=self.smtp[1],
        )


async def test_a_mail_leads_to_a_click_and_that_to_the_next_step(tmp_path: Path, run: Run) -> None:
    """Subscribe, mail, click, and on: each with its cause, its subject and its planned time."""
    site = Newsletter()
    async with (
        serving(site) as server,
        run(server.port, SUBSCRIBE, rate=50.0) as running,
        mailbox(running.generator.deliver) as site.smtp,
    ):
        running.generator.start()
        await site.until(10)
        running.generator.stop()
        await site.until(3 * running.generator.arrived)
        await running.finish()
    done = {outcome.request_id: outcome for outcome in outcomes(tmp_path)}
    mails = {mail.recipient: mail for mail in RunFolder(tmp_path).mails.read()}
    assert all(outcome.ok for outcome in done.values())
    post, click, again = (done[f"s7-000000-{step}"] for step in (1, 2, 3))
    assert (post.endpoint, click.endpoint, again.endpoint) == (
        "POST /subscriptions",
        "GET /confirm",
        "GET /confirm",
    )
    assert (post.cause_id, click.cause_id, again.cause_id) == (None, "s7-000000-1", "s7-000000-2")
    assert post.subject == click.subject == "s7-000000@example.com"
    assert again.subject is None
    # A reader's pause after the mail; no pause after the click.
    assert click.planned_ns > mails["s7-000000@example.com"].at_ns
    assert again.planned_ns == click.done_ns


async def test_each_mail_is_clicked(tmp_path: Path, run: Run) -> None:
    """Two mails to one user are two clicks, with ids of their own."""
    site = Newsletter(copies=2)
    async with (
        serving(site) as server,
        run(server.port, SUBSCRIBE, rate=50.0) as running,
        mailbox(running.generator.deliver) as site.smtp,
    ):
        running.generator.start()
        await site.until(5)
        running.generator.stop()
        await site.until(5 * running.generator.arrived)
        await running.finish()
    ids = [each.request_id for each in outcomes(tmp_path) if "s7-000000-" in each.request_id]
    assert sorted(ids) == [
        "s7-000000-1",
        "s7-000000-2",
        "s7-000000-2-2",
        "s7-000000-3",
        "s7-000000-3-2",
    ]


async def test_the_mail_says_which_request_led_to_it(tmp_path: Path, run: Run) -> None:
    """Where a mail names its request, that one is the click's cause; a stranger's id is not."""
    async with serving(Site(OK)) as server, run(server.port, SUBSCRIBE) as running:
        running.generator.start()
        await running.requests.until(1)
        for request_id in ("s7-000000-9", "another-1"):
            mail = Mail(
                at_ns=time.monotonic_ns(),
                recipient="s7-000000@example.com",
                links=("http://h/click",),
                request_id=request_id,
            )
            running.generator.deliver(mail)
        await running.finish()
    causes = {o.request_id: o.cause_id for o in outcomes(tmp_path) if o.endpoint == "GET /click"}
    assert causes["s7-000000-2"] == "s7-000000-9"
    assert causes["s7-000000-2-2"] == "s7-000000-1"


async def test_a_click_that_is_planned_is_made_after_finish(tmp_path: Path, run: Run) -> None:
    """Finish waits for the clicks that are planned for later; mails after it lead to none."""
    slow = Journey(
        name="slow",
        steps=(
            Step(method="POST", path="/", form={"email": "{user}"}),
            Step(path="{link}", after="mail", delay_seconds=0.5),
        ),
    )
    site = Newsletter()
    async with (
        serving(site) as server,
        run(server.port, slow, rate=50.0) as running,
        mailbox(running.generator.deliver) as site.smtp,
    ):
        running.generator.start()
        await running.requests.until(3)
        running.generator.stop()
        # Each subscription is answered after its mail was accepted.
        await running.requests.until(running.generator.arrived, "POST")
        running.generator.finish()
        await site.mail("s7-000000@example.com", "http://h/late")
        await running.generator.drained()
        journeys = running.generator.arrived
    made = outcomes(tmp_path)
    assert sum(outcome.endpoint == "GET /confirm" for outcome in made) == journeys
    assert not any(outcome.endpoint == "GET /late" for outcome in made)
    assert "http://h/late" in {mail.links[0] for mail in RunFolder(tmp_path).mails.read()}


async def test_a_mail_to_nobody_is_recorded_and_leads_nowhere(tmp_path: Path, run: Run) -> None:
    """Mail for a stranger, and for a user who has not come yet, is kept and clicked by nobody."""
    async with serving(Site(OK)) as server, run(server.port, SUBSCRIBE) as running:
        for recipient in ("someone@else.com", "s7-000099@example.com"):
            running.generator.deliver(Mail(at_ns=1, recipient=recipient, links=("http://h/x",)))
        await running.finish()
    assert len(list(RunFolder(tmp_path).mails.read())) == 2
    assert outcomes(tmp_path) == []


async def test_a_mail_without_a_link_is_recorded_and_not_clicked(tmp_path: Path, run: Run) -> None:
    """Where there is nothing to click, the mail's own line is all that there is."""
    async with serving(Site(OK)) as server, run(server.port, SUBSCRIBE) as running:
        running.generator.start()
        await running.requests.until(1)
        for links in ((), ("http://[broken",)):
            running.generator.deliver(Mail(at_ns=1, recipient="s7-000000@example.com", links=links))
        await running.finish()
    assert {outcome.endpoint for outcome in outcomes(tmp_path)} == {"POST /subscriptions"}


async def test_a_failed_step_ends_its_journey(tmp_path: Path, run: Run) -> None:
    """The next step follows a success only: an unexpected status ends the journey."""
    two = Journey(name="two", steps=(Step(path="/first"), Step(path="/second")))
    site = Site(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    async with serving(site) as server, run(server.port, two) as running:
        running.generator.start()
        await running.requests.until(3)
        await running.finish()
    assert {outcome.endpoint for outcome in outcomes(tmp_path)} == {"GET /first"}


async def test_a_stall_is_in_the_latency_of_everyone_who_came_during_it(
    tmp_path: Path, run: Run
) -> None:
    """An origin that stops for a second delays each arrival of that second, not one of them.

    That is what a closed loop hides: its users wait, so that one slow answer is all it sees.
    """
    site = Stalling(answered=20)
    fields = {"rate": 100.0, "arrivals": "constant"}
    async with serving(site) as server, run(server.port, HEALTH, **fields) as running:
        running.generator.start()
        await site.until(20 + 100)  # a second's arrivals are waiting
        site.go_on.set()
        await running.finish()
    made = outcomes(tmp_path)
    latencies = sorted(outcome.latency_seconds for outcome in made)
    assert all(outcome.ok for outcome in made)
    assert sum(latency > 0.5 for latency in latencies) >= 45
    assert sum(latency > 0.1 for latency in latencies) >= 85
    assert latencies[-1] >= 0.95


async def test_what_is_due_goes_out_between_the_answers_of_a_stalled_origin(
    tmp_path: Path, run: Run
) -> None:
    """When many answers come at once, requests that are due do not wait for the last of them."""
    site = Stalling(answered=0)
    fields = {"rate": 200.0, "arrivals": "constant"}
    async with serving(site) as server, run(server.port, HEALTH, **fields) as running:
        record, during = running.generator.record, []

        def slowly(outcome: Outcome) -> None:
            during.append(time.monotonic_ns())
            time.sleep(0.005)  # the loop does nothing else meanwhile
            record(outcome)

        running.generator.start()
        await site.until(60)
        running.generator.record = slowly  # type: ignore[method-assign]
        site.go_on.set()
        await running.requests.until(60)
        running.generator.record = record  # type: ignore[method-assign]
        await running.finish()
    first, last = during[0], during[59]
    due = [one for one in outcomes(tmp_path) if first < one.planned_ns < last]
    sent = [one for one in due if one.sent_ns is not None and one.sent_ns < last]
    assert len(due) >= 20
    assert len(sent) >= min(len(due), 60) / 2  # one goes out after each answer


async def test_more_than_may_be_in_flight_is_undispatched(tmp_path: Path, run: Run) -> None:
    """Above the limit an arrival is not sent, not skipped and not delayed: it is recorded."""
    site = Stalling(answered=0)
    async with serving(site) as server, run(server.port, HEALTH, max_in_flight=3) as running:
        running.generator.start()
        await running.requests.until(7)
        site.go_on.set()
        await running.finish()
        tick = running.generator.tick().tick
    made = outcomes(tmp_path)
    undispatched = [outcome for outcome in made if not outcome.dispatched]
    assert len(undispatched) >= 7
    assert all(outcome.sent_ns is None for outcome in undispatched)
    assert undispatched[0].error_detail == "3 requests were in flight"
    assert (tick.planned, tick.ok) == (len(made), len(made) - len(undispatched))
    assert tick.undispatched == len(undispatched)


@pytest.mark.parametrize("served", [True, False])
async def test_catching_up_skips_nothing(tmp_path: Path, run: Run, *, served: bool) -> None:
    """Thousands that are due at once are all sent, late and in order, also when all are refused."""
    fields = {"rate": 2000.0, "arrivals": "constant"}
    async with (
        serving(Site(OK)) as server,
        run(server.port if served else 1, HEALTH, **fields) as running,
    ):
        running.generator.start(time.monotonic_ns() - 2_000_000_000)
        await running.requests.until(3000)
        await running.finish()
    made = outcomes(tmp_path)
    assert all(each.error == (None if served else "connect_refused") for each in made)
    numbers = sorted(int(each.request_id.split("-")[1]) for each in made)
    assert numbers == list(range(len(made)))
    late = [each.latency_seconds for each in made if each.request_id == "s7-000000-1"]
    assert late[0] >= 1.9


async def test_two_runs_of_one_seed_plan_the_same(tmp_path: Path, run: Run) -> None:
    """However the runs went, the same requests are planned at the same offsets."""
    plans = []
    for response in (OK, b"HTTP/1.1 503 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"):
        async with (
            serving(Site(response)) as server,
            run(server.port, SUBSCRIBE, HEALTH) as running,
        ):
            running.generator.start()
            await running.requests.until(50)
            await running.finish()
        made = sorted(outcomes(tmp_path), key=lambda outcome: outcome.request_id)[:50]
        plans.append(
            [
                (each.request_id, each.planned_ns - made[0].planned_ns, each.endpoint)
                for each in made
            ]
        )
    assert plans[0] == plans[1]


async def test_a_tick_counts_its_interval(run: Run) -> None:
    """A tick holds what ended since the one before, by replica, and how late requests were sent."""
    async with serving(Site(OK)) as server, run(server.port, HEALTH) as running:
        running.generator.start()
        await running.requests.until(5)
        await running.finish()
        tick, empty = running.generator.tick().tick, running.generator.tick().tick
    assert tick.planned == tick.ok == tick.served_by["a-1"] >= 5
    assert tick.p50_seconds is not None
    assert tick.p99_seconds is not None
    assert tick.schedule_lag_p99_seconds is not None
    assert 0 < tick.p50_seconds <= tick.p99_seconds
    assert (empty.planned, empty.ok, empty.p50_seconds, empty.served_by) == (0, 0, None, {})


async def test_a_host_without_an_address_is_one_clear_line(run: Run) -> None:
    """A host that does not exist is named."""
    with pytest.raises(TrafficError, match=r"^host nowhere\.invalid: "):
        async with run(1, HEALTH, host="nowhere.invalid"):
            pass


async def test_leaving_drops_every_connection(run: Run) -> None:
    """A generator that is left in the middle closes what it had open."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    site = Stalling(answered=0)
    async with serving(site) as server, run(server.port, HEALTH) as running:
        running.generator.start()
        await site.until(3)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
