"""Users who stay come again when their own schedule says so, whatever became of the last time."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.evidence.mail import Mail
from scenarios.evidence.outcome import Outcome
from scenarios.traffic.agenda import Agenda, PlannedRequest
from scenarios.traffic.errors import PlanError
from scenarios.traffic.journeys.population import Population
from scenarios.traffic.plan import Plan
from scenarios.traffic.settings import Journey, RatePoint, Step
from tests.support.generator import Run, outcomes
from tests.support.servers import Site, serving

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
UNAVAILABLE = b"HTTP/1.1 503 No\r\nContent-Length: 0\r\nSet-Cookie: seen=503\r\n\r\n"
HOME = (Step(path="/"),)
SECOND = 1_000_000_000


def staying(users: int = 5, every_seconds: float = 0.5, **fields: object) -> Journey:
    base: dict[str, object] = {"name": "stay", "steps": HOME}
    return Journey(users=users, every_seconds=every_seconds, **(base | fields))  # type: ignore[arg-type]


def plan(*journeys: Journey, **fields: object) -> Plan:
    base: dict[str, object] = {
        "host": "127.0.0.1",
        "port": 1,
        "rate": 50.0,
        "seed": 7,
        "journeys": journeys,
        "requests_path": "",
        "mails_path": "",
    }
    return Plan(**(base | fields))  # type: ignore[arg-type]


def planned_requests(made: Plan, seconds: float) -> list[tuple[str, PlannedRequest]]:
    """All that is planned until then, each with its request's id, in the order of the agenda."""
    population = Population(made)
    agenda = Agenda(made, population)
    agenda.start(0)
    agenda.stop(round(seconds * SECOND))
    found = []
    while (at := agenda.next_ns()) is not None:
        planned = agenda.pop(at)
        assert planned is not None
        found.append(
            (population.request_id(planned.number, planned.step, planned.repetition), planned)
        )
    return found


POPULATIONS = st.lists(
    st.tuples(st.integers(1, 20), st.floats(0.05, 3.0)), min_size=1, max_size=3
).map(
    lambda groups: [
        staying(users, seconds, name=f"stay-{number}")
        for number, (users, seconds) in enumerate(groups)
    ]
)


@given(journeys=POPULATIONS, seed=st.integers(0, 2**40))
def test_each_user_comes_on_time_every_time(journeys: Sequence[Journey], seed: int) -> None:
    """A user comes first within a period, then exactly once a period, to the nanosecond."""
    times: dict[int, list[int]] = defaultdict(list)
    for _, planned in planned_requests(plan(*journeys, seed=seed), 4.0):
        assert planned.repetition == len(times[planned.number])
        times[planned.number].append(planned.planned_ns)
    periods = [
        round((one.every_seconds or 0) * SECOND) for one in journeys for _ in range(one.users or 0)
    ]
    assert sorted(times) == [-1 - user for user in reversed(range(len(periods)))]
    for user, period in enumerate(periods):
        mine = times[-1 - user]
        assert 0 <= mine[0] < period
        assert all(later - earlier == period for earlier, later in pairwise(mine))
        assert mine[-1] <= 4 * SECOND < mine[-1] + period


@given(journeys=POPULATIONS, shards=st.integers(2, 5), seed=st.integers(0, 2**40))
def test_any_number_of_processes_plans_the_same(
    journeys: Sequence[Journey], shards: int, seed: int
) -> None:
    """Together the processes plan what one would: the same users and arrivals, each in one."""
    arriving = Journey(name="arrive", steps=HOME)
    made = plan(arriving, *journeys, seed=seed)
    whole = {request_id: planned.planned_ns for request_id, planned in planned_requests(made, 2.0)}
    parts: dict[str, int] = {}
    for shard in range(shards):
        part = planned_requests(
            plan(arriving, *journeys, seed=seed, processes=shards, shard=shard), 2.0
        )
        assert not parts.keys() & {request_id for request_id, _ in part}
        parts |= {request_id: planned.planned_ns for request_id, planned in part}
    assert parts == whole


@given(seed=st.integers(0, 2**40))
def test_arrivals_are_what_they_were(seed: int) -> None:
    """Users who stay change no arrival: not its time, and not what it does."""
    arriving = (Journey(name="a", steps=HOME), Journey(name="b", steps=HOME, weight=3.0))
    made = [plan(*arriving, seed=seed), plan(staying(), *arriving, seed=seed)]
    alone, among = (
        [
            (request_id, planned.planned_ns, Population(one).journey(planned.number).name)
            for request_id, planned in planned_requests(one, 1.0)
            if planned.number >= 0
        ]
        for one in made
    )
    assert alone == among


def test_the_seed_says_when_users_come() -> None:
    """Another seed is another phase for each; one seed is one plan."""
    first, again, other = (planned_requests(plan(staying(), seed=seed), 3.0) for seed in (1, 1, 2))
    assert first == again
    assert not {planned.planned_ns for _, planned in first} & {
        planned.planned_ns for _, planned in other
    }


def test_visits_are_spread_over_the_period() -> None:
    """Whenever a tenth of the period is looked at, about a tenth of the users come in it."""
    times = [planned.planned_ns for _, planned in planned_requests(plan(staying(200, 1.0)), 5.0)]
    for start in range(0, 4 * SECOND, SECOND // 7):
        assert 18 <= sum(start <= at < start + SECOND // 10 for at in times) <= 22


def test_a_request_names_its_user_and_visit() -> None:
    """A user's word and address are the same in all visits; each request's id is its own."""
    population = Population(plan(staying(2), staying(2, name="others")))
    words = [population.values(number, population.journey(number), None) for number in (-1, -2, -3)]
    assert [one["unique"] for one in words] == ["s7-u000000", "s7-u000001", "s7-u000002"]
    assert words[0]["user"] == "s7-u000000@example.com"
    assert [one["journey"] for one in words] == ["stay", "stay", "others"]
    assert population.request_id(-2, 0, 0) == "s7-u000001-1-1"
    assert population.request_id(-2, 2, 44) == "s7-u000001-45-3"
    assert len({population.uuid(number) for number in (-2, -1, 0, 1)}) == 4
    ids = [
        request_id
        for request_id, _ in planned_requests(plan(staying(), Journey(name="a", steps=HOME)), 5)
    ]
    assert len(set(ids)) == len(ids)


def test_a_mail_to_them_is_nobodys() -> None:
    """Users who stay wait for no mail, so no address of theirs leads to a journey."""
    population = Population(plan(staying(), Journey(name="a", steps=HOME)))
    assert population.number_of(population.user(-1)) is None
    assert population.number_of(population.user(3)) == 3


@pytest.mark.parametrize(
    ("journey", "message"),
    [
        (Journey(name="x", steps=HOME, users=5), "users also needs every_seconds"),
        (Journey(name="x", steps=HOME, every_seconds=1.0), "every_seconds also needs users"),
        (staying(0, name="x"), "users must be from 1 to 100000, not 0"),
        (staying(10**20, name="x"), f"users must be from 1 to 100000, not {10**20}"),
        (staying(1, 0.0, name="x"), "every_seconds must be from 0.001 to 86400, not 0"),
        (staying(1, -1.0, name="x"), "every_seconds must be from 0.001 to 86400, not -1"),
        (staying(1, float("nan"), name="x"), "every_seconds must be from 0.001 to 86400, not nan"),
        (staying(1, float("inf"), name="x"), "every_seconds must be from 0.001 to 86400, not inf"),
        (
            staying(name="x", weight=1.0),
            "weight is only for arrivals; a journey whose users stay has none",
        ),
    ],
)
def test_an_impossible_population_is_one_clear_line(journey: Journey, message: str) -> None:
    """The journey, the key, and what would be right."""
    with pytest.raises(PlanError) as raised:
        Population(plan(journey, Journey(name="a", steps=HOME)))
    assert str(raised.value) == f"journey x: {message}"


def test_a_mail_cannot_be_waited_for() -> None:
    """Whose visits come on a schedule has nobody to click each mail."""
    steps = (*HOME, Step(path="{link}", after="mail"))
    with pytest.raises(PlanError, match=r"^journey stay, step 2: users who stay wait for no mail$"):
        Population(plan(staying(steps=steps)))


def test_arrivals_need_somebody_who_comes() -> None:
    """A plan of staying users alone has no rate, and refuses a shape of it."""
    assert [planned.number for _, planned in planned_requests(plan(staying(1), rate=0.0), 1.0)] == [
        -1,
        -1,
    ]
    for shape in (
        {"profile": (RatePoint(at_seconds=0.0, rate=1.0),)},
        {"arrivals": "recorded", "arrivals_path": "arrivals.txt"},
    ):
        with pytest.raises(PlanError, match=r"^profile and recorded arrivals need a journey that"):
            Population(plan(staying(), **shape))


def by_user(found: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    users: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in sorted(found, key=lambda one: one.planned_ns):
        users[outcome.user or ""].append(outcome)
    return users


async def test_a_failure_keeps_nobody_away(tmp_path: Path, run: Run) -> None:
    """Users whose requests all fail come as often as those who are served."""
    visits = []
    for response in (OK, UNAVAILABLE):
        async with (
            serving(Site(response)) as server,
            run(server.port, staying(4, 0.05)) as running,
        ):
            running.generator.start()
            await running.requests.until(40)
            await running.finish()
        users = by_user(outcomes(tmp_path))
        assert sorted(users) == [f"s7-u{number:06d}" for number in range(4)]
        first = min(one.planned_ns for one in outcomes(tmp_path))
        visits.append([one.planned_ns - first for user in sorted(users) for one in users[user][:9]])
    assert visits[0] == visits[1]


class Silent(Site):
    """Answers nothing until it is let."""

    def __init__(self) -> None:
        super().__init__(OK)
        self.go_on = asyncio.Event()

    async def respond(self, request: bytes, writer: asyncio.StreamWriter) -> None:
        await self.go_on.wait()
        await super().respond(request, writer)


async def test_a_visit_waits_for_none_before_it(tmp_path: Path, run: Run) -> None:
    """While a server says nothing, one user comes again and again: all of them are late in the end.

    Each visit that finds the user's connection busy opens another; one of them is kept.
    """
    site = Silent()
    async with serving(site) as server, run(server.port, staying(1, 0.05)) as running:
        running.generator.start()
        await site.until(8)
        site.go_on.set()
        await running.requests.until(20)
        await running.finish()
    made = by_user(outcomes(tmp_path))["s7-u000000"]
    assert all(one.ok for one in made)
    assert all(b.planned_ns - a.planned_ns == SECOND // 20 for a, b in pairwise(made))
    assert made[0].latency_seconds > 0.3
    assert {one.connection for one in made[:8]} == {"new"}
    assert "reused" in {one.connection for one in made[8:]}


async def test_each_has_a_connection_of_its_own(tmp_path: Path, run: Run) -> None:
    """Users who stay open one connection each and keep it; those who arrive share theirs."""
    arriving = Journey(name="arrive", steps=HOME)
    async with (
        serving(Site(OK)) as server,
        run(server.port, staying(3, 0.3), arriving) as running,
    ):
        running.generator.start()
        await running.requests.until(250)
        await running.finish()
    users = by_user(outcomes(tmp_path))
    opened = {user: [one.connection for one in made] for user, made in users.items()}
    assert sum(each.count("new") for each in opened.values()) == server.connections
    for user in ("s7-u000000", "s7-u000001", "s7-u000002"):
        assert opened[user][0] == "new"
        assert set(opened[user][1:]) == {"reused"}


async def test_stop_ends_the_visits(tmp_path: Path, run: Run) -> None:
    """After stop nobody comes, and finish waits for who has."""
    async with serving(Site(OK)) as server, run(server.port, staying(5, 0.05)) as running:
        running.generator.start()
        await running.requests.until(20)
        running.generator.stop()
        stopped_ns = time.monotonic_ns()
        await running.finish()
    made = outcomes(tmp_path)
    assert all(one.ok and one.planned_ns <= stopped_ns for one in made)


async def test_a_mail_to_one_who_stays_leads_nowhere(tmp_path: Path, run: Run) -> None:
    """It is recorded, and nobody clicks it."""
    async with serving(Site(OK)) as server, run(server.port, staying(2, 0.05)) as running:
        running.generator.start()
        await running.requests.until(4)
        mail = Mail(at_ns=1, recipient="s7-u000000@example.com", links=("http://h/click",))
        running.generator.deliver(mail)
        await running.finish()
    assert {one.endpoint for one in outcomes(tmp_path)} == {"GET /"}


class Login(Site):
    """Gives whom it does not know a cookie, with a 403; to all others it counts their visits."""

    async def respond(self, request: bytes, writer: asyncio.StreamWriter) -> None:
        head, _, _ = request.partition(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
        user, cookie = fields[b"User"], fields.get(b"Cookie")
        if cookie is None:
            answer = b"HTTP/1.1 403 No\r\nSet-Cookie: me=%b; Path=/x\r\nSet-Cookie: n=1\r\n" % user
        else:
            known, _, count = cookie.rpartition(b"; n=")
            status = b"200 OK" if known == b"me=%b" % user else b"400 No"
            answer = b"HTTP/1.1 %b\r\nSet-Cookie: n=%d\r\n" % (status, int(count) + 1)
        writer.write(answer + b"Content-Length: 0\r\n\r\n")


async def test_a_user_keeps_its_cookies(tmp_path: Path, run: Run) -> None:
    """What any answer sets is sent with that user's next requests, and with nobody else's."""
    steps = (Step(path="/", headers={"User": "{unique}"}),)
    async with (
        serving(Login(OK)) as server,
        run(server.port, staying(3, 0.05, steps=steps)) as running,
    ):
        running.generator.start()
        await running.requests.until(30)
        await running.finish()
    users = by_user(outcomes(tmp_path))
    assert len(users) == 3
    for made in users.values():
        statuses = [one.status for one in made]
        refused = statuses.count(403)  # more than one where a visit did not wait for the first
        assert refused >= 1
        assert statuses == [403] * refused + [200] * (len(made) - refused)
        assert statuses[-1] == 200


async def test_a_cookie_goes_behind_the_steps_own(run: Run) -> None:
    """A step's own `Cookie` field stays first, and there is one field still."""
    site = Site(OK[:-2] + b"Set-Cookie: given=1\r\n\r\n")
    steps = (Step(path="/", headers={"cookie": "own={unique}"}),)
    arriving = Journey(name="arrive", steps=HOME)
    async with (
        serving(site) as server,
        run(server.port, staying(1, 0.2, steps=steps), arriving) as running,
    ):
        running.generator.start()
        while sum(b"s7-u" in each for each in site.requests) < 3:
            await site.until(len(site.requests) + 1)
        await running.finish()
    mine = [each for each in site.requests if b"s7-u" in each]
    assert b"\r\ncookie: own=s7-u000000\r\n" in mine[0]
    assert all(b"\r\ncookie: own=s7-u000000; given=1\r\n" in each for each in mine[1:])
    assert all(each.lower().count(b"\r\ncookie:") == 1 for each in mine)
    assert not any(b"ookie" in each for each in site.requests if b"s7-u" not in each)


COROUTINE = """
async def visit(user):
    first = await user.get("/first", subject=user.unique)
    await user.get("/second", headers={"Drawn": str(user.random.random())})
"""


async def test_a_coroutine_can_be_a_visit(tmp_path: Path, run: Run) -> None:
    """Each visit runs it anew, as the same user with the cookies and the connection it has.

    A failure ends the visit, not the user; ids and randomness are the visit's.
    """
    (tmp_path / "journey.py").write_text(COROUTINE)
    site = Site(OK[:-2] + b"Set-Cookie: given=1\r\n\r\n")
    journey = staying(2, 0.2, steps=(), python=f"{tmp_path / 'journey.py'}:visit")
    async with serving(site) as server, run(server.port, journey) as running:
        running.generator.start()
        await running.requests.until(12)
        site.response = UNAVAILABLE
        await running.requests.until(20)
        await running.finish()
        assert server.connections == 2
    users = by_user(outcomes(tmp_path))
    assert sorted(users) == ["s7-u000000", "s7-u000001"]
    for user, made in users.items():
        visits = [f"{user}-{visit}" for visit in (1, 1, 2, 2, 3, 3)]
        ids = [f"{visit}-{1 + number % 2}" for number, visit in enumerate(visits)]
        assert [one.request_id for one in made[:6]] == ids
        assert [one.cause_id for one in made[:4]] == [None, ids[0], None, ids[2]]
        assert {one.subject for one in made if one.endpoint == "GET /first"} == {user}
        assert [one.endpoint for one in made[-2:]] == ["GET /first", "GET /first"]
    sent = [each for each in site.requests if b"s7-u000000" in each]
    assert b"Cookie" not in sent[0]
    assert all(b"\r\nCookie: given=1" in each for each in sent[1:])
    drawn = [each.split(b"Drawn: ")[1].split(b"\r\n")[0] for each in sent if b"Drawn" in each]
    assert len(set(drawn)) == len(drawn) >= 2
