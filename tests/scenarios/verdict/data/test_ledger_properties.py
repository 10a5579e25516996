"""Whatever a correct service does, the ledger finds nothing; whatever is broken in it, it finds."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.evidence.mail import Mail
from scenarios.evidence.subject import Subject
from scenarios.verdict.model import Integrity
from tests.support import evidence as make

PENDING, ACTIVE = "pending_confirmation", "active"

# What the client is told of a subscription, and whether the service did it.
SUBSCRIBED = {"status": 200}
UNHEARD: list[dict[str, Any]] = [
    {"status": None, "error": "timeout"},
    {"status": None, "error": "eof"},
    {"status": 502, "proxy_status": "hitless; error=connection_terminated"},
    {"status": 500},
]
REFUSED: list[dict[str, Any]] = [
    {"status": 400},
    {"status": 500, "sqlstate": "23502"},
    {"status": 503, "proxy_status": "hitless; error=destination_unavailable"},
    {"status": None, "error": "connect_refused", "sent_ns": None},
]
ANSWERS = st.one_of(
    st.just((SUBSCRIBED, True)),
    st.tuples(st.sampled_from(UNHEARD), st.booleans()),
    st.tuples(st.sampled_from(REFUSED), st.just(False)),
)


@dataclass
class World:
    """What clients asked and heard, and what a correct service then holds."""

    asked: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)
    mails: list[str] = field(default_factory=list)


@st.composite
def worlds(draw: Callable[..., Any]) -> World:
    """Subscriptions, repeated ones among them, and clicks on the mails, in a correct service."""
    world = World(before=[f"old-{n}" for n in range(draw(st.integers(0, 3)))])
    world.states = dict.fromkeys(world.before, ACTIVE)
    for number, answers in enumerate(draw(st.lists(st.lists(ANSWERS, max_size=3), max_size=8))):
        subject = f"u{number}"
        for told, done in answers:
            world.asked.append((subject, "subscribe", told))
            if done:
                world.states.setdefault(subject, PENDING)
                world.mails.append(subject)
        if subject in world.states and draw(st.booleans()):
            told = draw(st.sampled_from([SUBSCRIBED, *UNHEARD]))
            world.asked.append((subject, "confirm", told))
            if told is SUBSCRIBED or draw(st.booleans()):
                world.states[subject] = ACTIVE
    return world


def checked(world: World, rows: list[Subject], mails: list[str]) -> Integrity:
    requests = []
    endpoints = {"subscribe": make.SUBSCRIBE, "confirm": make.CONFIRM}
    for number, (subject, verb, told) in enumerate(world.asked):
        requests.append(
            make.request(number, number / 10, endpoint=endpoints[verb], subject=subject, **told)
        )
    return make.checked(
        requests,
        [Subject(subject=subject, state=ACTIVE) for subject in world.before],
        rows,
        [Mail(at_ns=n, recipient=subject) for n, subject in enumerate(mails)],
    )


def rows_of(world: World) -> list[Subject]:
    return [Subject(subject=subject, state=state) for subject, state in world.states.items()]


@given(world=worlds())
def test_a_correct_service_has_no_violation(world: World) -> None:
    """However requests end, a service that keeps its promises is never accused."""
    integrity = checked(world, rows_of(world), world.mails)
    assert integrity.violations == ()
    assert integrity.status in ("held", "unknown")


@given(world=worlds(), data=st.data())
@pytest.mark.parametrize("fault", ["lost", "doubled", "made up", "moved back", "mail twice"])
def test_a_planted_fault_is_found(fault: str, world: World, data: st.DataObject) -> None:
    """One broken promise among any requests is found, and nothing but it."""
    rows, mails = rows_of(world), list(world.mails)
    told_ok = {s for s, verb, told in world.asked if told is SUBSCRIBED and verb == "subscribe"}
    confirmed = {s for s, verb, told in world.asked if told is SUBSCRIBED and verb == "confirm"}
    victims = {
        "lost": sorted({*told_ok, *world.before}),
        "doubled": sorted(world.states),
        "made up": ["nobody"],
        "moved back": sorted(confirmed),
        "mail twice": sorted(set(mails)),
    }[fault]
    if not victims:
        return
    victim = data.draw(st.sampled_from(victims))
    match fault:
        case "lost":
            rows = [row for row in rows if row.subject != victim]
        case "doubled":
            rows += [row for row in rows if row.subject == victim]
        case "made up":
            rows.append(Subject(subject=victim, state=ACTIVE))
        case "moved back":
            rows = [
                Subject(subject=row.subject, state=PENDING) if row.subject == victim else row
                for row in rows
            ]
        case "mail twice":
            asked = sum(s == victim and verb == "subscribe" for s, verb, _ in world.asked)
            mails += [victim] * asked
    integrity = checked(world, rows, mails)
    assert integrity.violations
    assert {violation.subject for violation in integrity.violations} == {victim}
