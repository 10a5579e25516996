"""Causes in words: what a comparison shows of each kind of title."""

import io

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from scenarios.reports.cause_words import id_text, short
from scenarios.reports.matrix import comparison
from scenarios.verdict.model import Cause, CauseKind
from tests.support.evidence import clean

FAILED = clean().failing(2.5, 2.8, status=500, sqlstate="23502").judge()
NOT_NULL = (
    'SQLSTATE 23502: not-null violation: null value in column "status" of relation '
    '"subscriptions" violates not-null constraint (version a)'
)


def cause(title: str, kind: CauseKind = "application") -> Cause:
    (known,) = FAILED.causes
    versions = {"b": 3, "a": 5}
    evidence = msgspec.structs.replace(known.evidence, versions=versions)
    return msgspec.structs.replace(known, title=title, kind=kind, evidence=evidence)


@pytest.mark.parametrize(
    ("kind", "title", "said"),
    [
        ("statement", NOT_NULL, "not-null violation (versions a, b)"),
        ("statement", "SQLSTATE 42703: undefined column", "undefined column (versions a, b)"),
        (
            "statement",
            "version b did not become ready: SQLSTATE 42P01: undefined table",
            "version b did not become ready",
        ),
        (
            "mixed_fleet",
            "HTTP 404: version a lacks a route that version b serves",
            "version a lacks a route that version b serves",
        ),
        (
            "mixed_fleet",
            "only version a fails (9 of 9 of its requests failed, 0 of 4 elsewhere); symptom: x",
            "only version a fails",
        ),
        (
            "application",
            "HTTP 500 from the application, which logged KeyError: 'amount'",
            "HTTP 500 from the application, which logged KeyError",
        ),
        (
            "balancer",
            "balancer: the replica refused the connection: ECONNREFUSED",
            "balancer: the replica refused the connection",
        ),
        ("service", "the call of service prices (version v2) broke off: x", None),
        ("answer", "HTTP 500", "HTTP 500"),
        ("no_backend", "no backend was available", "no backend was available"),
    ],
)
def test_messages_and_numbers_are_left_out(kind: CauseKind, title: str, said: str | None) -> None:
    """What happened stays; the message, the symptom and the counts behind it do not."""
    assert short(cause(title, kind)) == (said or title.removesuffix(": x"))


@given(st.text(max_size=300))
def test_no_title_is_too_long(title: str) -> None:
    """Whatever an application says, a table has room for it, and no terminal is driven by it."""
    text = short(cause(title))
    assert len(text) <= 82
    assert text.isprintable() or not text


def test_a_comparison_is_narrow() -> None:
    """The whole message of a database stands in the verdict, and not in the comparison's table."""
    long = msgspec.structs.replace(FAILED, causes=(cause(NOT_NULL, "statement"),))
    console = Console(width=300, file=io.StringIO(), record=True)
    console.print(comparison([long, clean().judge()]))
    text = console.export_text()
    assert "not-null violation (versions a, b)" in text
    assert "null value" not in text
    assert max(map(len, text.splitlines())) < 140


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        ("sqlstate:42703", "undefined column"),
        ("status:404", "HTTP 404 Not Found"),
        ("status:299", "HTTP 299"),
        ("status:999", "HTTP 999"),
        ("transport:eof", "the connection was closed before a complete response"),
        ("transport:undispatched", "the load generator could not send the request"),
        ("balancer:connection_refused", "the replica refused the balancer's connection"),
        ("balancer:some_new_one", "some new one"),
        ("no_backend", "no backend was available"),
        ("unexpected_answer", "the answer was not the expected one"),
        ("else", "else"),
    ],
)
def test_an_id_is_told_in_words(cause: str, said: str) -> None:
    """Before the verdict only the id of a cause is known; it still is told in words first."""
    assert id_text(cause) == f"{said}  [{cause}]"


@given(st.text(max_size=50))
def test_no_id_drives_a_terminal(cause: str) -> None:
    """What a proxy names as its error is shown as text, whatever it is."""
    assert id_text(cause).isprintable()
