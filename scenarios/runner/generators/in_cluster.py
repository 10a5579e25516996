"""The generators of a run as Jobs in a namespace of the run's own."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from orchestrator.errors import EnvironmentFailure
from orchestrator.kubernetes.client import Cluster, lacking
from orchestrator.kubernetes.ownership import RIGHTS, own_namespace
from orchestrator.tasks import all_or_first_error, first_error
from scenarios.evidence.tick import Tick
from scenarios.runner.generators.generator_job import job
from scenarios.runner.generators.generator_pods import START_SECONDS, GeneratorPods
from scenarios.runner.generators.group import GeneratorGroup, generator_group
from scenarios.runner.generators.remote_generator import (
    NotReachedError,
    RefusedError,
    RemoteGenerator,
)
from scenarios.traffic.plan import Plan
from scenarios.traffic.remote.messages import ANSWER_HEADER, PORT, TOKEN_HEADER, token_digest

_ASK_SECONDS = 20.0
_AGAIN_SECONDS = 0.3
_CONTACT_SECONDS = 10.0
_NEEDED = (
    ("create", "jobs", "batch", ""),
    ("list", "pods", "", ""),
    ("watch", "pods", "", ""),
    ("get", "pods", "", "proxy"),
    ("create", "pods", "", "proxy"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorJobs:
    """What is asked for.

    Attributes:
        count: how many generators.
        image: an image with hitless.
    """

    count: int
    image: str


class PodReach:
    """The way to a generator's pod: through the API server.

    Args:
        cluster: the API.
        namespace: where the pod is.
        pod: its name.
        token: what every request to it has.
    """

    def __init__(self, cluster: Cluster, namespace: str, pod: str, token: str) -> None:
        self._cluster = cluster
        self._base = f"/api/v1/namespaces/{namespace}/pods/{pod}:{PORT}/proxy"
        self._token = token

    async def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Send one request to it; returns the body of its answer.

        Raises:
            NotReachedError: no answer came from the pod.
            RefusedError: it answered with an error.
        """
        try:
            answer = await self._cluster.send(
                method,
                f"{self._base}{path}",
                content=body,
                headers={TOKEN_HEADER: self._token},
                seconds=_ASK_SECONDS,
            )
        except EnvironmentFailure as error:
            raise NotReachedError(str(error)) from error
        if ANSWER_HEADER not in answer.headers:
            raise NotReachedError(answer.words)
        if answer.is_error:
            raise RefusedError(answer.words)
        return answer.content


@asynccontextmanager
async def generators_in(
    cluster: Cluster,
    about: GeneratorJobs,
    plan: Plan,
    *,
    folder: Path,
    on_tick: Callable[[Tick], None],
    on_stage: Callable[[str], None],
) -> AsyncIterator[GeneratorGroup]:
    """Start the generators and wait until each has its part; removed when the block is left.

    Args:
        cluster: where.
        about: how many, and with which image.
        plan: what they send together.
        folder: the folder of the run.
        on_tick: called with each tick.
        on_stage: told what is done now.

    Raises:
        EnvironmentFailure: rights are missing, or a generator did not start.
        LoadError: one does not reach the target, or cannot follow its part.
        ApiError: the cluster refused something.
    """
    name, token = f"hitless-load-{secrets.token_hex(4)}", secrets.token_urlsafe(24)
    await _check_rights(cluster, name)
    on_stage(f"starting {about.count} load generators in the cluster")
    async with own_namespace(cluster, name, folder.name) as labels:
        for number in range(1, about.count + 1):
            made = job(number, image=about.image, labels=labels, token_sha256=token_digest(token))
            await cluster.create(f"/apis/batch/v1/namespaces/{name}/jobs", made)
        with TemporaryDirectory(prefix="generators-", dir=folder) as parts:
            async with _started(cluster, name, about.count, token, Path(parts)) as generators:
                with generator_group(plan, generators, folder, on_tick) as group:
                    await group.prepare()
                    yield group


async def _check_rights(cluster: Cluster, namespace: str) -> None:
    missing = [
        *await lacking(cluster, "", RIGHTS),
        *await lacking(cluster, namespace, _NEEDED),
    ]
    if missing:
        raise EnvironmentFailure(
            f"--generators: no rights to {', '.join(missing)}; docs/kubernetes.md has the "
            "ClusterRole that suffices"
        )


@asynccontextmanager
async def _started(
    cluster: Cluster, namespace: str, count: int, token: str, parts: Path
) -> AsyncIterator[list[RemoteGenerator]]:
    """All generators, once each of them answers; their pods are watched for the whole block."""
    pods = GeneratorPods(cluster, namespace)

    async def one(number: int) -> RemoteGenerator:
        pod, node = await pods.running(number)
        reach = PodReach(cluster, namespace, pod, token)
        generator = RemoteGenerator(number, pod, node, reach, parts)
        await _answers(generator, pods)
        contact.append(group.create_task(_keep_contact(generator), name=f"contact with {pod}"))
        return generator

    contact: list[asyncio.Task[None]] = []
    with first_error():
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(pods.watch(), name="pods of the generators")
            generators = await all_or_first_error(map(one, range(1, count + 1)))
            for task in contact:
                task.cancel()
            for generator in generators:
                pods.on_loss(generator.number, generator.lose)
            yield generators
            watching.cancel()


async def _answers(generator: RemoteGenerator, pods: GeneratorPods) -> None:
    """Wait until it answers.

    Raises:
        EnvironmentFailure: it does not.
    """
    give_up = time.monotonic() + START_SECONDS
    while True:
        await pods.check(generator.number)
        try:
            await generator.about()
        except RefusedError as error:
            raise EnvironmentFailure(f"generator {generator.number}: {error}") from error
        except NotReachedError as error:
            if time.monotonic() > give_up:
                raise EnvironmentFailure(
                    f"generator {generator.number} does not answer through the API server: {error}"
                ) from error
        else:
            return
        await asyncio.sleep(_AGAIN_SECONDS)


async def _keep_contact(generator: RemoteGenerator) -> None:
    """Let it know that the harness lives, while others still start."""
    while True:
        await asyncio.sleep(_CONTACT_SECONDS)
        with suppress(NotReachedError, RefusedError):
            await generator.about()
