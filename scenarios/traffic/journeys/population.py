"""Who makes which journey: users, their addresses and the ids of their requests, from the seed.

Everything here follows from the seed, the journey's number and, for a click, the mailed link. No
state is kept for a journey, so memory stays flat: the recipient of a mail names the journey, and
the journey's number says which of the declared journeys it is.

Arrivals have the numbers 0, 1, 2 and so on. Users who stay have the numbers -1, -2, -3 and so on;
a repetition is then a visit.
"""

import hashlib
import re
import uuid
from bisect import bisect_right
from collections.abc import Mapping
from itertools import accumulate

from scenarios.evidence.request_id import id_of
from scenarios.traffic.errors import Location
from scenarios.traffic.journeys.compiled import CompiledJourney, CompiledStep
from scenarios.traffic.journeys.validation import check_plan
from scenarios.traffic.plan import Plan
from scenarios.traffic.schedule.stream import Stream
from scenarios.traffic.settings import Journey

# The first keys of the streams for a journey's choice and for the details of its requests.
_CHOICE = 2
_REQUEST = 3
_RECONNECT = 5
_HALF = 0.5


class Population:
    """The journeys of a run: which one is whose, and whom each mail is for.

    Attributes:
        host: the requests' `Host`.
        shared: what the set-up captured, for all journeys.

    Raises:
        PlanError: the plan cannot be followed.
    """

    def __init__(self, plan: Plan) -> None:
        check_plan(plan)
        self.seed = plan.seed
        self.mail_domain = plan.mail_domain.lower()
        self.host = plan.address
        self.shared: dict[str, str] = {}
        self._worker = str(plan.shard or 0)
        self.journeys = tuple(
            CompiledJourney(
                journey,
                host=self.host,
                where=Location(f"journey {journey.name}", ("journeys", str(index))),
                known=frozenset(plan.known),
            )
            for index, journey in enumerate(plan.journeys)
        )
        together = list(zip(plan.journeys, self.journeys, strict=True))
        self._chosen = [compiled for journey, compiled in together if not journey.stays]
        self._weights = list(accumulate(_weight(one) for one in plan.journeys if not one.stays))
        self._staying = [compiled for journey, compiled in together if journey.stays]
        self._users = list(accumulate(one.users or 0 for one in plan.journeys if one.stays))
        self._address = re.compile(
            rf"(s{plan.seed}-([0-9]{{6,}}))@{re.escape(self.mail_domain)}", re.ASCII
        )

    def journey(self, number: int) -> CompiledJourney:
        """The journey with this number; the seed and the weights choose that of an arrival."""
        if number < 0:
            return self._staying[bisect_right(self._users, ~number)]
        if len(self._chosen) == 1:
            return self._chosen[0]
        at = Stream(_CHOICE, self.seed, number).uniform() * self._weights[-1]
        # Rounding can make the product reach the last sum, which is one past the last journey.
        return self._chosen[min(bisect_right(self._weights, at), len(self._chosen) - 1)]

    def unique(self, number: int) -> str:
        """The word that only this journey has, such as `s7-000123`; a staying user's: `s7-u000123`.

        It is a staying user's in all visits.
        """
        if number < 0:
            return f"s{self.seed}-u{~number:06d}"
        return f"s{self.seed}-{number:06d}"

    def user(self, number: int) -> str:
        """The same, as an email address."""
        return f"{self.unique(number)}@{self.mail_domain}"

    def number_of(self, address: str) -> int | None:
        """The journey whose user has this address, or None for an address that none can have.

        Users who stay wait for no mail, so theirs are none of these.
        """
        match = self._address.fullmatch(address.lower())
        if match is None:
            return None
        number = int(match[2])
        return number if match[1] == self.unique(number) else None

    def request_id(self, number: int, step: int, repetition: int = 0, again: int = 0) -> str:
        """The id of a journey's request; steps, repetitions and reconnects count from 0 here."""
        visit = self.visit(number, repetition)
        return id_of(visit, step + 1, again + (0 if number < 0 else repetition))

    def reconnect_pause(self, number: int, step: int, again: int, most_seconds: float) -> int:
        """How long a client waits before it reconnects, in ns; the seed decides."""
        return round(
            Stream(_RECONNECT, self.seed, number, step, again).uniform() * most_seconds * 1e9
        )

    def visit(self, number: int, repetition: int) -> str:
        """The word for one visit: a staying user's `s7-u000123-45`, or that of who comes once."""
        unique = self.unique(number)
        return f"{unique}-{repetition + 1}" if number < 0 else unique

    def uuid(self, number: int) -> str:
        """A UUID that only this journey of this seed has."""
        digest = hashlib.blake2b(self.unique(number).encode(), digest_size=16).digest()
        return str(uuid.UUID(bytes=digest, version=4))

    def values(
        self,
        number: int,
        compiled: CompiledJourney,
        link: str | None,
        captured: Mapping[str, str] | None = None,
    ) -> dict[str, str]:
        """What fills the placeholders of a journey's requests."""
        unique = self.unique(number)
        values = {
            **self.shared,
            "unique": unique,
            "user": f"{unique}@{self.mail_domain}",
            "journey": compiled.name,
            "seed": str(self.seed),
            "worker": self._worker,
            "last": "",  # nothing yet, of a client that may reconnect
        }
        if compiled.needs_uuid:
            values["uuid"] = self.uuid(number)
        if captured is not None:
            values.update(captured)
        if link is not None:
            values["link"] = link
        return values

    def details(
        self, number: int, step: int, repetition: int, compiled_step: CompiledStep
    ) -> tuple[int, bool]:
        """What the seed decides about one request.

        Returns:
            the pause before it in ns, and whether it opens a connection for itself.
        """
        connection = compiled_step.connection
        if not compiled_step.delay_seconds and connection != "any":
            return 0, connection == "new"
        stream = Stream(_REQUEST, self.seed, number, step, repetition)
        pause = round(stream.exponential(compiled_step.delay_seconds) * 1e9)
        if connection == "any":
            return pause, stream.uniform() < _HALF
        return pause, connection == "new"


def _weight(journey: Journey) -> float:
    return 1.0 if journey.weight is None else journey.weight
