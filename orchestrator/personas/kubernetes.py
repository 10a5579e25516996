"""PURE: Kubernetes."""

from orchestrator.personas.persona import Persona, RequestHandling, Source
from orchestrator.termination import TerminationPolicy

_VIPS = "https://kubernetes.io/docs/reference/networking/virtual-ips/#proxy-mode-iptables"
_K8S_PODS = "https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination-flow"
_K8S_PROXY = "https://kubernetes.io/docs/reference/command-line-tools-reference/kube-proxy/"

KUBERNETES = Persona(
    name="kubernetes",
    title="Kubernetes",
    summary=(
        "The kubelet stops the Pod while the news of its removal is on its way to the proxies."
    ),
    termination=TerminationPolicy(
        order="together",
        deregistration_lag_seconds=(0.0, 1.0),
        registration_lag_seconds=(0.0, 1.0),
        pre_stop_seconds=0.0,
        grace_seconds=30.0,
        grace_includes_pre_stop=True,
        registration="when-ready",
        close_idle=False,
    ),
    handling=RequestHandling(
        retry=False,
        passive_checks=False,
        active_checks=False,
        reuse_post=False,
    ),
    sources={
        "order": Source(
            _K8S_PODS,
            "the kubelet begins the shutdown and the control plane removes the Pod from its "
            "EndpointSlices at the same time; neither waits for the other",
        ),
        "deregistration_lag_seconds": Source(
            _K8S_PROXY,
            "--iptables-min-sync-period is 1s: kube-proxy rewrites its rules at most once a second",
        ),
        "registration_lag_seconds": Source(_K8S_PROXY, "the same setting delays new endpoints"),
        "pre_stop_seconds": Source(
            _K8S_PODS, "without a preStop hook the stop signal is sent at once"
        ),
        "grace_seconds": Source(_K8S_PODS, "terminationGracePeriodSeconds is 30 s by default"),
        "grace_includes_pre_stop": Source(
            _K8S_PODS,
            "the grace period covers the preStop hook as well; a hook that outlasts it extends the "
            "period once, by 2 s",
        ),
        "registration": Source(
            _K8S_PODS,
            "a Pod whose readiness probe fails is not ready, and its endpoints get no traffic",
        ),
        "close_idle": Source(
            "https://kubernetes.io/docs/tutorials/services/pods-and-endpoint-termination-flow/",
            "an endpoint of a terminating Pod is not ready, which keeps new connections away; "
            "established connections stay, and the application has to close them",
        ),
        "retry": Source(
            _VIPS,
            "kube-proxy chooses a Pod for each connection; if that Pod does not respond, the "
            "connection fails",
        ),
        "passive_checks": Source(
            _VIPS,
            "kube-proxy only writes rules for the kernel; it does not see how a connection ends",
        ),
        "active_checks": Source(
            _VIPS, "kube-proxy checks no Pod; it hears of readiness from the control plane"
        ),
        "reuse_post": Source(
            _VIPS,
            "kube-proxy chooses a Pod for each new connection, and has no connections of its own "
            "that it could keep; how clients use theirs is up to them",
        ),
    },
    limits=(
        "An ingress controller or a cloud load balancer has a lag of its own on top; add it to "
        "deregistration_lag_seconds. The kubelet's readiness probes are not modelled for a "
        "replica that serves: a Pod that is deleted counts as not ready at once, whatever they "
        "say. Connections that are kept in use last until the Pod's server closes them after its "
        "stop signal, and a request can meet that moment. No preStop prevents this; set close_idle "
        "= true if your router closes such connections."
    ),
)
