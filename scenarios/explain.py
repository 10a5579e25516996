"""From the folder of a run to the story of one of its requests."""

import difflib
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from scenarios.errors import EvidenceError
from scenarios.evidence import folder as files
from scenarios.evidence.event import read_events
from scenarios.evidence.exchange import Exchange
from scenarios.evidence.mail import read_mails
from scenarios.evidence.manifest import read_manifest
from scenarios.evidence.ndjson import read_lines
from scenarios.evidence.outcome import Outcome, read_outcomes
from scenarios.evidence.subject import read_subjects
from scenarios.review import check_folder, surroundings_of
from scenarios.verdict.story import LogLine, Story, tell_story
from scenarios.verdict.timeline import Timeline

_NOT_REPLICAS = frozenset({"postgres", "balancer", "load", "migrator", "initdb"})


class _AppLine(msgspec.Struct, frozen=True):
    """A line of a log that is JSON, as far as it is understood."""

    at_ns: int | None = None
    message: str | None = None
    sqlstate: str | None = None
    refusal: str | None = None
    status: int | None = None


def explain(folder: Path, request_id: str) -> Story:
    """Tell the story of a request.

    Raises:
        EvidenceError: the folder is not that of a run, a file is damaged, or the run had no such
            request.
    """
    check_folder(folder)
    manifest = read_manifest(folder / files.MANIFEST)
    around = surroundings_of(folder, manifest, Timeline(read_events(folder / files.EVENTS)))
    found: Outcome | None = None
    origin_ns: int | None = None
    led_to: list[str] = []
    close: list[str] = []
    for outcome in around.reading(read_outcomes(folder / files.REQUESTS)):
        planned = outcome.planned_ns
        origin_ns = planned if origin_ns is None else min(origin_ns, planned)
        if outcome.request_id == request_id:
            found = outcome
        elif outcome.cause_id == request_id:
            led_to.append(outcome.request_id)
        elif found is None and outcome.request_id[:-2] == request_id[:-2]:
            close.append(outcome.request_id)
    if found is None or origin_ns is None:
        hint = difflib.get_close_matches(request_id, close, n=2)
        near = f"; did you mean {' or '.join(hint)}?" if hint else ""
        raise EvidenceError(f"{folder}: the run has no request {request_id!r}{near}")
    mails = around.skew.reading(read_mails(folder / files.MAILS))
    return tell_story(
        found,
        _exchange(folder / files.ACCESS_LOG, request_id),
        around,
        origin_ns=origin_ns,
        slow_seconds=manifest.objectives.latency_seconds,
        mails=[mail for mail in mails if mail.recipient == found.subject],
        log=_log_lines(folder, request_id),
        led_to=sorted(led_to),
        found=_states(folder / files.AFTER, found.subject),
    )


def _exchange(path: Path, request_id: str) -> Exchange | None:
    if not path.is_file():
        return None
    return next((one for one in read_lines(path, Exchange) if one.request_id == request_id), None)


def _states(path: Path, subject: str | None) -> tuple[str, ...] | None:
    if subject is None or not path.is_file():
        return None
    return tuple(
        one.state or "a row without a state"
        for one in read_subjects(path)
        if one.subject == subject
    )


def _log_lines(folder: Path, request_id: str) -> Iterator[LogLine]:
    """The lines of replicas' logs that hold the id, as a word of its own."""
    # s1-000119-3 is no part of s1-000119-31, nor of s1-000119-3-2, the same step of a later mail.
    word = re.compile(rf"(?<![\w-]){re.escape(request_id)}(?![\w-])")
    for path in sorted(folder.glob("*.log")):
        if path.stem in _NOT_REPLICAS:
            continue
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if word.search(line):
                    yield _log_line(path.stem, line.strip())


def _log_line(replica: str, line: str) -> LogLine:
    try:
        parsed = msgspec.json.decode(line, type=_AppLine)
    except msgspec.DecodeError:
        return LogLine(replica=replica, text=line)
    parts = (parsed.message, parsed.status, parsed.sqlstate, parsed.refusal)
    text = " ".join(str(part) for part in parts if part is not None) or line
    return LogLine(replica=replica, text=text, at_ns=parsed.at_ns)
