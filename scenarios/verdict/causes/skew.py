"""The trap of the mixed fleet: a request meets a version that lacks what another one serves.

A 404, 405 or 501 of a version that never served that route in the whole run, under whichever
endpoint (see `routes`), is explained by

- another version that did serve it, or
- another version that handed out what led to it: it mailed the link, or answered the request
  before. That version must not have answered in the same way itself.

Each failed request is asked about by itself, so one whose link came from the version that does not
know it stays what it is: a symptom.
"""

from collections.abc import Iterable, Iterator
from itertools import compress
from typing import Literal, NamedTuple

from scenarios.evidence.mail import Mail
from scenarios.evidence.outcome import Outcome
from scenarios.verdict.causes import proxy_status
from scenarios.verdict.causes.routes import Route, Routes
from scenarios.verdict.columns.column import batches
from scenarios.verdict.columns.requests import RequestColumns, key_of
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


class Skew:
    """Who served what, and who handed out what led to it.

    Memory: the failed requests, and each kind of requests.
    """

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._known: dict[str, str | None] = {}
        self._columns: RequestColumns | None = None
        self._served: dict[str, set[str]] = {}
        self._refused: dict[str, set[str]] = {}
        self._routes = Routes()
        self._about_routes: dict[Route, tuple[set[str], set[str]]] = {}
        self._answered: dict[int, str | None] = {}
        self._failed: dict[str, Outcome] = {}
        self._mails: dict[str, list[_Sent]] = {}

    def use(self, columns: RequestColumns) -> None:
        """Take note of all requests."""
        self._columns = columns
        self._routes = Routes(columns.kinds)
        for kind in columns.kinds:
            # A scenario may expect a 404: that is no service either.
            if kind.ok and kind.version is not None and kind.status not in NO_SUCH_ROUTE:
                self._served.setdefault(kind.endpoint, set()).add(kind.version)
        for outcome in columns.failed:
            self._failed[outcome.request_id] = outcome
            version = self.version_of(outcome.served_by)
            if version is not None and _no_such_route(outcome):
                self._refused.setdefault(outcome.endpoint, set()).add(version)

    def reading(self, mails: Iterable[Mail]) -> Iterator[Mail]:
        """The same mails; those that may have led to a failed request are remembered by the way.

        All requests must be known.
        """
        causes = {one.cause_id for one in self._failed.values()} - {None}
        subjects = {one.subject for one in self._failed.values()} - {None}
        for batch in batches(mails):
            for mail in [
                one for one in batch if one.request_id in causes or one.recipient in subjects
            ]:
                self._note(mail, by_request=mail.request_id in causes)
            yield from batch

    def _note(self, mail: Mail, *, by_request: bool) -> None:
        version = self.version_of(mail.sent_by)
        # A mail that names its request is about that one alone.
        if version is not None and (by_request or not mail.request_id):
            about = mail.request_id or mail.recipient
            self._mails.setdefault(about, []).append(_Sent(mail.at_ns, version))

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
        """The version that answered a request that succeeded, by `key_of` its id."""
        if key not in self._answered:
            # All that may be asked for is looked up at once.
            causes = {one.cause_id for one in self._failed.values()}
            self.look_up({key, *(key_of(cause) for cause in causes if cause is not None)})
        return self._answered[key]

    def look_up(self, keys: Iterable[int]) -> None:
        """Find out who answered these requests, so that `answered` knows it."""
        wanted = set(keys).difference(self._answered)
        self._answered.update(dict.fromkeys(wanted))
        if self._columns is None or not wanted:
            return
        versions = [kind.version if kind.ok else None for kind in self._columns.kinds]
        for names, kinds in zip(self._columns.name, self._columns.kind, strict=True):
            rows = zip(names, kinds, strict=True)
            for name, number in compress(rows, map(wanted.__contains__, names)):
                version = versions[number]
                if version is not None:
                    known = self._answered[name]
                    self._answered[name] = version if known is None else min(known, version)

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
