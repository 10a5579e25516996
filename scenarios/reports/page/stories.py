"""The story of each failed or slow request: what client, balancer and journal say of it.

A report holds them as rows of numbers and indices into a table of texts, so that thousands of them
stay small; its script tells them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from scenarios.evidence.exchange import Exchange
from scenarios.evidence.outcome import Outcome
from scenarios.reports import words
from scenarios.verdict.causes.failure import Failure, Finding
from scenarios.verdict.causes.ladder import attribute
from scenarios.verdict.causes.slowness import explain_slow
from scenarios.verdict.causes.surroundings import Surroundings
from scenarios.verdict.timeline import Timeline

MOST_STORIES = 20_000
"""More do not fit a page that opens at once; `requests.ndjson` has all of them."""

Row = tuple[int | float | str | None, ...]


class Stories(msgspec.Struct, frozen=True, kw_only=True):
    """Failed and slow requests, as the report's script reads them.

    Attributes:
        total: how many requests there are to tell of.
        texts: every text that rows refer to by its index; the first is empty.
        rows: one for each request that is told of, by planned time; `FIELDS` names their columns.
    """

    total: int = 0
    texts: tuple[str, ...] = ("",)
    rows: tuple[Row, ...] = ()


FIELDS = (
    "id",
    "cause",  # index, as for all texts
    "title",
    "at",  # seconds of the run, when it was planned
    "sent",  # seconds from `at`, null if it never was; so are the next two
    "first",
    "done",
    "endpoint",
    "connection",
    "journey",
    "replica",
    "version",
    "step",
    "schema",
    "status",
    "got",
    "proxy",
    "led",  # the request that led to this one
    "arrived",  # at the balancer, seconds from `at`; null if that has no line of it
    "waited",  # for a replica
    "connected",
    "answered",  # until the replica's first byte
    "took",  # all of it, at the balancer
    "attempts",
    "reused",
    "end",
)


def tell(
    bad: Sequence[Outcome],
    exchanges: Mapping[str, Exchange],
    around: Surroundings | Timeline,
    origin_ns: int,
    most: int = MOST_STORIES,
) -> Stories:
    """Join what is known of the failed and slow requests.

    Args:
        bad: all of them; those that are ok are slow.
        exchanges: the balancer's lines of them, by request id.
        around: the journal, and what else went on.
        origin_ns: the instant 0.0.
        most: how many may be told; of each cause some are, spread over its time.
    """
    groups: dict[str, list[_Told]] = {}
    for outcome in sorted(bad, key=lambda one: (one.planned_ns, one.request_id)):
        failure = Failure.join(outcome, exchanges.get(outcome.request_id), around)
        finding = explain_slow(failure) if outcome.ok else attribute(failure)
        groups.setdefault(finding.cause, []).append((failure, finding))
    texts: dict[str, int] = {"": 0}
    told = [
        (failure.outcome.planned_ns, _row(failure, finding, texts, origin_ns))
        for group in _shared(groups, most)
        for failure, finding in group
    ]
    rows = [row for _, row in sorted(told, key=lambda item: (item[0], str(item[1][0])))]
    return Stories(total=len(bad), texts=tuple(texts), rows=tuple(rows))


_Told = tuple[Failure, Finding]


def _shared(groups: Mapping[str, list[_Told]], most: int) -> Iterator[list[_Told]]:
    """At most that many in all: small groups whole, large ones evenly spread."""
    left, waiting = most, len(groups)
    for _, group in sorted(groups.items(), key=lambda item: (len(item[1]), item[0])):
        share = max(left // waiting, 1)
        step = max(len(group) / share, 1.0)
        shared = [group[int(number * step)] for number in range(min(share, len(group)))]
        left, waiting = left - len(shared), waiting - 1
        yield shared


def _row(failure: Failure, finding: Finding, texts: dict[str, int], origin_ns: int) -> Row:
    outcome, exchange, timeline = failure.outcome, failure.exchange, failure.timeline
    planned = outcome.planned_ns

    def text(value: object) -> int:
        return texts.setdefault("" if value is None else words.clean(value), len(texts))

    def since(at_ns: int | None) -> float | None:
        return None if at_ns is None else round((at_ns - planned) / 1e9, 6)

    got = (
        outcome.error,
        outcome.error_detail,
        outcome.sqlstate and f"SQLSTATE {outcome.sqlstate}",
        outcome.problem,
    )
    seen: Row = (None,) * 8
    if exchange is not None:
        seen = (
            since(exchange.at_ns),
            _timer(exchange.wait_ns),
            _timer(exchange.connect_ns),
            _timer(exchange.first_byte_ns),
            _timer(exchange.total_ns),
            exchange.attempts,
            int(exchange.reused),
            text(exchange.end),
        )
    return (
        words.clean(outcome.request_id),
        text(finding.cause),
        text(finding.title),
        round((planned - origin_ns) / 1e9, 6),
        since(outcome.sent_ns),
        since(outcome.first_byte_ns),
        since(outcome.done_ns),
        text(outcome.endpoint),
        text(outcome.connection),
        text(outcome.journey),
        text(failure.replica),
        text(failure.version),
        text(timeline.step_at(failure.at_ns)),
        text(timeline.schema_at(failure.at_ns)),
        outcome.status,
        text("; ".join(part for part in got if part)),
        text(outcome.proxy_status),
        outcome.cause_id and words.clean(outcome.cause_id),
        *seen,
    )


def _timer(nanoseconds: int) -> float | None:
    return None if nanoseconds < 0 else round(nanoseconds / 1e9, 6)


def bad_of(outcomes: Iterable[Outcome], slow_seconds: float) -> list[Outcome]:
    """The requests that were sent and failed, or took longer than that."""
    return [
        outcome
        for outcome in outcomes
        if outcome.dispatched and (not outcome.ok or outcome.slower_than(slow_seconds))
    ]
