"""Whether `make demo` answers right and calmly, from a fresh clone and on a busy machine.

    python -m benchmarks.busy_demo [--times 10] [--busy 2] [--folder DIR] [--repository REPOSITORY]

It clones the repository, installs it as `make demo` does, and then makes the demo again and again,
with so many `yes > /dev/null` beside it. An answer is right and calm if it is one of these:

- both releases end as their scenarios declare, with the exit status 0;
- a run is invalid (3), and the machine's figures are told;
- the machine carries too little (4), and its figures are told.

A traceback, a failed release that should have passed, silence of more than ten seconds, and a
status of `make` that does not fit are none of them. With `--folder`, the clone and its environment
are kept there and used again, so that the runs can be made in pieces. It needs the Python package
index for the installation.

Exit status 1 if an answer was not right and calm, or, with `--busy 0`, if it took more than 60 s.
"""

import argparse
import contextlib
import os
import re
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MOST_SILENT_SECONDS = 10.0
MOST_SECONDS = 60.0
INSTALLED = ".venv/.installed"
_BADGE = re.compile(r"^ (PASS|FAIL|INVALID)  (\S+) · ", re.MULTILINE)
_DECLARED = [("FAIL", "big-bang"), ("PASS", "expand-contract")]
_FIGURES = re.compile(
    r"others used [\d.]+ % of its|this machine carries [\d.]+/s of this traffic now \("
)


class Told(NamedTuple):
    """What a command printed.

    Attributes:
        status: its exit status.
        text: standard output and standard error.
        seconds: how long it took.
        silent_seconds: the longest time in which nothing came.
    """

    status: int
    text: str
    seconds: float
    silent_seconds: float


def run(command: list[str], folder: Path) -> Told:
    """Run a command, and follow what it prints."""
    began = last = time.monotonic()
    silent, text = 0.0, b""
    with (
        subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as child,
        selectors.DefaultSelector() as selector,
    ):
        if child.stdout is None:
            raise RuntimeError("a pipe was asked for")
        selector.register(child.stdout, selectors.EVENT_READ)
        while selector.select():
            part = os.read(child.stdout.fileno(), 1 << 16)
            now = time.monotonic()
            silent, last = max(silent, now - last), now
            if not part:
                break
            text += part
    return Told(child.returncode, text.decode(), time.monotonic() - began, silent)


@contextlib.contextmanager
def busy(number: int) -> Iterator[None]:
    """So many processes that use a processor each, inside the block."""
    burners = [subprocess.Popen(["yes"], stdout=subprocess.DEVNULL) for _ in range(number)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def complaints(told: Told) -> Iterator[str]:
    """What is not right or not calm about an answer."""
    found = _BADGE.findall(told.text)
    if "Traceback" in told.text:
        yield "a traceback"
    if told.silent_seconds > MOST_SILENT_SECONDS:
        yield f"silent for {told.silent_seconds:.1f} s"
    if "*** " in told.text:
        yield "make complains"
    calm = bool(_FIGURES.search(told.text))
    said_nothing = any(word == "INVALID" for word, _ in found) or len(found) < len(_DECLARED)
    if said_nothing and not calm:
        yield "it says nothing, and not why"
    wrong = [f"{name} {word}" for word, name in found if word != "INVALID"]
    declared = [f"{name} {word}" for word, name in _DECLARED]
    if any(one not in declared for one in wrong):
        yield f"not as declared: {', '.join(wrong)}"
    if told.status != 0:
        yield f"make ended with {told.status}"


def main() -> None:
    """Make the demo, and say how it went."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--busy", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--repository", default=str(Path(__file__).parents[1]))
    asked = parser.parse_args()
    bad = 0
    with contextlib.ExitStack() as stack:
        folder = asked.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        clone = folder / "hitless"
        if not clone.exists():
            subprocess.run(["git", "clone", "--quiet", asked.repository, clone], check=True)
        with busy(asked.busy):
            if not (clone / INSTALLED).exists():
                told = run(["make", INSTALLED], clone)
                print(
                    f"install: status {told.status}, {told.seconds:.1f} s, silent for at most "
                    f"{told.silent_seconds:.1f} s",
                    flush=True,
                )
                if told.status:
                    sys.exit(told.text)
            for number in range(asked.times):
                told = run(["make", "demo"], clone)
                wrong = list(complaints(told))
                if not asked.busy and told.seconds > MOST_SECONDS:
                    wrong.append(f"it took more than {MOST_SECONDS:.0f} s")
                bad += bool(wrong)
                verdicts = ", ".join(f"{name} {word}" for word, name in _BADGE.findall(told.text))
                carried = re.search(r"^.*this machine carries.*$", told.text, re.MULTILINE)
                print(
                    f"{number + 1:2}  {told.seconds:5.1f} s  {verdicts or 'no run'}; silent for at "
                    f"most {told.silent_seconds:.1f} s; {carried[0] if carried else ''}"
                    f"{'  NOT CALM: ' + '; '.join(wrong) if wrong else ''}",
                    flush=True,
                )
                if wrong:
                    print(told.text, flush=True)
    print(f"{asked.times - bad} of {asked.times} answers were right and calm")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
