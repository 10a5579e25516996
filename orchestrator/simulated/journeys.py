"""What users do after their first request, and the users who stay.

A journey goes on only after success: after the answer, or after the mail that a version sends. All
that is random here follows from the share that was drawn for the first request, so it does not
depend on what happens to anybody else.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from balancer.proxy.error_responses import ErrorResponse
from orchestrator.simulated.chance import Distribution, derived, stream
from orchestrator.simulated.events import Events
from orchestrator.simulated.request import Ended, Origin, Request
from orchestrator.simulated.world_settings import Endpoint, Staying, World, distribution

_SUCCESS = 200
_NS = 1_000_000_000
_PAUSE, _MAIL, _SHARE = 2, 3, 4  # which number is derived from a share for what
_FIRST_VISIT = Origin(user=0, visit=0, mail=0, led_by=-1, led_by_mail=0)


class Mailed(NamedTuple):
    """A mail that reached its user.

    Attributes:
        at_ns: when.
        request: the request that led to it.
        replica: the id of the replica that sent it.
    """

    at_ns: int
    request: Request
    replica: str


def _ignore(_mail: Mailed) -> None:
    pass


class Journeys:
    """Takes what became of each request, and sends those that follow from it.

    Attributes:
        send: takes the requests; set once, before the first one.
        on_mail: told of each mail.
        pending: how many requests will follow from those that have ended.
        sent: how many requests were sent here.
    """

    def __init__(
        self, world: World, events: Events, ended: Ended, *, seed: int, patience_ns: int
    ) -> None:
        """Prepare them.

        Args:
            world: what users do.
            events: what happens.
            ended: takes what became of each request, too.
            seed: the run's.
            patience_ns: after how long users give up.
        """
        self._events = events
        self._ended = ended
        self._patience_ns = patience_ns
        self._staying = world.staying
        self._phases = stream(seed, "staying")
        self._shares = stream(seed, "visits")
        self._answers = _followers(world.endpoints, mailed=False)
        self._mails = _followers(world.endpoints, mailed=True)
        self._pauses = [Distribution.exponential(one.pause_seconds) for one in world.endpoints]
        self._mail_time = distribution(world.mail_seconds)
        names = [one.name for one in world.endpoints]
        self._mailing = {
            version: frozenset(n for n, name in enumerate(names) if name in mailing)
            for version, mailing in world.mails.items()
        }
        self._over = False
        self.send: Callable[[Request], None] = lambda _request: None
        self.on_mail: Callable[[Mailed], None] = _ignore
        self.pending = 0
        self.sent = 0

    def begin(self, at_ns: int) -> None:
        """Let the users who stay come from now on, each at an instant of its own."""
        user = 0
        for staying in self._staying:
            every = round(staying.every_seconds * _NS)
            for place in range(staying.users):
                # Evenly spread, so that an outage meets the same share of them whenever it begins.
                first = round((place + self._phases.random()) / staying.users * every)
                self._events.at(at_ns + first, self._visit, (staying, ~user, 0))
                user += 1

    def end(self) -> None:
        """Let nobody come any more; journeys that have begun go on."""
        self._over = True

    # What became of requests

    def answered(self, request: Request, status: int, sqlstate: str | None) -> None:
        """A replica answered: the journey may go on."""
        if status == _SUCCESS:
            self._lead(request)
        self._ended.answered(request, status, sqlstate)

    def refused(self, request: Request, response: ErrorResponse) -> None:
        """The balancer answered by itself: the journey is over."""
        self._ended.refused(request, response)

    def gave_up(self, request: Request) -> None:
        """Its user waited for too long: the journey is over."""
        self._ended.gave_up(request)

    def _lead(self, request: Request) -> None:
        now, endpoint = self._events.clock.ns, request.endpoint
        for follower in self._answers.get(endpoint, ()):
            self._follow(request, follower, now)
        replica = request.replica
        if replica is None:
            return
        if endpoint not in self._mailing.get(replica.behaviour.version, ()):
            return
        at_ns = now + self._mail_time.at(derived(request.share, _MAIL))
        self.on_mail(Mailed(at_ns, request, replica.replica.id))
        for follower in self._mails.get(endpoint, ()):
            self._follow(request, follower, at_ns, mailed=True)

    def _follow(
        self, request: Request, follower: int, after_ns: int, *, mailed: bool = False
    ) -> None:
        self.pending += 1
        pause = self._pauses[follower].at(derived(request.share, _PAUSE))
        origin = request.user if isinstance(request.user, Origin) else _FIRST_VISIT
        # A mail for each request that leads to one: the number of that request tells them apart.
        mail = request.endpoint if mailed else origin.mail
        origin = Origin(origin.user, origin.visit, mail, request.endpoint, origin.mail)
        share = derived(request.share, _SHARE + follower)
        self._events.at(after_ns + pause, self._go_on, (request.number, follower, share, origin))

    def _go_on(self, about: tuple[int, int, float, Origin]) -> None:
        self.pending -= 1
        self._send(*about)

    # Users who stay

    def _visit(self, about: tuple[Staying, int, int]) -> None:
        if self._over:
            return
        staying, user, visit = about
        every = round(staying.every_seconds * _NS)
        self._events.at(self._events.clock.ns + every, self._visit, (staying, user, visit + 1))
        origin = Origin(user=user, visit=visit, mail=0, led_by=-1, led_by_mail=0)
        self._send(0, staying.endpoint, self._shares.random(), origin)

    def _send(self, number: int, endpoint: int, share: float, origin: Origin) -> None:
        now = self._events.clock.ns
        self.sent += 1
        self.send(Request(number, endpoint, now, share, now + self._patience_ns, origin))


def _followers(endpoints: Sequence[Endpoint], *, mailed: bool) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for number, one in enumerate(endpoints):
        if one.mailed == mailed:
            for first in one.follows:
                found.setdefault(first, []).append(number)
    return found
