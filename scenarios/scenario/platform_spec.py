"""The structs of a scenario file for where the replicas run: `[platform]`."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from orchestrator.policy import Command
from scenarios.traffic.settings import PathText

DEPLOYMENT = "deployment"
"""The strategy that leaves the rollout to the Deployment's own controller."""

OnCluster = Literal["deployment", "naive", "rolling", "blue-green", "canary"]
"""The strategies on a cluster: that of its own controllers, and ours."""

PlatformKind = Literal["processes", "kubernetes"]

Source = PathText | Command
"""Where manifests come from: a file or a folder, or a command that prints them."""


class MigrationJobSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the migrations of a release run on a cluster: each step is a Job with one container.

    Attributes:
        image: the image of the container, such as `registry.example.com/shop:{version}`.
            `{version}` is the version that `using` of the step names, or the one deployed next.
        command: the program and its arguments, if the step names a directory of migrations.
            `{migrations}` stands for that directory as the step writes it, and `{through}` for the
            last migration. A word with `{through}` is left out if the step has none. A step whose
            `migrate` is a command runs that command instead.
        env: environment variables of the container, in addition to `DATABASE_URL`.
    """

    image: str
    command: Command | None = None
    env: Mapping[str, str] = msgspec.field(default_factory=dict)


class PlatformSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the replicas run: as processes of this machine, or as pods of a Kubernetes cluster.

    All other keys are for `kind = "kubernetes"`. The run makes a namespace, applies the manifests
    of the version before the release, sends traffic to the Service, and applies the manifests of
    the new version. The cluster's own controllers carry the rollout out, or a strategy of ours.
    Strings in manifests may contain `{namespace}`, `{version}`, `{database_url}` and its parts,
    `{smtp_url}` and `{base_url}`; other braces stay as they are. Words of commands may contain
    these and `{context}`. Commands run in the folder of the scenario file.

    Attributes:
        kind: `processes` or `kubernetes`.
        strategy: the strategy of a run that `--strategy` does not name. `deployment`: the
            Deployment's own controller replaces the pods. With any other one hitless makes and
            stops the pods itself, from the template of that Deployment, which is not applied.
        namespace: the name of the namespace that the run makes. Default: a new name for each run.
        manifests: what is applied for a version: a file, or a folder of `.yaml`, `.yml` and `.json`
            files. An array is a command that prints manifests, such as `["kubectl", "kustomize",
            "overlays/{version}"]` or `["helm", "template", "web", "chart"]`. A table has one of
            these for each version.
        apply: a command that applies a version itself, such as `["helm", "upgrade", "--install",
            "web", "chart", "--kube-context", "{context}", "--namespace", "{namespace}"]`, instead
            of `manifests`. A table has one for each version.
        service: the Service that users request. Default: the only one.
        url: the URL that users request, such as that of an Ingress. Default: the Service's load
            balancer or node port, else its cluster IP.
        address: the address of this machine that pods can reach, for `{smtp_url}`. Default: the
            address from which this machine reaches the cluster.
        migrations: how the steps of the release that migrate run.
    """

    kind: PlatformKind = "processes"
    strategy: OnCluster = "deployment"
    namespace: str | None = None
    manifests: Source | Mapping[str, Source] | None = None
    apply: Command | Mapping[str, Command] | None = None
    service: str | None = None
    url: str | None = None
    address: str | None = None
    migrations: MigrationJobSpec | None = None

    @property
    def on_cluster(self) -> bool:
        """Whether the replicas are pods of a cluster."""
        return self.kind == "kubernetes"

    def manifests_of(self, version: str) -> str | tuple[str, ...] | None:
        """Where the manifests of a version come from; None if a command applies them itself."""
        if isinstance(self.manifests, Mapping):
            return self.manifests.get(version)
        return self.manifests

    def applies(self, version: str) -> tuple[str, ...] | None:
        """The command that applies a version itself, if there is one."""
        return self.apply.get(version) if isinstance(self.apply, Mapping) else self.apply
