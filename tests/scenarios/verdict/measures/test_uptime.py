"""What users saw who stayed: exact, and worse than what those tell who came once."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.evidence.outcome import Outcome
from scenarios.verdict.measures.uptime import StayingLedger
from scenarios.verdict.model import Users, WindowedUptime
from tests.support import evidence as make
from tests.support.by_rows.slo import Marks

SECOND = 1_000_000_000
UP, DOWN, UNSENT = "up", "down", "unsent"
Visits = Sequence[tuple[float, str]]


def outcome(user: str, when: float, state: str) -> Outcome:
    error = {UP: None, DOWN: "reset", UNSENT: "undispatched"}[state]
    return Outcome(
        request_id="s7-u000000-1-1",
        journey="stay",
        endpoint="GET /",
        connection="reused",
        planned_ns=round(when * SECOND),
        done_ns=round(when * SECOND) + 1,
        expected=(200,),
        status=200 if error is None else None,
        error=error,
        user=user,
    )


def seen(people: dict[str, Visits], origin: float = 0.0) -> Users:
    ledger, marks = StayingLedger(), Marks()
    for user, visits in people.items():
        for when, state in visits:
            ledger.add(user, outcome(user, when, state))
            marks.add(round(when * SECOND), failed=state != UP)
    return ledger.users(marks.ordered(), round(origin * SECOND))


def test_the_first_outcome_holds_until_the_next_visit() -> None:
    """Each user is up or down from one visit to the next, whatever the others are."""
    users = seen(
        {
            "ann": [(0.0, UP), (1.0, DOWN), (2.0, DOWN), (3.0, UP), (4.0, UP)],
            "bob": [(0.5, UP), (1.5, UP), (2.5, UP)],
            "once": [(2.0, DOWN)],
        }
    )
    assert (users.staying, users.users) == (True, 2)
    assert users.uptime == 4 / 6
    assert users.worst is not None
    assert (users.worst.user, users.worst.uptime, users.worst.down_seconds) == ("ann", 0.5, 2.0)


def test_what_was_not_sent_is_neither_up_nor_down() -> None:
    """From a visit that the load generator could not send until the next one nothing is known."""
    users = seen({"ann": [(0.0, UP), (1.0, UNSENT), (3.0, DOWN), (4.0, UP)]})
    assert users.uptime == 0.5
    assert seen({"ann": [(0.0, UNSENT), (1.0, UNSENT)]}).uptime is None
    assert seen({"ann": [(0.0, UNSENT), (1.0, UNSENT)]}).worst is None


def test_a_long_absence_counts() -> None:
    """Who stays is there, so that no pause is too long to count."""
    visits = [(when / 10, UP) for when in range(1000)]
    users = seen({"ann": [*visits, (150.0, DOWN), (250.0, UP)]})
    assert users.uptime == pytest.approx(150 / 250)


def population(every: float, hole: tuple[float, float], users: int = 10) -> dict[str, Visits]:
    """Users with phases of their own over ten seconds; in the hole nobody is served."""
    return {
        f"u{user}": [
            (when, DOWN if hole[0] <= when < hole[1] else UP)
            for when in (user * every / users + visit * every for visit in range(int(10 / every)))
        ]
        for user in range(users)
    }


def test_a_hole_is_as_long_as_it_is() -> None:
    """Ten users who come twice a second are all down for the one second of an outage, exactly."""
    people = population(0.5, (4.0, 5.0))
    users = seen(people, origin=1.0)
    assert users.uptime == 1 - 10 * 1.0 / sum(v[-1][0] - v[0][0] for v in people.values())
    windows = {window.seconds: window for window in users.uptime_windows}
    # From its first failed visit on each user is down for a second: at 4.0 s, 4.05 s... 4.45 s.
    assert windows[5.0].worst == 0.8
    # No second holds all of that: of the one from 4.2 s on each user is up for as long as its own
    # second is away from it, which is 0.05 s times 4, 3, 2, 1, 0, 1, 2, 3, 4 and 5.
    assert (windows[1.0].worst, windows[1.0].start) == (0.125, 3.2)


def test_who_comes_once_does_not_see_it() -> None:
    """Why users stay: where a failure ends a journey, its user is not there to be down.

    The same visits, made by users of two steps who leave when the first one fails, show an
    uptime without a hole.
    """
    people = population(0.5, (4.0, 5.0))
    requests = []
    for visits in people.values():
        for number, (when, state) in enumerate(visits):
            name = f"{visits[0][0]}-{number}"
            status = 200 if state == UP else 500
            requests.append(make.request(len(requests), when, subject=name, status=status))
            if state == UP:
                requests.append(make.request(len(requests), when + 0.1, subject=name))
    closed = make.users_of(requests)
    assert (closed.staying, closed.uptime) == (False, 1.0)
    assert (seen(people).uptime or 1.0) < 0.9


def test_an_average_hides_the_worst() -> None:
    """One user of a hundred who is never served hardly moves the uptime, and is named."""
    people: dict[str, Visits] = {f"u{n:02}": [(0.0, UP), (10.0, UP)] for n in range(99)}
    users = seen({**people, "unlucky": [(0.0, DOWN), (10.0, DOWN)]})
    assert users.uptime == 0.99
    assert users.worst is not None
    assert (users.worst.user, users.worst.uptime) == ("unlucky", 0.0)


def test_one_hole_differs_from_many_blips() -> None:
    """The same time down is one bad stretch, or hardly seen in any."""
    hole = seen(population(0.5, (4.0, 6.0)))
    blips = seen(
        {
            f"u{user}": [
                (user / 20 + visit / 2, DOWN if (visit + user) % 5 == 0 else UP)
                for visit in range(20)
            ]
            for user in range(10)
        }
    )
    assert hole.uptime == pytest.approx(blips.uptime, abs=0.02)
    assert hole.uptime_windows[0].worst == 0.0
    assert blips.uptime_windows[0].worst > 0.7


TIMES = st.lists(st.integers(0, 80), min_size=1, max_size=12, unique=True).map(sorted)
PEOPLE = st.lists(
    TIMES.flatmap(
        lambda times: st.tuples(
            *(st.tuples(st.just(t / 2), st.sampled_from([UP, UP, DOWN, UNSENT])) for t in times)
        )
    ),
    min_size=1,
    max_size=5,
).map(lambda users: {f"u{number}": visits for number, visits in enumerate(users)})


QUARTERS = 4
"""The reference counts in quarters of a second, since whole numbers are faster than fractions."""


def stretches(people: dict[str, Visits]) -> list[tuple[int, int, str]]:
    """Each stretch of each user, from when to when in quarters of a second."""
    return [
        (int(begin * QUARTERS), int(end * QUARTERS), state)
        for visits in people.values()
        for (begin, state), (end, _) in pairwise(visits)
        if state != UNSENT
    ]


def share(
    known: Sequence[tuple[int, int, str]], start: int | Fraction, length: float
) -> Fraction | None:
    """Users' time up of their time, by its definition."""
    end = start + int(length * QUARTERS)
    spent = [(max(min(e, end) - max(b, start), 0), state) for b, e, state in known]
    total = sum(time for time, _ in spent)
    return Fraction(sum(time for time, state in spent if state == UP), total) if total else None


@given(people=PEOPLE)
def test_the_sums_are_those_of_the_definition(people: dict[str, Visits]) -> None:
    """User-uptime is the time up over all time, of all users and of the one who saw least."""
    known = stretches(people)
    users = seen(people)
    whole = share(known, 0, 100)
    assert users.uptime == (None if whole is None else pytest.approx(float(whole)))
    each = {
        user: one
        for user, visits in people.items()
        if (one := share(stretches({user: visits}), 0, 100)) is not None
    }
    assert users.users == len(each)
    if each:
        assert users.worst is not None
        worst = min(sorted(each), key=lambda user: each[user])
        assert (users.worst.user, users.worst.uptime) == (worst, pytest.approx(float(each[worst])))


@given(people=PEOPLE)
def test_no_stretch_is_worse_than_the_one_told(people: dict[str, Visits]) -> None:
    """The worst window is the minimum over all positions, and stands where it is said to stand.

    All visits are at multiples of half a second, so that the minimum is at one of those; the
    reference looks at every quarter.
    """
    known = stretches(people)
    found = {window.seconds: window for window in seen(people, origin=3.0).uptime_windows}
    for length in (1.0, 5.0, 30.0, 300.0):
        first = min((begin for begin, _, _ in known), default=0)
        last = max((end for _, end, _ in known), default=0) - int(length * QUARTERS)
        shares = [share(known, start, length) for start in range(first, last + 1)]
        there = [one for one in shares if one is not None]
        assert (length in found) == bool(there)
        if there:
            told: WindowedUptime = found[length]
            assert told.worst == pytest.approx(float(min(there)))
            assert share(known, (Fraction(told.start) + 3) * QUARTERS, length) == min(there)


def test_the_verdict_tells_of_who_stayed() -> None:
    """Where users stay, `users` is about them; all requests count as ever."""
    clean = make.clean()
    plain = clean.judge()
    assert (plain.users.staying, plain.users.worst, plain.users.uptime_windows) == (False, None, ())
    visits = [
        make.request(
            number,
            number % 3 / 10 + number // 3 / 2,
            request_id=f"s7-u{number % 3:06}-{number // 3}-1",
            user=f"s7-u{number % 3:06}",
            served_by="a-1",
        )
        for number in range(36)
    ]
    run = clean.but(outcomes=[*clean.outcomes, *visits])
    verdict = run.judge()
    assert verdict.requests.ok == plain.requests.ok + 36
    assert (verdict.users.staying, verdict.users.users, verdict.users.uptime) == (True, 3, 1.0)
    assert [window.worst for window in verdict.users.windows] == [1.0, 1.0]
    assert [window.worst for window in verdict.users.uptime_windows] == [1.0, 1.0]
    broken = run.failing(2.25, 2.95, status=503).judge().users
    # Users 0 and 1 come once in that time, at 2.5 s and 2.6 s, user 2 as well, at 2.7 s.
    assert broken.uptime == pytest.approx(1 - 3 * 0.5 / (3 * 5.5))
    assert broken.worst is not None
    assert broken.worst.user == "s7-u000000"


def test_old_evidence_has_no_users_who_stay() -> None:
    """A line without `user` is read, and one of a user who came once has none."""
    line = msgspec.json.encode(outcome("u", 1.0, UP))
    assert msgspec.json.decode(line, type=Outcome).user == "u"
    old = msgspec.structs.replace(outcome("u", 1.0, UP), user=None)
    assert b"user" not in msgspec.json.encode(old)
    assert msgspec.json.decode(msgspec.json.encode(old), type=Outcome) == old
