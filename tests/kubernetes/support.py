"""What the tests on a cluster deploy, and how they watch it."""

import base64
import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scenarios.cli.main import status
from scenarios.verdict import Verdict, decode

IMAGE = "hitless.test/service"
PORT = 8080
_PATIENCE_SECONDS = 90.0

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kubectl:
    """kubectl with a configuration."""

    kubeconfig: str

    def command(self, *arguments: str) -> list[str]:
        """The whole command."""
        return ["kubectl", f"--kubeconfig={self.kubeconfig}", *arguments]

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        """Run it; returns what it printed."""
        done = subprocess.run(
            self.command(*arguments), input=stdin, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout


class Shop:
    """A namespace with a Deployment and its Service."""

    def __init__(self, kubectl: Kubectl, namespace: str) -> None:
        self._kubectl = kubectl
        self.namespace = namespace

    def apply(self, manifest: Json) -> None:
        """Apply one object."""
        self.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl in this namespace."""
        return self._kubectl(f"--namespace={self.namespace}", *arguments, stdin=stdin)

    def command(self, *arguments: str) -> list[str]:
        """A command of kubectl in this namespace, for `hitless watch`."""
        return self._kubectl.command(f"--namespace={self.namespace}", *arguments)

    def deploy(self, name: str = "web", **how: Any) -> str:
        """Deploy it, wait until it is available and no older pod is left, and return its URL."""
        self.apply(deployment(name, **how))
        self.apply(service(name))
        self.kubectl("rollout", "status", f"deployment/{name}", "--timeout=90s")
        pods = "get", "pods", f"--selector=app={name}", "-o", "name"
        self._until(lambda: len(self.kubectl(*pods).split()) == how.get("replicas", 3))
        url = f"http://{self.address(name)}/"
        self._until(lambda: subprocess.run(
            ["curl", "-sf", "-m", "2", "-o", "/dev/null", url], check=False
        ).returncode == 0)  # fmt: skip
        return url

    def address(self, service: str) -> str:
        """Where a Service can be reached from here, as `host:port`."""
        node = json.loads(self._kubectl("get", "nodes", "-o", "json"))["items"][0]
        host = next(
            one["address"] for one in node["status"]["addresses"] if one["type"] == "InternalIP"
        )
        found = json.loads(self.kubectl("get", "service", service, "-o", "json"))
        return f"{host}:{found['spec']['ports'][0]['nodePort']}"

    def wait_for_accounts(self) -> None:
        """Wait until pods can be made: each has the account `default`, which a controller makes."""
        self._until(lambda: "default" in self.kubectl("get", "serviceaccounts", "-o", "name"))

    def watch(self, url: str, out: Path, command: list[str], *flags: str) -> tuple[int, Verdict]:
        """`hitless watch --cluster` around a command; its exit status and its verdict."""
        code = status(
            [
                *("watch", "--cluster", f"{self.namespace}:deployment/web", "--url", url),
                *("--rate", "100", "--baseline", "3", "--settle", "3", "--no-live"),
                *("--out", str(out), *flags, "--", *command),
            ]
        )
        (folder,) = out.iterdir()
        return code, decode((folder / "verdict.json").read_bytes())

    def token(self, account: str) -> str:
        """A token of a ServiceAccount."""
        name = f"token-of-{account}"
        about = {"kubernetes.io/service-account.name": account}
        self.apply(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "type": "kubernetes.io/service-account-token",
                "metadata": {"name": name, "annotations": about},
            }
        )
        found: list[str] = []

        def there() -> bool:
            secret = json.loads(self.kubectl("get", "secret", name, "-o", "json"))
            found[:] = [secret["data"]["token"]] if "token" in secret.get("data", {}) else []
            return bool(found)

        self._until(there)
        return base64.b64decode(found[0]).decode()

    def _until(self, there: Any) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not there():
            assert time.monotonic() < deadline, "it took too long"
            time.sleep(0.2)


def documented(kind: str) -> str:
    """The Role, or the ClusterRole, that the documentation says is enough."""
    page = Path(__file__).parents[2] / "docs" / "kubernetes.md"
    blocks = page.read_text().split("```yaml\n")[1:]
    return next(
        block.partition("```")[0] for block in blocks if f"\nkind: {kind}\n" in f"\n{block}"
    )


def deployment(
    name: str = "web",
    *,
    image: str = f"{IMAGE}:a",
    replicas: int = 3,
    pre_stop: int = 0,
    probed: bool = True,
    flags: tuple[str, ...] = (),
    memory: str | None = None,
    strategy: Json | None = None,
    progress: int = 120,
) -> Json:
    """A Deployment of the service."""
    container: Json = {
        "name": "web",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["--host", "0.0.0.0", "--port", str(PORT), *flags],
        "ports": [{"containerPort": PORT}],
    }
    if probed:
        container["readinessProbe"] = {
            "httpGet": {"path": "/ready", "port": PORT},
            "periodSeconds": 1,
        }
    if pre_stop:
        container["lifecycle"] = {"preStop": {"exec": {"command": ["sleep", str(pre_stop)]}}}
    if memory is not None:
        container["resources"] = {"limits": {"memory": memory}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "progressDeadlineSeconds": progress,
            "selector": {"matchLabels": {"app": name}},
            "strategy": strategy
            or {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "containers": [container],
                    "terminationGracePeriodSeconds": 20,
                    "dnsPolicy": "Default",
                },
            },
        },
    }


def service(name: str) -> Json:
    """A Service with a port on each node."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {
            "type": "NodePort",
            "selector": {"app": name},
            "ports": [{"port": 80, "targetPort": PORT}],
        },
    }
