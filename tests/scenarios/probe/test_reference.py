"""What the probe says of servers is what was seen of them by hand, without the probe."""

from typing import Any

import msgspec
import pytest

from benchmarks.predictions import PERSONAS, SERVERS, cells
from benchmarks.server_page import read_record
from benchmarks.server_reference import (
    Contradiction,
    chance,
    contradictions,
    count_cells,
    explanation,
    read_by_hand,
)
from scenarios.probe.profile import Delivery, Exit, KeepAlive
from tests.support.probe import profile

HELD = (
    *("uvicorn (httptools)", "uvicorn (h11)", "gunicorn sync", "gunicorn gthread"),
    *("hypercorn asyncio", "hypercorn asyncio -w 2", "granian asgi", "granian wsgi"),
    *("aiohttp run_app", "sanic", "sanic --single-process", "waitress-serve", "flask run"),
    *("Node http", "Node http + close()", "Express", "Express + close()"),
    "Fastify + close-with-grace",
)
SEEN: dict[str, Any] = {
    "in_flight": {
        "fate": "delivered",
        "connection": "close",
        "exit": {"status": 0, "seconds": 3.2},
    },
    "keep_alive": {"fate": "open", "seconds": 10.0},
}


@pytest.mark.parametrize("server", HELD)
def test_the_table_is_what_was_seen_by_hand(server: str) -> None:
    """Of these servers each value in docs/servers.md is the one that was seen by hand.

    The page says why, where one is not.
    """
    record = read_record()
    assert record is not None
    by_hand = read_by_hand()[server]
    assert count_cells(by_hand) > 0
    found = contradictions(by_hand, record.servers[server])
    assert [str(one) for one in found if not explanation(server, one)] == []


def test_every_value_that_differs_is_explained() -> None:
    """Where the table says something else than what was seen by hand, it says why."""
    record = read_record()
    assert record is not None
    by_hand = read_by_hand()
    for name in by_hand.keys() & record.servers.keys():
        for one in contradictions(by_hand[name], record.servers[name]):
            assert explanation(name, one), f"{name}: {one}"


@pytest.mark.parametrize("server", SERVERS)
def test_the_updates_of_the_page_are_those_that_the_probe_predicts(server: str) -> None:
    """Each update that the page tells was made as the code advises now, and showed what it says."""
    record = read_record()
    assert record is not None
    told = [one for one in record.predicted if one.server == server]
    wanted = [cell for persona in PERSONAS for cell in cells(record.servers[server], persona)]
    assert [(one.persona, one.pre_stop_seconds, one.router, one.lossless) for one in told] == [
        (one.persona, one.pre_stop_seconds, one.router, one.lossless) for one in wanted
    ]
    assert [str(one) for one in told if not one.right] == []


def test_what_agrees_is_no_contradiction() -> None:
    """A server of which the probe says what was seen by hand has none."""
    assert contradictions(SEEN, profile()) == []


@pytest.mark.parametrize(
    ("changes", "cells"),
    [
        ({"fate": "cut", "ending": "FIN"}, ["in_flight.fate"]),
        ({"connection": "keep-alive"}, ["in_flight.connection"]),
        ({"exit": Exit(1, 3.2)}, ["in_flight.exit.status"]),
        ({"exit": Exit(0, 5.1)}, []),
        ({"exit": Exit(0, 5.3)}, ["in_flight.exit.seconds"]),
    ],
)
def test_each_value_is_compared(changes: dict[str, Any], cells: list[str]) -> None:
    """A fate, a header and a status exactly; a time by how exact both of them are."""
    first = profile().in_flight
    assert isinstance(first, Delivery)
    seen = profile(in_flight=msgspec.structs.replace(first, **changes))
    assert [one.cell for one in contradictions(SEEN, seen)] == cells


def test_a_server_that_waited_for_a_core_may_be_later() -> None:
    """What the machine withheld is no property of the server."""
    first = profile().in_flight
    assert isinstance(first, Delivery)
    late = msgspec.structs.replace(first, exit=Exit(0, 6.0))
    assert contradictions(SEEN, profile(in_flight=late)) != []
    assert contradictions(SEEN, profile(in_flight=late, core_wait={"in_flight": 1.0})) == []


@pytest.mark.parametrize(
    ("found", "same"),
    [
        (KeepAlive(fate="open", seconds=15.0), True),
        (KeepAlive(fate="open", seconds=5.0), True),
        (KeepAlive(fate="closed", seconds=12.0, ending="FIN"), True),
        (KeepAlive(fate="closed", seconds=5.0, ending="FIN"), False),
        (KeepAlive(fate="none", seconds=0.0), False),
    ],
)
def test_watching_longer_or_more_briefly_contradicts_nothing(
    found: KeepAlive, *, same: bool
) -> None:
    """What had not ended by hand may have ended later; had it ended sooner, it would have shown."""
    assert (contradictions(SEEN, profile(keep_alive=found)) == []) is same


@pytest.mark.parametrize(
    ("seconds", "same"), [(117.9, False), (118.1, True), (151.9, True), (152.1, False)]
)
def test_a_time_that_depends_on_the_moment_has_bounds(*, seconds: float, same: bool) -> None:
    """Where a server looks every now and then, any time between two looks is right."""
    by_hand = {"keep_alive": {"fate": "closed", "ending": "FIN", "seconds": [120.0, 150.0]}}
    seen = profile(keep_alive=KeepAlive(fate="closed", seconds=seconds, ending="FIN"))
    assert (contradictions(by_hand, seen) == []) is same


def test_what_the_probe_left_out_is_a_contradiction() -> None:
    """A cell that was seen by hand cannot be passed over."""
    assert [one.cell for one in contradictions(SEEN, profile(keep_alive=None))] == ["keep_alive"]


def test_what_a_server_does_by_chance_explains_only_that_part() -> None:
    """A time that is a matter of the moment is explained; the status beside it is not."""
    time = Contradiction("in_flight.exit.seconds", 13.3, 10.4)
    status = Contradiction("in_flight.exit.status", 0, None)
    assert explanation("sanic", time) is not None
    assert explanation("sanic", status) is None
    assert chance("sanic", "in_flight") == explanation("sanic", time)
    assert chance("sanic", "second_signal") is None
    assert explanation("granian asgi", time) is None


@pytest.mark.parametrize(("probe", "explained"), [(0.4, True), (5.0, False), (None, False)])
def test_only_an_earlier_end_is_put_down_to_a_busy_machine(
    probe: float | None,
    explained: bool,  # noqa: FBT001
) -> None:
    """By hand the machine was busy: a process may have ended earlier since, and not later."""
    one = Contradiction("idle.exit.seconds", 2.6, probe)
    assert (explanation("python -m aiohttp.web", one) is not None) is explained
