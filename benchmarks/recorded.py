"""One run of `hitless run`, for the benchmarks that read its evidence."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from scenarios.evidence.run_folder import RunFolder
from scenarios.verdict import Verdict, decode

HITLESS = (sys.executable, "-P", "-c", "from hitless_cli import main; main()")
"""The command `hitless`."""

_SECONDS = 300


class Recorded(NamedTuple):
    """A run that has ended.

    Attributes:
        folder: its evidence.
        verdict: what it came to.
    """

    folder: RunFolder
    verdict: Verdict


@contextmanager
def recorded(scenario: str | Path, *options: str) -> Iterator[Recorded]:
    """Run a scenario, and keep its evidence while the block runs.

    Raises:
        SystemExit: the run did not reach a verdict; the message is its own.
    """
    with tempfile.TemporaryDirectory(prefix="hitless-bench-") as name:
        out = Path(name)
        ended = subprocess.run(
            [*HITLESS, "run", str(scenario), "--no-live", "--out", str(out / "runs"), *options],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        verdicts = list(out.glob("runs/*/verdict.json"))
        if len(verdicts) != 1:
            raise SystemExit(ended.stderr.strip() or ended.stdout.strip()[-500:])
        yield Recorded(RunFolder(verdicts[0].parent), decode(verdicts[0].read_bytes()))


def title(name: str, run: Recorded) -> str:
    """What a table calls the router of a run: its version, or one of our own settings."""
    if name.startswith("hitless"):
        return name
    return run.folder.read_manifest().router_version or name


def machine() -> str:
    """How many cores there are, and how busy they are."""
    one, five, fifteen = os.getloadavg()
    return f"{os.cpu_count()} cores, load average {one:.1f} {five:.1f} {fifteen:.1f}"
