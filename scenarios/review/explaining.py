"""From the folder of a run to the story of one of its requests."""

import difflib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from scenarios.errors import EvidenceError
from scenarios.evidence.mail import Mail
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.run_folder import RunFolder
from scenarios.evidence.subject import Subject
from scenarios.verdict import judge
from scenarios.verdict.causes.failure import Failure
from scenarios.verdict.story import Further, LogLine, Story, tell_story


class _AppLine(msgspec.Struct, frozen=True):
    """A line of a log that is JSON, as far as it is understood."""

    at_ns: int | None = None
    message: str | None = None
    sqlstate: str | None = None
    refusal: str | None = None
    status: int | None = None


class _Search:
    """Looks for one request among all of a run, and for what it led to.

    Attributes:
        found: the request; None if the run has none of that id.
        origin_ns: the instant 0.0 of the run; None without requests.
        led_to: the requests that it led to.
    """

    def __init__(self, request_id: str) -> None:
        self.found: Outcome | None = None
        self.origin_ns: int | None = None
        self.led_to: list[str] = []
        self._wanted = request_id
        self._close: list[str] = []

    def look(self, outcomes: Iterable[Outcome]) -> None:
        """Look through all requests of a run."""
        for outcome in outcomes:
            planned = outcome.planned_ns
            self.origin_ns = planned if self.origin_ns is None else min(self.origin_ns, planned)
            if outcome.request_id == self._wanted:
                self.found = outcome
            elif outcome.cause_id == self._wanted:
                self.led_to.append(outcome.request_id)
            elif self.found is None and outcome.request_id[:-2] == self._wanted[:-2]:
                self._close.append(outcome.request_id)

    @property
    def hint(self) -> str:
        """The ids that come close, as the end of a message; may be empty."""
        close = difflib.get_close_matches(self._wanted, self._close, n=2)
        return f"; did you mean {' or '.join(close)}?" if close else ""


def explain(folder: Path, request_id: str) -> Story:
    """Tell the story of a request; it has the cause that the verdict gives it.

    Raises:
        EvidenceError: the folder is not that of a run, a file is damaged, or the run had no such
            request.
        OSError: a replica's log cannot be read.
    """
    run = RunFolder(folder)
    judgement = judge(run.evidence())
    evidence, around = run.evidence(), judgement.around
    search = _Search(request_id)
    search.look(evidence.requests)
    outcome, origin_ns = search.found, search.origin_ns
    if outcome is None or origin_ns is None:
        raise EvidenceError(f"{folder}: the run has no request {request_id!r}{search.hint}")
    mails = [mail for mail in evidence.mails if mail.recipient == outcome.subject]
    exchange = next((one for one in evidence.exchanges if one.request_id == request_id), None)
    judged = (*judgement.failed, *judgement.slow)
    return tell_story(
        Failure.join(outcome, exchange, around),
        next((one for one in judged if one.failure.outcome.request_id == request_id), None),
        origin_ns,
        _further(run, outcome, mails, evidence.subjects_after, search.led_to),
    )


def _further(
    run: RunFolder,
    outcome: Outcome,
    mails: Iterable[Mail],
    rows: Iterable[Subject] | None,
    led_to: Iterable[str],
) -> Further:
    return Further(
        mails=tuple(mails),
        log=tuple(_log_lines(run, outcome.request_id)),
        led_to=tuple(sorted(led_to)),
        found=None if rows is None else _states(rows, outcome.subject),
    )


def _states(rows: Iterable[Subject], subject: str | None) -> tuple[str, ...] | None:
    if subject is None:
        return None
    return tuple(one.state or "a row without a state" for one in rows if one.subject == subject)


def _log_lines(run: RunFolder, request_id: str) -> Iterator[LogLine]:
    """The lines of replicas' logs that hold the id, as a word of its own."""
    # s1-000119-3 is no part of s1-000119-31, nor of s1-000119-3-2, the same step of a later mail.
    word = re.compile(rf"(?<![\w-]){re.escape(request_id)}(?![\w-])")
    for replica, line in run.log_lines():
        if word.search(line):
            yield _log_line(replica, line)


def _log_line(replica: str, line: str) -> LogLine:
    try:
        parsed = msgspec.json.decode(line, type=_AppLine)
    except msgspec.DecodeError:
        return LogLine(replica=replica, text=line)
    parts = (parsed.message, parsed.status, parsed.sqlstate, parsed.refusal)
    text = " ".join(str(part) for part in parts if part is not None) or line
    return LogLine(replica=replica, text=text, at_ns=parsed.at_ns)
