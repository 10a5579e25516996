"""How long a newcomer takes from a fresh clone to a verdict on a Flask application of their own.

    python benchmarks/newcomer.py [REPOSITORY]

It clones the repository, installs it as `make` does, and then does what `docs/own-app.md` says up
to its first verdicts, and nothing else. It needs the Python package index.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BLOCK = re.compile(r"^```(\w+)(?: +(\S+))?\n(.*?)^```", re.MULTILINE | re.DOTALL)
LAST = "## What to say next"
MOST_SECONDS = 600


def step(text: str, command: list[str] | str, folder: Path, *, status: int = 0) -> None:
    """Do one thing, and say how long it took."""
    began = time.monotonic()
    shell = ["bash", "-c", command] if isinstance(command, str) else command
    done = subprocess.run(
        shell, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)
    if done.returncode != status:
        sys.exit(f"exit status {done.returncode} instead of {status}:\n{done.stdout}")


def main() -> None:
    """Follow the page, and say whether it took too long."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repository", nargs="?", default=str(Path(__file__).parents[1]))
    asked = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        step("git clone", ["git", "clone", "--quiet", asked.repository, "hitless"], home)
        step("make .venv/.ready", ["make", ".venv/.ready"], home / "hitless")
        mine = home / "mine"
        mine.mkdir()
        page = (home / "hitless" / "docs" / "own-app.md").read_text().partition(LAST)[0]
        for language, kind, text in BLOCK.findall(page):
            if language != "console":
                (mine / kind).write_text(text)
                continue
            commands = re.findall(r"^\$ ((?:.*\\\n)*.*)$", text, re.MULTILINE)
            for number, command in enumerate(commands):
                if command == "echo $?":
                    continue
                fails = commands[number + 1 : number + 2] == ["echo $?"]
                path = f'PATH="{home}/hitless/.venv/bin:$PATH"; '
                step(command.splitlines()[0], path + command, mine, status=int(fails))
    seconds = time.monotonic() - began
    print(f"{seconds:6.1f} s  in all (promise: below {MOST_SECONDS})")
    sys.exit(seconds > MOST_SECONDS)


if __name__ == "__main__":
    main()
