"""What requests show together, as it is defined: one request after the other, whole in memory."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

from scenarios.evidence.mail import Mail
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.request_id import place_of
from scenarios.verdict.causes import routes
from scenarios.verdict.causes.answers import MOST_LOOKED_AT, Served
from scenarios.verdict.causes.lacks import Lacks
from scenarios.verdict.columns.requests import SEVERAL, Step, step_of
from scenarios.verdict.timeline import Timeline

_TICK = 20
_BITS = 10
_MOST_VERSIONS = 1 << _BITS
_LONG = 5
_READS = ("GET ", "HEAD ", "OPTIONS ")


class Routes(routes.Routes):
    """What was asked for in which step, and by whom; requests come in any order.

    Memory: about a hundred bytes for each endpoint of each step.
    """

    def hear(self, outcome: Outcome) -> None:
        """Take note of one request."""
        place = place_of(outcome.request_id)
        if place is None:
            return
        step = (outcome.journey, place.step)
        asked = self._asked.setdefault(step, {})
        user = asked.get(outcome.endpoint)
        if user is None:
            asked[outcome.endpoint] = place.user
        elif user not in (place.user, SEVERAL):
            asked[outcome.endpoint] = SEVERAL


class Skew:
    """Who served what, and who handed out what led to it; requests come in any order.

    Memory: eight bytes for a request that succeeded, the failed ones, and each endpoint.
    """

    def __init__(self, timeline: Timeline) -> None:
        self._numbers: dict[str, int] = {}
        self._routes = Routes()
        self._answers = array("q")
        self._ordered: array[int] | None = None
        self._lacks = Lacks(timeline, self._routes.route, lambda one: self.answered(key_of(one)))
        self.version_of, self.lack = self._lacks.version_of, self._lacks.lack

    def hear(self, outcome: Outcome) -> None:
        """Take note of one request."""
        self._routes.hear(outcome)
        version = self.version_of(outcome.served_by)
        if not outcome.ok:
            self._lacks.note_failed([outcome])
        elif version is not None:
            self._lacks.note_served(outcome.endpoint, outcome.status, version)
            number = self._numbers.setdefault(version, len(self._numbers))
            if number < _MOST_VERSIONS:
                self._answers.append(key_of(outcome.request_id) << _BITS | number)
                self._ordered = None

    def reading(self, mails: Iterable[Mail]) -> Iterator[Mail]:
        """The same mails; those that may have led to a failed request are remembered by the way.

        All requests must have been heard before.
        """
        causes = {one.cause_id for one in self._lacks.failed.values()}
        subjects = {one.subject for one in self._lacks.failed.values()}
        for mail in mails:
            about = mail.request_id or mail.recipient
            if about in (causes if mail.request_id else subjects):
                self._lacks.note_mails([mail])
            yield mail

    def answered(self, key: int) -> str | None:
        """The version that answered a request that succeeded, by `answers.key_of` its id."""
        if self._ordered is None:
            self._ordered = array("q", sorted(self._answers))
        key <<= _BITS
        index = bisect_left(self._ordered, key)
        if index == len(self._ordered) or self._ordered[index] - key >= _MOST_VERSIONS:
            return None
        return list(self._numbers)[self._ordered[index] - key]

    def look_up(self, keys: object) -> None:
        """Nothing has to be looked up: all answers are in memory."""


class _Column:
    __slots__ = ("led_by", "times")

    def __init__(self) -> None:
        self.times = array("i")
        self.led_by = array("q")


class Answers:
    """Takes every request that succeeded; they come in any order.

    Memory: twelve bytes for each, and eight more for each request of a user who stays.
    """

    def __init__(self) -> None:
        self._base: int | None = None
        self._columns: dict[tuple[Step, str], _Column] = {}
        self._users: dict[str, array[int]] = {}
        self._user_numbers: dict[str, int] = {}
        self._ordered: set[str] = set()
        self._versions: dict[str, int] = {}
        self.first_served_ns: dict[str, int] = {}
        """When the first request was sent that a version served, by version."""
        self.first_wrote_ns: dict[str, int] = {}
        """The same of requests that may change something: those that are not GET, HEAD, OPTIONS."""

    def hear(self, outcome: Outcome, version: str) -> None:
        """Take note of a request that succeeded, and of the version that answered it."""
        if outcome.served_by is None:
            return
        sent_ns = outcome.planned_ns if outcome.sent_ns is None else outcome.sent_ns
        if sent_ns < self.first_served_ns.get(version, sent_ns + 1):
            self.first_served_ns[version] = sent_ns
        writes = not outcome.endpoint.startswith(_READS)
        if writes and sent_ns < self.first_wrote_ns.get(version, sent_ns + 1):
            self.first_wrote_ns[version] = sent_ns
        key = step_of(outcome), outcome.served_by
        column = self._columns.get(key)
        if column is None:
            column = self._columns[key] = _Column()
        column.times.append(self._tick(outcome.done_ns))
        column.led_by.append(self._led_by(outcome))
        if outcome.user is not None:
            number = self._versions.setdefault(version, len(self._versions))
            mine = self._users.setdefault(outcome.user, array("q"))
            mine.append(outcome.done_ns << 8 | min(number, 255))
            self._ordered.discard(outcome.user)

    @property
    def last_served_ns(self) -> dict[str, int]:
        """When the outcome of the last request was known that a replica answered, by replica."""
        found: dict[str, int] = {}
        for (_, replica), column in self._columns.items():
            for at_ns in map(self._nanoseconds, column.times):
                found[replica] = max(found.get(replica, at_ns), at_ns)
        return found

    def of_step(self, step: Step) -> list[Served]:
        """The answers to a step, by replica."""
        return [
            Served(replica, array("q", sorted(map(self._nanoseconds, column.times))))
            for (asked, replica), column in self._columns.items()
            if asked == step
        ]

    def previous_of_step(
        self, step: Step, _look_up: object, answered: Callable[[int], str | None]
    ) -> Iterator[tuple[str, int, str]]:
        """The answers to a step whose user's previous request has a known version.

        Args:
            step: the step.
            _look_up: not needed.
            answered: the version that answered a request, by the hash of its id.

        Yields:
            replica, when the outcome was known, the version that answered the previous request.
        """
        names = list(self._user_numbers)
        for (asked, replica), column in self._columns.items():
            if asked != step:
                continue
            stride = -(-len(column.times) // MOST_LOOKED_AT) or 1
            for index in range(0, len(column.times), stride):
                led_by, at_ns = column.led_by[index], self._nanoseconds(column.times[index])
                if led_by < 0:
                    previous = self._last_of(names[-led_by - 1], at_ns - (2 << _TICK))
                else:
                    previous = answered(led_by) if led_by else None
                if previous is not None:
                    yield replica, at_ns, previous

    def previous(self, outcome: Outcome, answered: Callable[[int], str | None]) -> str | None:
        """The version that answered the previous request of a request's user; None if unknown."""
        if outcome.cause_id is not None:
            return answered(key_of(outcome.cause_id))
        if outcome.user is not None:
            return self._last_of(outcome.user, outcome.planned_ns)
        return None

    def _led_by(self, outcome: Outcome) -> int:
        """The hash of the id of the request before it; of a user's visit, minus its user; or 0."""
        if outcome.cause_id is not None:
            return key_of(outcome.cause_id)
        if outcome.user is None:
            return 0
        return -1 - self._user_numbers.setdefault(outcome.user, len(self._user_numbers))

    def _last_of(self, user: str, before_ns: int) -> str | None:
        """The version of a user's last answer before an instant."""
        mine = self._users.get(user)
        if mine is None:
            return None
        if user not in self._ordered:
            mine = self._users[user] = array("q", sorted(mine))
            self._ordered.add(user)
        index = bisect_left(mine, before_ns << 8) - 1
        return list(self._versions)[mine[index] & 255] if index >= 0 else None

    def _tick(self, at_ns: int) -> int:
        if self._base is None:
            self._base = at_ns >> _TICK
        return (at_ns >> _TICK) - self._base

    def _nanoseconds(self, tick: int) -> int:
        return tick + (self._base or 0) << _TICK


def key_of(request_id: str) -> int:
    """A request's id in 53 bits; the same in one process only, and never 0."""
    return (hash(request_id) & (1 << 53) - 1) or 1


class AnswerTimes:
    """The answers of every replica; eight bytes each."""

    def __init__(self) -> None:
        self._answers: dict[str, array[int]] = {}
        self._usual: dict[str, int] = {}

    def hear(self, replica: str, at_ns: int) -> None:
        """Take note of an answer of a replica."""
        answers = self._answers.get(replica)
        if answers is None:
            answers = self._answers[replica] = array("q")
        answers.append(at_ns)
        self._usual.pop(replica, None)

    def silent(self, replica: str | None, start_ns: int, end_ns: int) -> bool:
        """Whether a replica answered nobody in that time, which is long for it.

        Long is five times the median gap between its answers, in the whole run.
        """
        if replica is None or replica not in self._answers:
            return False
        answers = self._ordered(replica)
        if end_ns - start_ns < _LONG * self._usual[replica] or len(answers) < _LONG:
            return False
        return bisect_right(answers, start_ns) == bisect_right(answers, end_ns)

    def _ordered(self, replica: str) -> "array[int]":
        if replica not in self._usual:
            ordered = array("q", sorted(self._answers[replica]))
            gaps = sorted(later - one for one, later in pairwise(ordered))
            self._answers[replica] = ordered
            self._usual[replica] = gaps[len(gaps) // 2] if gaps else 0
        return self._answers[replica]
