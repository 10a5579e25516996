"""The final tables say what matters, fit the screen, and take nothing from the wire as markup."""

import io

import msgspec
import pytest
from rich.console import Console, RenderableType

from scenarios.reports.markdown import summary
from scenarios.reports.matrix import (
    MatrixRow,
    comparison,
    matrix_limits,
    matrix_markdown,
    matrix_row,
    matrix_table,
)
from scenarios.reports.page.report import html_report
from scenarios.reports.sentence import summary_of
from scenarios.reports.terminal import print_verdict, verdict_view
from scenarios.verdict import Verdict
from scenarios.verdict.model import ProbedVersion
from scenarios.verdict.model.replica_end import ReplicaEnd


def shown(view: RenderableType, width: int = 80, *, terminal: bool = False) -> str:
    out = io.StringIO()
    colours = "truecolor" if terminal else None
    Console(file=out, width=width, force_terminal=terminal, color_system=colours).print(view)
    return out.getvalue()


def flat(text: str) -> str:
    return " ".join(text.split())


def test_what_was_probed_is_shown(passed: Verdict) -> None:
    """The terminal, Markdown and the page show what a probe predicted and saw of a version."""
    one = ProbedVersion(
        version="b", findings={"GET in flight": "cut | (FIN)"}, predicted=("it cuts",)
    )
    verdict = msgspec.structs.replace(passed, probed=(one,))
    screen = shown(verdict_view(verdict, verbose=True))
    for text in (screen, summary(verdict), html_report(verdict, (), ())):
        assert "How the server of b stops" in text
        assert "GET in flight" in text
        assert "the probe predicted: it cuts" in text


def test_the_sentence_comes_first(failed: Verdict) -> None:
    """The first line has verdict, scenario and strategy; then comes the sentence, then numbers."""
    first, second, *_ = shown(verdict_view(failed), 1000).splitlines()
    assert first.split()[0] == "FAIL"
    assert "expand-contract · rolling" in first
    assert second.rstrip() == " ".join(summary_of(failed)).rstrip()


def test_a_verdict_fits_a_screen(failed: Verdict, passed: Verdict, invalid: Verdict) -> None:
    """What is printed without `--verbose` fits a screen of forty lines."""
    for verdict in (failed, passed, invalid):
        out = io.StringIO()
        print_verdict(Console(file=out, width=100, force_terminal=True), verdict, "runs/x")
        assert len(out.getvalue().splitlines()) <= 40


def test_lines_for_copying_are_whole(failed: Verdict) -> None:
    """The command that runs it again is one line, however narrow the terminal is."""
    long = msgspec.structs.replace(failed, replay="hitless run " + "x" * 300 + " --seed 1")
    for terminal in (True, False):
        out = io.StringIO()
        print_verdict(Console(file=out, width=60, force_terminal=terminal), long, "runs/x")
        (line,) = [one for one in out.getvalue().splitlines() if "Run again" in one]
        assert line.endswith(long.replay)
        assert any(
            f"hitless explain runs/x {failed.causes[0].evidence.requests[0]}" in one
            for one in out.getvalue().splitlines()
        )


@pytest.mark.parametrize("layers", ["all", "screen"])
def test_piped_lines_are_neither_padded_nor_wrapped(failed: Verdict, layers: str) -> None:
    """In a pipe each fact is one line without spaces at its end, also on a narrow console."""
    out = io.StringIO()
    print_verdict(Console(file=out, width=40), failed, "runs/x", verbose=layers == "all")
    lines = out.getvalue().splitlines()
    assert all(line == line.rstrip() for line in lines)
    assert any(summary_of(failed).sentence in line for line in lines)
    assert any(failed.causes[0].evidence.requests[0] in line for line in lines)


def test_no_pass_beside_a_doubt(failed: Verdict) -> None:
    """Where the load generator fell behind, nothing says that it was on schedule."""
    doubtful = msgspec.structs.replace(failed, doubts=("the load generator fell behind",))
    assert "load generator on schedule" in flat(shown(verdict_view(failed)))
    text = flat(shown(verdict_view(doubtful)))
    assert "load generator on schedule" not in text
    assert "Doubt the load generator fell behind" in text


def test_facts_of_a_failure(failed: Verdict) -> None:
    """Numbers, bounds, windows, causes with their evidence, data and limits are all there."""
    text = flat(shown(verdict_view(failed, verbose=True)))
    requests = failed.requests
    assert f"{requests.planned:,} planned · {requests.ok:,} ok · {requests.failed:,} failed" in text
    assert failed.availability.text in text
    for cause in failed.causes:
        assert cause.cause in text
        assert cause.evidence.requests[0] in text
    assert "not-null violation" in text
    assert "no backend was available" in text
    assert "at least" in text
    assert "at most" in text
    assert "u0@example.com: expected exactly one row, found no row" in text
    for limit in failed.limits:
        assert flat(limit) in text


def test_a_pass_claims_no_hundred_per_cent(passed: Verdict) -> None:
    """A pass says how many requests it rests on, and what would have gone unseen."""
    text = flat(shown(verdict_view(passed)))
    assert text.startswith("PASS")
    assert "628 of 628 succeeded; failure rate below 0.48 % (95 % confidence)" in text
    assert "no downtime seen" in text
    assert "100 %" not in text
    assert "100%" not in text


def test_invalid_is_no_pass(invalid: Verdict) -> None:
    """An invalid run says so, and why."""
    text = flat(shown(verdict_view(invalid)))
    assert text.startswith("INVALID")
    assert "failed in the baseline" in text


@pytest.mark.parametrize("width", [80, 100, 200])
def test_fits_the_width(failed: Verdict, passed: Verdict, width: int) -> None:
    """No line is wider than the screen."""
    views = [
        verdict_view(failed),
        verdict_view(failed, verbose=True),
        comparison([failed, passed]),
        matrix_table([matrix_row(v) for v in (failed, passed)]),
    ]
    for view in views:
        assert max(len(line) for line in shown(view, width).splitlines()) <= width


def test_nothing_from_the_wire_is_markup(failed: Verdict) -> None:
    """Brackets are shown as they are, and control characters never reach the terminal."""
    plain = shown(verdict_view(failed))
    assert "\x1b" not in plain
    assert "\x07" not in plain
    assert "[bold red]boo[/]" in plain
    assert "\x1b[31m |" not in shown(verdict_view(failed), terminal=True)


def test_no_color(failed: Verdict, monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR takes the colours from a terminal."""
    monkeypatch.setenv("NO_COLOR", "1")
    out = io.StringIO()
    print_verdict(Console(file=out, width=80, force_terminal=True), failed)
    assert "\x1b[31" not in out.getvalue()
    assert ";31" not in out.getvalue()
    assert "\x1b[41" not in out.getvalue()


def rows(failed: Verdict, passed: Verdict) -> list[MatrixRow]:
    plans = ("big-bang", "code-first", "with-default", "expand-contract")
    strategies = ("naive", "rolling", "blue-green", "canary")
    return [
        msgspec.structs.replace(
            matrix_row(failed if strategy == "naive" else passed, "runs/x"),
            scenario=plan,
            strategy=strategy,
        )
        for plan in plans
        for strategy in strategies
    ]


def test_matrix_of_sixteen(failed: Verdict, passed: Verdict) -> None:
    """Each of 16 cells is one line at 80 columns, with its verdict, and why it failed."""
    text = shown(matrix_table(rows(failed, passed)))
    lines = [line for line in text.splitlines() if "PASS" in line or "FAIL" in line]
    assert len(lines) == 16
    assert sum("sqlstate:23502" in line for line in lines) == 4
    for plan in ("big-bang", "code-first", "with-default", "expand-contract"):
        assert text.count(plan) == 1


def test_matrix_tells_of_other_outcomes(failed: Verdict, passed: Verdict) -> None:
    """How releases ended is shown when not all of them were completed."""
    cells = rows(failed, passed)
    assert "rolled back" not in shown(matrix_table(cells))
    cells[1] = msgspec.structs.replace(cells[1], outcome="rolled_back")
    assert "rolled back" in shown(matrix_table(cells), 100)


def test_matrix_with_a_cell_that_did_not_run(passed: Verdict) -> None:
    """A cell without a verdict shows its error."""
    error = MatrixRow(scenario="x", strategy="naive", verdict="error", error="no database")
    text = shown(matrix_table([matrix_row(passed), error]), 100)
    assert "ERROR" in text
    assert "no database" in text


def test_matrix_in_markdown(failed: Verdict, passed: Verdict) -> None:
    """The Markdown table has a line for each cell, all with as many columns."""
    cells = rows(failed, passed)
    lines = matrix_markdown(cells).splitlines()
    assert len(lines) == 18
    assert len({line.count("|") for line in lines}) == 1


def test_matrix_of_several_routers(failed: Verdict, passed: Verdict) -> None:
    """Routers are columns beside each other; a cell points at what its router cannot do."""
    gap = ("its drain waits for nothing that is in flight",)
    cells = [
        msgspec.structs.replace(one, router=router, limits=gap if router == "traefik" else ())
        for one in rows(failed, passed)
        for router in ("hitless", "traefik")
    ]
    cells[-1] = msgspec.structs.replace(cells[-1], verdict="not run", error="it has no cookie")
    lines = matrix_markdown(cells).splitlines()
    assert lines[0] == "| plan | strategy | hitless | traefik |"
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 18
    assert len({line.count("|") for line in table}) == 1
    assert table[3].endswith("| **pass** | **pass** [1] |")
    why = f"**fail**, {failed.requests.failed:,} of {failed.requests.planned:,}: "
    assert table[2].count(why) == 2
    assert table[-1].endswith("| **pass** | **not run**: it has no cookie [1] |")
    assert lines[-1] == f"- [1] traefik: {gap[0]}"
    text = shown(matrix_table(cells), 120)
    assert [line.split()[1:3] for line in text.splitlines() if "rolling" in line][:2] == [
        ["hitless", "PASS"],
        ["traefik", "PASS"],
    ]
    assert matrix_limits(cells) == [f"traefik: {gap[0]}"]


def test_markdown_takes_nothing_as_markup(passed: Verdict) -> None:
    """A name with pipes and brackets stays one cell."""
    cell = msgspec.structs.replace(matrix_row(passed), scenario="a|b <i>`*")
    assert r"a\|b \<i\>\`\*" in matrix_markdown([cell])


def test_comparison(failed: Verdict, passed: Verdict) -> None:
    """Two runs side by side: verdicts, failures, causes and data."""
    text = flat(shown(comparison([failed, passed]), 100))
    assert "FAIL PASS" in text
    assert f"{failed.requests.failed} of 628" in text
    assert "0 of 628" in text
    assert "none seen" in text


def test_replicas_that_stopped_as_asked_are_one_number(passed: Verdict) -> None:
    """What is fine is one line; a replica that was killed has a row of its own."""
    fine = [ReplicaEnd(replica=f"a-{number}", way="stopped", exit_status=0) for number in (1, 2)]
    killed = ReplicaEnd(replica="a-3", way="killed", exit_status=-9)
    calm = shown(
        verdict_view(msgspec.structs.replace(passed, replica_ends=tuple(fine)), verbose=True)
    )
    assert "2 stopped as asked" in flat(calm)
    assert "a-1" not in calm
    broken = shown(
        verdict_view(msgspec.structs.replace(passed, replica_ends=(*fine, killed)), verbose=True)
    )
    assert "a-3" in broken
