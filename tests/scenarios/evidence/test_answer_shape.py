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


def test_what_is_no_json_has_no_shape() -> None:
    """An HTML page, or nothing at all."""
    assert shape_of(b"<p>hello</p>") == ()
    assert shape_of(b"") == ()
