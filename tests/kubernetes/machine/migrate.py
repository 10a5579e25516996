"""Inside of an image: applies the migrations of a folder, or of a package (`package:folder`)."""

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

RUNNER = "/yoyo_runner.py"


def main() -> int:
    """Apply them; returns the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("migrations")
    parser.add_argument("--through")
    arguments = parser.parse_args()
    package, colon, folder = arguments.migrations.partition(":")
    directory = Path(package)
    if colon:
        found = importlib.util.find_spec(package)
        assert found is not None
        assert found.origin is not None
        directory = Path(found.origin).parent / folder
    command = [sys.executable, RUNNER, "apply", "--directory", str(directory)]
    if arguments.through:
        command += ["--through", arguments.through]
    return subprocess.call(command)


if __name__ == "__main__":
    sys.exit(main())
