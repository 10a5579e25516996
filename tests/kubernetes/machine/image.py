"""Makes container images out of what is installed on this machine; no registry is needed.

An image has this Python with its standard library and the shared libraries that both need. Format:
an OCI image layout (https://github.com/opencontainers/image-spec) in a tar file, as `ctr images
import` reads it.
"""

import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

import newsletter_app
from orchestrator import yoyo_runner
from scenarios.subjects import service
from tests.kubernetes.machine import migrate

_LEFT_OUT = {"__pycache__", "test", "tests", "site-packages", "idlelib", "lib2to3", "ensurepip"}
_SITE = "/site"
_NEEDED = (
    "aiohttp",
    "aiosmtplib",
    "asyncpg",
    "psycopg",
    "psycopg-binary",
    "regex",
    "yoyo-migrations",
)
"""What the newsletter and its migrations import."""
_EPOCH = "1970-01-01T00:00:00Z"


def write_image(
    target: Path,
    names: Mapping[str, Sequence[str]],
    *,
    files: Mapping[str, Path],
    environment: Mapping[str, str] | None = None,
) -> None:
    """Write one file with images that share one layer.

    Args:
        target: the tar file.
        names: by the name of each image, the command that it runs.
        files: by absolute path in the image, files and folders to put there.
        environment: the variables of its processes.
    """
    layer = _layer(files)
    blobs = {_digest(layer): layer}
    manifests = []
    for name, command in names.items():
        config = _json(
            {
                "created": _EPOCH,
                "architecture": "amd64",
                "os": "linux",
                "config": {
                    "Entrypoint": list(command),
                    "Env": [f"{key}={value}" for key, value in (environment or {}).items()],
                },
                "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
                "history": [{"created": _EPOCH, "created_by": "hitless tests"}],
            }
        )
        manifest = _json(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
                "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
            }
        )
        blobs |= {_digest(config): config, _digest(manifest): manifest}
        manifests.append(
            {
                **_descriptor("application/vnd.oci.image.manifest.v1+json", manifest),
                "annotations": {"io.containerd.image.name": name},
            }
        )
    with tarfile.open(target, "w") as archive:
        _add(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(archive, "index.json", _json({"schemaVersion": 2, "manifests": manifests}))
        for digest, blob in blobs.items():
            _add(archive, digest.replace("sha256:", "blobs/sha256/"), blob)


def write_test_images(target: Path) -> None:
    """Write the images of what the tests deploy, in all versions: the service, the newsletter."""
    program = str(Path(sys.executable).resolve())
    listening = ("--host", "0.0.0.0", "--port", "8080")
    write_image(
        target,
        {
            **{
                f"hitless.test/service:{version}": [program, "/service.py", "--version", version]
                for version in ("a", "b")
            },
            **{
                f"hitless.test/newsletter:{version}": [
                    *(program, "-P", "-m", "newsletter_app", "--version", version),
                    *listening,
                ]
                for version in ("a", "bridge", "b")
            },
        },
        files={
            **python_files(),
            **program_files("sleep"),
            "/usr/bin/python3": Path(program),
            "/etc/passwd": Path("/etc/passwd"),  # yoyo asks for the name of its user
            "/service.py": Path(service.__file__),
            "/migrate.py": Path(migrate.__file__),
            "/yoyo_runner.py": Path(yoyo_runner.__file__),
            f"{_SITE}/newsletter_app": Path(newsletter_app.__file__).parent,
            **distribution_files(_NEEDED),
        },
        environment={"PYTHONUNBUFFERED": "1", "PATH": "/usr/bin:/bin", "PYTHONPATH": _SITE},
    )


def distribution_files(names: Iterable[str]) -> dict[str, Path]:
    """The files of installed distributions, of those that they need, and of the system's libraries.

    Args:
        names: the names of the distributions.
    """
    found = {}
    for name in with_needed(names):
        one = distribution(name)
        for file in one.files or ():
            place = Path(str(one.locate_file(file)))
            if ".." not in file.parts and "__pycache__" not in file.parts and place.is_file():
                found[f"{_SITE}/{file}"] = place
    compiled = [place for place in found.values() if place.suffix == ".so"]
    own = tuple(found.values())
    return found | {str(path): path for path in libraries_of(*compiled) if path not in own}


def with_needed(names: Iterable[str]) -> list[str]:
    """The distributions, and all those that they need."""
    waiting, found = list(names), list[str]()
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.append(name)
        for text in distribution(name).requires or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                waiting.append(needed.name)
    return found


def python_files() -> dict[str, Path]:
    """This interpreter, its standard library, and the shared libraries of both, by their paths."""
    program = Path(sys.executable).resolve()
    standard = Path(sysconfig.get_path("stdlib"))
    found = {str(program): program, str(standard): standard}
    extensions = sorted(standard.glob("lib-dynload/*.so"))
    return found | {str(path): path for path in libraries_of(program, *extensions)}


def program_files(name: str) -> dict[str, Path]:
    """A program of this machine with its shared libraries, by their paths."""
    program = Path(shutil.which(name) or name)
    return {str(path): path for path in (program, *libraries_of(program))}


def libraries_of(*binaries: Path) -> Iterator[Path]:
    """The shared libraries that programs need, the loader included."""
    told = subprocess.run(["ldd", *binaries], check=False, stdout=subprocess.PIPE, text=True).stdout
    for name in dict.fromkeys(match[1] for match in re.finditer(r"(?:=> )?(/\S+) \(0x", told)):
        yield Path(name)


def _layer(files: Mapping[str, Path]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", dereference=True) as archive:
        for name, path in sorted({**files}.items()):
            for inner, file in _below(name, path):
                archive.add(file, inner.lstrip("/"), recursive=False)
        for name in ("tmp", "proc", "sys", "dev"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
            archive.addfile(folder)
    return target.getvalue()


def _below(name: str, path: Path) -> Iterator[tuple[str, Path]]:
    if path.is_file():
        yield name, path
        return
    for one in sorted(path.rglob("*")):
        inner = one.relative_to(path)
        if one.is_file() and not _LEFT_OUT.intersection(inner.parts):
            yield f"{name}/{inner}", one


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _descriptor(kind: str, content: bytes) -> dict[str, object]:
    return {"mediaType": kind, "digest": _digest(content), "size": len(content)}


if __name__ == "__main__":
    write_test_images(Path(sys.argv[1]))
