"""Requests follow from the plan, the seed and the mailed link, and from nothing else."""

from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.traffic.agenda import Agenda, PlannedRequest
from scenarios.traffic.errors import PlanError
from scenarios.traffic.journeys.links import target_of
from scenarios.traffic.journeys.population import Population
from scenarios.traffic.plan import Plan
from scenarios.traffic.settings import Journey, RatePoint, Step

SUBSCRIBE = Journey(
    name="subscribe",
    steps=(
        Step(
            method="POST",
            path="/subscriptions",
            form={"name": "Ursula {unique}", "email": "{user}"},
            connection="any",
            subject="{user}",
        ),
        Step(path="{link}", after="mail", subject="{user}", delay_seconds=0.5),
    ),
)
HEALTH = Journey(name="health", steps=(Step(path="/health_check?from={journey}"),), weight=3.0)


def plan(*journeys: Journey, **fields: object) -> Plan:
    base: dict[str, object] = {
        "host": "127.0.0.1",
        "port": 8080,
        "rate": 100.0,
        "seed": 7,
        "journeys": journeys or (SUBSCRIBE, HEALTH),
        "requests_path": "requests.ndjson",
        "mails_path": "mails.ndjson",
    }
    return Plan(**(base | fields))  # type: ignore[arg-type]


def steps(*parts: Step) -> Plan:
    return plan(Journey(name="one", steps=parts))


def request_of(made: Plan, number: int = 0, step: int = 0, link: str | None = None) -> bytes:
    population = Population(made)
    journey = population.journey(number)
    return journey.steps[step].request(
        population.values(number, journey, link), request_id="id-1", close=False
    )


def test_a_form_is_encoded_and_framed() -> None:
    """A form goes out url-encoded, with its length, its type, the host and the request's id."""
    head, _, body = request_of(plan(SUBSCRIBE), 123).partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /subscriptions HTTP/1.1"
    assert b"Host: 127.0.0.1:8080" in lines
    assert b"Content-Type: application/x-www-form-urlencoded" in lines
    assert b"X-Request-Id: id-1" in lines
    assert b"Content-Length: %d" % len(body) in lines
    assert parse_qs(body.decode()) == {
        "name": ["Ursula s7-000123"],
        "email": ["s7-000123@example.com"],
    }


def test_a_body_may_hold_braces() -> None:
    """Only words in braces are placeholders, so that JSON can be sent."""
    step = Step(method="POST", path="/", body='{"a": {"b": "{unique}"}}')
    assert request_of(steps(step)).endswith(b'{"a": {"b": "s7-000000"}}')


def test_a_field_of_the_plan_replaces_the_generators() -> None:
    """A header that the plan gives stands once, with the plan's value."""
    request = request_of(steps(Step(path="/", headers={"host": "shop.test", "accept": "x/y"})))
    assert request.lower().count(b"host:") == 1
    assert b"host: shop.test\r\n" in request


def test_a_post_without_a_body_says_so() -> None:
    """A POST with nothing to say has a length of 0, and a GET has none."""
    assert b"Content-Length: 0" in request_of(steps(Step(method="POST", path="/")))
    assert b"Content-Length" not in request_of(steps(Step(path="/")))


@pytest.mark.parametrize(
    ("link", "target"),
    [
        (
            "http://127.0.0.1:8080/subscriptions/confirm?token=Ab1",
            "/subscriptions/confirm?token=Ab1",
        ),
        ("https://shop.test", "/"),
        ("http://h/a%20b?x=%2F&y=a+b#part", "/a%20b?x=%2F&y=a+b"),
        ("http://h/ü?q=ü", "/%C3%BC?q=%C3%BC"),
    ],
)
def test_a_link_becomes_a_target(link: str, target: str) -> None:
    """A click asks for the link's path and query, encoded once, without the fragment."""
    assert target_of(link) == target


def test_an_endpoint_has_no_query_and_no_user() -> None:
    """Evidence groups by method and path: no query, no user's word, but the link's path."""
    population = Population(
        steps(
            Step(method="POST", path="/u/{unique}?x=1"),
            Step(path="{link}", after="mail"),
        )
    )
    post, click = population.journey(0).steps
    assert post.endpoint_for(None) == "POST /u/{unique}"
    assert click.endpoint_for("/confirm?token=5") == "GET /confirm"


@given(number=st.integers(0, 10**8), seed=st.integers(0, 10**6))
def test_an_address_names_its_journey(number: int, seed: int) -> None:
    """A user's address leads back to the journey, in any case, and to that one only."""
    population = Population(plan(seed=seed))
    assert population.number_of(population.user(number)) == number
    assert population.number_of(population.user(number).upper()) == number
    assert Population(plan(seed=seed + 1)).number_of(population.user(number)) is None


@pytest.mark.parametrize(
    "address",
    [
        "",
        "someone@example.com",
        "s7-5@example.com",
        "s7-0000005@example.com",
        "s7-000005@other.com",
        "xs7-000005@example.com",
        "s7-000005@example.com.",
        "s7-00000\u0665@example.com",
    ],
)
def test_an_address_of_nobody_is_nobodys(address: str) -> None:
    """An address that the generator never gives is no journey's."""
    assert Population(plan()).number_of(address) is None


def test_journeys_are_chosen_by_weight() -> None:
    """A journey of weight 3 is chosen three times as often as one of weight 1."""
    population = Population(plan())
    chosen = [population.journey(number).name for number in range(8_000)]
    assert 5_750 < chosen.count("health") < 6_250  # six standard deviations


def test_any_connection_is_half_new_half_reused() -> None:
    """`any` opens a connection for about every second request, the same ones for one seed."""
    population = Population(plan(SUBSCRIBE))
    compiled_step = population.journey(0).steps[0]
    closes = [population.details(number, 0, 0, compiled_step)[1] for number in range(4_000)]
    assert 1_800 < sum(closes) < 2_200
    assert closes == [population.details(number, 0, 0, compiled_step)[1] for number in range(4_000)]


def all_planned(made: Plan, count: int) -> list[PlannedRequest]:
    agenda = Agenda(made, Population(made))
    agenda.start(1_000)
    requests: list[PlannedRequest] = []
    while len(requests) < count:
        at = agenda.next_ns()
        assert at is not None
        while (planned := agenda.pop(at)) is not None:
            requests.append(planned)
    return requests[:count]


@given(seed=st.integers(0, 10**9))
def test_one_seed_is_one_plan(seed: int) -> None:
    """Two agendas of one seed hold the same requests at the same offsets."""
    made = plan(seed=seed)
    assert all_planned(made, 100) == all_planned(made, 100)


def test_turns_come_in_the_order_of_their_times() -> None:
    """Arrivals with pauses before their first step are sorted in among the others."""
    slow = Journey(name="slow", steps=(Step(path="/", delay_seconds=0.1),))
    times = [planned.planned_ns for planned in all_planned(plan(slow, HEALTH), 500)]
    assert times == sorted(times)


def test_a_stopped_agenda_keeps_what_was_due() -> None:
    """Stop cuts the arrivals after it, not those whose time had come and that are not yet sent."""
    made = plan(HEALTH, rate=1000.0, arrivals="constant")
    agenda = Agenda(made, Population(made))
    agenda.start(0)
    agenda.stop(10_500_000)
    sent = 0
    while agenda.pop(10**12) is not None:
        sent += 1
    assert sent == 11  # 0 ms to 10 ms
    assert agenda.next_ns() is None


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({"rate": 0.0}, "rate must be a number above 0, not 0.0"),
        ({"rate": float("nan")}, "rate must be a number above 0, not nan"),
        ({"arrivals": "recorded"}, "recorded arrivals need arrivals_path, and have no profile"),
        (
            {"profile": (RatePoint(at_seconds=1.0, rate=1.0),)},
            "profile must begin at at_seconds = 0",
        ),
        (
            {"profile": (RatePoint(at_seconds=0.0, rate=-1.0),)},
            "profile: rate must be a number of 0 or more, not -1.0",
        ),
        ({"processes": 0}, "processes must be 1 or more, not 0"),
        ({"timeout_seconds": 0.0}, "timeout_seconds must be above 0, not 0.0"),
        ({"max_in_flight": 0}, "max_in_flight must be 1 or more, not 0"),
        ({"port": 0}, "port must be from 1 to 65535, not 0"),
        ({"journeys": ()}, "journeys is empty: there is nothing to send"),
        ({"journeys": (HEALTH, HEALTH)}, "journey health: two journeys have this name"),
        (
            {"journeys": (Journey(name="x", steps=(Step(path="/"),), weight=0.0),)},
            "journeys: every weight is 0, so none would ever start",
        ),
        ({"journeys": (Journey(name="x", steps=()),)}, "journey x: it has no steps"),
    ],
)
def test_an_impossible_plan_is_one_clear_line(made: dict[str, object], message: str) -> None:
    """What is wrong, where, and what would be right."""
    with pytest.raises(PlanError, match="^" + message.replace("{", "[{]") + "$"):
        Population(plan(**({"journeys": (HEALTH,)} | made)))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([Step(path="health")], "step 1: path 'health' must begin with / or be {link}"),
        (
            [Step(path="/a b")],
            "step 1, path: it contains a character that must be percent-encoded: '/a b'",
        ),
        ([Step(path="/{usr}")], "step 1, path: nothing fills {usr}; did you mean {user}?"),
        (
            [Step(path="/{zzzzz}")],
            "step 1, path: nothing fills {zzzzz}; there are {unique}, {user}, ",
        ),
        (
            [Step(path="{link}")],
            'step 1: {link} is known only from the step with after = "mail" on',
        ),
        ([Step(path="/", after="mail")], 'step 1: after = "mail" needs an earlier step'),
        (
            [Step(path="/"), Step(path="/", after="mail"), Step(path="/", after="mail")],
            "step 3: a journey can wait for mail only once",
        ),
        ([Step(path="/", form={}, body="")], "step 1: form, json and body exclude each other"),
        ([Step(path="/", method="G T")], "step 1: method 'G T' cannot be sent"),
        ([Step(path="/", expect=())], "step 1: expect must name statuses from 200 to 599"),
        ([Step(path="/", headers={"a b": "c"})], "step 1: 'a b' is not the name of a header field"),
        (
            [Step(path="/", headers={"a": "c\r\nd: e"})],
            "step 1: the value of a must be printable ASCII",
        ),
        (
            [Step(path="/", headers={"Content-Length": "5"})],
            "step 1: the field Content-Length is the generator's own",
        ),
        ([Step(path="/", delay_seconds=-1.0)], "step 1: delay_seconds must be 0 or more"),
        (
            [Step(path="/", upload_bytes_per_second=0.0)],
            "step 1: upload_bytes_per_second must be above 0, not 0.0",
        ),
        (
            [Step(path="/", timeout_seconds=-1.0)],
            "step 1: timeout_seconds must be above 0, not -1.0",
        ),
    ],
)
def test_an_impossible_step_is_one_clear_line(parts: list[Step], message: str) -> None:
    """The journey, the step, the field, and what would be right."""
    with pytest.raises(PlanError) as raised:
        Population(steps(*parts))
    assert str(raised.value).startswith(f"journey one, {message}")
