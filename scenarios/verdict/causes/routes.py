"""Which requests ask for the same, though words in their paths are their users' own.

A mailed link may have its token in the path, and a coroutine may not name what it asks for: then
each user has an endpoint of its own. Two requests have the same route if they are of the same step
of the same journey, with the same method, and their paths are alike but for the words that only
one user has. A word that several users have tells routes apart: versions may mail different links.
"""

from collections.abc import Iterable, Mapping

from scenarios.evidence.outcome import Outcome
from scenarios.evidence.request_id import place_of
from scenarios.verdict.columns.requests import SEVERAL, Kind, Step

_Word = tuple[int, int, str]
"""A word in an endpoint: of how many, at which place, and the word itself."""


class Route:
    """One route, which is what it is by itself.

    Attributes:
        endpoints: how it was asked for.
    """

    __slots__ = ("endpoints",)

    def __init__(self, endpoints: Iterable[str]) -> None:
        self.endpoints = tuple(endpoints)


class Routes:
    """What was asked for in which step, and by whom.

    Memory: about a hundred bytes for each endpoint of each step.
    """

    def __init__(self, kinds: Iterable[Kind] = ()) -> None:
        asked: dict[Step, dict[str, str]] = {}
        for kind in kinds:
            if kind.asked_by is not None:
                users = asked.setdefault(kind.step, {})
                known = users.setdefault(kind.endpoint, kind.asked_by)
                users[kind.endpoint] = known if known == kind.asked_by else SEVERAL
        self._asked = asked
        self._routes: dict[Step, Mapping[str, Route]] = {}

    def route(self, outcome: Outcome) -> Route:
        """The route of a request: its endpoint alone, if its id is none of ours."""
        place = place_of(outcome.request_id)
        step = ("", 0) if place is None else (outcome.journey, place.step)
        if step not in self._routes:
            self._routes[step] = grouped(self._asked.get(step, {}))
        return self._routes[step].get(outcome.endpoint) or Route([outcome.endpoint])


def grouped(asked: Mapping[str, str]) -> Mapping[str, Route]:
    """The route of each endpoint of a step."""
    users: dict[_Word, str] = {}
    for endpoint, user in asked.items():
        for word in _words(endpoint):
            users[word] = user if users.get(word, user) == user else SEVERAL
    routes: dict[tuple[str | None, ...], list[str]] = {}
    for endpoint in asked:
        # The method, which stands before the first slash, is nobody's own.
        route = tuple(
            word[2] if word[1] == 0 or users[word] == SEVERAL else None for word in _words(endpoint)
        )
        routes.setdefault(route, []).append(endpoint)
    return {
        endpoint: route for route in map(Route, routes.values()) for endpoint in route.endpoints
    }


def _words(endpoint: str) -> list[_Word]:
    words = endpoint.split("/")
    return [(len(words), place, word) for place, word in enumerate(words)]
