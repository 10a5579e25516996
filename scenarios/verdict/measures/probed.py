"""What a probe found out about the servers of a run, and what it predicted for it."""

import math
from collections.abc import Mapping

import msgspec

from scenarios.errors import EvidenceError
from scenarios.evidence.leaving import LeavingSettings
from scenarios.evidence.manifest import Manifest
from scenarios.probe.meaning import predict
from scenarios.probe.profile import Profile
from scenarios.probe.terms import Terms
from scenarios.probe.words import rows
from scenarios.verdict.model.probed import ProbedVersion


def probed_of(
    profiles: Mapping[str, bytes], manifest: Manifest, longest_seconds: float
) -> tuple[ProbedVersion, ...]:
    """What is known of each version that was probed, in the order of the release.

    Args:
        profiles: by version, the JSON of its profile.
        manifest: what was run.
        longest_seconds: how long the longest request of the run took.

    Raises:
        EvidenceError: a profile is damaged.
    """
    order = {version: number for number, version in enumerate(manifest.versions)}
    return tuple(
        _probed(version, _read(version, profiles[version]), manifest, longest_seconds)
        for version in sorted(profiles, key=lambda version: order.get(version, len(order)))
    )


def _read(version: str, text: bytes) -> Profile:
    try:
        return msgspec.json.decode(text, type=Profile)
    except msgspec.DecodeError as error:
        raise EvidenceError(f"what was probed of version {version} is damaged: {error}") from error


def _probed(
    version: str, profile: Profile, manifest: Manifest, longest_seconds: float
) -> ProbedVersion:
    how = manifest.termination
    terms = None if how is None else _terms(how, manifest)
    predicted = (
        () if terms is None else predict(profile, terms, longest_seconds=longest_seconds).lost
    )
    return ProbedVersion(
        version=version,
        server=profile.server,
        stop_signal=profile.stop_signal,
        findings={title: text for _, title, text in rows(profile)},
        predicted=tuple(loss.why for loss in predicted),
    )


def _terms(how: LeavingSettings, manifest: Manifest) -> Terms:
    """On what terms the run itself ended replicas."""
    return Terms(
        platform=manifest.persona or "this run",
        order=how.order,
        lag_seconds=how.deregistration_lag_seconds[1],
        pre_stop_seconds=how.pre_stop_seconds,
        # Without a limit of the run's own, a version's own grace period is as long as it needs.
        grace_seconds=math.inf if how.grace_seconds is None else how.grace_seconds,
        grace_includes_pre_stop=how.grace_includes_pre_stop,
        retry=manifest.handling is not None and manifest.handling.retry,
        # No other router than our own balancer can go on using idle connections.
        keeps_connections=manifest.handling is not None and not how.close_idle,
        pre_stop_setting=None,
        grace_setting="",
    )
