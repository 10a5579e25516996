"""The instants that a time axis names."""

from hypothesis import given
from hypothesis import strategies as st

from scenarios.reports.page.drawing import instants


@given(st.floats(-1000, 1000), st.floats(0.01, 100_000), st.sampled_from([5, 8]))
def test_instants_are_round_and_few(start: float, span: float, most: int) -> None:
    """They lie in the span and are what is written; none is written twice."""
    found = list(instants(start, start + span, most))
    assert len(found) <= most + 1
    texts = [text for _, text in found]
    assert len(set(texts)) == len(texts)
    for at, text in found:
        assert start - 1e-6 <= at <= start + span + 1e-6
        assert abs(float(text.removesuffix(" s")) - at) < 1e-6 * max(1, abs(at))
