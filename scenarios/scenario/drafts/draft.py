"""A draft: journeys, and what a person should know about them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from scenarios.traffic.settings import Journey, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """Journeys that were made from another file.

    Attributes:
        journeys: what users do.
        set_up: requests that are sent once, before all journeys, such as a login.
        rate: arrivals per second, where the file says so.
        notes: what was left out, and what a person must fill in, one sentence each.
    """

    journeys: Sequence[Journey]
    set_up: Sequence[Step] = ()
    rate: float | None = None
    notes: Sequence[str] = ()

    def without_visits_to(self, path: str) -> "Draft":
        """Without journeys that only look at a path, such as that of the health checks.

        A draft keeps its last journey in any case.
        """
        kept = [one for one in self.journeys if len(one.steps) > 1 or one.steps[0].path != path]
        return replace(self, journeys=kept or self.journeys)
