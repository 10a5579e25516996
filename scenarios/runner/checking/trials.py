"""Carries out the trials of a check: each has a database and replicas of its own."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import msgspec

from orchestrator.errors import (
    MigrationFailed,
    PlatformError,
    RolloutFailed,
)
from orchestrator.gates import fail_at_end, readiness_refusal
from orchestrator.model import Replica
from orchestrator.platforms.local import LocalPlatform
from orchestrator.postgres import EmbeddedServer
from orchestrator.tasks import first_error
from scenarios.check.observed import (
    CellResult,
    ChangeResult,
    Connections,
    CrossingResult,
    EndpointResult,
    SchemaKey,
)
from scenarios.check.reachable import SchemaState
from scenarios.check.trial_plan import Advance
from scenarios.recording.subjects import wait_settled
from scenarios.runner import release as application
from scenarios.runner.checking.check_context import CheckContext, carry_out
from scenarios.runner.checking.journey_player import OpenJourney
from scenarios.runner.checking.replica_client import PlayedRequest, ReplicaClient
from scenarios.runner.checking.replica_errors import (
    ReplicaErrors,
    endpoint_results,
    refused_elsewhere,
)
from scenarios.runner.checking.stored_rows import StoredRows, damage
from scenarios.scenario.placeholders import database_values
from scenarios.traffic.journeys.set_up import SetUpError, set_up

AT_ONCE = 3
"""How many plays of all journeys share a replica, so that it has several warm connections."""

WARM_ROUNDS = 5
"""How many more there are before the schema changes: psycopg prepares a statement at its sixth."""

_ROUNDS_AFTER = 2
_READY_SECONDS = 6.0  # a version that never becomes ready costs so much, each time
_PROBE_SECONDS = 5.0
_SET_UP = "set-up"


@dataclass(slots=True)
class TriedReplica:
    """A replica that runs.

    Attributes:
        client: sends to it.
        not_ready: why it is not ready; None if it is.
        shared: what the set-up captured.
        failed_set_up: what failed in the set-up; None if nothing did.
        began_ns: when it was started.
    """

    client: ReplicaClient | None
    name: str
    version: str
    not_ready: str | None
    began_ns: int
    shared: Mapping[str, str] = field(default_factory=dict)
    failed_set_up: str | None = None


@asynccontextmanager
async def trial_on(context: CheckContext, schema: SchemaKey) -> AsyncIterator["Trial"]:
    """A trial on a database with this schema.

    Raises:
        EnvironmentFailure: it cannot be made.
    """
    async with context.database(schema) as url, trial_at(context, url) as trial:
        yield trial


@asynccontextmanager
async def trial_at(context: CheckContext, url: str) -> AsyncIterator["Trial"]:
    """A trial on a database that is there; empty: without one."""
    folder = context.folder / f"trial-{next(context.numbers)}"
    folder.mkdir()
    async with AsyncExitStack() as stack:
        values = context.values(url)
        platform = await stack.enter_async_context(
            LocalPlatform(
                context.environment.processes,
                log_directory=folder,
                replica_directories=folder,
                values=values,
            )
        )
        yield Trial(context, url, platform=platform, stack=stack)


class Trial:
    """One database with replicas; made by `trial_on`."""

    def __init__(
        self,
        context: CheckContext,
        url: str,
        *,
        platform: LocalPlatform,
        stack: AsyncExitStack,
    ) -> None:
        self._context = context
        self._url = url
        self._platform = platform
        self._stack = stack
        self._started: list[str] = []
        self._running: dict[str, Replica] = {}
        self._stored = StoredRows(url, context.asking("subjects", url), context.tell)
        self._settled: Callable[[], Awaitable[bool]] | None = None
        spec, settled_when = context.loaded.scenario.integrity, context.asking("settled_when", url)
        if spec is not None and settled_when is not None and url:
            seconds = spec.settle_timeout_seconds
            self._settled = lambda: wait_settled(url, settled_when, seconds)

    async def fresh(self, schema: SchemaKey, version: str) -> tuple[TriedReplica, CellResult]:
        """Start a replica of the version, and play each journey once."""
        tried = await self.start(version)
        return tried, await self.cell(schema, tried, "fresh", rounds=1, at_once=1)

    async def stop(self, tried: TriedReplica) -> None:
        """Stop a replica that is not needed any more; its connections are free then."""
        await self._end(tried.name)

    async def _end(self, name: str) -> None:
        replica = self._running.pop(name, None)
        if replica is not None:
            await self._platform.stop(replica, 0.0)

    async def start(self, version: str, *, shared: Mapping[str, str] | None = None) -> TriedReplica:
        """Start a replica of the version; it runs until it is stopped, or the trial ends.

        Args:
            version: the version.
            shared: what the set-up captured on another version; absent: the set-up is played.
        """
        name = f"{version}-check-{next(self._context.numbers)}"
        self._started.append(name)
        loaded, began = self._context.loaded, time.monotonic_ns()
        settings = application.version(loaded, version)
        try:
            replica = await self._platform.start(settings, name)
        except PlatformError as error:
            return TriedReplica(None, name, version, str(error), began)
        self._running[name] = replica
        self._stack.push_async_callback(self._end, name)
        why = await self._why_not_ready(replica)
        traffic = loaded.scenario.traffic
        client = self._stack.enter_context(ReplicaClient(replica, traffic.timeout_seconds))
        tried = TriedReplica(client, name, version, why, began, shared or {})
        if why is None and shared is None:
            try:
                tried.shared = await set_up(
                    replica.host,
                    replica.port,
                    traffic.set_up,
                    seed=next(self._context.numbers),
                    timeout_seconds=traffic.timeout_seconds,
                )
            except SetUpError as error:
                tried.failed_set_up = str(error)
        return tried

    async def cell(
        self,
        schema: SchemaKey,
        tried: TriedReplica,
        connections: Connections,
        *,
        rounds: int = _ROUNDS_AFTER,
        at_once: int = AT_ONCE,
        opened: Sequence[OpenJourney] = (),
    ) -> CellResult:
        """Play the journeys on a replica, and tell what became of them.

        Args:
            schema: the present schema.
            tried: the replica.
            connections: whether its connections are warm.
            rounds: how often each journey is played alone.
            at_once: how many plays share the replica before that; 1 for none.
            opened: journeys that it began on the schema before.
        """
        empty = CellResult(schema=schema, version=tried.version, connections=connections)
        replace = msgspec.structs.replace
        if tried.client is None or tried.not_ready is not None:
            return replace(empty, not_ready=tried.not_ready)
        if tried.failed_set_up is not None:
            failed = EndpointResult(
                endpoint=_SET_UP, requests=1, failed=1, mismatch=tried.failed_set_up
            )
            return replace(empty, endpoints=(failed,))
        errors = self._errors()
        start = tried.began_ns if connections == "fresh" else time.monotonic_ns()
        played: list[PlayedRequest] = []
        if at_once > 1:
            played += await self._burst(tried, at_once, opened)
        for _ in range(rounds):
            played += await self._play(tried)
        end = time.monotonic_ns()
        played = await self._stored.compared(played)
        found = await errors.read()
        endpoints = endpoint_results(played, found, tried.name)
        if connections == "warm":
            endpoints += await self._health(tried.client.replica)
        return replace(
            empty,
            endpoints=endpoints,
            refused=refused_elsewhere(played, found, tried.name, start, end),
            answers=_shapes(played),
            statuses=_statuses(played),
        )

    async def warm_up(self, tried: TriedReplica) -> None:
        """Let a replica use several connections, and prepare its statements."""
        if tried.client is None or tried.not_ready or tried.failed_set_up:
            return
        await self._burst(tried, AT_ONCE)
        for _ in range(WARM_ROUNDS):
            await self._play(tried, wait_for_mail=False)

    async def keep_playing(self, tried: TriedReplica) -> None:
        """Play the journeys again and again, several at the same time, until cancelled."""
        if tried.client is None or tried.not_ready or tried.failed_set_up:
            return

        async def play() -> None:
            while True:
                await self._play(tried, wait_for_mail=False)
                await asyncio.sleep(0)  # a journey without a request must not keep the loop

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(play())

    async def open_journeys(self, tried: TriedReplica) -> list[OpenJourney]:
        """Begin journeys on a replica, for somebody to go on with."""
        if tried.client is None or tried.not_ready or tried.failed_set_up:
            return []
        player = self._context.player
        return await player.begin_all(tried.client, tried.shared, self._settled)

    async def crossing(
        self,
        schema: SchemaKey,
        began: TriedReplica,
        went_on: TriedReplica,
        opened: Sequence[OpenJourney],
    ) -> CrossingResult | None:
        """Let a replica go on with journeys that another one began; None if it cannot serve."""
        client = went_on.client
        if client is None or went_on.not_ready is not None:
            return None
        errors = self._errors()
        played: list[PlayedRequest] = []
        for one in opened:
            played += await one.play(client)
        if began.shared:  # such as a token that the other version issued
            played += await self._context.player.play_all(client, began.shared, self._settled)
        found = await errors.read()
        return CrossingResult(
            schema=schema,
            began=began.version,
            went_on=went_on.version,
            endpoints=endpoint_results(played, found, went_on.name),
        )

    async def advance(
        self, schema: SchemaState, advances: Sequence[Advance]
    ) -> tuple[SchemaState, ChangeResult]:
        """Change the schema; returns what it is then, and what became of the last change made.

        Args:
            schema: the schema before.
            advances: what is done, in order.
        """
        rows = await self._stored.read()
        began = time.monotonic()
        failure: MigrationFailed | None = None
        try:
            await carry_out(self._context, self._url, advances)
        except MigrationFailed as error:
            failure = error
        seconds = time.monotonic() - began
        names = [one.change for one in advances]
        failed = None if failure is None else failure.migration
        made = names.index(failed) if failed in names else len(advances) - 1
        for advance in advances[:made]:
            schema = advance.apply_to(schema)
        result = ChangeResult(
            schema=schema.key,
            change=names[made],
            taken_back=advances[made].taken_back,
            seconds=seconds,
            failed=None if failure is None else str(failure),
            sqlstate=None if failure is None else failure.sqlstate,
            damaged=damage(rows, await self._stored.read()) if rows is not None else (),
        )
        return (schema if failure else advances[made].apply_to(schema)), result

    def _errors(self) -> ReplicaErrors:
        server = self._context.server
        embedded = server if isinstance(server, EmbeddedServer) else None
        name = database_values(self._url)["database_name"] if self._url else ""
        return ReplicaErrors(embedded, name, self._started)

    async def _play(
        self, tried: TriedReplica, *, wait_for_mail: bool = True
    ) -> list[PlayedRequest]:
        if tried.client is None:
            return []
        return await self._context.player.play_all(
            tried.client, tried.shared, self._settled, wait_for_mail=wait_for_mail
        )

    async def _burst(
        self, tried: TriedReplica, at_once: int, opened: Sequence[OpenJourney] = ()
    ) -> list[PlayedRequest]:
        """Several plays at the same time, so that several connections are used."""
        if tried.client is None:
            return []
        work = [one.play(tried.client) for one in opened]
        work += [self._play(tried) for _ in range(at_once)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_whole(one)) for one in work]
        return [one for task in tasks for one in task.result()]

    async def _why_not_ready(self, replica: Replica) -> str | None:
        """Why the replica is not ready, by its health and readiness paths; None if it is."""
        scenario = self._context.loaded.scenario
        paths = [scenario.application.health_path]
        if scenario.application.readiness_path is not None:
            paths.append(scenario.application.readiness_path)
        seconds = scenario.policy.progress_deadline_seconds
        try:
            with first_error():
                async with asyncio.TaskGroup() as group:
                    watcher = group.create_task(fail_at_end(self._platform, replica))
                    for path in dict.fromkeys(paths):
                        why = await readiness_refusal(
                            self._platform, replica, path, seconds, patience=_READY_SECONDS
                        )
                        if why is not None:
                            break
                    watcher.cancel()
        except RolloutFailed as failure:
            return str(failure)
        return why

    async def _health(self, replica: Replica) -> tuple[EndpointResult, ...]:
        """Whether a router would still send requests to the replica."""
        path = self._context.loaded.scenario.application.health_path
        answer = await self._platform.probe(replica, path, _PROBE_SECONDS)
        if answer.good:
            return ()
        failed = EndpointResult(
            endpoint=f"GET {path} (health check)",
            requests=1,
            failed=1,
            expected=(200,),
            status=answer.status,
            message=answer.text,
        )
        return (failed,)


async def _whole(work: Awaitable[Sequence[PlayedRequest]]) -> Sequence[PlayedRequest]:
    return await work


def _statuses(played: Sequence[PlayedRequest]) -> dict[str, tuple[int, ...]]:
    """The statuses of the requests that succeeded, by the journey and its step."""
    found: dict[str, set[int]] = {}
    for one in played:
        if one.outcome.ok and one.outcome.status is not None:
            found.setdefault(one.where, set()).add(one.outcome.status)
    return {where: tuple(sorted(statuses)) for where, statuses in found.items()}


def _shapes(played: Sequence[PlayedRequest]) -> dict[str, tuple[str, ...]]:
    """What the JSON answers of each endpoint and status look like, if they are as expected."""
    found: dict[str, set[str]] = {}
    for one in played:
        if one.shape and one.outcome.ok:
            name = f"{one.outcome.endpoint} ({one.outcome.status})"
            found.setdefault(name, set()).update(one.shape)
    return {endpoint: tuple(sorted(shape)) for endpoint, shape in found.items()}
