"""The verdict in a terminal, or as plain text where there is none.

It has three layers: one causal sentence, what fits a screen, and with `verbose` all numbers and all
evidence (`terminal_details`). The human words come first, and the ids of causes behind them.

Rich leaves out colours and styles by itself when the output is no terminal, or `NO_COLOR` is set.
Nothing that came over the wire is ever read as markup.
"""

import io
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from scenarios.evidence.run_folder import RunFolder
from scenarios.reports import cause_words, jobs, service_words, words
from scenarios.reports.sentence import Summary, beside, delayed_by_locks, fine, summary_of
from scenarios.reports.terminal_details import details
from scenarios.verdict.model import Cause, Verdict

STYLE = {"pass": "bold white on green", "fail": "bold white on red", "invalid": "bold on yellow"}
COLOUR = {"pass": "green", "fail": "red", "invalid": "yellow"}
SHOWN_CAUSES = 3
NAME = "hitless"
"""How evidence names this program."""

_ANY_WIDTH = 100_000

Row = tuple[str, Text]
"""A line of the screen: its name, and what it says."""


def print_verdict(
    console: Console,
    verdict: Verdict,
    folder: str | None = None,
    *,
    verbose: bool = False,
    program: str = NAME,
) -> None:
    """Print the verdict: a sentence, a screenful, and, if wanted, the rest.

    Where there is no terminal, no line is wrapped or padded, so that lines can be searched.

    Args:
        console: where to.
        verdict: what.
        folder: where the evidence is.
        verbose: whether all numbers and all evidence follow.
        program: the words that start this program there, for the commands that can be copied.
    """
    view = verdict_view(verdict, verbose=verbose)
    if console.is_terminal:
        console.print(view)
    else:
        print_unwrapped(console, view)
    for name, text in _to_copy(verdict, folder, program):
        line = Text.assemble((f"{name:<{_WIDTH}}", "bold"), text)
        console.print(line, soft_wrap=True)


def print_unwrapped(console: Console, view: RenderableType) -> None:
    """Print without wrapping and without spaces at the ends of lines."""
    out = io.StringIO()
    Console(file=out, width=_ANY_WIDTH, color_system=None, force_terminal=False).print(view)
    for line in out.getvalue().splitlines():
        console.print(Text(line.rstrip()), soft_wrap=True)


def verdict_view(verdict: Verdict, *, verbose: bool = False) -> RenderableType:
    """The same as something that rich can print, without the lines that are there to be copied."""
    summary = summary_of(verdict)
    parts: list[RenderableType] = [_headline(verdict), _sentence(verdict, summary), Text()]
    parts.append(_screenful(verdict, summary))
    if verbose:
        parts += [Text(), *details(verdict)]
    parts.append(Text())
    return Group(*parts)


def badge(word: str) -> Text:
    """The verdict's word, so that nobody overlooks it."""
    # A span, not the text's own style: that would also colour what is appended to it.
    return Text.assemble((f" {word.upper()} ", STYLE.get(word, "bold")))


def _headline(verdict: Verdict) -> Text:
    line = badge(verdict.verdict)
    line.append(f" {words.clean(verdict.scenario)} · {words.clean(verdict.strategy)}", "bold")
    if verdict.predicted:
        line.append(" · predicted", "bold magenta")
    line.append(
        f"   {words.leaving_prefix(verdict)}seed {verdict.seed} · {verdict.replicas} replicas · "
        f"{words.rate_text(verdict.rate, verdict.users.stayed)} · "
        f"{verdict.existing_rows:,} existing rows",
        "dim",
    )
    return line


def _sentence(verdict: Verdict, summary: Summary) -> Text:
    text = Text(summary.sentence, COLOUR[verdict.verdict])
    if summary.safe_way:
        text.append(f" {summary.safe_way}", "default")
    return text


_WIDTH = 12


def _screenful(verdict: Verdict, summary: Summary) -> Table:
    grid = Table.grid(padding=0)
    grid.add_column(style="bold", no_wrap=True, width=_WIDTH)
    grid.add_column(overflow="fold")
    for name, text in _rows(verdict, summary):
        grid.add_row(name, text)
    return grid


def _rows(verdict: Verdict, summary: Summary) -> Iterator[Row]:
    if verdict.requests.failed:
        yield from _failures(verdict)
    else:
        yield "Requests", Text(verdict.availability.text)
    if unsent := verdict.requests.undispatched:
        yield "Not sent", Text(f"{unsent:,} requests, by the load generator's own fault", "yellow")
    for reason in beside(verdict, summary):
        yield "Also", Text(reason, COLOUR[verdict.verdict])
    for doubt in verdict.doubts:
        yield "Doubt", Text(words.clean(doubt), "yellow")
    if verdict.control is not None:
        for fact in words.control_facts(verdict.control):
            yield "Control run", Text(words.clean(fact))
    yield from _measures(verdict)
    for one in verdict.advice:
        yield "What to do", Text(words.clean(one.sentence))
    if well := fine(verdict):
        yield "Fine", Text(" · ".join(well), "dim")
    if verdict.limits:
        text = f"{words.clean(verdict.limits[0])} (--verbose shows all limits and all evidence)"
        yield "Not seen", Text(text, "dim")


def _measures(verdict: Verdict) -> Iterator[Row]:
    """Data, latency, locks and the release itself."""
    if verdict.integrity.status != "held":
        violated = "red" if verdict.integrity.violation_count else ""
        yield "Data", Text(words.integrity_text(verdict), violated)
    yield from _jobs(verdict)
    for number, one in enumerate(verdict.services):
        yield "" if number else "Services", Text(words.clean(service_words.service_text(one)))
    for number, change in enumerate(verdict.cache[:SHOWN_CAUSES]):
        yield "" if number else "Cache", Text(words.clean(change.sentence))
    for number, complaint in enumerate(verdict.pooler[:SHOWN_CAUSES]):
        yield "" if number else "Pooler", Text(words.clean(complaint.sentence))
    if verdict.streams.words:
        yield "Streams", Text(verdict.streams.words)
    yield "Latency", Text(words.latency_text(verdict.latency))
    if verdict.slow_causes:
        yield "Slow", Text(_slow(verdict))
    if delayed_by_locks(verdict):
        yield "Locks", Text(_locks(verdict), "yellow")
    yield "Release", Text(words.release_text(verdict))
    if platform := words.platform_text(verdict):
        yield "Platform", Text(platform)
    if protocol := words.protocol_text(verdict):
        yield "Protocol", Text(protocol)


def _jobs(verdict: Verdict) -> Iterator[Row]:
    """What became of jobs, and what helps those that did not end as they should have."""
    found = verdict.jobs
    if found is None:
        return
    yield "Jobs", Text(words.clean(jobs.jobs_text(found)), "red" if found.broken else "")
    for cause in found.causes[:SHOWN_CAUSES]:
        line = Text.assemble((f"{cause.count:,}  ", "bold red"), words.clean(cause.title))
        line.append(f"  [{words.clean(cause.cause)}]", "dim")
        yield "", line
        if cause.remedy is not None:
            yield "", Text(f"what helps: {words.clean(cause.remedy)}")


def _failures(verdict: Verdict) -> Iterator[Row]:
    """What failed, for whom, for how long, and why."""
    requests = verdict.requests
    first = min((cause.evidence.first for cause in verdict.causes), default=None)
    last = max((cause.evidence.last for cause in verdict.causes), default=None)
    when = (
        ""
        if first is None or last is None
        else f", from {words.instant(first)} to {words.instant(last)}"
    )
    yield (
        "Failed",
        Text(f"{requests.failed:,} of {requests.ok + requests.failed:,} requests{when}", "red"),
    )
    endpoints: dict[str, int] = {}
    for cause in verdict.causes:
        for endpoint, count in cause.evidence.endpoints.items():
            endpoints[endpoint] = endpoints.get(endpoint, 0) + count
    most = dict(sorted(endpoints.items(), key=lambda item: (-item[1], item[0])))
    yield "For whom", Text(words.counted(most))
    if verdict.users.staying:
        yield "", Text(words.users_text(verdict.users))
    yield "How long", Text(words.downtime_text(verdict))
    name = "Why"
    for cause in verdict.causes[:SHOWN_CAUSES]:
        yield name, _why(cause)
        name = ""
    if more := verdict.causes[SHOWN_CAUSES:]:
        rest = sum(cause.count for cause in more)
        noun = "cause" if len(more) == 1 else "causes"
        yield "", Text(f"{rest:,} for {len(more)} more {noun} (--verbose)", "dim")


def _why(cause: Cause) -> Text:
    line = Text.assemble((f"{cause.count:,}  ", "bold red"), cause_words.in_words(cause))
    sure = "" if cause.confidence == "certain" else f", {cause.confidence}"
    excused = f", {cause_words.excused_text(cause)}" if cause.excused else ""
    return line.append(f"  [{words.clean(cause.cause)}{sure}{excused}]", "dim")


def _slow(verdict: Verdict) -> str:
    cause = verdict.slow_causes[0]
    number = verdict.requests.slow
    noun = "request was" if number == 1 else "requests were"
    return f"{number:,} {noun} slow: {cause_words.in_words(cause)} ({cause.count:,})"


def _locks(verdict: Verdict) -> str:
    blocker = verdict.locks.blockers[0]
    holder = words.clean(blocker.application or "a session")
    noun = "request" if blocker.requests == 1 else "requests"
    return (
        f"{blocker.requests:,} {noun} delayed by locks of {holder}, up to "
        f"{words.duration(blocker.seconds)}, during {words.clean(blocker.during)}"
    )


def _to_copy(verdict: Verdict, folder: str | None, program: str) -> Iterable[tuple[str, str]]:
    """Commands and paths, each on a line of its own that a terminal never breaks."""
    if folder is not None:
        example = next((one for cause in verdict.causes for one in cause.evidence.requests), None)
        if example is not None:
            told = shlex.join(["explain", folder, example])
            yield "Look at one", words.clean(f"{program} {told}")
        yield "Report", words.clean(str(RunFolder(Path(folder)).report))
    again = verdict.replay
    if again.startswith(f"{NAME} "):
        again = f"{program}{again.removeprefix(NAME)}"
    yield "Run again", words.clean(again)
