"""Makes an image of hitless itself, as its load generators in a cluster need it.

It has this Python, what `scenarios.traffic.remote` imports, and no more: as an image of
`pip install hitless` it would be five times as large, and the nodes of the tests are in memory.
"""

import json
import subprocess
import sys
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

from tests.kubernetes.machine.image import (
    libraries_of,
    program_files,
    python_files,
    write_image,
)

NAME = "hitless.test/hitless:here"
_SITE = "/site"
_MODULES = (
    *("scenarios.traffic.remote.http_server", "scenarios.traffic.process.control"),
    "scenarios.traffic.wire.http2",
)
_OF_THE_INTERPRETER = {"setuptools"}
_OURS = Path(__file__).parents[3]


def write_hitless_image(target: Path) -> None:
    """Write it as a tar file."""
    program = Path(sys.executable).resolve()
    write_image(
        target,
        {NAME: [str(program)]},
        files={
            **python_files(),
            **program_files("sleep"),
            "/usr/bin/python": program,
            **imported_files(),
        },
        environment={"PYTHONUNBUFFERED": "1", "PATH": "/usr/bin:/bin", "PYTHONPATH": _SITE},
    )


def imported_files() -> dict[str, Path]:
    """What a generator imports: our packages, and the distributions of all others."""
    code = f"import json, sys, {', '.join(_MODULES)}; print(json.dumps(sorted(sys.modules)))"
    told = subprocess.run(
        [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True, cwd=_OURS
    )
    top = {name.partition(".")[0] for name in json.loads(told.stdout)}
    owners = packages_distributions()
    names = (
        {owner for module in top for owner in owners.get(module, ())} | {"hitless"}
    ) - _OF_THE_INTERPRETER
    found = {}
    for name in sorted(names):
        made = distribution(name)
        for file in made.files or ():
            place = Path(str(made.locate_file(file)))
            if ".." not in file.parts and file.suffix != ".pth" and place.is_file():
                found[f"{_SITE}/{file}"] = place
    for name in sorted(top):
        if (_OURS / name / "__init__.py").is_file():
            found[f"{_SITE}/{name}"] = _OURS / name
    binaries = [path for path in found.values() if path.suffix == ".so"]
    libraries = {library for path in binaries for library in libraries_of(path)}
    return found | {str(path): path for path in sorted(libraries)}


if __name__ == "__main__":
    write_hitless_image(Path(sys.argv[1]))
