"""No behaviour hangs on a sentence."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
REWORDED_AT_LEAST = 200


def judged(*flags: str) -> tuple[list[str], int]:
    """What came of the planted runs, and how many texts were reworded."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.scenarios.review.rewording", *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=80,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), int(done.stderr.split()[-1])


def test_rewording_every_message_changes_nothing_else() -> None:
    """With all texts of the verdict reworded, the same runs come to the same results.

    Verdict, exit status, causes with their kinds and counts, data, locks, stories, and the run that
    would test the main cause are compared; what is not compared are the sentences.
    """
    plain, none = judged()
    reworded, number = judged("--reword")
    assert none == 0
    assert number > REWORDED_AT_LEAST
    assert reworded == plain
    kinds = {one[1] for line in plain for one in json.loads(line)[4]}
    assert {"statement", "no_backend", "mixed_fleet", "lock", "lifecycle"} <= kinds
    tests = [found for line in plain for found in json.loads(line)[-1] if found]
    assert len(tests) > len(kinds)
