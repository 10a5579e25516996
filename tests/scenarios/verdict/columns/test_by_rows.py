"""The judge counts in columns; by definition each number comes from one request after the other."""

import random
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from scenarios.evidence.backend import BackendChange
from scenarios.evidence.evidence import Evidence
from scenarios.evidence.exchange import ExchangeRecord
from scenarios.evidence.mail import Mail
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.scratch import FileScratch, Scratch
from scenarios.evidence.subject import Subject
from scenarios.verdict import Judgement, encode, judge
from scenarios.verdict.causes.answer_times import AnswerTimes
from scenarios.verdict.columns import column, order, parts
from scenarios.verdict.measures import exchanges, slo
from scenarios.verdict.measures.budget import windowed
from scenarios.verdict.measures.durations import Durations
from scenarios.verdict.measures.slo import Ordered, downtime_windows, percentile
from tests.support import evidence as make
from tests.support.by_rows import causes as by_rows_causes
from tests.support.by_rows import judge_by_rows
from tests.support.by_rows import slo as by_rows

SECOND = make.SECOND
ENDPOINTS = (
    *(make.SUBSCRIBE, make.CONFIRM, make.HEALTH),
    *("GET /items/7", "GET /pages/one", "POST /new/things"),
)
ANSWERS: tuple[dict[str, Any], ...] = (
    *[{"status": 200}] * 6,
    {"status": 404},
    {"status": 429},
    {"status": 500},
    {"status": 500, "sqlstate": "23502", "problem": "no"},
    {"status": 502, "proxy_status": "hitless; error=connection_terminated"},
    {"status": 503, "proxy_status": "hitless; error=destination_unavailable", "served_by": None},
    {"status": 200, "mismatch": "another body"},
    {"status": 200, "paced": True},
    {"status": None, "error": "timeout", "first_byte_ns": None, "served_by": None},
    {"status": None, "error": "reset", "first_byte_ns": None, "served_by": None},
    {"status": None, "error": "undispatched", "sent_ns": None, "first_byte_ns": None},
    {"status": 404, "expected": (200, 404)},
    {"status": 503, "expected": (200, 503)},
)
REPLICAS = ("a-1", "a-2", "b-1", "b-2", None, "odd")


def outcomes(dice: random.Random, number: int) -> Iterator[Outcome]:
    """Requests of a run in which much goes wrong, some of it on one version only."""
    likes = dice.sample(ANSWERS, dice.randint(1, len(ANSWERS)))
    rate = dice.choice([1, 20, 200])
    people = [f"u{n}@example.com" for n in range(dice.choice([2, 10, 1000]))]
    broken = dice.choice([None, "a", "b"])
    staying = dice.choice([0.0, 0.1])
    for index in range(number):
        planned = make.START + dice.randint(0, number * SECOND // rate)
        sent = planned + dice.choice([0, 200_000, 3_000_000])
        took = dice.choice([1_000_000, 4_000_000, 70_000_000, 1_500_000_000]) + dice.randint(0, 999)
        user = f"s7-u{index % 3:06}" if dice.random() < staying else None
        step = dice.choice(["1", "2", "2-2", "3"])
        odd = dice.random() < 0.02
        name = f"s7-{index:06}-{step}" if user is None else f"{user}-{index}-{step[0]}"
        replica = dice.choice(REPLICAS)
        fields: dict[str, Any] = {
            "status": 200,
            "sent_ns": sent,
            "first_byte_ns": sent + took // 2,
            "served_by": replica,
            "expected": (200,),
        }
        if dice.random() < 0.2:
            fields |= dice.choice(likes)
        if broken is not None and replica is not None and replica.startswith(broken):
            fields |= {"status": 500} if dice.random() < 0.5 else {}
        yield Outcome(
            request_id=dice.choice(["x", f"req-{index}", f"q-u-{index}"]) + str(index)
            if odd
            else name,
            journey=dice.choice(["subscribe", "check"]),
            endpoint=dice.choice(ENDPOINTS) if dice.random() < 0.9 else f"GET /items/{index}",
            connection=dice.choice(["new", "reused"]),
            planned_ns=planned,
            done_ns=planned + took,
            subject=dice.choice(people) if dice.random() < 0.7 else None,
            cause_id=f"s7-{dice.randint(0, number):06}-1" if dice.random() < 0.3 else None,
            user=user,
            value=dice.choice([None, "1", "1.0", "x", "5000000000"]),
            **(looked_at(dice) if dice.random() < 0.3 else {}),
            **fields,
        )


def looked_at(dice: random.Random) -> dict[str, Any]:
    """What a JSON answer looked like; sometimes its values were told before."""
    shape = dice.choice([("$ object", "$.id number"), ("$ object", "$.id string"), ("$ object",)])
    told = shape if dice.random() < 0.7 else None
    return {"shape": str(hash(shape)), "shape_values": told}


def world(seed: int, number: int) -> Evidence:
    """The evidence of such a run, in which the balancer's log and the rows do not quite agree."""
    dice = random.Random(seed)
    requests = list(outcomes(dice, number))
    subjects = sorted({one.subject for one in requests if one.subject})
    states = (None, "pending_confirmation", "active", "strange")

    def rows(share: float) -> list[Subject]:
        return [
            Subject(
                subject=subject,
                state=dice.choice(states),
                value=dice.choice([UNSET, None, "1", "x", "705032704"]),
            )
            for subject in (*subjects, "old-1", "old-2")
            for _ in range(dice.choice([1, 1, 1, 2]))
            if dice.random() < share
        ]

    lines = [
        ExchangeRecord(
            at_ns=one.planned_ns + 400_000,
            request_id=one.request_id,
            status=one.status if dice.random() < 0.97 else 200,
            backend=one.served_by or dice.choice(["a-1", None]),
            attempts=dice.choice([1, 1, 1, 2]),
            end=dice.choice(["complete", "complete", "cut"]),
            wait_ns=dice.choice([-1, 1000, 60_000_000]),
            total_ns=one.done_ns - one.planned_ns,
        )
        for one in requests
        if dice.random() < 0.95
    ]
    mails = [
        Mail(
            at_ns=one.done_ns,
            recipient=one.subject,
            request_id=dice.choice([None, one.request_id]),
            sent_by=one.served_by,
        )
        for one in requests
        if one.subject is not None and dice.random() < 0.3
    ]
    changes = [
        BackendChange(at_ns=make.at(2.0), id="a-1", change="down", reason="it timed out"),
        BackendChange(at_ns=make.at(3.0), id="a-1", change="up"),
    ]
    shuffled = list(lines)
    dice.shuffle(shuffled)
    return Evidence(
        manifest=make.MANIFEST,
        requests=requests,
        events=make.journal() if dice.random() < 0.9 else [],
        ticks=make.clean().ticks,
        mails=mails,
        exchanges=dice.choice([lines, shuffled]),
        subjects_before=rows(0.2),
        subjects_after=rows(0.9),
        backend_changes=changes,
    )


class InParts:
    """Reads records in three parts, as several processes do."""

    def read(
        self,
        records: Iterable[Any],
        take: Callable[[Iterable[Any], Scratch], Any],
        _: Scratch,
        shared: Sequence[object] = (),
    ) -> list[Any]:
        del shared
        every = list(records)
        third = len(every) // 3
        parts = every[:third], every[third : 2 * third], every[2 * third :]
        return [take(part, FileScratch(50)) for part in parts]

    @contextmanager
    def beside(
        self, work: Callable[[Scratch], Any], _: Scratch, *, long: bool
    ) -> Iterator[Callable[[], Any]]:
        del long
        found = work(FileScratch(50))
        yield lambda: found


def told(judgement: Judgement) -> list[tuple[object, ...]]:
    """What is said of each single request."""
    return [
        (one.failure.outcome.request_id, one.finding, one.contributing, one.faults)
        for one in (*judgement.failed, *judgement.slow)
    ]


# Each example is a whole run of random requests, so some dozens of them meet every rule.
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 1 << 32), number=st.sampled_from([0, 1, 2, 30, 400, 1500]))
@pytest.mark.parametrize("small", [False, True])
def test_columns_reach_the_verdict_of_rows(seed: int, number: int, *, small: bool) -> None:
    """Counted in columns or row by row: the same verdict, bit by bit, and the same causes.

    Both with batches and parts as they are and with tiny ones, which have many borders, and where
    all evidence is read in three parts.
    """
    evidence = world(seed, number)
    with pytest.MonkeyPatch.context() as patched:
        if small:
            patched.setattr(column, "BATCH", 7)
            patched.setattr(parts, "PAIRS_AT_ONCE", 16)
            patched.setattr(parts, "FULL", 3)
            patched.setattr(column, "FULL", 3)
            patched.setattr(exchanges, "MOST_WAITING", 5)
            evidence = replace(evidence, scratch=FileScratch(100), workers=InParts())
        columns = judge(evidence)
    rows = judge_by_rows(evidence)
    assert encode(columns.verdict) == encode(rows.verdict)
    assert told(columns) == told(rows)


MARKS = st.lists(st.tuples(st.integers(0, 20 * SECOND), st.booleans()), max_size=120)


def ordered(requests: list[tuple[int, bool]]) -> Ordered:
    marks = by_rows.Marks()
    for planned, failed in requests:
        marks.add(planned, failed=failed)
    return marks.ordered()


@given(requests=MARKS, size=st.integers(1, 9))
def test_batches_are_put_in_order(requests: list[tuple[int, bool]], size: int) -> None:
    """Requests in whatever order and batches come out by their planned times."""
    marks = [planned << 1 | failed for planned, failed in requests]
    batches = [marks[start : start + size] for start in range(0, len(marks), size)]
    found = slo.ordered(batches, [min(batch) >> 1 for batch in batches])
    whole = ordered(requests)
    assert (list(found.planned), bytes(found.failed)) == (list(whole.planned), whole.failed)


@given(requests=MARKS, gap=st.integers(1, 3 * SECOND))
def test_stretches_are_those_of_rows(requests: list[tuple[int, bool]], gap: int) -> None:
    """Windows of downtime, slots and the worst windows are what a walk over all requests finds."""
    marks = ordered(requests)
    assert downtime_windows(marks, gap) == by_rows.downtime_windows(marks, gap)
    assert slo.count_slots(marks, gap) == by_rows.count_slots(marks, gap)
    lengths = (0.1, 1.0, 5.0)
    assert windowed(marks, lengths) == by_rows.windowed(marks, lengths)


@given(
    several=st.lists(st.lists(st.integers(-(10**6), 10**9), max_size=40), max_size=4),
    shares=st.lists(st.sampled_from([0.0, 0.5, 0.9, 0.99, 0.999, 1.0]), max_size=3),
)
def test_percentiles_are_exact(several: list[list[int]], shares: list[float]) -> None:
    """A percentile of many durations is the very one that ordering all of them finds."""
    kept = []
    for values in several:
        durations = Durations(FileScratch(64))
        durations.add(values[:7])
        durations.add(values[7:])
        kept.append(durations)
    together = sorted(value for values in several for value in values)
    wanted = [percentile(together, share) for share in shares]
    assert Durations.percentiles(kept, shares) == wanted


@given(
    several=st.lists(st.lists(st.integers(0, 60), max_size=30), max_size=4),
    chunk=st.integers(1, 9),
)
def test_arrays_are_put_in_order(several: list[list[int]], chunk: int) -> None:
    """In chunks of whatever size, all numbers come out in order, each as often as it was there."""
    together = sorted(number for numbers in several for number in numbers)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(order, "_CHUNK", chunk)
        assert list(order.merged(array("q", sorted(one)) for one in several)) == together
    assert list(order.ordered([array("q", one) for one in several if one])) == together


@given(
    answers=st.lists(st.integers(0, 40), max_size=40),
    asked=st.lists(st.tuples(st.integers(-5, 50), st.integers(0, 40)), min_size=1),
)
def test_silence_is_that_of_rows(answers: list[int], asked: list[tuple[int, int]]) -> None:
    """Of a replica's answers only its long gaps are kept, and they say the same of any time."""
    columns, rows = AnswerTimes(), by_rows_causes.AnswerTimes()
    for at_ns in answers:
        columns.hear("a-1", at_ns)
        rows.hear("a-1", at_ns)
    for start, length in asked:
        stretch = "a-1", start, start + length
        assert columns.silent(*stretch) == rows.silent(*stretch)


def test_scratch_keeps_what_it_was_given() -> None:
    """Pieces come back as they were, in any order, from memory and from the file."""
    scratch = FileScratch(10)
    pieces = [bytes([number]) * number for number in range(20)]
    places = [scratch.keep(piece) for piece in pieces]
    scratch.read(places[3])
    assert scratch.keep(b"later") == 20
    assert [scratch.read(place) for place in reversed(places)] == pieces[::-1]


@pytest.mark.parametrize("spoil", ["planned", "name"])
def test_the_comparison_can_fail(spoil: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A column that is a little wrong makes another verdict than the rows."""
    evidence = world(7, 1500)
    rows = encode(judge_by_rows(evidence).verdict)
    add = column.Column.add
    wrong = {"planned": 1, "name": 6}[spoil]
    calls = [0]

    def spoilt(self: column.Column, values: Any) -> None:
        calls[0] += 1
        add(self, [value + 1 if calls[0] == wrong and value > 9 else value for value in values])

    monkeypatch.setattr(column.Column, "add", spoilt)
    assert encode(judge(evidence).verdict) != rows
