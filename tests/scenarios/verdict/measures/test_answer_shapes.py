"""JSON answers before and after a change: what a client would miss, and what it would not."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.evidence.answer_shape import shape_of
from scenarios.evidence.manifest import Objectives
from scenarios.verdict.model.answer_changes import AnswerChange
from tests.support.evidence import Evidence, clean

ITEM = {"id": 7, "device": "x", "price": 2}


def answered(run: Evidence, *stretches: tuple[float, float, Sequence[object]]) -> Evidence:
    """The run, with these documents in turn as the answers to requests of some time."""
    told: set[str] = set()
    outcomes = []
    for number, outcome in enumerate(run.outcomes):
        at = (outcome.planned_ns - run.outcomes[0].planned_ns) / 1e9
        documents = [docs for start, end, docs in stretches if start <= at < end]
        if not documents or outcome.endpoint != "GET /health_check":
            outcomes.append(outcome)
            continue
        values = shape_of(msgspec.json.encode(documents[0][number % len(documents[0])]))
        name = str(hash(values))
        outcomes.append(
            msgspec.structs.replace(
                outcome, shape=name, shape_values=None if name in told else values
            )
        )
        told.add(name)
    return run.but(outcomes=outcomes)


def changes(run: Evidence) -> tuple[AnswerChange, ...]:
    return run.judge().answers.changes


RENAMED = {"id": 7, "sensor": "x", "price": 2}


def test_a_value_that_is_missing_after_a_migration_fails_the_run(clean_run: Evidence) -> None:
    """Each status is 200; the change, its version and the first request are named."""
    run = answered(clean_run, (0, 2.05, [ITEM]), (2.45, 6, [RENAMED]))
    verdict = run.judge()
    assert verdict.verdict == "fail"
    assert "answer_changed" in verdict.cause_ids
    first = verdict.answers.changes[0]
    assert (first.what, first.version, first.since) == ("$.device is missing", "a", "0002.expand")
    assert first.count == first.answers > 20
    (check,) = [one for one in verdict.checks if one.check == "answers"]
    assert check.held is False
    assert "since 0002.expand: $.device is missing" in check.sentence
    allowed = run.asked(objectives=Objectives(same_answers=False)).judge()
    assert allowed.verdict == "pass"
    assert allowed.answers == verdict.answers


def test_another_version_that_answers_otherwise_is_named(clean_run: Evidence) -> None:
    """Its clients were those of the version before, such as a browser's open tab."""
    run = answered(clean_run, (0, 2.05, [ITEM]), (2.45, 3.2, [ITEM]), (3.2, 6, [RENAMED]))
    (found,) = changes(run)
    assert (found.version, found.before) == ("b", "a")
    assert "was there in each answer of version a" in found.sentence


def test_a_number_that_becomes_text_is_a_change(clean_run: Evidence) -> None:
    """As node-postgres does it with a column that became bigint."""
    run = answered(clean_run, (0, 2.05, [ITEM]), (2.45, 6, [{**ITEM, "id": "7"}]))
    assert changes(run)[0].what == "$.id is now string, and was number"


@pytest.mark.parametrize(
    "now",
    [
        [ITEM],
        [{**ITEM, "more": 1}],
        [{**ITEM, "device": None}],
        [{**ITEM, "price": 2.5}],
    ],
)
def test_what_a_client_does_not_notice_is_none(now: list[Any], clean_run: Evidence) -> None:
    """New values, null, another number."""
    run = answered(clean_run, (0, 2.05, [ITEM]), (2.45, 6, now))
    verdict = run.judge()
    assert verdict.answers.changes == ()
    assert verdict.verdict == "pass"
    (check,) = [one for one in verdict.checks if one.check == "answers"]
    assert check.held is True


def test_values_that_come_and_go_are_none(clean_run: Evidence) -> None:
    """Neither one that was missing before, too, nor one that is missing once, by chance."""
    before = [ITEM, {"id": 7, "price": 2}]
    assert changes(answered(clean_run, (0, 2.05, before), (2.45, 6, [RENAMED]))) == ()
    rare = [*[ITEM] * 300, RENAMED]
    assert changes(answered(clean_run, (0, 2.05, [ITEM]), (2.45, 6, rare))) == ()


def test_too_few_answers_prove_nothing(clean_run: Evidence) -> None:
    """Three answers before could all have had by chance what later ones have not."""
    few = answered(clean_run, (0, 0.04, [ITEM]), (5.9, 6, [RENAMED]))
    assert few.judge().answers.looked_at > 1
    assert changes(few) == ()


def test_an_empty_list_has_no_elements_to_miss(clean_run: Evidence) -> None:
    """What its elements had is compared only where there are elements."""
    full, empty = {"items": [ITEM]}, {"items": []}
    assert changes(answered(clean_run, (0, 2.05, [full]), (2.45, 6, [empty]))) == ()
    lost = {"items": [RENAMED]}
    assert changes(answered(clean_run, (0, 2.05, [full]), (2.45, 6, [lost])))[0].what == (
        "$.items[].device is missing"
    )


_VALUES = st.sampled_from([1, "x", True, [1], {"a": 1}])


@given(st.dictionaries(st.sampled_from("abcdef"), _VALUES, min_size=1), st.data())
def test_exactly_what_was_planted_is_found(document: dict[str, Any], data: st.DataObject) -> None:
    """A document without one of its values: that path, and what was inside, and nothing else."""
    lost = data.draw(st.sampled_from(sorted(document)))
    now = {key: value for key, value in document.items() if key != lost}
    run = answered(clean(), (0, 2.05, [document]), (2.45, 6, [now]))
    found = {one.what for one in changes(run)}
    assert found == {f"$.{lost} is missing"}
