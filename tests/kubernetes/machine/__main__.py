"""`python -m tests.kubernetes.machine PYTEST…`: a Kubernetes cluster for as long as pytest runs.

Everything is started inside namespaces of its own (processes, network, mounts), so that all of it
ends with the first process in there: after Ctrl-C, and after `kill -9` of this one. The machine's
own network, its firewall and its settings are not touched. What remains then are control groups,
which the next start removes.

With KUBECONFIG set, pytest runs on that cluster and nothing is started.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.kubernetes.machine.leftovers import group_of, remove_leftovers

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "hitless" / "kubernetes"
ENVIRONMENT_FAILED = 4
_NAMESPACES = (
    *("unshare", "--net", "--mount", "--pid", "--ipc", "--uts", "--fork"),
    *("--kill-child=KILL", "--mount-proc"),
)
"""A command that starts another one in namespaces of its own, and ends it with itself."""


def main(arguments: Sequence[str]) -> int:
    """Run pytest with a cluster; returns its status, or 4 where no cluster can be started."""
    if kubeconfig := os.environ.get("KUBECONFIG"):
        return subprocess.call(
            [sys.executable, "-m", "pytest", *arguments],
            env={**os.environ, "HITLESS_TEST_KUBECONFIG": kubeconfig},
        )
    missing = cannot_start()
    if missing is not None:
        print(f"make test-kubernetes: {missing}", file=sys.stderr)
        return ENVIRONMENT_FAILED
    built = subprocess.run(
        [HERE / "build.sh", CACHE], check=False, stdout=subprocess.PIPE, text=True
    )
    if built.returncode != 0:
        print("make test-kubernetes: the control plane could not be built", file=sys.stderr)
        return ENVIRONMENT_FAILED
    remove_leftovers()
    binaries = built.stdout.strip().splitlines()[-1]
    inside = subprocess.Popen(
        [
            *("setpriv", "--pdeathsig", "KILL"),
            *_NAMESPACES,
            *(
                sys.executable,
                "-m",
                "tests.kubernetes.machine.inside",
                binaries,
                group_of(os.getpid()),
                *arguments,
            ),
        ]
    )
    # Ctrl-C reaches the processes inside as well; this one waits until they have ended.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: inside.kill())
    status = inside.wait()
    remove_leftovers(os.getpid())
    return status if status >= 0 else 128 - status


def cannot_start() -> str | None:
    """Why no cluster can be started on this machine; None if one can."""
    release = Path("/etc/os-release")
    words = release.read_text().splitlines() if release.is_file() else []
    if not {"ID=debian", 'VERSION_ID="12"'} <= set(words):
        return "needs Debian 12, or a cluster of yours: set KUBECONFIG to its configuration"
    if os.geteuid() != 0:
        return "needs root for network namespaces, or a cluster of yours: set KUBECONFIG"
    if shutil.which("unshare") is None:
        return "needs the program unshare (apt-get install util-linux)"
    tried = subprocess.run([*_NAMESPACES, "true"], check=False, capture_output=True, text=True)
    if tried.returncode != 0:
        return f"needs namespaces, or a cluster of yours: {tried.stderr.strip()}; set KUBECONFIG"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
