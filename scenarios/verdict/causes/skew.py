"""Who served what, and who handed out what led to it: what `lacks` asks, from columns."""

from collections.abc import Iterable, Iterator
from itertools import compress

from scenarios.evidence.mail import Mail
from scenarios.evidence.outcome import Outcome
from scenarios.verdict.causes.lacks import Lack, Lacks
from scenarios.verdict.causes.routes import Route, Routes
from scenarios.verdict.columns.column import batches
from scenarios.verdict.columns.requests import RequestColumns, key_of
from scenarios.verdict.timeline import Timeline


class Skew:
    """What one version serves and another lacks.

    Memory: the failed requests, and each kind of requests.
    """

    def __init__(self, timeline: Timeline) -> None:
        self._columns: RequestColumns | None = None
        self._routes = Routes()
        self._answered: dict[int, str | None] = {}
        self._lacks = Lacks(timeline, self._route, self._answered_id)
        self.version_of = self._lacks.version_of
        """The version of a replica; None if it is unknown."""

    def use(self, columns: RequestColumns) -> None:
        """Take note of all requests."""
        self._columns = columns
        self._routes = Routes(columns.kinds)
        for kind in columns.kinds:
            if kind.ok and kind.version is not None:
                self._lacks.note_served(kind.endpoint, kind.status, kind.version)
        self._lacks.note_failed(columns.failed)

    def reading(self, mails: Iterable[Mail], notes: list[Mail]) -> Iterator[Mail]:
        """The same mails; those that may have led to a failed request are noted by the way.

        All requests must be known.

        Args:
            mails: all mails, or some of them.
            notes: gets those that `use_mails` must have.
        """
        failed = self._lacks.failed.values()
        causes = {one.cause_id for one in failed} - {None}
        subjects = {one.subject for one in failed} - {None}
        for batch in batches(mails):
            notes += [
                one
                for one in batch
                if one.request_id in causes or (not one.request_id and one.recipient in subjects)
            ]
            yield from batch

    def use_mails(self, notes: Iterable[Mail]) -> None:
        """Take note of mails that may have led to a failed request."""
        self._lacks.note_mails(notes)

    def lack(self, outcome: Outcome, version: str | None) -> Lack | None:
        """What explains that this version does not know the request; None if nothing does."""
        return self._lacks.lack(outcome, version)

    def answered(self, key: int) -> str | None:
        """The version that answered a request that succeeded, by `key_of` its id."""
        if key not in self._answered:
            # All that may be asked for is looked up at once.
            causes = {one.cause_id for one in self._lacks.failed.values()}
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

    def _answered_id(self, request_id: str) -> str | None:
        return self.answered(key_of(request_id))

    def _route(self, outcome: Outcome) -> Route:
        return self._routes.route(outcome)
