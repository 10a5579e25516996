"""Locks that grow with the rows, and a linter's findings beside what was observed."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.check.lint import LintFinding, held_to, table_of
from scenarios.check.lock_result import HeldLock, mode_in_words, strength
from scenarios.check.observed import CellResult, EndpointResult, Observed
from scenarios.evidence.locks import DatabaseSession, LockWait
from scenarios.runner.checking.lock_trials import with_waits


def lock(*seconds: tuple[int, float], **fields: object) -> HeldLock:
    given_ = {"mode": "ACCESS EXCLUSIVE", "rewrites": False, **fields}
    return HeldLock(change="m", table="t", statement="ALTER", seconds=seconds, **given_)  # type: ignore[arg-type]


def test_modes_are_spelt_as_in_the_documentation() -> None:
    """And only those that hold up writes count."""
    assert mode_in_words("AccessExclusiveLock") == "ACCESS EXCLUSIVE"
    assert mode_in_words("ShareRowExclusiveLock") == "SHARE ROW EXCLUSIVE"
    assert mode_in_words("ShareLock") == "SHARE"
    assert strength("ACCESS EXCLUSIVE") > strength("SHARE") > strength("ROW EXCLUSIVE") == 0


@given(
    st.floats(0, 10),
    st.floats(0, 1e-4),
    st.lists(st.integers(1, 10**6), min_size=2, max_size=4, unique=True),
    st.integers(0, 10**8),
)
def test_a_straight_line_is_continued(
    base: float, slope: float, sizes: list[int], more: int
) -> None:
    """Measurements on one line are continued on it, without a range."""
    measured = [(rows, base + slope * rows) for rows in sorted(sizes)]
    rows = max(sizes) + more
    least, most = lock(*measured).at(rows)
    assert least == pytest.approx(base + slope * rows, rel=1e-3, abs=1e-2)
    assert most == pytest.approx(least, rel=1e-3, abs=1e-2)


def test_measurements_off_the_line_make_a_range() -> None:
    """And what does not grow is not said to shrink."""
    least, most = lock((100, 1.0), (200, 2.0), (400, 3.0)).at(1000)
    assert least < 3.0 + 600 * 0.0075 < most
    assert lock((100, 0.02), (200, 0.01)).at(10**9)[0] == 0.01


def finding(rule: str) -> LintFinding:
    return LintFinding(rule=rule, change="m", file="m.sql", line=1, message="")


def cell(*schema: str, good: bool) -> CellResult:
    one = EndpointResult(
        endpoint="GET /", requests=1, failed=int(not good), status=500, sqlstate="42703"
    )
    return CellResult(schema=schema, version="a", connections="fresh", endpoints=(one,))


@pytest.mark.parametrize(
    ("rule", "observed", "judged", "why"),
    [
        ("renaming-column", Observed(cells=(cell(good=True), cell("m", good=False))),
         "confirmed", "a fails afterwards: GET /: sqlstate:42703"),
        ("renaming-column", Observed(cells=(cell(good=True), cell("m", good=True))),
         "refuted", "a works afterwards"),
        ("renaming-column", Observed(cells=(cell(good=False), cell("m", good=False))), "open", ""),
        ("adding-field-with-default", Observed(locks=(lock((1, 0.1), rewrites=True),)),
         "confirmed", "it rewrites t"),
        ("adding-field-with-default", Observed(locks=(lock((1, 0.1)),)),
         "refuted", "it rewrites no table"),
        ("require-concurrent-index-creation", Observed(locks=(lock((9, 0.1), mode="SHARE"),)),
         "confirmed", "SHARE on t for 100 ms with 9 rows"),
        ("require-concurrent-index-creation",
         Observed(locks=(lock((9, 0.1), mode="SHARE UPDATE EXCLUSIVE"),)),
         "refuted", "no lock that blocks"),
        ("require-concurrent-index-creation", Observed(), "open", ""),
    ],
)  # fmt: skip
def test_a_finding_is_held_to_what_was_observed(
    rule: str, observed: Observed, judged: str, why: str
) -> None:
    """Confirmed, refuted, or open where no trial could tell."""
    (one,) = held_to([finding(rule)], observed, {"m": ()})
    assert one.judged == judged
    assert why in one.why


SQL = """-- a comment; with a semicolon
SET LOCAL lock_timeout = '100ms';

CREATE TABLE tokens (id int REFERENCES people (id));

CREATE INDEX due ON
    public.tokens (id);
ALTER TABLE ONLY "people"
    ALTER COLUMN name SET NOT NULL;
"""


def test_a_lock_counts_only_on_the_table_that_the_finding_is_about() -> None:
    """An index of a new table blocks nobody, although the same migration locks another table."""
    assert [table_of(SQL, line) for line in (4, 6, 7, 8, 9)] == [
        None,
        "tokens",
        "tokens",
        "people",
        "people",
    ]
    observed = Observed(locks=(lock((9, 0.1), mode="SHARE ROW EXCLUSIVE"),))
    rule = "require-concurrent-index-creation"
    about = [msgspec.structs.replace(finding(rule), table=table) for table in ("tokens", "t")]
    new, old = held_to(about, observed, {"m": ()})
    assert (new.judged, old.judged) == ("refuted", "confirmed")


def test_rules_of_style_are_left_out() -> None:
    """No trial can say anything to them."""
    assert held_to([finding("prefer-robust-stmts")], Observed(), {"m": ()}) == ()


def session(application: str) -> DatabaseSession:
    return DatabaseSession(pid=1, application=application)


def wait(who: str, behind: str, seconds: float, relation: str = "t") -> LockWait:
    return LockWait(
        at_ns=0,
        end_ns=round(seconds * 1e9),
        gone_ns=round(seconds * 1e9),
        waiter=session(who),
        mode="AccessExclusiveLock",
        kind="relation",
        relation=relation,
        chain=(session(behind),),
    )


def test_who_waits_behind_a_change_is_told_from_what_the_change_waits_for() -> None:
    """The longest wait of a request counts; what the change waited is no time of holding."""
    waits = [
        wait("a-check-1", "hitless-migrator", 0.3),
        wait("a-check-1", "hitless-migrator", 0.2),
        wait("a-check-1", "somebody", 9.0),
        wait("hitless-migrator", "a-check-1", 0.4),
        wait("hitless-migrator", "a-check-1", 5.0, relation="other"),
    ]
    found = with_waits({"t": lock((100, 1.0))}, waits, 100)["t"]
    assert found.seconds == ((100, pytest.approx(0.6)),)
    assert found.waited == ((100, pytest.approx(0.4)),)
    assert found.held_up == ((100, pytest.approx(0.3)),)
    quiet = with_waits({"t": lock((100, 1.0))}, [], 100)["t"]
    assert (quiet.seconds, quiet.held_up) == (((100, 1.0),), ((100, 0.0),))
