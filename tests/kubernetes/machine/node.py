"""A node: containerd, kubelet and kube-proxy in a network and a mount namespace of their own."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.kubernetes.machine.daemons import Daemon, do

PAUSE = "hitless.test/pause:1"
_KERNEL_SETTINGS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
"""What kubelet would set for the whole machine: it reads here that this is done already."""
_OWN_FOLDERS = ("/run", "/var/log", "/var/lib/cni", "/var/lib/kubelet", "/etc/cni", "/opt/cni")


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Addresses of the cluster.

    Attributes:
        host: where the control plane and the tests are.
        bridge: the interface there that leads to the nodes.
    """

    host: str = "10.77.0.1"
    bridge: str = "hitless0"

    def address(self, number: int) -> str:
        """The address of a node."""
        return f"10.77.0.{10 + number}"

    def pods(self, number: int) -> str:
        """The addresses of a node's pods."""
        return f"10.78.{number}.0/24"


@contextmanager
def running_node(
    number: int,
    *,
    nodes: int,
    network: Network,
    binaries: Path,
    folder: Path,
    kubeconfig: Path,
    group: str,
    images: list[Path],
) -> Iterator[str]:
    """A node for the length of the block; yields its name.

    Args:
        number: which one, from 1 on.
        nodes: how many there are.
        network: the addresses.
        binaries: where kubelet and kube-proxy are.
        folder: for its files.
        kubeconfig: how it reaches the API server.
        group: the control group of its containers.
        images: the files of images that it has from the start.

    Raises:
        CannotStartError: a part of it did not start.
    """
    name = f"node-{number}"
    place = folder / name
    logs = folder / "logs"
    for one in ("containerd", "state", "cni", "own"):
        (place / one).mkdir(parents=True)
    holder = Daemon(
        name,
        [
            "unshare",
            "--net",
            "--mount",
            "--uts",
            "--propagation",
            "private",
            "sh",
            "-ec",
            _set_up(name, place),
        ],
        logs,
    )
    started = [holder]
    inside = ["nsenter", f"--target={holder.pid}", "--net", "--mount", "--uts", "--"]
    try:
        holder.wait_until((place / "own" / "ready").exists)
        _connect(holder.pid, number, nodes, network, inside)
        socket = place / "containerd.sock"
        (place / "containerd.toml").write_text(_containerd(place, socket))
        (place / "cni" / "10-hitless.conflist").write_text(
            json.dumps(_pod_network(number, network))
        )
        runtime = Daemon(
            f"{name}-containerd",
            [*inside, "containerd", "--config", place / "containerd.toml"],
            logs,
        )
        started.append(runtime)
        runtime.wait_until(socket.exists)
        for image in images:
            do("ctr", "--address", socket, "--namespace", "k8s.io", "images", "import", image)
        started += [
            Daemon(
                f"{name}-kubelet",
                [
                    *inside,
                    binaries / "kubelet",
                    f"--kubeconfig={kubeconfig}",
                    f"--hostname-override={name}",
                    f"--node-ip={network.address(number)}",
                    "--container-runtime=remote",
                    f"--container-runtime-endpoint=unix://{socket}",
                    f"--pod-infra-container-image={PAUSE}",
                    "--cgroup-driver=cgroupfs",
                    "--cgroups-per-qos=false",
                    "--enforce-node-allocatable=",
                    f"--cgroup-root=/{group}",
                    "--fail-swap-on=false",
                    "--oom-score-adj=0",
                    "--image-gc-high-threshold=100",
                    "--eviction-hard=memory.available<50Mi",
                    "--authorization-mode=AlwaysAllow",
                    "--anonymous-auth=true",
                    "--register-node=true",
                    "--node-status-update-frequency=4s",
                    "--sync-frequency=10s",
                ],
                logs,
            ),
            Daemon(
                f"{name}-proxy",
                [
                    *inside,
                    binaries / "kube-proxy",
                    f"--kubeconfig={kubeconfig}",
                    f"--hostname-override={name}",
                    "--proxy-mode=iptables",
                    "--cluster-cidr=10.78.0.0/16",
                    "--conntrack-max-per-core=0",
                    "--conntrack-min=0",
                    "--conntrack-tcp-timeout-established=0s",
                    "--conntrack-tcp-timeout-close-wait=0s",
                    "--oom-score-adj=0",
                ],
                logs,
            ),
        ]
        yield name
    finally:
        for daemon in reversed(started):
            daemon.stop()


def _set_up(name: str, place: Path) -> str:
    """What the process that holds the namespaces does first: nothing of it is seen outside."""
    own = place / "own"
    lines = [f"hostname {name}"]
    for folder in _OWN_FOLDERS:
        inner = f"{own}{folder}"
        lines.append(f"mkdir -p {inner} {folder}; mount --bind {inner} {folder}")
    lines.append("mkdir -p /run/netns /run/lock")
    for setting, value in _KERNEL_SETTINGS.items():
        file = f"{own}/{setting.replace('/', '.')}"
        lines.append(f"echo {value} >{file}; mount --bind {file} /proc/sys/{setting}")
    return "\n".join([*lines, f"touch {own}/ready", "exec sleep infinity"])


def _connect(pid: int, number: int, nodes: int, network: Network, inside: list[str]) -> None:
    """Connect the node with the bridge, and tell it where the other nodes' pods are."""
    outer, address = f"hitless-node{number}", network.address(number)
    do(
        "ip",
        "link",
        "add",
        "name",
        outer,
        "type",
        "veth",
        "peer",
        "name",
        "eth0",
        "netns",
        str(pid),
    )
    do("ip", "link", "set", outer, "master", network.bridge, "up")
    do("ip", "route", "add", network.pods(number), "via", address)
    do(*inside, "ip", "link", "set", "lo", "up")
    do(*inside, "ip", "address", "add", f"{address}/24", "dev", "eth0")
    do(*inside, "ip", "link", "set", "eth0", "up")
    do(*inside, "ip", "route", "add", "default", "via", network.host)
    do(*inside, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
    for other in range(1, nodes + 1):
        if other != number:
            route = network.pods(other), "via", network.address(other)
            do(*inside, "ip", "route", "add", *route)


def _containerd(place: Path, socket: Path) -> str:
    return f"""
version = 2
root = "{place}/containerd"
state = "{place}/state"
[grpc]
address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
restrict_oom_score_adj = true
disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{place}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.internal.v1.opt"]
path = "{place}/opt"
"""


def _pod_network(number: int, network: Network) -> dict[str, object]:
    return {
        "cniVersion": "0.4.0",
        "name": "hitless",
        "plugins": [
            {
                "type": "ptp",
                "ipam": {
                    "type": "host-local",
                    "dataDir": "/run/cni-addresses",
                    "ranges": [[{"subnet": network.pods(number)}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
