"""PURE: what a Pod of the API says of one replica."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.kubernetes.cluster_clock import wall_ns

Json = Mapping[str, Any]

OUT_OF_MEMORY = "OOMKilled"
_PULL_FAILED = "ErrImagePull"
_PULL_WAITS = "ImagePullBackOff"

_SIGNALLED = 128
_MOST_WORDS = 300
_HOPELESS = frozenset(
    {
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImageNeverPull",
        "ImageInspectError",
        "ImagePullBackOff",
        "InvalidImageName",
        "RunContainerError",
    }
)
"""Why a container waits that nobody will start without help. `ErrImagePull` is none of them: the
kubelet tries a second time, and says `ImagePullBackOff` when it waits before it does so:
https://kubernetes.io/docs/concepts/containers/images/#imagepullbackoff
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodEnd:
    """How the first container of a pod ended, or the pod as a whole.

    Attributes:
        exit_code: the exit status of the container; 128 and the number of the signal if a signal
            ended it; None where the cluster does not tell.
        reason: why, in one word of the cluster, such as `OOMKilled` or `Evicted`.
        message: the same in a sentence of the cluster.
        finished_wall_ns: when, on the cluster's clock, in whole seconds; None where it does not
            tell.
    """

    exit_code: int | None = None
    reason: str | None = None
    message: str | None = None
    finished_wall_ns: int | None = None

    @property
    def exit_status(self) -> int | None:
        """The exit status; the negative signal number when a signal ended the container."""
        if self.exit_code is None or self.exit_code <= _SIGNALLED:
            return self.exit_code
        return _SIGNALLED - self.exit_code

    def __str__(self) -> str:
        status = self.exit_status
        if self.reason == OUT_OF_MEMORY:
            return "was killed because it exceeded its memory limit (OOMKilled)"
        if self.reason not in (None, "Error", "Completed"):
            return f"has ended: {_joined(self.reason, self.message)}"
        if status is None:
            return "has ended"
        return f"was ended by signal {-status}" if status < 0 else f"exited with status {status}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodState:
    """A pod as it is now. Its first container is the one that serves.

    Attributes:
        name: its name.
        address: its IP address; None while it has none.
        started: whether the first container runs, and its startup probe has succeeded.
        has_run: whether the first container runs or has run, so that it has a log.
        ready: its condition `Ready`.
        deleted: whether somebody has deleted it: its containers are being stopped.
        waiting: why it does not run yet, in the words of the cluster; None if it runs.
        hopeless: whether what it waits for will not come without help.
        end: how it ended; None as long as it has not.
    """

    name: str
    address: str | None = None
    started: bool = False
    has_run: bool = False
    ready: bool = False
    deleted: bool = False
    waiting: str | None = None
    hopeless: bool = False
    end: PodEnd | None = None

    def after(self, before: "PodState") -> "PodState":
        """The same, with what was known before and is not told again: why no image was pulled.

        Args:
            before: the state before.
        """
        waited, waits = before.waiting or "", self.waiting or ""
        if waits.startswith(_PULL_WAITS) and waited.startswith(_PULL_FAILED):
            return replace(self, waiting=waited)
        return self


def pod_state(pod: Json) -> PodState:
    """Read a pod.

    Args:
        pod: the object of the API.
    """
    meta, spec, status = pod["metadata"], pod.get("spec", {}), pod.get("status", {})
    first = _status_of(spec.get("containers", ()), status.get("containerStatuses", ()))
    states = first.get("state") or {}
    end = _end(status, states)
    running = "running" in states
    reason, message = _waiting(status, states)
    return PodState(
        name=meta["name"],
        address=status.get("podIP") or None,
        started=running and first.get("started") is not False,
        has_run=running or "terminated" in states,
        ready=_condition(status, "Ready").get("status") == "True",
        deleted="deletionTimestamp" in meta,
        waiting=None if running or end is not None else _joined(reason, message),
        hopeless=reason in _HOPELESS,
        end=end,
    )


def _end(status: Json, states: Json) -> PodEnd | None:
    ended = states.get("terminated")
    if ended is not None:
        return PodEnd(
            exit_code=ended.get("exitCode"),
            reason=status.get("reason") or ended.get("reason"),
            message=_short(status.get("message") or ended.get("message")),
            finished_wall_ns=wall_ns(ended.get("finishedAt")),
        )
    if status.get("phase") not in ("Failed", "Succeeded"):
        return None
    for one in status.get("initContainerStatuses", ()):
        failed = (one.get("state") or {}).get("terminated") or {}
        if failed.get("exitCode"):
            how = PodEnd(exit_code=failed["exitCode"], message=_short(failed.get("message")))
            return PodEnd(reason=f"its init container {one['name']} {how}", message=how.message)
    return PodEnd(reason=status.get("reason"), message=_short(status.get("message")))


def _waiting(status: Json, states: Json) -> tuple[str, str | None]:
    """Why a pod does not run yet: one word, and a sentence if there is one."""
    scheduled = _condition(status, "PodScheduled")
    if scheduled.get("status") == "False":
        return str(scheduled.get("reason", "Unschedulable")), _short(scheduled.get("message"))
    # An init container that cannot start holds up all that follow.
    for one in status.get("initContainerStatuses", ()):
        waits = (one.get("state") or {}).get("waiting") or {}
        if waits.get("reason") not in (None, "PodInitializing"):
            return waits["reason"], _short(waits.get("message"))
    waits = states.get("waiting") or {}
    return waits.get("reason", "Pending"), _short(waits.get("message"))


def _status_of(specified: Iterable[Json], statuses: Iterable[Json]) -> Json:
    """What became of the first container."""
    name = next((one["name"] for one in specified), None)
    return next((one for one in statuses if one["name"] == name), {})


def _condition(status: Json, kind: str) -> Json:
    conditions: Iterable[Json] = status.get("conditions") or ()
    return next((one for one in conditions if one.get("type") == kind), {})


def _joined(reason: str | None, message: str | None) -> str:
    return ": ".join(one for one in (reason, message) if one)


def _short(text: str | None) -> str | None:
    return None if text is None else " ".join(text.split())[:_MOST_WORDS]
