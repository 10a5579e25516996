"""Keys whose values change their form in the release are named, and chance is not."""

import random

import hypothesis.strategies as some
from hypothesis import given, settings

from scenarios.evidence.cache_form import CacheForm
from scenarios.verdict.causes.cache_changes import cache_changes
from scenarios.verdict.model import CacheChange
from scenarios.verdict.timeline import Timeline
from tests.support import evidence as make
from tests.support.evidence import at

TIMELINE = Timeline(make.journal())
"""The rollout begins at 2.0; b is attached at 3.0."""

JSON = ("id: number", "name: string")


def seen(
    when: float, form: str, *fields: str, pattern: str = "user:*", written: int = 5
) -> CacheForm:
    return CacheForm(
        at_ns=at(when), pattern=pattern, type="string", form=form, fields=fields, written=written
    )


def changes(*forms: CacheForm) -> tuple[CacheChange, ...]:
    return cache_changes(forms, TIMELINE, make.START)


def test_a_new_format_is_told_with_the_version_that_came() -> None:
    """Before the release all values were JSON, and from b on some are pickles."""
    before = [seen(one / 4, "json object", *JSON) for one in range(6)]
    (change,) = changes(
        *before, seen(3.5, "pickle protocol 5", written=9), seen(3.6, "json object", *JSON)
    )
    assert (change.pattern, change.version, change.new, change.written) == ("user:*", "b", 9, 14)
    assert change.before == "json object {id: number, name: string}"
    assert change.after == "pickle protocol 5"
    assert "after version b had begun to serve, 9 of 14 that were written" in change.sentence


def test_a_new_field_is_a_change_of_the_form() -> None:
    """The format is the same, and the name or the type of a field is not."""
    before = [seen(one / 4, "json object", *JSON) for one in range(6)]
    (change,) = changes(*before, seen(3.5, "json object", "id: string", "name: string", written=9))
    assert change.after == "json object {id: string, name: string}"


def test_keys_that_only_the_new_version_has_are_no_change() -> None:
    """A version that writes to keys of its own disturbs nobody."""
    assert (
        changes(seen(1, "json object", *JSON), seen(3.5, "gzip", pattern="v2:user:*", written=50))
        == ()
    )


def test_what_depends_on_the_value_is_no_form() -> None:
    """A text that is a number, and the first byte of what is encrypted, are as before."""
    forms = [seen(one / 4, "text") for one in range(6)]
    forms += [seen(one / 4, "binary 0x17", pattern="session:*") for one in range(6)]
    forms += [seen(3.5, "number", written=50)]
    forms += [seen(3.5, "binary 0x9c", pattern="session:*", written=50)]
    assert changes(*forms) == ()


@settings(derandomize=True)  # one run in a thousand may be deceived
@given(some.integers(0, 10_000), some.floats(0.01, 0.5))
def test_an_optional_field_that_is_seen_late_by_chance_is_no_change(
    seed: int, share: float
) -> None:
    """Each value has the field with the same probability, before the release and in it."""
    chance = random.Random(seed)
    forms = [
        seen(
            one / 50,
            "json object",
            *JSON,
            *(["note: string"] * (chance.random() < share)),
            written=1,
        )
        for one in range(300)
    ]
    assert changes(*forms) == ()
