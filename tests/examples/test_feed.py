"""A feed over websockets: each client is cut off by the release, and what becomes of it is told."""

from pathlib import Path

import pytest

from tests.support.runs import released

pytestmark = [pytest.mark.matrix, pytest.mark.timeout(180)]

EXAMPLE = Path(__file__).parents[2] / "examples" / "feed"
PATIENT = (
    *("--set", "objectives.schedule_lag_p99_seconds=2"),
    *("--set", "objectives.schedule_lag_max_seconds=5"),
    *("--set", "objectives.reconnect_seconds=20"),
)
"""A busy machine may delay the users; that is not what is tested here."""


def test_who_reconnects_and_says_what_it_has_misses_nothing(tmp_path: Path) -> None:
    """Replicas end their clients' connections, all of them come back, and no message is missed."""
    verdict = released(EXAMPLE / "scenario.toml", tmp_path, *PATIENT).verdict
    assert verdict.verdict == "pass", verdict.reasons
    assert verdict.requests.failed == 0
    streams = verdict.streams
    assert streams.closed > 0
    assert streams.reopened > 0
    assert streams.missed == 0
    assert 0 < streams.peak <= streams.closed
    assert streams.longest_gap is not None


@pytest.mark.soak
def test_who_listens_to_events_and_says_the_last_one_misses_nothing(tmp_path: Path) -> None:
    """Streams of server-sent events end with their replicas, and clients go on where they were."""
    verdict = released(EXAMPLE / "events.toml", tmp_path, *PATIENT).verdict
    assert verdict.verdict == "pass", verdict.reasons
    assert verdict.streams.reopened > 0
    assert verdict.streams.missed == 0
    assert verdict.streams.peak > 0


@pytest.mark.soak
@pytest.mark.parametrize("path", ["broken.toml", "broken-events.toml"])
def test_a_feed_that_does_not_replay_is_noticed(path: str, tmp_path: Path) -> None:
    """No request fails, and yet clients miss messages."""
    verdict = released(EXAMPLE / path, tmp_path, *PATIENT).verdict
    assert verdict.verdict == "fail"
    assert verdict.requests.failed == 0
    assert verdict.cause_ids == ("stream:missed",)


@pytest.mark.soak
def test_a_client_that_does_not_reconnect_is_cut_by_the_drain(tmp_path: Path) -> None:
    """The cause is the drain, the journal counts what it cut, and the verdict says how long."""
    run = released(EXAMPLE / "broken-cut.toml", tmp_path, *PATIENT)
    verdict = run.verdict
    assert verdict.verdict == "fail"
    assert {cause.cause for cause in verdict.causes} == {"lifecycle:drain_exceeded"}
    cut = sum(
        int(str(event.detail.get("cut", 0)))
        for event in run.events
        if (event.verb, event.state) == ("drain", "completed")
    )
    assert cut >= verdict.requests.failed > 0
