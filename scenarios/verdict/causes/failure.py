"""A failed or slow request joined with everything else that is known about it."""

from dataclasses import dataclass
from typing import NamedTuple

from scenarios.evidence.exchange import ExchangeRecord
from scenarios.evidence.logged_error import LoggedError
from scenarios.evidence.outcome import Outcome
from scenarios.verdict.causes import proxy_status
from scenarios.verdict.causes.lacks import Lack
from scenarios.verdict.causes.proxy_status import ProxyStatus
from scenarios.verdict.causes.surroundings import Surroundings
from scenarios.verdict.cluster.cluster_history import Met, is_unreached
from scenarios.verdict.model import CauseKind, Confidence
from scenarios.verdict.timeline import Life, Timeline


class Finding(NamedTuple):
    """What one rule says of one request; see `model.Cause` for the meaning of each part."""

    cause: str
    title: str
    confidence: Confidence
    kind: CauseKind


_GATEWAY = frozenset({502, 503, 504})
"""Statuses by which a proxy may answer for an application (RFC 9110, section 15.6)."""

UNKNOWN = "unknown"
"""How an exchange ended of which its router does not say how."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed request joined with everything else that is known about it.

    Attributes:
        outcome: what the client saw.
        exchange: what the balancer logged of it, if anything.
        proxy: why the balancer answered by itself, if it did.
        at_ns: the instant that counts: when the outcome was known; of a timeout, when it was due,
            since what held it up happened then.
        replica: who answered or was asked, as far as known.
        version: of that replica.
        life: that replica's, if the journal knows it.
        timeline: the journal.
        around: what else went on.
        met: the pod of a cluster that it met, where nobody names one.
    """

    outcome: Outcome
    exchange: ExchangeRecord | None
    proxy: ProxyStatus | None
    at_ns: int
    replica: str | None
    version: str | None
    life: Life | None
    timeline: Timeline
    around: Surroundings
    met: Met | None = None

    @classmethod
    def join(
        cls, outcome: Outcome, exchange: ExchangeRecord | None, around: Surroundings | Timeline
    ) -> "Failure":
        """Join the evidence of one request."""
        if isinstance(around, Timeline):
            around = Surroundings(around)
        timeline = around.timeline
        proxy = proxy_status.parse(outcome.proxy_status) or _logged(exchange)
        replica = outcome.served_by or (exchange.backend if exchange else None)
        if replica is None and proxy is not None and proxy.next_hop in timeline.lives:
            replica = proxy.next_hop
        met = around.cluster.met(outcome) if replica is None else None
        if met is not None:
            replica = met.pod.name
        logged = exchange.version if exchange else None
        return cls(
            outcome=outcome,
            exchange=exchange,
            proxy=proxy,
            at_ns=outcome.planned_ns if outcome.error == "timeout" else outcome.done_ns,
            replica=replica,
            version=logged or timeline.version_of(replica),
            life=timeline.lives.get(replica) if replica else None,
            timeline=timeline,
            around=around,
            met=met,
        )

    @property
    def lack(self) -> Lack | None:
        """What explains that its version does not know what it was asked for, if anything does."""
        return self.around.skew.lack(self.outcome, self.version)

    @property
    def logged(self) -> LoggedError | None:
        """The error that its replica logged about it, if it is known which.

        Where nobody knows whose log it is, a gateway's status is not explained by the time alone.
        """
        logged = self.around.logged
        error = logged.about(self.outcome.request_id, self.replica, *self.span)
        if error is None or error.request_id is not None or not logged.shared:
            return error
        return None if self.outcome.status in _GATEWAY else error

    @property
    def sqlstate(self) -> str | None:
        """The SQLSTATE of its answer; of 25P02 the one before, if the server's log has it."""
        given = self.outcome.sqlstate
        if given == "25P02":
            line = self.around.server_error(self.replica, *self.span)
            return given if line is None else line.sqlstate
        return given

    @property
    def span(self) -> tuple[int, int]:
        """From when it was sent, or due if it never was, until its outcome was known."""
        outcome = self.outcome
        begin = outcome.planned_ns if outcome.sent_ns is None else outcome.sent_ns
        return begin, outcome.done_ns

    @property
    def refused(self) -> bool:
        """Whether the balancer had nobody to ask, or the Service of a cluster no endpoint."""
        if self.proxy is not None:
            return self.proxy.error == "destination_unavailable"
        return is_unreached(self.outcome) and self.around.cluster.nobody(*self.span)

    @property
    def answered_badly(self) -> bool:
        """Whether an application answered, with a server error (RFC 9110, section 15.6)."""
        return self.proxy is None and (self.outcome.status or 0) >= 500  # noqa: PLR2004 - the RFC

    @property
    def cut(self) -> bool:
        """Whether the exchange broke off, rather than being answered by an application."""
        if self.proxy is not None:
            return self.proxy.error in proxy_status.CUT
        if self.met is not None:
            return True
        if self.exchange is not None and self.exchange.end == UNKNOWN:
            return True  # its router does not tell its own answers from the application's
        return self.outcome.error in ("reset", "eof", "malformed")


def _logged(exchange: ExchangeRecord | None) -> ProxyStatus | None:
    """Why another router answered by itself, as its log says; it adds no `Proxy-Status`."""
    if exchange is None or not exchange.foreign or exchange.end not in proxy_status.ERRORS:
        return None
    return ProxyStatus(exchange.end or "", exchange.reason, exchange.backend)
