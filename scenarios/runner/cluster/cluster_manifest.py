"""What `run.json` says of a run on a cluster."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from orchestrator.kubernetes.manifests import Json
from orchestrator.model import ReleaseResult
from scenarios.evidence.manifest import Manifest
from scenarios.recording.cluster.view import ClusterView
from scenarios.runner.manifest import RouterFacts, manifest_of
from scenarios.scenario.experiment import Experiment

_ROUTER = "foreign"


class Images:
    """Which image each version has: so the pods of a version are known."""

    def __init__(self) -> None:
        self._versions: dict[str, set[str]] = {}

    def note(self, deployment: Json, version: str) -> None:
        """Take note of the image of the first container of a version that was just applied."""
        image = str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])
        self._versions.setdefault(image.rpartition("/")[2], set()).add(version)

    @property
    def versions(self) -> dict[str, str]:
        """By image, without its registry, the version; where several versions have it, it lacks."""
        return {
            image: next(iter(versions))
            for image, versions in self._versions.items()
            if len(versions) == 1
        }


def cluster_manifest(
    experiment: Experiment,
    result: ReleaseResult | None,
    *,
    database: str | None,
    started_at: datetime,
    interrupted: bool,
    digests: Mapping[str, str],
    view: ClusterView | None,
    images: Images,
    router: RouterFacts | None,
    unseen: Sequence[str],
) -> Manifest:
    """What `run.json` says of it.

    Args:
        experiment: what was run.
        result: how the release ended; None when it did not come to that.
        database: the name of the application's database, if it had one.
        started_at: wall-clock time.
        interrupted: whether it was cut short.
        digests: of its evidence, by file.
        view: what was watched; None when it did not come to that.
        images: which image each version has.
        router: what is known of the router of a strategy of ours; None: there is no such strategy.
        unseen: what was not looked at.
    """
    manifest = manifest_of(
        experiment,
        result,
        database=database,
        router=router,
        started_at=started_at,
        platform="kubernetes",
        interrupted=interrupted,
        digests=digests,
    )
    settings = None
    if view is not None:
        settings = msgspec.structs.replace(
            view.settings,
            unseen=(*view.settings.unseen, *unseen),
            versions=images.versions,
        )
    # What happens to requests is the cluster's; how pods leave is, too, unless we stop them.
    return msgspec.structs.replace(
        manifest,
        router=_ROUTER,
        replicas=max(1, view.replicas) if view is not None else manifest.replicas,
        persona=None,
        termination=None if router is None else manifest.termination,
        handling=None,
        cluster=settings,
    )
