"""The folder of a run: which file holds what."""

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from scenarios.errors import EvidenceError

MANIFEST = "run.json"
REQUESTS = "requests.ndjson"
MAILS = "mails.ndjson"
EVENTS = "events.ndjson"
TICKS = "ticks.ndjson"
ACCESS_LOG = "balancer.ndjson"
BEFORE = "subjects-before.ndjson"
AFTER = "subjects-after.ndjson"
LOCKS = "locks.ndjson"
BACKENDS = "backends.ndjson"
SERVER_LOG = "postgres.ndjson"
READS = "reads.ndjson"
VERDICT = "verdict.json"
WHEEL = "wheel.json"
"""Where a run that is under way can be steered; gone at its end."""
REPORT = "report.html"
JUNIT = "junit.xml"
SUMMARY = "summary.md"
METRICS = "metrics.prom"


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of each evidence file in the folder, by name.

    Raises:
        OSError: one of them cannot be read.
    """
    found = {}
    for path in sorted(folder.glob("*.ndjson")):
        with path.open("rb") as file:
            found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def check_files(folder: Path, recorded: Mapping[str, str]) -> None:
    """See that the evidence is what the run recorded.

    Raises:
        EvidenceError: a file is missing or was changed; the message names it.
    """
    found = digests(folder)
    for name, digest in recorded.items():
        if name not in found:
            raise EvidenceError(f"{folder / name}: missing; the run recorded it")
        if found[name] != digest:
            raise EvidenceError(
                f"{folder / name}: damaged: it is not what the run recorded (SHA-256)"
            )


def create_run_folder(parent: Path, now: datetime, scenario: str, strategy: str) -> Path:
    """Make `<time>-<scenario>-<strategy>`, with a number behind it if that is taken.

    Args:
        parent: where runs are kept; made if it is not there.
        now: for the name.
        scenario: for the name; characters that do not belong in one are replaced.
        strategy: the same.

    Raises:
        OSError: it cannot be made.
    """
    name = re.sub(r"[^\w.-]+", "-", f"{now:%Y%m%d-%H%M%S}-{scenario}-{strategy}")
    parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        folder = parent / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder
