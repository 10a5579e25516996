"""The release of this example as tests: run them with `pytest examples/plain`."""

import pytest


@pytest.mark.hitless(scenario="scenario.toml", strategy="rolling")
def test_a_rolling_release_drops_nothing(rollout):
    """Every request of the release is answered as it should be."""
    report = rollout()
    assert report.failed == []
    assert report.outcome == "completed"


@pytest.mark.hitless(scenario="broken.toml", rate=30, baseline=0.5, settle=0.5)
def test_the_other_secret_is_noticed(rollout):
    """The broken variant breaks, and for the reason that we know."""
    report = rollout(strategy="blue-green")
    assert not report.passed
    assert set(report.causes) == {"mixed_fleet:version"}
