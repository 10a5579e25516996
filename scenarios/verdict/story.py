"""One request's story: everything that the evidence has of it, in order of time.

It is told once, here; the terminal and the page only show it.
"""

from collections.abc import Iterable

import msgspec

from scenarios.evidence.exchange import ExchangeRecord
from scenarios.evidence.locks import LockWait
from scenarios.evidence.mail import Mail
from scenarios.evidence.outcome import Outcome
from scenarios.verdict.causes.attribution import Attributed
from scenarios.verdict.causes.failure import Failure
from scenarios.verdict.model import Confidence
from scenarios.verdict.timeline import describe

MARGIN_NS = 50_000_000
"""What happened this shortly before or after a request belongs to its story as well."""

MOST_WAITS = 20
"""A story tells of so many kinds of waits for locks; hundreds of sessions may have waited."""


class Moment(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One thing that happened.

    Attributes:
        at: seconds of the run; absent where nobody stamped it.
        source: who says so: `client`, `balancer`, `service NAME` (its balancer), a replica,
            `postgres`, `locks`, `rollout` or `mail`.
        text: what.
    """

    at: float | None
    source: str
    text: str


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one request.

    Attributes:
        request_id: which.
        at: its planned time, in seconds of the run.
        seconds: from then until its outcome was known.
        endpoint: what it asked for.
        connection: `new` or `reused`.
        journey: the user story that it belongs to.
        got: what the client got: the status, or the error, with what was said of it.
        replica: who answered or was asked, as far as known.
        version: of that replica.
        summary: what became of it.
        cause: why it failed or was slow; absent when neither.
        title: the same for people.
        confidence: how well that is known.
        contributing: what else may have had a part.
        step: what the rollout was doing.
        schema: the last migration that had completed.
        logged: whether the balancer's log has a line of it.
        led_by: the request that led to it.
        led_to: the requests that it led to.
        subject: what it was about.
        found: the states of that subject's rows after the run; absent if the database was not read.
        moments: what happened, in order.
    """

    request_id: str
    at: float
    seconds: float
    endpoint: str
    connection: str
    journey: str
    got: str
    replica: str | None
    version: str | None
    summary: str
    cause: str | None
    title: str | None
    confidence: Confidence | None
    contributing: tuple[str, ...]
    step: str
    schema: str | None
    logged: bool
    led_by: str | None
    led_to: tuple[str, ...]
    subject: str | None
    found: tuple[str, ...] | None
    moments: tuple[Moment, ...]


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a replica's log that names the request.

    Attributes:
        replica: whose.
        text: the line.
        at_ns: its own stamp, if it has one of our clock.
    """

    replica: str
    text: str
    at_ns: int | None = None


class Further(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a request besides what a verdict needs; all of it may be left out.

    Attributes:
        mails: the mails to its subject.
        log: the lines of replicas' logs that name it.
        led_to: the requests that it led to.
        found: the states of its subject's rows after the run; absent if the database was not read.
    """

    mails: tuple[Mail, ...] = ()
    log: tuple[LogLine, ...] = ()
    led_to: tuple[str, ...] = ()
    found: tuple[str, ...] | None = None


NOTHING_FURTHER = Further()


def tell_story(
    failure: Failure,
    why: Attributed | None,
    origin_ns: int,
    further: Further = NOTHING_FURTHER,
) -> Story:
    """Tell it.

    Args:
        failure: the request, joined with what else is known about it.
        why: its cause; None if it neither failed nor was slow.
        origin_ns: the instant 0.0 of the run.
        further: what else is known.
    """
    outcome = failure.outcome
    stamped: list[tuple[int, str, str]] = [
        *_client(outcome),
        *_balancer(failure.exchange),
        *_calls(failure),
        *_rollout(failure),
        *_locks(failure),
        *_server(failure),
    ]
    stamped += [
        (mail.at_ns, "mail", _mail_text(mail))
        for mail in further.mails
        if mail.request_id in (None, outcome.request_id, outcome.cause_id)
    ]
    stamped += [
        (line.at_ns, line.replica, line.text) for line in further.log if line.at_ns is not None
    ]
    moments = [
        Moment(at=round((at_ns - origin_ns) / 1e9, 6), source=source, text=text)
        for at_ns, source, text in sorted(stamped, key=lambda moment: moment[0])
    ]
    moments += [
        Moment(at=None, source=line.replica, text=line.text)
        for line in further.log
        if line.at_ns is None
    ]
    return Story(
        request_id=outcome.request_id,
        at=round((outcome.planned_ns - origin_ns) / 1e9, 6),
        seconds=round(outcome.latency_seconds, 6),
        endpoint=outcome.endpoint,
        connection=outcome.connection,
        journey=outcome.journey,
        got=_got(outcome),
        replica=failure.replica,
        version=failure.version,
        summary=_summary(outcome),
        cause=why.finding.cause if why else None,
        title=why.finding.title if why else None,
        confidence=why.finding.confidence if why else None,
        contributing=why.contributing if why else (),
        step=failure.timeline.step_at(failure.at_ns),
        schema=failure.timeline.schema_at(failure.at_ns),
        logged=failure.exchange is not None,
        led_by=outcome.cause_id,
        led_to=further.led_to,
        subject=outcome.subject,
        found=further.found,
        moments=tuple(moments),
    )


_Stamped = Iterable[tuple[int, str, str]]


def _summary(outcome: Outcome) -> str:
    got = f"HTTP {outcome.status}" if outcome.error is None else outcome.error.replace("_", " ")
    word = "succeeded" if outcome.ok else "failed"
    return f"{outcome.endpoint} {word}: {got} after {outcome.latency_seconds:.3f} s"


def _client(outcome: Outcome) -> _Stamped:
    yield outcome.planned_ns, "client", f"{outcome.endpoint} is due ({outcome.journey})"
    if outcome.sent_ns is not None:
        yield outcome.sent_ns, "client", f"sent on a {outcome.connection} connection"
    if outcome.first_byte_ns is not None:
        yield outcome.first_byte_ns, "client", "the response begins"
    sender = f"; from {outcome.served_by}" if outcome.served_by else ""
    yield outcome.done_ns, "client", f"{_got(outcome)}{sender}"


def _got(outcome: Outcome) -> str:
    parts = (
        outcome.error and outcome.error.replace("_", " "),
        outcome.error_detail,
        outcome.status and f"HTTP {outcome.status}",
        outcome.problem,
        outcome.mismatch,
        outcome.sqlstate and f"SQLSTATE {outcome.sqlstate}",
        outcome.proxy_status and f"Proxy-Status: {outcome.proxy_status}",
    )
    return "; ".join(str(part) for part in parts if part)


def _balancer(exchange: ExchangeRecord | None) -> _Stamped:
    if exchange is None:
        return
    start = exchange.at_ns
    if exchange.joined is not None:
        yield start + max(exchange.total_ns, 0), "proxy", _in_log(exchange)
        return
    yield start, "balancer", "the request arrives"
    if exchange.wait_ns >= 0:
        how = "a reused connection" if exchange.reused else "a new connection"
        text = f"gives it to {exchange.backend} (version {exchange.version}) on {how}"
        tries = f", try {exchange.attempts}" if exchange.attempts > 1 else ""
        yield start + exchange.wait_ns, "balancer", text + tries
    if exchange.first_byte_ns >= 0:
        yield start + exchange.first_byte_ns, "balancer", f"{exchange.backend} begins to answer"
    if exchange.total_ns >= 0:
        text = f"ends: {exchange.end}, status {exchange.status or 'none'}"
        yield start + exchange.total_ns, "balancer", text


def _calls(failure: Failure) -> _Stamped:
    """The calls of services that were made for the request."""
    for call in failure.around.calls.made_for(failure.outcome.request_id):
        source = f"service {call.service}"
        yield call.line.at_ns, source, "a call for the request arrives"
        yield call.line.at_ns + max(call.line.total_ns, 0), source, call.words


def _in_log(exchange: ExchangeRecord) -> str:
    """What the logs of a watched service say of an exchange."""
    asked = f" from {exchange.backend}" if exchange.backend else ""
    said = f": {exchange.reason}" if exchange.reason else ""
    how = "" if exchange.joined == "id" else "; joined by method, path, status and time"
    return f"the log has status {exchange.status or 'none'}{asked}, {exchange.end}{said}{how}"


def _mail_text(mail: Mail) -> str:
    sender = f" from {mail.sent_by}" if mail.sent_by else ""
    led = f", for {mail.request_id}" if mail.request_id else ""
    return f"a mail{sender} reaches {mail.recipient}{led}"


def _span(failure: Failure) -> tuple[int, int]:
    start, end = failure.outcome.planned_ns, failure.outcome.done_ns
    return start - MARGIN_NS, end + MARGIN_NS


def _rollout(failure: Failure) -> _Stamped:
    first, last = _span(failure)
    for event in failure.timeline.between(first, last):
        error = f": {event.error}" if event.error else ""
        yield event.at_ns, "rollout", f"{describe(event)} {event.state}{error}"


def _locks(failure: Failure) -> _Stamped:
    outcome = failure.outcome
    waits = failure.around.waits_of(failure.replica, outcome.planned_ns, outcome.done_ns)
    alike: dict[tuple[str, str], list[LockWait]] = {}
    for wait in waits:
        who = str(wait.waiter.application or wait.waiter.pid)
        alike.setdefault((who, _waits_for(wait)), []).append(wait)
    told = list(alike.items())
    for (who, what), some in told[:MOST_WAITS]:
        longest = max(one.seconds for one in some)
        sessions = len({one.waiter.pid for one in some})
        waits_long = (
            f"{who} waits {longest:.3f} s"
            if sessions == 1
            else f"{sessions} sessions of {who} wait up to {longest:.3f} s"
        )
        yield some[0].at_ns, "locks", f"{waits_long} for {what}"
    if len(told) > MOST_WAITS:
        _, later = told[MOST_WAITS]
        yield (
            later[0].at_ns,
            "locks",
            f"and {len(told) - MOST_WAITS:,} more kinds of waits for locks",
        )


def _waits_for(wait: LockWait) -> str:
    about = f" on {wait.relation}" if wait.relation else ""
    chain = " behind ".join(
        f"{one.application or one.pid}{f' ({one.query})' if one.query else ''}"
        for one in wait.chain
    )
    return f"{wait.mode}{about}, behind {chain or 'a session that had ended'}"


def _server(failure: Failure) -> _Stamped:
    first, last = _span(failure)
    alike: dict[str, list[int]] = {}
    for line in failure.around.errors_of(failure.replica, first, last):
        text = f"{line.severity} {line.sqlstate} {line.message} ({line.application})"
        alike.setdefault(text, []).append(line.at_ns)
    for text, times in alike.items():
        # The last one before the outcome was known: that one may be the request's own.
        at_ns = max((one for one in times if one <= failure.outcome.done_ns), default=times[0])
        often = f"; {len(times):,} times around then" if len(times) > 1 else ""
        yield at_ns, "postgres", f"{text}{often}"
