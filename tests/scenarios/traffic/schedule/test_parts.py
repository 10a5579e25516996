"""Each of N generators sends its part of one schedule: together they send what one would."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from scenarios.traffic.agenda import Agenda
from scenarios.traffic.journeys.population import Population
from scenarios.traffic.plan import Plan
from scenarios.traffic.settings import Journey, RatePoint, Step

SECONDS = 2.0

STEPS = st.builds(
    Step,
    path=st.just("/"),
    connection=st.sampled_from(["new", "reused", "any"]),
    delay_seconds=st.sampled_from([0.0, 0.0, 0.2]),
)
JOURNEYS = st.lists(
    st.builds(
        Journey,
        name=st.just("x"),
        steps=st.lists(STEPS, min_size=1, max_size=3).map(tuple),
        weight=st.sampled_from([None, 0.5, 3.0]),
    ),
    min_size=1,
    max_size=3,
)
STAYING = st.lists(
    st.builds(
        Journey,
        name=st.just("x"),
        steps=st.lists(STEPS, min_size=1, max_size=2).map(tuple),
        login=st.lists(STEPS, max_size=1).map(tuple),
        users=st.integers(1, 9),
        every_seconds=st.sampled_from([0.3, 0.7]),
    ),
    max_size=2,
)


class Sent(NamedTuple):
    """One request of the schedule."""

    request_id: str
    journey: str
    planned_ns: int
    close: bool
    values: tuple[tuple[str, str], ...]


def plan_of(arriving: Sequence[Journey], staying: Sequence[Journey], **how: object) -> Plan:
    """A plan of these journeys, each with a name of its own."""
    journeys = tuple(
        msgspec.structs.replace(one, name=f"j{index}")
        for index, one in enumerate((*arriving, *staying))
    )
    plan = Plan(host="h", port=1, journeys=journeys, requests_path="", mails_path="", rate=40.0)
    return msgspec.structs.replace(plan, **how)


def sent(plan: Plan) -> list[Sent]:
    """What a generator with this plan sends, if each response comes after 10 ms."""
    population = Population(plan)
    agenda = Agenda(plan, population)
    agenda.start(0)
    end_ns = round(SECONDS * 1e9)
    agenda.stop(end_ns)
    found = []
    while (at := agenda.next_ns()) is not None:
        planned = agenda.pop(at)
        if planned is None:
            continue  # it begins with a pause
        number, journey = planned.number, population.journey(planned.number)
        values = population.values(number, journey, None)
        values.pop("worker")  # it is the number of the generator
        request_id = population.request_id(number, planned.step, planned.repetition)
        found.append(
            Sent(request_id, journey.name, planned.planned_ns, planned.close, (*values.items(),))
        )
        if planned.step + 1 < len(journey.steps):
            done_ns = planned.planned_ns + 10_000_000
            agenda.plan(
                done_ns, number=number, step=planned.step + 1, repetition=planned.repetition
            )
    return found


@given(
    arriving=JOURNEYS,
    staying=STAYING,
    generators=st.integers(1, 12),
    seed=st.integers(0, 2**40),
    arrivals=st.sampled_from(["poisson", "constant"]),
    profiled=st.booleans(),
)
def test_the_parts_together_are_the_schedule_of_one_generator(
    *,
    arriving: list[Journey],
    staying: list[Journey],
    generators: int,
    seed: int,
    arrivals: str,
    profiled: bool,
) -> None:
    """Same ids, times, journeys and connections; no request is in two parts, and none in none."""
    profile = (RatePoint(at_seconds=0, rate=10), RatePoint(at_seconds=1, rate=60))
    whole = plan_of(
        arriving, staying, seed=seed, arrivals=arrivals, profile=profile if profiled else ()
    )
    parts = [
        sent(msgspec.structs.replace(whole, processes=generators, shard=shard))
        for shard in range(generators)
    ]
    assert Counter(one for part in parts for one in part) == Counter(sent(whole))


@given(
    arriving=JOURNEYS, staying=STAYING, generators=st.integers(2, 12), seed=st.integers(0, 2**40)
)
def test_a_user_is_in_one_part(
    arriving: list[Journey], staying: list[Journey], generators: int, seed: int
) -> None:
    """So a user's cookies, connection and captured values are where its next request is sent."""
    whole = plan_of(arriving, staying, seed=seed, processes=generators)
    owner: dict[str, int] = {}
    for shard in range(generators):
        for one in sent(msgspec.structs.replace(whole, shard=shard)):
            assert owner.setdefault(dict(one.values)["unique"], shard) == shard
