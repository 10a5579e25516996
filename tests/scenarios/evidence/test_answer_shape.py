"""What a client would notice in JSON answers."""

import json

from hypothesis import given
from hypothesis import strategies as st

from scenarios.evidence.answer_shape import differences, shape_of

DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


def shape(document: object) -> tuple[str, ...]:
    return shape_of(json.dumps(document).encode())


@given(DOCUMENTS)
def test_the_same_answer_does_not_differ_from_itself(document: object) -> None:
    """Each value of a document is seen, and none is a difference."""
    assert shape(document)
    assert differences(shape(document), shape(document)) == ()


def test_a_missing_key_and_another_type_are_noticed() -> None:
    """Wherever they are; a new key is not, and neither is null or an empty list."""
    before = {"id": 1, "items": [{"name": "x", "price": 2}], "note": None}
    found = differences(shape(before), shape({"id": "1", "items": [{"name": "x"}], "note": "n"}))
    assert found == ("$.id is now string, and was number", "$.items[].price is missing")
    assert differences(shape(before), shape({**before, "more": 1, "items": []})) == ()
    assert differences(shape({"id": 1}), shape({"id": None})) == ()


def test_keys_that_are_data_are_no_names() -> None:
    """Counts by day, or rows by id: tomorrow's answer has other keys, and lacks nothing."""
    before = {"days": {"2026-11-27": 1}, "rows": {"7": {"name": "x"}}, "by": {"a@b.example": 1}}
    now = {"days": {"2026-11-28": 1}, "rows": {"12": {"name": "x"}}, "by": {}}
    assert differences(shape(before), shape(now)) == ()
    found = differences(shape(before), shape({**now, "rows": {"12": {}}}))
    assert found == ("$.rows.*.name is missing",)
    found = differences(shape(before), shape({**now, "days": {"2026-11-28": "1"}}))
    assert found == ("$.days.* is now string, and was number",)
    assert shape({"b6b1b1d4-aaaa-4bbb-8ccc-dddddddddddd": 1}) == ("$ object", "$.* number")
    names = {"id2": 1, "@type": 1, "größe": 1, "first name": 1, "_links": 1, "sha256": 1}
    assert len(shape(names)) == 1 + len(names)
    assert shape_of(b'{"a\\ud83d": NaN}') == ("$ object", "$.* number")


def test_what_is_no_json_has_no_shape() -> None:
    """An HTML page, or nothing at all."""
    assert shape_of(b"<p>hello</p>") == ()
    assert shape_of(b"") == ()
