"""The first process inside the namespaces: starts the cluster, runs pytest, ends both.

Not for use by itself: `python -m tests.kubernetes.machine` starts it.
"""

import json
import os
import secrets
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.kubernetes.machine.daemons import CannotStartError, Daemon, do
from tests.kubernetes.machine.hitless_image import write_hitless_image
from tests.kubernetes.machine.image import write_image, write_test_images
from tests.kubernetes.machine.node import PAUSE, Network, running_node

NODES = 2
_FOLDER = Path("/var/lib/hitless-test-cluster")
_READY_SECONDS = 180.0


def main(binaries: Path, group: str, arguments: Sequence[str]) -> int:
    """Run pytest with the cluster; returns its status, or 4 if the cluster does not start."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    began = time.monotonic()
    try:
        with cluster(binaries, group) as kubeconfig:
            print(f"hitless test cluster: ready after {time.monotonic() - began:.0f} s", flush=True)
            return _pytest(arguments, kubeconfig, binaries)
    except CannotStartError as error:
        print(f"make test-kubernetes: {error}", file=sys.stderr)
        return 4
    except KeyboardInterrupt:
        return 130


def _pytest(arguments: Sequence[str], kubeconfig: Path, binaries: Path) -> int:
    tests = subprocess.Popen(
        [sys.executable, "-m", "pytest", *arguments],
        env={
            **os.environ,
            "HITLESS_TEST_KUBECONFIG": str(kubeconfig),
            "PATH": f"{binaries}:{os.environ['PATH']}",
        },
    )
    while True:
        try:
            return tests.wait()
        except KeyboardInterrupt:  # pytest has got it, too, and cleans up
            continue


@contextmanager
def cluster(binaries: Path, group: str) -> Iterator[Path]:
    """A cluster for the length of the block; yields its kubeconfig with all rights.

    Args:
        binaries: the programs of Kubernetes.
        group: the control group of all containers.

    Raises:
        CannotStartError: a part of it did not start.
    """
    network = Network()
    _FOLDER.mkdir(exist_ok=True)
    do("mount", "-t", "tmpfs", "hitless", _FOLDER)  # seen in here only, and gone with the end
    logs = _FOLDER / "logs"
    logs.mkdir()
    do("ip", "link", "set", "lo", "up")
    do("ip", "link", "add", network.bridge, "type", "bridge")
    do("ip", "address", "add", f"{network.host}/24", "dev", network.bridge)
    do("ip", "link", "set", network.bridge, "up")
    images = [_FOLDER / f"{name}.tar" for name in ("pause", "service", "hitless")]
    write_image(images[0], {PAUSE: ["/pause"]}, files={"/pause": binaries / "pause"})
    write_test_images(images[1])
    write_hitless_image(images[2])
    with ExitStack() as stack:
        kubeconfig = stack.enter_context(_control_plane(binaries, logs, network))
        for number in range(1, NODES + 1):
            stack.enter_context(
                running_node(
                    number,
                    nodes=NODES,
                    network=network,
                    binaries=binaries,
                    folder=_FOLDER,
                    kubeconfig=kubeconfig,
                    group=group,
                    images=images,
                )
            )
        _wait_for_nodes(binaries, kubeconfig)
        yield kubeconfig


@contextmanager
def _control_plane(binaries: Path, logs: Path, network: Network) -> Iterator[Path]:
    started: list[Daemon] = []

    def start(name: str, *command: str | Path) -> Daemon:
        started.append(Daemon(name, command, logs))
        return started[-1]

    token = secrets.token_urlsafe(24)
    (_FOLDER / "tokens.csv").write_text(f"{token},admin,admin,system:masters\n")
    key = _FOLDER / "accounts.key"
    do("openssl", "genrsa", "-out", key, "2048")
    certificates = _FOLDER / "certificates"
    kubeconfig = _FOLDER / "kubeconfig"
    authority = certificates / "apiserver.crt"
    url = f"https://{network.host}:6443"
    kubeconfig.write_text(json.dumps(_kubeconfig(url, authority, token)))
    try:
        etcd = start(
            "etcd",
            "etcd", f"--data-dir={_FOLDER / 'etcd'}",
            "--listen-client-urls=http://127.0.0.1:2379",
            "--advertise-client-urls=http://127.0.0.1:2379",
        )  # fmt: skip
        etcd.wait_until(lambda: _answers("http://127.0.0.1:2379/health"))
        server = start(
            "kube-apiserver",
            binaries / "kube-apiserver",
            "--etcd-servers=http://127.0.0.1:2379",
            f"--advertise-address={network.host}", f"--bind-address={network.host}",
            f"--cert-dir={certificates}", f"--token-auth-file={_FOLDER / 'tokens.csv'}",
            "--authorization-mode=RBAC", "--service-cluster-ip-range=10.79.0.0/16",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}",
            "--kubelet-preferred-address-types=InternalIP", "--allow-privileged=true",
            "--service-node-port-range=30000-32767",
        )  # fmt: skip
        server.wait_until(lambda: _answers(f"{url}/readyz", authority, token))
        start(
            "kube-controller-manager",
            binaries / "kube-controller-manager",
            f"--kubeconfig={kubeconfig}", "--leader-elect=false",
            f"--service-account-private-key-file={key}", f"--root-ca-file={authority}",
            "--node-monitor-grace-period=40s", "--port=0",
        )  # fmt: skip
        start(
            "kube-scheduler",
            binaries / "kube-scheduler", f"--kubeconfig={kubeconfig}", "--leader-elect=false",
        )  # fmt: skip
        yield kubeconfig
    finally:
        for daemon in reversed(started):
            daemon.stop()


def _kubeconfig(url: str, authority: Path, token: str) -> dict[str, object]:
    name = "hitless-test"
    cluster = {"server": url, "certificate-authority": str(authority)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": "admin"}}],
    }


def _answers(url: str, authority: Path | None = None, token: str = "") -> bool:
    try:
        trust = None if authority is None else ssl.create_default_context(cafile=authority)
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310 - our own
        with urllib.request.urlopen(request, timeout=5, context=trust) as answer:  # noqa: S310 - our own
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _wait_for_nodes(binaries: Path, kubeconfig: Path) -> None:
    """Wait until the nodes take pods, and until the account exists that each pod needs."""
    kubectl = [binaries / "kubectl", f"--kubeconfig={kubeconfig}", "--request-timeout=10s"]
    deadline = time.monotonic() + _READY_SECONDS

    def wait(what: str, log: str, *question: str, done: Callable[[int, str], bool]) -> None:
        while True:
            asked = subprocess.run(
                [*kubectl, "get", *question],
                check=False,
                stdout=subprocess.PIPE,
                text=True,
                stderr=subprocess.STDOUT,
            )
            if done(asked.returncode, asked.stdout):
                return
            if time.monotonic() > deadline:
                logs = "\n".join(
                    f"{one.name}: {one.read_text(errors='replace')[-1500:]}"
                    for one in sorted((_FOLDER / "logs").glob(log))
                )
                raise CannotStartError(f"{what}: {asked.stdout.strip()}\n{logs}")
            time.sleep(0.3)

    wait(
        "the nodes are not ready",
        "*kubelet.log",
        *("nodes", "--no-headers"),
        done=lambda _, told: told.split().count("Ready") == NODES,
    )
    wait(
        "there is no service account for pods",
        "kube-controller-manager.log",
        *("serviceaccount", "default"),
        done=lambda status, _: status == 0,
    )


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
