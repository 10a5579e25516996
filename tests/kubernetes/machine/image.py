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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from scenarios.subjects import service

_LEFT_OUT = {"__pycache__", "test", "tests", "site-packages", "idlelib", "lib2to3", "ensurepip"}
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


def write_service_images(target: Path) -> None:
    """Write the images of the service that the tests deploy, in its versions a and b."""
    program = str(Path(sys.executable).resolve())
    write_image(
        target,
        {
            f"hitless.test/service:{version}": [program, "/service.py", "--version", version]
            for version in ("a", "b")
        },
        files={
            **python_files(),
            **program_files("sleep"),
            "/service.py": Path(service.__file__),
        },
        environment={"PYTHONUNBUFFERED": "1", "PATH": "/usr/bin:/bin"},
    )


def python_files() -> dict[str, Path]:
    """This interpreter, its standard library, and the shared libraries of both, by their paths."""
    program = Path(sys.executable).resolve()
    standard = Path(sysconfig.get_path("stdlib"))
    found = {str(program): program, str(standard): standard}
    extensions = sorted(standard.glob("lib-dynload/*.so"))
    for binary in (program, *extensions):
        found |= {str(path): path for path in libraries_of(binary)}
    return found


def program_files(name: str) -> dict[str, Path]:
    """A program of this machine with its shared libraries, by their paths."""
    program = Path(shutil.which(name) or name)
    return {str(path): path for path in (program, *libraries_of(program))}


def libraries_of(binary: Path) -> Iterator[Path]:
    """The shared libraries that a program needs, the loader included."""
    told = subprocess.run(["ldd", binary], check=False, stdout=subprocess.PIPE, text=True).stdout
    for match in re.finditer(r"(?:=> )?(/\S+) \(0x", told):
        yield Path(match[1])


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
    write_service_images(Path(sys.argv[1]))
