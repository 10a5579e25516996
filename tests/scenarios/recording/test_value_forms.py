"""The form of a value is told by its bytes, and the value itself is never kept."""

import gzip
import json
import pickle
import zlib

import hypothesis.strategies as some
import pytest
from hypothesis import given

from scenarios.recording.value_forms import fields_of, form_of, pattern_of

SECRET = "hunter2-correct-horse-battery-staple"


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (
            b'{"id": 7, "name": "x", "tags": []}',
            "json object {id: number, name: string, tags: array}",
        ),
        (b"[1, 2]", "json array"),
        (b"null", "json null"),
        (b"12.5", "number"),
        (b"", "empty"),
        (b"hello world", "text"),
        (b"{not json", "text"),
        (b"[" * 2000 + b"]" * 2000, "json array"),
        (b'{"a":' * 600 + b"1" + b"}" * 600, "json object {a: object}"),
        (b'{"a":' * 2000 + b"1" + b"}" * 2000, "json object"),
        (pickle.dumps({"a": 1}, protocol=2), "pickle protocol 2"),
        (pickle.dumps({"a": 1}, protocol=5), "pickle protocol 5"),
        (gzip.compress(b"x", mtime=0), "gzip"),
        (zlib.compress(b"x"), "zlib"),
        (b"\x28\xb5\x2f\xfd\x00", "zstd"),
        (b"\xac\xed\x00\x05sr", "java serialization"),
        (b'a:1:{s:1:"a";i:1;}', "php serialize"),
        (b"\xff\xfe\xfd\xfc\xfb", "binary 0xff"),
    ],
)
def test_a_format_is_known_by_its_first_bytes(value: bytes, form: str) -> None:
    """Each format has its magic number, or is JSON."""
    name, fields = form_of(value)
    assert name + (f" {{{', '.join(fields)}}}" if fields else "") == form


@pytest.mark.parametrize(
    ("key", "pattern"),
    [
        (b"session:9f2c81", "session:*"),
        (b"user:17:cart", "user:*:cart"),
        (b"v2:user:17", "v2:user:*"),
        (b"alice@example.com", "*"),
        (b"celery", "celery"),
        (b"\xff\x00", "*"),
        (b"token/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "token/*"),
    ],
)
def test_keys_of_one_kind_have_one_pattern(key: bytes, pattern: str) -> None:
    """Ids and tokens in keys become `*`."""
    assert pattern_of(key) == pattern


VALUES = some.recursive(
    some.none() | some.booleans() | some.floats(allow_nan=False) | some.just(SECRET),
    lambda inner: (
        some.lists(inner, max_size=3)
        | some.dictionaries(
            some.sampled_from(["id", "token", "4111111111111111"]), inner, max_size=3
        )
    ),
)


@given(VALUES)
def test_no_value_is_kept(value: object) -> None:
    """No secret is in what is kept, and no name that is data, in whatever form it is written."""
    for raw in (json.dumps(value).encode(), pickle.dumps(value), str(value).encode()):
        kept = str((form_of(raw), form_of(raw[:9], whole=False), fields_of([(raw, raw)])))
        assert "hunter2" not in kept
        assert "4111" not in kept


@given(value=some.binary(max_size=60), whole=some.booleans())
def test_any_bytes_have_a_form(value: bytes, *, whole: bool) -> None:
    """Whatever a store has in it, the look goes on."""
    form, fields = form_of(value, whole=whole)
    assert form
    assert isinstance(fields, tuple)
    assert pattern_of(value) or not value
