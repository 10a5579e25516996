"""Answers are looked at as far as that costs little, and each shape is told once."""

import json

from scenarios.traffic.journeys import shapes as module
from scenarios.traffic.journeys.examination import Answer
from scenarios.traffic.journeys.shapes import Shapes


def answer(document: object) -> Answer:
    return Answer(body=json.dumps(document).encode())


def test_a_shape_has_its_values_when_it_is_seen_first() -> None:
    """Later only its name, which is the same in all processes."""
    one, other = Shapes(), Shapes()
    first = one.of("step", answer({"id": 1}))
    again = one.of("step", answer({"id": 2}))
    assert first is not None
    assert again is not None
    assert first.values == ("$ object", "$.id number")
    assert (again.name, again.values) == (first.name, None)
    assert other.of("step", answer({"id": 3})) == first
    different = one.of("step", answer({"id": "1"}))
    assert different is not None
    assert different.name != first.name


def test_what_is_no_json_or_too_large_is_left_alone_for_a_while() -> None:
    """A page, a file, or nothing at all."""
    for body in (b"<p>", b"", b"[" + b"1," * 40_000 + b"1]"):
        looks = Shapes()
        assert looks.wanted("step")
        assert looks.of("step", Answer(body=body)) is None
        assert looks._next_ns["step"] - module.time.monotonic_ns() > module._PAUSE_NS
        assert looks.wanted("other step")
    assert Shapes().of("step", None) is None


def test_a_step_is_looked_at_now_and_then() -> None:
    """However many answers come."""
    looks = Shapes()
    assert looks.wanted("step")
    assert not all(looks.wanted("step") for _ in range(3))
    assert looks.wanted("other step")


def test_documents_whose_keys_are_data_do_not_fill_the_memory() -> None:
    """After many shapes, new ones are not told any more, and known ones are."""
    looks = Shapes()
    for number in range(module._MOST_SHAPES):
        assert looks.of("step", answer({f"user-{number}": 1})) is not None
    assert looks.of("step", answer({"one more": 1})) is None
    assert looks.of("step", answer({"user-1": 1})) is not None
