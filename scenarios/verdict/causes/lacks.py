"""The trap of the mixed fleet: a request meets a version that lacks what another one serves.

A 404, 405 or 501 of a version that never served that route in the whole run, under whichever
endpoint (see `routes`), is explained by

- another version that did serve it, or
- another version that handed out what led to it: it mailed the link, or answered the request
  before. That version must not have answered in the same way itself.

Each failed request is asked about by itself, so one whose link came from the version that does not
know it stays what it is: a symptom.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple

from scenarios.evidence.mail import Mail
from scenarios.evidence.outcome import Outcome
from scenarios.verdict.causes import proxy_status
from scenarios.verdict.causes.routes import Route
from scenarios.verdict.timeline import Timeline

NO_SUCH_ROUTE = frozenset({404, 405, 501})


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


class Lacks:
    """What each version served and did not know, and who led to the requests that failed.

    All requests must be noted before anything is asked.
    """

    def __init__(
        self,
        timeline: Timeline,
        route: Callable[[Outcome], Route],
        answered: Callable[[str], str | None],
    ) -> None:
        """Begin with nothing.

        Args:
            timeline: the journal.
            route: the route of a request.
            answered: the version that answered a request that succeeded, by its id.
        """
        self._timeline = timeline
        self._route = route
        self._answered = answered
        self._versions: dict[str, str | None] = {}
        self._served: dict[str, set[str]] = {}
        self._refused: dict[str, set[str]] = {}
        self._about_routes: dict[Route, tuple[set[str], set[str]]] = {}
        self._failed: dict[str, Outcome] = {}
        self._mails: dict[str, list[_Sent]] = {}

    @property
    def failed(self) -> Mapping[str, Outcome]:
        """The failed requests, by their ids."""
        return self._failed

    def version_of(self, replica: str | None) -> str | None:
        """The version of a replica; None if it is unknown."""
        if replica is None:
            return None
        if replica not in self._versions:
            self._versions[replica] = self._timeline.version_of(replica)
        return self._versions[replica]

    def note_served(self, endpoint: str, status: int | None, version: str) -> None:
        """Take note that a request succeeded."""
        # A scenario may expect a 404: that is no service either.
        if status not in NO_SUCH_ROUTE:
            self._served.setdefault(endpoint, set()).add(version)

    def note_failed(self, outcomes: Iterable[Outcome]) -> None:
        """Take note of requests that failed."""
        for outcome in outcomes:
            self._failed[outcome.request_id] = outcome
            version = self.version_of(outcome.served_by)
            if version is not None and _no_such_route(outcome):
                self._refused.setdefault(outcome.endpoint, set()).add(version)

    def note_mails(self, mails: Iterable[Mail]) -> None:
        """Take note of mails that may have led to a failed request."""
        for mail in mails:
            version = self.version_of(mail.sent_by)
            if version is not None:
                # A mail that names its request is about that one alone.
                about = mail.request_id or mail.recipient
                self._mails.setdefault(about, []).append(_Sent(mail.at_ns, version))

    def lack(self, outcome: Outcome, version: str | None) -> Lack | None:
        """What explains that this version does not know the request; None if nothing does."""
        if version is None or not _no_such_route(outcome):
            return None
        served, refused = self._about(self._route(outcome))
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
            other = self._answered(led.cause_id)
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


def _no_such_route(outcome: Outcome) -> bool:
    """Whether an application answered that it does not know what it was asked for."""
    return (
        outcome.status in NO_SUCH_ROUTE
        and outcome.status not in outcome.expected
        and proxy_status.parse(outcome.proxy_status) is None
    )
