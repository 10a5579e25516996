"""The value that is stored is the value that was sent, or the one of before."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.evidence.subject import Subject, as_text
from scenarios.verdict.data.values import changed_values, same
from scenarios.verdict.model import Integrity
from tests.support import evidence as make
from tests.support.evidence import Evidence

BIG, WRAPPED = "5000000000", "705032704"
UNHEARD: dict[str, Any] = {"status": None, "error": "timeout"}
REFUSED: dict[str, Any] = {"status": 422}


def judged(sent: list[tuple[str, str, dict[str, Any]]], *rows: Subject, **more: Any) -> Integrity:
    requests = [
        make.request(
            number, number / 10, endpoint=make.SUBSCRIBE, subject=subject, value=value, **told
        )
        for number, (subject, value, told) in enumerate(sent)
    ]
    return make.checked(requests, more.get("before", ()), rows, ())


def broken(integrity: Integrity) -> dict[str, int]:
    return {one.invariant: one.violations for one in integrity.invariants if one.violations}


def row(subject: str, value: str | None) -> Subject:
    return Subject(subject=subject, value=value)


def test_a_number_that_was_stored_in_too_few_bits_is_found() -> None:
    """The row is there, and each request was acknowledged; only its value is another."""
    found = judged([("a", BIG, {}), ("b", BIG, {})], row("a", BIG), row("b", WRAPPED))
    assert broken(found) == {"kept_value": 1}
    (violation,) = found.violations
    assert violation.subject == "b"
    assert violation.expected == "5000000000, which was sent"
    assert violation.found == "705032704 (the same modulo 2^32)"
    assert violation.requests == ("s7-000001-1",)


def test_without_a_declared_value_nothing_is_compared() -> None:
    """Neither where the query has no such column, nor where no step declares one."""
    requests = [make.request(0, 0.0, endpoint=make.SUBSCRIBE, subject="a")]
    assert broken(make.checked(requests, (), [row("a", "7")], ())) == {}
    assert broken(judged([("a", BIG, {})], Subject(subject="a"))) == {}


@pytest.mark.parametrize(
    ("sent", "stored"), [("1.50", "1.5"), ("5e9", BIG), ("007", "7"), ("x", "x"), ("-0", "0")]
)
def test_ways_to_write_a_number_are_the_same(sent: str, stored: str) -> None:
    """A client writes 1.5 where a numeric column shows 1.50."""
    assert broken(judged([("a", sent, {})], row("a", stored))) == {}


def test_null_is_another_value() -> None:
    """An insert that drops the value stores nothing in its place."""
    assert broken(judged([("a", "x", {})], row("a", None))) == {"kept_value": 1}


def test_who_was_refused_promises_nothing_and_who_heard_nothing_may_have_won() -> None:
    """A timed-out write may be there or not; a refused one changes nothing."""
    before = [row("a", "old")]
    for told, value, bad in (
        (UNHEARD, "new", False),
        (UNHEARD, "old", False),
        (REFUSED, "old", False),
        (REFUSED, "new", True),
        (UNHEARD, "other", True),
        ({}, "old", True),
    ):
        found = judged([("a", "new", told)], row("a", value), before=before)
        assert broken(found) == ({"kept_value": 1} if bad else {}), (told, value)


def test_a_migration_that_changes_old_values_is_found() -> None:
    """Nobody asked for these rows; they must be as they were."""
    before = [row("old", "1.25"), row("other", "2")]
    found = judged([], row("old", "1"), row("other", "2"), before=before)
    assert broken(found) == {"kept_value": 1}
    assert "stored before the run" in found.violations[0].expected


@st.composite
def stores(draw: Callable[..., Any]) -> tuple[list[Any], list[Subject], list[Subject]]:
    """Writes, in order, and a store that keeps the last one that took effect."""
    values = st.sampled_from(["1", "2.5", BIG, "text", "1.0"])
    before = [row(f"s{n}", draw(values)) for n in range(draw(st.integers(0, 3)))]
    kept: dict[str, str | None] = {one.subject: one.value for one in before}  # type: ignore[misc]
    sent = []
    for _ in range(draw(st.integers(0, 12))):
        subject, value = f"s{draw(st.integers(0, 5))}", draw(values)
        told, done = draw(
            st.sampled_from([({}, True), (UNHEARD, True), (UNHEARD, False), (REFUSED, False)])
        )
        sent.append((subject, value, told))
        if done:
            kept[subject] = value
    return sent, before, [row(subject, value) for subject, value in kept.items()]


@given(stores(), st.data())
def test_a_store_that_keeps_what_it_took_is_never_accused(
    world: tuple[list[Any], list[Subject], list[Subject]], data: st.DataObject
) -> None:
    """And one value that nobody sent, planted in it, is found."""
    sent, before, after = world
    assert "kept_value" not in broken(judged(sent, *after, before=before))
    if after:
        victim = data.draw(st.integers(0, len(after) - 1))
        planted = list(after)
        planted[victim] = row(after[victim].subject, "nobody sent this")
        found = judged(sent, *planted, before=before)
        assert broken(found).get("kept_value") == 1
        assert found.violations[-1].subject == after[victim].subject


@given(st.integers(-(10**30), 10**30), st.integers(0, 5))
def test_a_number_is_itself_however_it_is_written(number: int, zeros: int) -> None:
    """With a fraction of zeros, or with a sign."""
    assert same(f"{number}.{'0' * zeros}" if zeros else str(number)) == same(str(number))
    assert same(str(number)) != same(str(number + 1))


def test_values_are_told_as_json_tells_them() -> None:
    """A boolean column shows what the client sent."""
    assert [as_text(one) for one in (True, False, 5, "x")] == ["true", "false", "5", "x"]


def test_rows_that_a_migration_lost_or_changed_are_named() -> None:
    """As a check compares them, before and after each change of the schema."""
    before = [row("a", "1"), row("b", "2"), Subject(subject="c")]
    assert list(changed_values(before, before)) == []
    found = list(changed_values(before, [row("a", "1.0"), row("b", "3")]))
    assert found == [("b", "2", "3"), ("c", "a row", "no row")]


def test_the_verdict_fails_by_the_value_alone(clean_run: Evidence) -> None:
    """No request failed, and no row is missing."""
    index = next(n for n, one in enumerate(clean_run.outcomes) if one.subject is not None)
    subject = clean_run.outcomes[index].subject
    run = clean_run.with_request(index, value=BIG)
    rows = [
        Subject(
            subject=one.subject, state=one.state, value=WRAPPED if one.subject == subject else ""
        )
        for one in run.after
    ]
    verdict = run.but(after=rows).judge()
    assert verdict.verdict == "fail"
    assert "data:kept_value" in verdict.cause_ids
    assert WRAPPED in verdict.reasons[0]
