"""Results of trials from earlier checks, by the digest of what they depend on."""

import contextlib
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from scenarios.check.observed import Observed
from scenarios.check.trial_plan import PlannedTrial
from scenarios.runner.checking.fingerprint import (
    TooManyFilesError,
    scenario_digest,
    version_digest,
)
from scenarios.scenario.reader import Loaded

FOLDER = "HITLESS_CACHE"
"""The environment variable with the folder of the cache."""

_MOST_FILES = 500


def cache_folder() -> Path:
    """The folder of the cache (XDG Base Directory Specification)."""
    if given := os.environ.get(FOLDER):
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "hitless" / "check"


class ResultCache:
    """Keeps the results of trials. A cache that cannot be used is as good as an empty one."""

    def __init__(self, folder: Path, loaded: Loaded, migrations: Sequence[Path]) -> None:
        """Prepare it.

        Args:
            folder: where the results are.
            loaded: the scenario.
            migrations: the files of its migrations.
        """
        self._folder = folder
        self._key = ""
        with contextlib.suppress(TooManyFilesError):
            versions = [version_digest(loaded, name) for name in sorted(loaded.scenario.versions)]
            self._versions = dict(zip(sorted(loaded.scenario.versions), versions, strict=True))
            self._key = scenario_digest(loaded, migrations)

    def read(self, trial: PlannedTrial) -> Observed | None:
        """The result of the same trial in an earlier check; None if there is none."""
        path = self._path(trial)
        if path is None:
            return None
        try:
            return msgspec.json.decode(path.read_bytes(), type=Observed)
        except (OSError, msgspec.DecodeError):
            return None

    def write(self, trial: PlannedTrial, observed: Observed) -> None:
        """Keep a result."""
        path = self._path(trial)
        if path is None:
            return
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(f".{os.getpid()}")
            partial.write_bytes(msgspec.json.encode(observed))
            partial.replace(path)  # another check reads either the whole file or none
            self._forget_oldest()

    def _path(self, trial: PlannedTrial) -> Path | None:
        if not self._key:
            return None
        versions = [self._versions[name] for name in trial.versions]
        text = "\n".join([self._key, *versions, repr(trial)])
        return self._folder / f"{hashlib.sha256(text.encode()).hexdigest()}.json"

    def _forget_oldest(self) -> None:
        files = sorted(self._folder.glob("*.json"), key=lambda one: one.stat().st_mtime)
        for old in files[:-_MOST_FILES]:
            old.unlink(missing_ok=True)
