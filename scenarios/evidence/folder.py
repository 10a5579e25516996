"""The folder of a run: which file holds what."""

import re
from datetime import datetime
from pathlib import Path

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
REPORT = "report.html"
JUNIT = "junit.xml"
SUMMARY = "summary.md"
METRICS = "metrics.prom"


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
