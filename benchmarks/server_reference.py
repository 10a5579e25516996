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
from scenarios.probe.words import PART_OF

BY_HAND = Path(__file__).with_name("servers_by_hand.json")
BY_HAND_SECONDS = 1.0
"""How exact the times are that were seen by hand."""
PIECE_TOLERANCE = (TOLERANCE_SECONDS + BY_HAND_SECONDS) / PIECE_SECONDS
"""How many pieces more or fewer may come before a cut: two each second."""
_BUSY = "by hand the machine was busy, and the process ended later"
_CUT_NOW_AND_THEN = "now and then it cuts the request at once"
_ONE_SECOND = (
    "its worker looks once a second whether it shall stop, and still accepts who comes before that"
)
EXPLAINED: Mapping[tuple[str, str], str] = {
    ("gunicorn gevent", "new_connections.idle_closed"): _ONE_SECOND,
    ("gunicorn gevent", "new_connections.tries[0].fate"): _ONE_SECOND,
    ("gunicorn asgi", "new_connections.tries[0].fate"): _ONE_SECOND,
    ("gunicorn asgi", "new_connections.tries[0].status"): _ONE_SECOND,
    ("gunicorn asgi", "new_connections.tries[0].connection"): _ONE_SECOND,
    ("daphne", "second_signal.effect"): (
        "the first signal cuts everything, and by hand the process still ended at the second one"
    ),
    ("daphne", "second_signal.seconds"): "the same",
    ("sanic", "upload.exit"): "by hand it was watched for 13 s, and it ended later",
}
"""Why a server's cell may differ from what was seen by hand."""
ENDED_LATER_BY_HAND = frozenset(
    {
        "daphne",
        "gunicorn + uvicorn-worker",
        "gunicorn gevent",
        "hypercorn asyncio",
        "hypercorn trio",
        "python -m aiohttp.web",
        "sanic",
    }
)
"""Servers of which some process ended later by hand than for the probe, on a busy machine."""
_TWO_CLOCKS = (
    "its manager and its worker both wait for the client in turns of a tenth of a second: the "
    "manager gives up after 100 turns, the worker after 150, and either may come first"
)
_SPINS = (
    "now and then it does not end: it was still there after 20 s and after 70 s, with one core busy"
)
BY_CHANCE: Mapping[tuple[str, str], str] = {
    ("sanic", "in_flight.exit.seconds"): _TWO_CLOCKS,
    ("sanic", "upload.exit.seconds"): _TWO_CLOCKS,
    ("sanic", "stream.exit.seconds"): _TWO_CLOCKS,
    ("sanic", "endless_stream.exit.seconds"): _TWO_CLOCKS,
    ("sanic", "endless_stream.seconds"): _TWO_CLOCKS,
    ("sanic", "new_connections.exit.seconds"): _TWO_CLOCKS,
    ("sanic", "queue.exit.seconds"): _TWO_CLOCKS,
    ("sanic", "long_request"): _TWO_CLOCKS,
    ("sanic", "idle.exit"): _SPINS,
    ("sanic", "websocket.exit"): _SPINS,
    ("sanic --single-process", "second_signal"): (
        "while it waits it runs its loop for a tenth of a second at a time: a second signal within "
        "such a turn ends it at once with status 1, and one between two turns is lost"
    ),
    ("robyn", "in_flight"): _CUT_NOW_AND_THEN,
    ("robyn", "long_request"): _CUT_NOW_AND_THEN,
}
"""By server and cell, or the beginning of cells, why it is one thing or another by chance."""


def explanation(server: str, one: "Contradiction") -> str | None:
    """Why a cell differs from what was seen by hand; None: nobody knows."""
    said = EXPLAINED.get((server, one.cell)) or next(
        (
            why
            for (name, cell), why in BY_CHANCE.items()
            if name == server and _within(one.cell, cell)
        ),
        None,
    )
    if said is None and server in ENDED_LATER_BY_HAND and one.ended_earlier:
        return _BUSY
    return said


def chance(server: str, finding: str) -> str | None:
    """Why a finding such as `websocket` may be another at the next time; None: it may not."""
    return next(
        (
            why
            for (name, cell), why in BY_CHANCE.items()
            if name == server and _within(cell, PART_OF.get(finding, finding))
        ),
        None,
    )


def _within(cell: str, whole: str) -> bool:
    """Whether a cell is the whole or a part of it: `idle.exit.status` of `idle.exit`."""
    return cell == whole or cell.startswith(f"{whole}.")


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

    @property
    def ended_earlier(self) -> bool:
        """Whether the process ended as by hand, and only earlier."""
        return (
            self.cell.endswith("exit.seconds")
            and isinstance(self.by_hand, float)
            and isinstance(self.probe, float)
            and self.probe < self.by_hand
        )

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
