"""A namespace of a run's own: made and removed with it, and found again after `kill -9`.

Nothing outside of it is changed, and nothing that exists already is taken over. Everything that a
run makes has `labels_of` it.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

import msgspec

from orchestrator.errors import EnvironmentFailure
from orchestrator.kubernetes.client import Cluster, Json
from orchestrator.kubernetes.errors import CONFLICT, ApiError, ClusterNameError
from orchestrator.kubernetes.owner import Owner, OwnerState, this_process

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "hitless"
RUN = "hitless/run"
_OWNER = "hitless/owner"

NAMESPACES = "/api/v1/namespaces"
RIGHTS = tuple((verb, "namespaces", "", "") for verb in ("create", "delete", "list", "watch"))
"""What one must be allowed to do in the whole cluster; for `client.lacking`."""

_LONGEST_LABEL = 63
_GONE_SECONDS = 120.0
_TRIES = 5
_TRY_AGAIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnedNamespace:
    """A namespace that a run made.

    Attributes:
        name: its name.
        uid: its uid.
        run_id: the run.
        owner: the process of the run; None if the namespace does not say.
    """

    name: str
    uid: str
    run_id: str
    owner: Owner | None

    @property
    def state(self) -> OwnerState:
        """Whether the run still goes on."""
        return "elsewhere" if self.owner is None else self.owner.state


def labels_of(run_id: str) -> dict[str, str]:
    """The labels of everything that a run makes.

    Args:
        run_id: the run; what a label cannot hold is replaced by dashes.
    """
    text = re.sub(r"[^A-Za-z0-9._-]", "-", run_id)[:_LONGEST_LABEL]
    return {MANAGED_BY: MANAGER, RUN: text.strip("-._") or "run"}


@asynccontextmanager
async def own_namespace(cluster: Cluster, name: str, run_id: str) -> AsyncIterator[dict[str, str]]:
    """Make a namespace, and remove it at the end with everything in it.

    However the block ends, the namespace is gone afterwards, or the error says that it is not.

    Args:
        cluster: where.
        name: its name.
        run_id: the run that it belongs to.

    Yields:
        The labels of everything that the run makes.

    Raises:
        ClusterNameError: a namespace of this name exists; it was left as it is.
        ApiError: it was refused.
        EnvironmentFailure: the server does not answer, or the namespace could not be removed.
    """
    labels = labels_of(run_id)
    uid = await _create(cluster, name, labels)
    try:
        yield labels
    except BaseException as error:
        try:
            await remove_namespace(cluster, name, uid)
        except EnvironmentFailure as left:
            first = f"{error}; and " if isinstance(error, Exception) else ""
            raise EnvironmentFailure(f"{first}{left}") from error
        raise
    await remove_namespace(cluster, name, uid)


async def owned_namespaces(cluster: Cluster) -> tuple[OwnedNamespace, ...]:
    """The namespaces that runs made and that are still there, by name.

    Raises:
        ApiError: it was refused.
        EnvironmentFailure: the server does not answer.
    """
    found = await cluster.get(NAMESPACES, labelSelector=f"{MANAGED_BY}={MANAGER},{RUN}")
    every = (_owned(one["metadata"]) for one in found.get("items", ()))
    return tuple(sorted(every, key=lambda one: one.name))


async def remove_namespace(cluster: Cluster, name: str, uid: str) -> None:
    """Remove a namespace, and wait until it is gone; fine if it is gone already.

    Args:
        cluster: where.
        name: its name.
        uid: its uid: a namespace that got the name later is left alone.

    Raises:
        EnvironmentFailure: it could not be removed, or not in time; the message says how to go on.
    """
    try:
        async with asyncio.timeout(_GONE_SECONDS):
            await _delete(cluster, name, uid)
            await _wait_gone(cluster, name, uid)
    except TimeoutError:
        raise EnvironmentFailure(
            f"the cluster still removes the namespace {name!r} after {_GONE_SECONDS:.0f} s"
        ) from None
    except (ApiError, EnvironmentFailure) as error:
        raise EnvironmentFailure(
            f"the namespace {name!r} is left behind ({error}); `hitless clean --cluster "
            f"{cluster.context}` removes it"
        ) from error


async def _create(cluster: Cluster, name: str, labels: Mapping[str, str]) -> str:
    """Make the namespace, or leave nothing; returns its uid."""
    owner = msgspec.json.encode(this_process()).decode()
    body: Json = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": dict(labels), "annotations": {_OWNER: owner}},
    }
    # A request that is cancelled may still have been carried out, so it is waited for.
    creating = asyncio.ensure_future(cluster.create(NAMESPACES, body))
    try:
        created = await asyncio.shield(creating)
    except asyncio.CancelledError:
        await asyncio.wait([creating])
        if creating.exception() is None:
            await remove_namespace(cluster, name, str(creating.result()["metadata"]["uid"]))
        raise
    except ApiError as error:
        if error.status != CONFLICT:
            raise
        raise ClusterNameError(await _why_taken(cluster, name)) from error
    return str(created["metadata"]["uid"])


async def _why_taken(cluster: Cluster, name: str) -> str:
    ours = [one for one in await owned_namespaces(cluster) if one.name == name]
    if not ours:
        return (
            f"the namespace {name!r} exists and is none of hitless', so nothing was changed; "
            "name another one"
        )
    if ours[0].state == "gone":
        return (
            f"the namespace {name!r} is left of the run {ours[0].run_id}, which was killed; "
            f"`hitless clean --cluster {cluster.context}` removes it"
        )
    return f"the namespace {name!r} belongs to the run {ours[0].run_id}; name another one"


def _owned(metadata: Json) -> OwnedNamespace:
    said = (metadata.get("annotations") or {}).get(_OWNER, "")
    try:
        owner = msgspec.json.decode(said, type=Owner)
    except msgspec.DecodeError:
        owner = None
    return OwnedNamespace(
        name=str(metadata["name"]),
        uid=str(metadata["uid"]),
        run_id=str(metadata["labels"][RUN]),
        owner=owner,
    )


async def _delete(cluster: Cluster, name: str, uid: str) -> None:
    for left in reversed(range(_TRIES)):
        try:
            await cluster.delete(f"{NAMESPACES}/{name}", uid=uid)
        except ApiError as error:
            if error.status == CONFLICT:
                return  # it is under way, or another one has the name
            if not (error.passes and left):
                raise
        except EnvironmentFailure:
            if not left:
                raise
        else:
            return
        await asyncio.sleep(_TRY_AGAIN_SECONDS)


async def _wait_gone(cluster: Cluster, name: str, uid: str) -> None:
    there = False
    watched = cluster.follow(NAMESPACES, lambda _: None, fieldSelector=f"metadata.name={name}")
    async with aclosing(watched) as changes:
        async for one in changes:
            if one.change == "complete":
                if not there:
                    return
                there = False
            elif one.object["metadata"]["uid"] == uid:
                if one.change == "deleted":
                    return
                there = True
