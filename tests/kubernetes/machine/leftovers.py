"""Removes the control groups that a cluster leaves behind: nothing else outlives its namespaces."""

import contextlib
import re
from pathlib import Path

GROUP_NAME = re.compile(r"hitless-kubernetes-(?P<pid>\d+)")
ROOT = Path("/sys/fs/cgroup")


def group_of(pid: int) -> str:
    """The name of the control group of the cluster that this process started."""
    return f"hitless-kubernetes-{pid}"


def remove_leftovers(ended: int | None = None) -> None:
    """Remove the control groups of clusters whose starting process is gone.

    Args:
        ended: a process that is still there, although its cluster has ended.
    """
    for pattern in ("hitless-kubernetes-*", "*/hitless-kubernetes-*"):
        for group in ROOT.glob(pattern):
            match = GROUP_NAME.fullmatch(group.name)
            if match is None:
                continue
            if int(match["pid"]) != ended and Path("/proc", match["pid"]).exists():
                continue
            for folder in sorted(group.rglob("*"), key=lambda path: -len(path.parts)):
                if folder.is_dir():
                    with contextlib.suppress(OSError):
                        folder.rmdir()
            with contextlib.suppress(OSError):
                group.rmdir()
