"""One causal sentence says what happened, to whom, and what would have prevented it."""

from collections.abc import Mapping

import msgspec
import pytest

from scenarios.reports.sentence import fine, summary_of
from scenarios.verdict import Verdict
from scenarios.verdict.model import Cause, VersionShare
from scenarios.verdict.model.advice import Advice
from scenarios.verdict.model.causes import CauseKind

NOT_NULL = (
    'SQLSTATE 23502: not-null violation: null value in column "status" of relation '
    '"subscriptions" violates not-null constraint (version a)'
)

MADE_NOT_NULL = (
    'Migration 0001 made "status" of subscriptions NOT NULL while version a, which does not write '
    "it, still served: 696 requests to POST /subscriptions failed within 21.6 s."
)


def failing(
    verdict: Verdict,
    cause: str,
    title: str,
    *,
    kind: CauseKind = "statement",
    version: str = "a",
    step: str = "soak b-4",
    schema: str | None = "0001",
    contributing: Mapping[str, int] | None = None,
    **differs: object,
) -> Verdict:
    """A failed run with one cause, whose first request came during this step, on this schema."""
    old: Cause = verdict.causes[0]
    example = msgspec.structs.replace(old.evidence.examples[0], step=step, schema=schema)
    evidence = msgspec.structs.replace(
        old.evidence,
        first=2.0,
        last=23.6,
        versions={version: 696},
        endpoints={"POST /subscriptions": 696},
        examples=(example,),
        contributing=contributing or {},
    )
    one = msgspec.structs.replace(
        old, cause=cause, title=title, kind=kind, count=696, evidence=evidence
    )
    shares = tuple(VersionShare(version=name, requests=9, failed=0) for name in ("a", "b"))
    return msgspec.structs.replace(verdict, causes=(one,), versions=shares, **differs)


@pytest.mark.parametrize(
    ("cause", "title", "differs", "sentence", "safe"),
    [
        (
            *("sqlstate:23502", NOT_NULL, {}),
            MADE_NOT_NULL,
            "add the column as nullable or with a default",
        ),
        (
            "sqlstate:23502",
            NOT_NULL,
            {"step": "migrate 0002", "contributing": {"migration: 0001": 3}},
            "Migration 0001 made ",
            "backfill",
        ),
        ("sqlstate:23502", NOT_NULL, {"step": "migrate 0002"}, "Migration 0002 made ", "backfill"),
        (
            "sqlstate:42703",
            'SQLSTATE 42703: undefined column: column "status" does not exist (version b)',
            {"version": "b", "schema": None},
            'Version b served before the migration that makes the column "status", which it needs',
            "apply the migration first",
        ),
        (
            "sqlstate:42P01",
            'SQLSTATE 42P01: undefined table: relation "tokens" does not exist (version a)',
            {},
            'Migration 0001 removed the table "tokens" while version a, which uses it',
            "first deploy a version that does not use it any more",
        ),
        (
            "status:404",
            "HTTP 404: version a lacks a route that version b serves",
            {"kind": "mixed_fleet"},
            "Version a got requests that only version b can serve, because both served at once",
            "switch all traffic at once",
        ),
        (
            "mixed_fleet:after_served",
            "only version a fails, and only after b served: a does not work beside b (7 of 9); so",
            {"kind": "mixed_fleet"},
            "Only version a fails, and only after b served: a does not work beside b: 696 requests",
            "first deploy a version that understands both forms",
        ),
        (
            "service:prices:v2",
            "version a fails only where version v2 of service prices answered its call",
            {"kind": "service"},
            "Version a does not work with version v2 of service prices: 696 requests",
            "first deploy a version of prices that works with both versions of its caller",
        ),
        (
            "service:prices",
            "service prices had no replica up (503)",
            {"kind": "service"},
            "Service prices had no replica up (503): 696 requests",
            "",
        ),
        (
            "no_backend",
            "no backend was available",
            {"kind": "no_backend", "strategy": "naive"},
            "The strategy stopped all replicas before new ones were ready: 696 requests to",
            "rolling, blue-green or canary",
        ),
        (
            "sqlstate:99999",
            "SQLSTATE 99999: something new",
            {},
            "Something new: 696 requests to POST /subscriptions failed within 21.6 s.",
            "",
        ),
    ],
)
def test_a_cause_becomes_a_sentence(  # noqa: PLR0917 - a row of the table
    failed: Verdict, cause: str, title: str, differs: dict[str, object], sentence: str, safe: str
) -> None:
    """Each kind of cause is told in words, with what it did and to whom, and with the safe way."""
    summary = summary_of(failing(failed, cause, title, **differs))
    assert summary.sentence.startswith(sentence)
    assert "SQLSTATE" not in summary.sentence
    assert safe in summary.safe_way
    assert bool(summary.safe_way) is bool(safe)


def test_a_setting_that_covers_the_failures_is_the_safe_way(failed: Verdict) -> None:
    """It is a sentence of its own, and says what it is."""
    said = Advice(
        setting="x", covers=696, cause="lifecycle:drain_exceeded", sentence="a drain of 4 s"
    )
    verdict = failing(failed, said.cause, "cut by a drain", kind="lifecycle", advice=(said,))
    assert summary_of(verdict).safe_way == "Safe way: a drain of 4 s."


def test_what_did_not_fail_is_told(passed: Verdict) -> None:
    """A pass says how many requests and rows it rests on; it needs no safe way."""
    summary = summary_of(passed)
    assert summary.sentence.startswith("None of 628 requests failed, and no row was lost (")
    assert summary.safe_way == ""


def test_an_invalid_run_says_what_to_do(invalid: Verdict) -> None:
    """It says that it says nothing, why, and what to do about it."""
    summary = summary_of(invalid)
    assert summary.sentence.startswith("This run says nothing about the release: ")
    assert "--dry-run" in summary.safe_way


def test_other_objectives(passed: Verdict) -> None:
    """Where no request failed, the sentence tells of the data, or of how the release ended."""
    verdict = msgspec.structs.replace(passed, verdict="fail", reasons=("it was slow",))
    assert summary_of(verdict).sentence == "It was slow."
    ended = msgspec.structs.replace(
        verdict.rollout, outcome="rolled_back", expected="completed", reason="b never came up"
    )
    sentence = summary_of(msgspec.structs.replace(verdict, rollout=ended)).sentence
    assert sentence == "The release was not completed (rolled back): b never came up."


def test_what_is_fine_is_few_words(passed: Verdict, failed: Verdict) -> None:
    """All that went well is told in a few words each, and nothing that did not."""
    assert any(part.startswith("data (") for part in fine(passed))
    assert "no downtime seen" in fine(passed)
    assert not any(part.startswith("data (") for part in fine(failed))
    assert "no downtime seen" not in fine(failed)
