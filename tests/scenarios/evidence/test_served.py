"""Which replica answered, where only the router's log says it."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from scenarios.evidence.exchange import ExchangeRecord
from scenarios.evidence.served import ServedBy
from tests.support import evidence as make


def line(name: str, backend: str | None) -> ExchangeRecord:
    return ExchangeRecord(at_ns=0, request_id=name, backend=backend)


def asked(name: str, **fields: Any) -> str | None:
    outcome = make.request(1, 1.0, request_id=name, served_by=None, **fields)
    return LOG.named(outcome).served_by


LOG = ServedBy(
    [
        *(line(f"s7-{number:06}-1", f"r-{number % 7}") for number in range(3000)),
        *(line("retried", "r-1"), line("retried", "r-1")),
        *(line("odd", "r-1"), line("odd", "r-2"), line("nobody", None)),
    ]
)


@given(number=st.integers(0, 2999))
def test_each_request_gets_the_replica_of_its_line(number: int) -> None:
    """The one that its own line names, whichever of thousands it is."""
    assert asked(f"s7-{number:06}-1") == f"r-{number % 7}"


@given(name=st.text(max_size=12).filter(lambda name: name not in {"retried", "odd"}))
def test_a_request_without_a_line_has_no_replica(name: str) -> None:
    """Neither has one that the log names no replica for."""
    assert asked(name) is None
    assert asked("nobody") is None


def test_lines_that_do_not_agree_name_nobody() -> None:
    """Two lines with one replica name it; with two replicas nobody knows who answered."""
    assert (asked("retried"), asked("odd")) == ("r-1", None)


def test_what_the_answer_says_counts() -> None:
    """An answer names its replica itself, and without an answer nobody gave one."""
    outcome = make.request(1, 1.0, request_id="s7-000001-1", served_by="r-9")
    assert LOG.named(outcome) is outcome
    assert asked("s7-000001-1", status=None, error="timeout") is None
