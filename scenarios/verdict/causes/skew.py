"""The trap of the mixed fleet: a request meets a version that lacks what another one serves.

A 404, 405 or 501 of a version that never served that route in the whole run, under whichever
endpoint (see `routes`), is explained by

- another version that did serve it, or
- another version that handed out what led to it: it mailed the link, or answered the request
  before. That version must not have answered in the same way itself.

Each failed request is asked about by itself, so one whose link came from the version that does not
know it stays what it is: a symptom.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from scenarios.evidence.mail import Mail
from scenarios.evidence.outcome import Outcome
from scenarios.verdict.causes import proxy_status
from scenarios.verdict.causes.answers import key_of
from scenarios.verdict.causes.routes import Route, Routes
from scenarios.verdict.timeline import Timeline

NO_SUCH_ROUTE = frozenset({404, 405, 501})

_BITS = 10
_MOST_VERSIONS = 1 << _BITS
"""Far more than a run has; what is answered by further ones is not remembered."""


class Lack(NamedTuple):
    """Why a version does not know what it was asked for.

    Attributes:
        version: the one that was asked.
        other: the one that serves it, or that led to it.
        how: whether the other `served` it in this run, `mailed` the link, or `answered` the request
            that led to it.
        led_by: the request that led to it; absent where the other served it.
    """

    version: str
    other: str
    how: Literal["served", "mailed", "answered"]
    led_by: str | None = None


class _Sent(NamedTuple):
    at_ns: int
    version: str


class Skew:
    """Who served what, and who handed out what led to it; requests come in any order.

    Memory: eight bytes for a request that succeeded, the failed ones, and each endpoint.
    """

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._known: dict[str, str | None] = {}
        self._numbers: dict[str, int] = {}
        self._served: dict[str, set[str]] = {}
        self._refused: dict[str, set[str]] = {}
        self._routes = Routes()
        self._about_routes: dict[Route, tuple[set[str], set[str]]] = {}
        self._answers = array("q")
        self._ordered: array[int] | None = None
        self._failed: dict[str, Outcome] = {}
        self._mails: dict[str, list[_Sent]] = {}

    def hear(self, outcome: Outcome) -> None:
        """Take note of one request."""
        self._routes.hear(outcome)
        self._about_routes.clear()
        version = self.version_of(outcome.served_by)
        if not outcome.ok:
            self._failed[outcome.request_id] = outcome
            if version is not None and _no_such_route(outcome):
                self._refused.setdefault(outcome.endpoint, set()).add(version)
        elif version is not None:
            # A scenario may expect a 404: that is no service either.
            if outcome.status not in NO_SUCH_ROUTE:
                self._served.setdefault(outcome.endpoint, set()).add(version)
            number = self._numbers.setdefault(version, len(self._numbers))
            if number < _MOST_VERSIONS:
                self._answers.append(key_of(outcome.request_id) << _BITS | number)
                self._ordered = None

    def reading(self, mails: Iterable[Mail]) -> Iterator[Mail]:
        """The same mails; those that may have led to a failed request are remembered by the way.

        All requests must have been heard before.
        """
        causes = {one.cause_id for one in self._failed.values()}
        subjects = {one.subject for one in self._failed.values()}
        for mail in mails:
            version = self.version_of(mail.sent_by)
            about = mail.request_id or mail.recipient
            if version is not None and about in (causes if mail.request_id else subjects):
                self._mails.setdefault(about, []).append(_Sent(mail.at_ns, version))
            yield mail

    def lack(self, outcome: Outcome, version: str | None) -> Lack | None:
        """What explains that this version does not know the request; None if nothing does."""
        if version is None or not _no_such_route(outcome):
            return None
        served, refused = self._about(self._routes.route(outcome))
        if version in served:
            return None
        if served:
            return Lack(version, min(served), "served")
        found = self._led(outcome, version)
        if found is None or found.other in refused:
            return None
        return found

    def _about(self, route: Route) -> tuple[set[str], set[str]]:
        """The versions that served a route, and those that did not know it."""
        found = self._about_routes.get(route)
        if found is None:
            served, refused = (
                {version for endpoint in route.endpoints for version in known.get(endpoint, ())}
                for known in (self._served, self._refused)
            )
            found = self._about_routes[route] = (served, refused)
        return found

    def _led(self, outcome: Outcome, version: str) -> Lack | None:
        """Who handed out what led to a request, if that is another version.

        A request that failed handed out nothing, so what led to it led here.
        """
        seen: set[str] = set()
        due_ns = outcome.planned_ns
        led: Outcome | None = outcome
        while led is not None and led.cause_id is not None and led.cause_id not in seen:
            seen.add(led.cause_id)
            senders = self._senders(led, due_ns)
            if senders:
                other = None if version in senders else min(senders)
                return None if other is None else Lack(version, other, "mailed", led.cause_id)
            other = self.answered(key_of(led.cause_id))
            if other is not None:
                return None if other == version else Lack(version, other, "answered", led.cause_id)
            led = self._failed.get(led.cause_id)
        return None

    def _senders(self, outcome: Outcome, due_ns: int) -> set[str]:
        """The versions that had mailed the request's subject, for the request that led to it."""
        return {
            sent.version
            for about in (outcome.cause_id, outcome.subject)
            for sent in self._mails.get(about or "", ())
            if sent.at_ns <= due_ns
        }

    def answered(self, key: int) -> str | None:
        """The version that answered a request that succeeded, by `answers.key_of` its id."""
        if self._ordered is None:
            self._ordered = array("q", sorted(self._answers))
        key <<= _BITS
        index = bisect_left(self._ordered, key)
        if index == len(self._ordered) or self._ordered[index] - key >= _MOST_VERSIONS:
            return None
        return list(self._numbers)[self._ordered[index] - key]

    def version_of(self, replica: str | None) -> str | None:
        """The version of a replica; None if it is unknown."""
        if replica is None:
            return None
        if replica not in self._known:
            self._known[replica] = self._timeline.version_of(replica)
        return self._known[replica]


def _no_such_route(outcome: Outcome) -> bool:
    """Whether an application answered that it does not know what it was asked for."""
    return (
        outcome.status in NO_SUCH_ROUTE
        and outcome.status not in outcome.expected
        and proxy_status.parse(outcome.proxy_status) is None
    )
