"""The promises and the tests that keep them are in step."""

import re
from pathlib import Path

HERE = Path(__file__).parent
PROMISES = HERE.parent.parent / "docs" / "behaviour.md"


def test_every_promise_has_a_test_and_every_citation_a_promise() -> None:
    """Each number of docs/behaviour.md is cited by a test, and none is cited that is not there."""
    promised = set(re.findall(r"\*\*([A-Z]\d+)\*\*", PROMISES.read_text()))
    cited = {
        number
        for file in HERE.glob("test_*.py")
        for number in re.findall(r"\(([A-Z]\d+)\)\.\"\"\"", file.read_text())
    }
    assert promised == cited
