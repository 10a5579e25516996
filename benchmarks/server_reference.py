"""What was seen of servers by hand, without the probe, and where the probe says something else.

`servers_by_hand.json` holds, for each server, the cells of a profile as far as they were seen with
plain sockets: one experiment each, on a busy machine, exit times give or take a second. The request
in flight had three seconds to go. Two numbers are the bounds of a time that depends on the moment:
waitress and sanic look every thirty seconds for connections that were idle for two minutes, and
hypercorn was once seen to end two seconds after its last answer, on a machine that had other work.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from scenarios.probe.differences import PIECE_SECONDS, TOLERANCE_SECONDS
from scenarios.probe.profile import Profile

BY_HAND = Path(__file__).with_name("servers_by_hand.json")
BY_HAND_SECONDS = 1.0
"""How exact the times are that were seen by hand."""
PIECE_TOLERANCE = (TOLERANCE_SECONDS + BY_HAND_SECONDS) / PIECE_SECONDS
"""How many pieces more or fewer may come before a cut: two each second."""
_BUSY = "by hand the machine was busy, and the process ended later"
_ONE_SECOND = (
    "its worker looks once a second whether it shall stop, and still accepts who comes before that"
)
EXPLAINED: Mapping[tuple[str, str], str] = {
    ("hypercorn trio", "websocket.exit.seconds"): f"it cuts after 3 s; {_BUSY}",
    ("gunicorn gevent", "upload.exit.seconds"): _BUSY,
    ("gunicorn gevent", "new_connections.idle_closed"): _ONE_SECOND,
    ("gunicorn gevent", "new_connections.tries[0].fate"): _ONE_SECOND,
    ("gunicorn asgi", "new_connections.tries[0].fate"): _ONE_SECOND,
    ("gunicorn asgi", "new_connections.tries[0].status"): _ONE_SECOND,
    ("gunicorn asgi", "new_connections.tries[0].connection"): _ONE_SECOND,
    ("daphne", "second_signal.effect"): (
        "the first signal cuts everything, and by hand the process still ended at the second one"
    ),
    ("daphne", "second_signal.seconds"): "the same",
    ("sanic", "idle.exit.seconds"): _BUSY,
    ("gunicorn + uvicorn-worker", "long_request.exit.seconds"): f"it is killed after 30 s; {_BUSY}",
}
"""Why a server's cell may differ from what was seen by hand."""
BY_CHANCE: Mapping[tuple[str, str], str] = {
    ("sanic", "long_request"): (
        "two of its processes wait in turns of a tenth of a second: the manager gives up after 100 "
        "of them, the worker after 150, and which of the two cuts is a matter of the moment"
    ),
    ("sanic --single-process", "second_signal"): (
        "while it waits it runs its loop for a tenth of a second at a time: a second signal within "
        "such a turn ends it at once with status 1, and one between two turns is lost"
    ),
}
"""By server and finding, why it is one thing or another at the server's own whim."""


def explanation(server: str, cell: str) -> str | None:
    """Why a cell such as `second_signal.effect` may differ; None: nobody knows."""
    return EXPLAINED.get((server, cell)) or BY_CHANCE.get((server, cell.partition(".")[0]))


UNENDING = ("silent", "open", "running")


class Contradiction(NamedTuple):
    """A cell of which the probe says something else.

    Attributes:
        cell: its path in the profile, such as `in_flight.exit.status`.
        by_hand: what was seen by hand.
        probe: what the probe says.
    """

    cell: str
    by_hand: object
    probe: object

    def __str__(self) -> str:
        """One line for people."""
        return f"{self.cell}: by hand {self.by_hand}, probe {self.probe}"


def read_by_hand(path: Path = BY_HAND) -> dict[str, dict[str, Any]]:
    """The cells by server."""
    return msgspec.json.decode(path.read_bytes(), type=dict[str, dict[str, Any]])


def contradictions(
    by_hand: Mapping[str, Any],
    profile: Profile,
    *,
    tolerance: float = TOLERANCE_SECONDS + BY_HAND_SECONDS,
) -> list[Contradiction]:
    """The cells in which a profile differs from what was seen by hand.

    A cell that was seen by hand and that the probe left out differs as well. Times may differ by
    the tolerance, and by as long as the server waited for a core while the probe watched.
    """
    seen = msgspec.to_builtins(profile)
    return [
        one
        for name, cell in by_hand.items()
        if not _watched_too_briefly(cell, seen.get(name))
        for one in _differing(
            name, cell, seen.get(name), tolerance + profile.core_wait.get(name, 0.0)
        )
    ]


def count_cells(by_hand: Mapping[str, Any]) -> int:
    """How many values are compared."""
    return sum(1 for _ in _leaves(by_hand))


def _leaves(value: object) -> Iterator[object]:
    if isinstance(value, Mapping):
        for one in value.values():
            yield from _leaves(one)
    elif isinstance(value, list):
        for one in value:
            yield from _leaves(one)
    else:
        yield value


def _differing(
    path: str, wanted: object, seen: object, tolerance: float
) -> Iterator[Contradiction]:
    if isinstance(wanted, Mapping) and isinstance(seen, Mapping):
        yield from _differing_parts(path, wanted, seen, tolerance)
    elif isinstance(wanted, list) and isinstance(seen, list | tuple):
        for number, (one, other) in enumerate(zip(wanted, seen, strict=True)):
            yield from _differing(f"{path}[{number}]", one, other, tolerance)
    elif not _same_value(wanted, seen, PIECE_TOLERANCE if "chunks" in path else tolerance):
        yield Contradiction(path, wanted, seen)


def _differing_parts(
    path: str, wanted: Mapping[str, Any], seen: Mapping[str, Any], tolerance: float
) -> Iterator[Contradiction]:
    known = dict(wanted)
    if _was_watched_only(wanted):
        # How long it was watched by hand is no property of the server.
        least = known.pop("seconds")
        outcome = "status" if "status" in known else "fate"
        known.pop(outcome)
        over = seen.get(outcome) not in (None, wanted[outcome])
        # Nothing happened then: now it came to an end later, or was watched, however long.
        if over and float(seen["seconds"] or 0.0) + tolerance < least:
            yield Contradiction(path, f"nothing within {least:g} s", seen)
    for name, one in known.items():
        yield from _differing(f"{path}.{name}", one, seen.get(name), tolerance)


def _watched_too_briefly(wanted: Mapping[str, Any], seen: Mapping[str, Any] | None) -> bool:
    """Whether the probe had stopped watching before the moment that was seen by hand."""
    if seen is None:
        return False
    brief = seen.get("fate") in UNENDING and (seen.get("seconds") or 0.0) < _latest(wanted)
    end = seen.get("exit", {"status": 0})
    return brief or (end["status"] is None and end["seconds"] < _latest(wanted))


def _latest(wanted: Mapping[str, Any]) -> float:
    """The latest moment that was seen by hand; a whole minute where only the fate was."""
    found = (wanted.get("seconds"), (wanted.get("exit") or {}).get("seconds"))
    moments = [max(one) if isinstance(one, list) else one for one in found if one is not None]
    return max(moments, default=60.0)


def _was_watched_only(wanted: Mapping[str, Any]) -> bool:
    """Whether what was seen by hand had not come to its end: it says how long it did not."""
    unending = wanted.get("fate") in UNENDING or wanted.get("status", ...) is None
    return "seconds" in wanted and unending


def _same_value(wanted: object, seen: object, tolerance: float) -> bool:
    if isinstance(wanted, list) and isinstance(seen, int | float):
        least, most = wanted
        return least - tolerance <= seen <= most + tolerance
    if isinstance(wanted, int | float) and isinstance(seen, int | float):
        exact = isinstance(wanted, int) and tolerance != PIECE_TOLERANCE
        return wanted == seen if exact else abs(wanted - seen) <= tolerance
    return wanted == seen
